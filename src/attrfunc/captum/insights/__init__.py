"""The classes of `captum.insights` as Captum 0.8 had them, on `attrfunc.insights`; Captum 0.9 has none.

What differs from Captum, on purpose:

* `serve` and `render` start the page of `attrfunc.insights`: all methods that fit, and any class. It needs Gradio
  (`attrfunc[insights]`) when it starts, not before.
* The page reads 200 examples of a data set, which may be endless. It takes no `additional_args`; `visualize` does.
* `bind_all=True` lets other machines in, which is said by a warning.
* `visualize` ends where no labelled example is left; Captum begins anew, or goes on for ever. Models stay as they are.
* `serve(blocking=True)` waits until the page is closed. `debug` is accepted, and has no effect.
* Errors are `attrfunc.ArgumentError`.
"""

from attrfunc.captum.insights.attr_vis import features
from attrfunc.captum.insights.attr_vis.app import AttributionVisualizer, Batch
from attrfunc.captum.insights.attr_vis.features import (
    BaseFeature,
    EmptyFeature,
    FeatureOutput,
    GeneralFeature,
    ImageFeature,
    TextFeature,
)

__all__ = [
    "AttributionVisualizer",
    "BaseFeature",
    "Batch",
    "EmptyFeature",
    "FeatureOutput",
    "GeneralFeature",
    "ImageFeature",
    "TextFeature",
    "features",
]
