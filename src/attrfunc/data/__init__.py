"""`attrfunc.data`: attributions of whole data sets on disk, on one machine or many, and what they say together."""

from attrfunc.data.attribute import attribute
from attrfunc.data.batches import Batches, batches
from attrfunc.data.ray_engine import Ray
from attrfunc.data.statistics import Statistics
from attrfunc.data.store import Store, open_store
from attrfunc.data.summary import Importance, Summary, summary
from attrfunc.data.torchrun import Torchrun

__all__ = [
    "Batches",
    "Importance",
    "Ray",
    "Statistics",
    "Store",
    "Summary",
    "Torchrun",
    "attribute",
    "batches",
    "open_store",
    "summary",
]
