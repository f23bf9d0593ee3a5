"""`attrfunc.masks`: feature masks, which say what features a perturbation method changes together."""

from attrfunc.perturbation.feature_groups import number_groups, per_group
from attrfunc.perturbation.feature_masks import grid_mask, superpixels

__all__ = ["grid_mask", "number_groups", "per_group", "superpixels"]
