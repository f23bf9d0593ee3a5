"""The base classes."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NoReturn

from torch import Tensor
from torch.utils import _pytree as pytree

import attrfunc as af
from attrfunc.captum._utils.gradient import compute_gradients
from attrfunc.captum.attr.convert import as_args, as_baseline, captum_call, only, per_example
from attrfunc.captum.attr.forms import Baselines, Forward, Inputs, Target, describe_all
from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.loops.plan import coupling

__all__ = [
    "Attribution", "GradientAttribution", "LayerAttribution", "NeuronAttribution", "NoFuture", "Scaled",
    "ScaledInside", "of_each_row",
]  # fmt: skip


class Attribution:
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

    attribute: Callable[..., Any]
    attribute_future: Callable[..., Any]
    compute_convergence_delta: Callable[..., Any]
    _multiply_by_inputs = False
    _complete = False  # attributions add up to a change of the score
    _random = False  # `attribute` draws at random
    _draws_baselines = False  # `baselines` are samples, of which `attribute` draws some

    def __init_subclass__(cls) -> None:
        describe_all(cls)

    def __init__(self, forward_func: Forward) -> None:
        self.forward_func = forward_func

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether attributions are in units of the score, not of its gradient."""
        return self._multiply_by_inputs

    def has_convergence_delta(self) -> bool:
        """Whether attributions add up to a change of the score, or do on average."""
        return self._complete

    def _mirrored(self, result: Any) -> Any:
        """A result nested as Captum's."""
        return result

    def _called(self, function: Callable[..., Any], at: str, inputs: Inputs, options: dict[str, Any]) -> Any:
        """What a function of attrfunc gives; see `attrfunc.captum.attr.faces`."""
        return function(self._explained_at(at, options), inputs, **options)

    def _explained_at(self, at: str, options: dict[str, Any]) -> Any:
        """What is explained; options that say so are taken out."""
        return self.forward_func

    @classmethod
    def get_name(cls) -> str:
        """The class's name with a space before each further capital."""
        return re.sub(r"(?<!^)([^a-z])", r" \1", cls.__name__)


class Scaled(Attribution):
    """Base of the classes that may leave out a factor."""

    def __init__(self, forward_func: Forward, multiply_by_inputs: bool = True) -> None:
        super().__init__(forward_func)
        self._multiply_by_inputs = multiply_by_inputs


class NoFuture(Attribution):
    """Base of the classes that say that they have no futures."""

    def attribute_future(self) -> NoReturn:
        """Not offered, as in Captum."""
        raise NotImplementedError(f"{type(self).__name__} has no attribute_future; call attribute.")


class GradientAttribution(Attribution):
    """Base of the classes that differentiate the model."""

    @property
    def gradient_func(self) -> Callable[..., tuple[Tensor, ...]]:
        """What gives gradients to classes of one's own: `(forward_fn, inputs, target, additional_forward_args)`."""
        found: Callable[..., tuple[Tensor, ...]] = vars(self).get("_gradient_func", compute_gradients)
        return found

    @gradient_func.setter
    def gradient_func(self, function: Callable[..., tuple[Tensor, ...]]) -> None:
        self._gradient_func = function

    def _called(self, function: Callable[..., Any], at: str, inputs: Inputs, options: dict[str, Any]) -> Any:
        if "_gradient_func" in vars(self):
            fix = "Give the model that gradient, by a torch.autograd.Function with setup_context, or define attribute."
            got, expected = describe(vars(self)["_gradient_func"]), "the model's gradients, which this class takes"
            raise ArgumentError("gradient_func", got, expected, fix)
        return super()._called(function, at, inputs, options)

    @captum_call
    def compute_convergence_delta(
        self, attributions: Any, start_point: Baselines, end_point: Inputs, target: Target = None,
        additional_forward_args: Any = None,
    ) -> Tensor:  # fmt: skip
        """What attributions add up to, less the change of the score, for each example; see `attrfunc.score_change`."""
        change: Tensor = af.score_change(
            self._explained(),
            end_point,
            baseline=as_baseline(start_point, end_point),
            target=target,
            args=as_args(additional_forward_args),
        )
        return per_example(attributions, len(change)) - change

    def _explained(self) -> Forward:
        """What changes from the start point to the end point."""
        return self.forward_func


class _Inside(Attribution):
    """Base of the classes that look at a layer."""

    def __init__(self, forward_func: Forward, layer: Any, device_ids: list[int] | None = None) -> None:
        super().__init__(forward_func)
        self.layer = layer
        self.device_ids = device_ids


class ScaledInside(_Inside):
    """Base of the classes of layers and neurons that may leave out a factor."""

    def __init__(
        self, forward_func: Forward, layer: Any, device_ids: list[int] | None = None, multiply_by_inputs: bool = True
    ) -> None:
        super().__init__(forward_func, layer, device_ids)
        self._multiply_by_inputs = multiply_by_inputs


_JOINT: dict[str, Any] = {"joint": True, "cut": "cut"}


class LayerAttribution(_Inside):
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

    def _explained_at(self, at: str, options: dict[str, Any]) -> Any:
        if at in ("inside", "single"):
            options["layer"] = self._single() if at == "single" else self.layer
            return self.forward_func
        return af.layer(self.forward_func, self.layer, side=options.pop("side", "output"), joint=_JOINT.get(at, False))

    def _single(self) -> Any:
        """The layer, for the classes that take one."""
        if isinstance(self.layer, list | tuple):
            raise ArgumentError(
                "layer",
                f"a {type(self.layer).__name__} of {len(self.layer)} layers",
                "one layer",
                "The functions of attrfunc take lists, and share one pass among them.",
            )
        return self.layer

    def _mirrored(self, result: Any) -> Any:
        """A result as Captum gives it: a list for a list of layers, a tensor for a layer that gives a tuple of one."""
        return [only(part) for part in result] if isinstance(self.layer, list | tuple) else only(result)

    def _explained(self) -> Forward:
        # Inputs of a layer change the score through its outputs, so the output side serves both.
        return self._explained_at("cut", {})


class NeuronAttribution(_Inside):
    """Base of the classes that explain a neuron."""

    _differs: tuple[str, ...] = (
        "A selector that gives one number for the batch is taken batch by batch: of its points, Captum's path "
        "methods mix all.",
    )

    def _called(self, function: Callable[..., Any], at: str, inputs: Inputs, options: dict[str, Any]) -> Any:
        # One number for the batch depends on all of it, as was asked for.
        with coupling("known") if callable(options["neuron"]) else nullcontext():
            return super()._called(function, at, inputs, options)

    def _explained_at(self, at: str, options: dict[str, Any]) -> Any:
        options["neuron"] = of_each_row(options["neuron"])
        if at == "inside":
            options["layer"] = self.layer
            return self.forward_func
        return af.neuron(self.forward_func, self.layer, options.pop("neuron"), side=options.pop("side"))


def of_each_row(selector: Any) -> Any:
    """A neuron selector that may give one number for the whole batch."""
    return functools.partial(_shared, selector) if callable(selector) else selector


def _shared(selector: Callable[[Any], Any], activation: Any) -> Any:
    """What a selector chooses; of one number for the whole batch each row has its share."""
    chosen, rows = selector(activation), len(pytree.tree_leaves(activation)[0])
    if not isinstance(chosen, Tensor) or chosen.numel() != 1:
        return chosen
    return chosen.reshape(1).expand(rows) / rows
