"""Feature attribution for PyTorch as pure functions on torch.func.

import attrfunc as af

af.ig(model, x, baseline=b, target=3)                    # at the input
af.ig(af.layer(model, "blocks.11"), x, target=3)         # at a layer
af.ig(af.neuron(model, "fc1", 7), x)                     # what drives a neuron
"""

from attrfunc.core.activation import activation
from attrfunc.core.errors import ArgumentError, AttributionError, ModelError
from attrfunc.core.views import View, bind, layer, neuron
from attrfunc.gradient.completeness import completeness_gap, score_change
from attrfunc.gradient.grad_cam import grad_cam
from attrfunc.gradient.input_x_gradient import input_x_gradient
from attrfunc.gradient.integrated_gradients import ig, integrated_gradients
from attrfunc.gradient.interpolate import interpolate
from attrfunc.gradient.saliency import saliency
from attrfunc.gradient.tokens_to_grid import tokens_to_grid

__all__ = [
    "ArgumentError",
    "AttributionError",
    "ModelError",
    "View",
    "activation",
    "bind",
    "completeness_gap",
    "grad_cam",
    "ig",
    "input_x_gradient",
    "integrated_gradients",
    "interpolate",
    "layer",
    "neuron",
    "saliency",
    "score_change",
    "tokens_to_grid",
]
