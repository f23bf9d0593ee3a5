"""The base classes."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

from torch import Tensor, nn
from torch.utils import _pytree as pytree

import attrfunc as af
from attrfunc.captum.attr.convert import (
    Baselines,
    Inputs,
    Layers,
    as_args,
    as_baseline,
    captum_call,
    only,
    per_example,
    side,
)
from attrfunc.core.errors import ArgumentError
from attrfunc.core.score.target import Target

__all__ = [
    "Attribution",
    "GradientAttribution",
    "InternalAttribution",
    "LayerAttribution",
    "NeuronAttribution",
    "NoFuture",
    "of_each_row",
]


class Attribution:
    """Base of all attribution classes.

    Args:
        forward_func: The model: a module, any callable, or a view.
    """

    attribute: Callable[..., Any]
    attribute_future: Callable[..., Any]
    compute_convergence_delta: Callable[..., Any]
    _multiply_by_inputs = False
    _random = False  # `attribute` draws at random
    _draws_baselines = False  # `baselines` are samples, of which `attribute` draws some
    _names: ClassVar[dict[str, str]] = {}  # what arguments of attrfunc are called, beyond those of all classes

    def __init__(self, forward_func: Callable[..., Any]) -> None:
        self.forward_func = forward_func

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether attributions are in units of the score, not of its gradient."""
        return self._multiply_by_inputs

    def has_convergence_delta(self) -> bool:
        """Whether attributions add up to a change of the score."""
        return False

    @classmethod
    def get_name(cls) -> str:
        """The class's name with a space before each further capital."""
        return re.sub(r"(?<!^)([^a-z])", r" \1", cls.__name__)


class NoFuture(Attribution):
    """Base of the classes that say that they have no futures."""

    def attribute_future(self) -> NoReturn:
        """Not offered, as in Captum."""
        raise NotImplementedError(f"{type(self).__name__} has no attribute_future; call attribute.")


class GradientAttribution(Attribution):
    """Base of the classes that differentiate the model."""

    @captum_call
    def compute_convergence_delta(
        self,
        attributions: Any,
        start_point: Baselines,
        end_point: Inputs,
        target: Target = None,
        additional_forward_args: Any = None,
    ) -> Tensor:
        """What attributions add up to, less the change of the score; see `attrfunc.score_change`.

        Args:
            attributions: What `attribute` returned.
            start_point: The baselines.
            end_point: The inputs.
            target: The target.
            additional_forward_args: Further arguments of the model.

        Returns:
            One signed number for each example.
        """
        change: Tensor = af.score_change(
            self._explained(),
            end_point,
            baseline=as_baseline(start_point, end_point),
            target=target,
            args=as_args(additional_forward_args),
        )
        return per_example(attributions, len(change)) - change

    def _explained(self) -> Callable[..., Any]:
        """What changes from the start point to the end point."""
        return self.forward_func


class InternalAttribution(Attribution):
    """Base of the classes that look at a layer.

    Args:
        forward_func: The model, or a callable that runs the layer.
        layer: The layer, or for most layer classes a list of layers.
        device_ids: Kept, without effect.
    """

    def __init__(self, forward_func: Callable[..., Any], layer: Any, device_ids: list[int] | None = None) -> None:
        super().__init__(forward_func)
        self.layer = layer
        self.device_ids = device_ids


class LayerAttribution(InternalAttribution):
    """Base of the classes that attribute to layers."""

    def __init__(self, forward_func: Callable[..., Any], layer: Layers, device_ids: list[int] | None = None) -> None:
        super().__init__(forward_func, layer, device_ids)

    @staticmethod
    def interpolate(
        layer_attribution: Tensor, interpolate_dims: int | tuple[int, ...], interpolate_mode: str = "nearest"
    ) -> Tensor:
        """Resize a layer's attributions `(B, C, *S)` to other spatial dimensions, an image's say.

        Args:
            layer_attribution: The attributions, of 3 to 5 dimensions.
            interpolate_dims: The new spatial dimensions.
            interpolate_mode: As for `attrfunc.viz.interpolate`.

        Returns:
            Attributions of shape `(B, C, *interpolate_dims)`.
        """
        resized: Tensor = af.viz.interpolate(layer_attribution, interpolate_dims, mode=interpolate_mode)
        return resized

    def _view(self, attribute_to_layer_input: bool = False, joint: bool = False) -> af.View:
        return af.layer(self.forward_func, self.layer, side=side(attribute_to_layer_input), joint=joint)

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

    def _explained(self) -> Callable[..., Any]:
        # Inputs of a layer change the score through its outputs, so the output side serves both.
        return self._view(joint=True)


class NeuronAttribution(InternalAttribution):
    """Base of the classes that explain a neuron."""

    def __init__(self, forward_func: Callable[..., Any], layer: nn.Module, device_ids: list[int] | None = None) -> None:
        super().__init__(forward_func, layer, device_ids)

    def _view(self, neuron_selector: Any, attribute_to_neuron_input: bool) -> af.View:
        return af.neuron(
            self.forward_func, self.layer, of_each_row(neuron_selector), side=side(attribute_to_neuron_input)
        )


def of_each_row(selector: Any) -> Any:
    """A neuron selector that may give one number for the whole batch."""
    return functools.partial(_shared, selector) if callable(selector) else selector


def _shared(selector: Callable[[Any], Any], activation: Any) -> Any:
    """What a selector chooses; of one number for the whole batch each row has its share."""
    chosen, rows = selector(activation), len(pytree.tree_leaves(activation)[0])
    if not isinstance(chosen, Tensor) or chosen.numel() != 1:
        return chosen
    return chosen.reshape(1).expand(rows) / rows
