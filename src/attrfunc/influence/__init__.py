"""`attrfunc.influence`: which training examples made a model say what it says."""

from attrfunc.influence.count_sketch import CountSketch, count_sketch
from attrfunc.influence.tracin import self_influence, tracin

__all__ = ["CountSketch", "count_sketch", "self_influence", "tracin"]
