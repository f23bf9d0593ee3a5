"""`attrfunc.concepts`: what a model makes of concepts that people name, as directions in a layer's activations."""

from attrfunc.concepts.concept_relevance import concept_relevance
from attrfunc.concepts.fits import mean_difference, pattern, ridge, scikit_learn
from attrfunc.concepts.significance import TcavTest, tcav_test
from attrfunc.concepts.storage import load, save
from attrfunc.concepts.tcav import Tcav, concept_sensitivity, tcav
from attrfunc.concepts.vectors import Concepts, concept_vectors

__all__ = [
    "Concepts",
    "Tcav",
    "TcavTest",
    "concept_relevance",
    "concept_sensitivity",
    "concept_vectors",
    "load",
    "mean_difference",
    "pattern",
    "ridge",
    "save",
    "scikit_learn",
    "tcav",
    "tcav_test",
]
