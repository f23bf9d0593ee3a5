"""The base classes."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

import attrfunc as af
from attrfunc.captum._utils.gradient import WithGradients
from attrfunc.captum.convert import as_args, as_baseline, captum_call, only, per_example
from attrfunc.captum.explainers import Explainer, Inside, Selecting
from attrfunc.captum.forms import Baselines, Forward, Inputs, Target
from attrfunc.captum.places import explained

__all__ = ["Attribution", "GradientAttribution", "LayerAttribution", "NeuronAttribution"]


class Attribution(Explainer):
    """Base of all attribution classes."""

    _differs: tuple[str, ...] = (
        "Arguments mean what they mean in attrfunc, which takes more: baselines may be callables, a number serves"
        " several inputs, `target` may be a callable, layers may be named by strings, inputs may be nested "
        "structures, and a tensor in `additional_forward_args` without a batch dimension is passed on as it is.",
        "What cannot be right raises `attrfunc.ArgumentError`, which is an `AssertionError` here, or "
        "`attrfunc.ModelError`. In particular a layer "
        "that runs several times in one forward pass raises, where Captum mixes its calls; `attrfunc.layer(..., "
        "call=0)` chooses one.",
        "An input or layer that the score does not depend on gets zeros, where Captum raises.",
        "Inputs may be one example without a batch dimension, even a single number; Captum mostly raises.",
        "Where a model gives other rows than it takes (bags of tokens with offsets, graphs of nodes) the score is the "
        "sum of all, as in Captum, with a warning. Along a path Captum repeats offsets and edges, and so changes them.",
        "Results carry no graph, not even to inputs that require grad. `attrfunc.bind` makes attributions that do.",
        "`torch.manual_seed` makes what is random reproducible; Captum draws from NumPy too.",
    )

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether attributions are in units of the score, not of its gradient."""
        return self._multiply_by_inputs

    def has_convergence_delta(self) -> bool:
        """Whether attributions add up to a change of the score, or do on average."""
        return self._complete

    @classmethod
    def get_name(cls) -> str:
        """The class's name with a space before each further capital."""
        return re.sub(r"(?<!^)([^a-z])", r" \1", cls.__name__)


class GradientAttribution(WithGradients, Attribution):
    """Base of the classes that differentiate the model."""

    @captum_call
    def compute_convergence_delta(
        self, attributions: Any, start_point: Baselines, end_point: Inputs, target: Target = None,
        additional_forward_args: Any = None,
    ) -> Tensor:  # fmt: skip
        """What attributions add up to, less the change of the score, for each example; see `attrfunc.score_change`."""
        start, args = as_baseline(start_point, end_point), as_args(additional_forward_args)
        change: Tensor = af.score_change(self._explained(), end_point, baseline=start, target=target, args=args)
        return per_example(attributions, len(change)) - change

    def _explained(self) -> Forward:
        """What changes from the start point to the end point."""
        return self.forward_func


class LayerAttribution(Inside, Attribution):
    """Base of the classes that attribute to layers."""

    _differs: tuple[str, ...] = (
        "The input of a layer is what goes into that layer. Where the same tensor also flows around it, as in a "
        "residual block, Captum's `LayerGradientXActivation` adds the gradient of that; its "
        "`LayerIntegratedGradients` does not.",
        "The convergence delta is that of the layer: what bypasses it stays as it is at the input, so the delta "
        "is the error of the integral. Captum takes the whole network's change instead, in which bypassing "
        "connections look like such an error. Without these the two agree. `LayerConductance` has that of the "
        "whole score, as in Captum.",
        "`device_ids` is accepted and kept, and has no effect: layers of a `DataParallel` model are found where "
        "they run.",
    )

    @staticmethod
    def interpolate(
        layer_attribution: Tensor, interpolate_dims: int | tuple[int, ...], interpolate_mode: str = "nearest"
    ) -> Tensor:
        """Attributions `(B, C, *S)` at other spatial dimensions, `(B, C, *interpolate_dims)`; see `attrfunc.viz`."""
        resized: Tensor = af.viz.interpolate(layer_attribution, interpolate_dims, mode=interpolate_mode)
        return resized

    def _mirrored(self, result: Any) -> Any:
        """A result as Captum gives it: a list for a list of layers, a tensor for a layer that gives a tuple of one."""
        return [only(part) for part in result] if isinstance(self.layer, list | tuple | None) else only(result)

    def _explained(self) -> Forward:
        # Inputs of a layer change the score through its outputs, so the output side serves both.
        return explained(self, "cut", {})


class NeuronAttribution(Selecting, Attribution):
    """Base of the classes that explain a neuron."""

    _differs: tuple[str, ...] = (
        "A selector that gives one number for the batch is taken batch by batch: of its points, Captum's path "
        "methods mix all.",
    )
