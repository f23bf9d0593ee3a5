"""Where Captum 0.8 had its visualizer."""

from attrfunc.captum.insights.attr_vis.app import AttributionVisualizer, Batch

__all__ = ["AttributionVisualizer", "Batch"]
