"""The classes that look at a layer while the inputs move from the baselines: conductance and internal influence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrfunc as af
from attrfunc.captum.attr.attribution import GradientAttribution, LayerAttribution, NeuronAttribution, ScaledInside
from attrfunc.captum.attr.convert import Baselines, Inputs
from attrfunc.captum.attr.faces import face
from attrfunc.captum.attr.neuron import Selector
from attrfunc.core.score.target import Target

__all__ = ["InternalInfluence", "LayerConductance", "NeuronConductance"]


class LayerConductance(LayerAttribution, GradientAttribution):
    """Conductance of a layer; see `attrfunc.conductance`."""

    _differs: tuple[str, ...] = (
        "It is nearer to its integral: Captum's differences are of first order, and leave out the ends of the "
        "path with the default rule.",
    )

    _multiply_by_inputs = True
    _complete = True  # where nothing bypasses the layer

    @face(af.conductance, at="single")
    def attribute(
        self,
        inputs: Inputs,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        n_steps: int = 50,
        method: str = "gausslegendre",
        internal_batch_size: int | None = None,
        return_convergence_delta: bool = False,
        attribute_to_layer_input: bool = False,
        grad_kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Attribute to the layer.

        Returns:
            Attributions; with `return_convergence_delta`, a pair of these and what they sum to less the change of the
            whole score `(B,)`. Where something bypasses the layer, that is no error.
        """

    def _explained(self) -> Callable[..., Any]:
        return self.forward_func


class InternalInfluence(LayerAttribution, GradientAttribution):
    """Internal influence of a layer; see `attrfunc.internal_influence`."""

    @face(af.internal_influence, at="single")
    def attribute(
        self,
        inputs: Inputs,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        n_steps: int = 50,
        method: str = "gausslegendre",
        internal_batch_size: int | None = None,
        attribute_to_layer_input: bool = False,
        grad_kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """The score's gradient at the layer, averaged along the path; a tuple where the layer has several tensors."""


class NeuronConductance(ScaledInside, NeuronAttribution, GradientAttribution):
    """Conductance of the inputs through a neuron; see `attrfunc.neuron_conductance`."""

    _differs: tuple[str, ...] = (
        "That of a group of neurons is the sum of theirs. Captum multiplies the sums of the two gradients.",
    )

    @face(af.neuron_conductance, at="inside")
    def attribute(
        self,
        inputs: Inputs,
        neuron_selector: Selector,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        n_steps: int = 50,
        method: str = "riemann_trapezoid",
        internal_batch_size: int | None = None,
        attribute_to_neuron_input: bool = False,
        grad_kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Attribute to the inputs, a tensor or a tuple as `inputs` is. A callable selector must be linear."""
