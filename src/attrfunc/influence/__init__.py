"""`attrfunc.influence`: which training examples made a model say what it says."""

from attrfunc.influence.count_sketch import CountSketch, count_sketch
from attrfunc.influence.curvature import Curvature, load_curvature
from attrfunc.influence.influence_function import influence_function
from attrfunc.influence.kronecker import ekfac, kfac
from attrfunc.influence.low_rank import datainf, lanczos
from attrfunc.influence.matrices import fisher, ggn, hessian
from attrfunc.influence.retraining import Lds, lds, leave_one_out, mislabel_auc, retrain, training_influence
from attrfunc.influence.solvers import cg, lissa
from attrfunc.influence.tracin import self_influence, tracin

__all__ = [
    "CountSketch",
    "Curvature",
    "Lds",
    "cg",
    "count_sketch",
    "datainf",
    "ekfac",
    "fisher",
    "ggn",
    "hessian",
    "influence_function",
    "kfac",
    "lanczos",
    "lds",
    "leave_one_out",
    "lissa",
    "load_curvature",
    "mislabel_auc",
    "retrain",
    "self_influence",
    "tracin",
    "training_influence",
]
