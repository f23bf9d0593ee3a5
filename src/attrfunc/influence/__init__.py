"""`attrfunc.influence`: which training examples made a model say what it says."""

from attrfunc.influence.count_sketch import CountSketch, count_sketch
from attrfunc.influence.curvature import Curvature, load_curvature
from attrfunc.influence.data_shapley import data_shapley
from attrfunc.influence.influence_function import influence_function
from attrfunc.influence.kronecker import ekfac, kfac
from attrfunc.influence.low_rank import datainf, lanczos
from attrfunc.influence.matrices import fisher, ggn, hessian
from attrfunc.influence.representer_points import representer_points
from attrfunc.influence.retraining import Lds, lds, leave_one_out, mislabel_auc, retrain, training_influence
from attrfunc.influence.shards import join_stores
from attrfunc.influence.similar import activation_similarity, knn_shapley
from attrfunc.influence.solvers import cg, lissa
from attrfunc.influence.store import Store, embed, open_store
from attrfunc.influence.top import Top, top
from attrfunc.influence.tracin import self_influence, tracin
from attrfunc.influence.trak import trak

__all__ = [
    "CountSketch",
    "Curvature",
    "Lds",
    "Store",
    "Top",
    "activation_similarity",
    "cg",
    "count_sketch",
    "data_shapley",
    "datainf",
    "ekfac",
    "embed",
    "fisher",
    "ggn",
    "hessian",
    "influence_function",
    "join_stores",
    "kfac",
    "knn_shapley",
    "lanczos",
    "lds",
    "leave_one_out",
    "lissa",
    "load_curvature",
    "mislabel_auc",
    "open_store",
    "representer_points",
    "retrain",
    "self_influence",
    "top",
    "tracin",
    "training_influence",
    "trak",
]
