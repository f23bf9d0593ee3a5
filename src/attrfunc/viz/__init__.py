"""`attrfunc.viz`: pictures of attributions, and what brings maps into the form of one.

Every function takes tensors on any device, or arrays, and returns a figure; nothing is shown, and no global state is
changed. Pictures need matplotlib (`attrfunc[viz]`), and those that shap and shapiq draw well are drawn by these
(`attrfunc[shap]`, `attrfunc[shapiq]`): they are imported when a picture is drawn.
"""

from attrfunc.viz.bars import bars
from attrfunc.viz.beeswarm import beeswarm
from attrfunc.viz.convergence import convergence
from attrfunc.viz.dependence import dependence
from attrfunc.viz.explanation import explanation
from attrfunc.viz.image import image
from attrfunc.viz.images import images
from attrfunc.viz.interaction_values import interaction_values
from attrfunc.viz.interactions import interactions
from attrfunc.viz.interpolate import interpolate
from attrfunc.viz.series import series
from attrfunc.viz.tokens import tokens
from attrfunc.viz.tokens_to_grid import tokens_to_grid
from attrfunc.viz.waterfall import waterfall

__all__ = [
    "bars",
    "beeswarm",
    "convergence",
    "dependence",
    "explanation",
    "image",
    "images",
    "interaction_values",
    "interactions",
    "interpolate",
    "series",
    "tokens",
    "tokens_to_grid",
    "waterfall",
]
