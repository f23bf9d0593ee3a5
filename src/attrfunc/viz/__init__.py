"""`attrfunc.viz`: pictures of attributions, and what brings maps into the form of one."""

from attrfunc.viz.image import image
from attrfunc.viz.interpolate import interpolate
from attrfunc.viz.tokens_to_grid import tokens_to_grid

__all__ = ["image", "interpolate", "tokens_to_grid"]
