"""The classes that average over a path from baselines: integrated gradients, conductance, gradient SHAP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

import attrfunc as af
from attrfunc.captum.attr.attribution import GradientAttribution, LayerAttribution, NeuronAttribution
from attrfunc.captum.explainers import NoFuture, Scaled, ScaledInside
from attrfunc.captum.faces import face
from attrfunc.captum.forms import Baselines, Forward, Inputs, Numbers, Options, Samples, Selector, Target

__all__ = [
    "GradientShap", "IntegratedGradients", "InternalInfluence", "LayerConductance", "LayerGradientShap",
    "LayerIntegratedGradients", "NeuronConductance", "NeuronGradientShap", "NeuronIntegratedGradients",
]  # fmt: skip


class IntegratedGradients(Scaled, NoFuture, GradientAttribution):
    """Integrated gradients; see `attrfunc.integrated_gradients`."""

    _differs: tuple[str, ...] = (
        "The weights of `riemann_trapezoid` sum to one, here and for all classes that take it; Captum's sum to (n"
        " - 1) / n.",
        "`internal_batch_size` bounds the rows that are evaluated at once; without it the library chooses, and "
        "memory does not grow with `n_steps`. A batch larger than it is split, where Captum evaluates all "
        "examples at once.",
    )
    _complete = True

    @face(af.ig)
    def attribute(
        self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None,
        n_steps: int = 50, method: str = "gausslegendre", internal_batch_size: int | None = None,
        return_convergence_delta: bool = False,
    ) -> Any: ...  # fmt: skip


class LayerIntegratedGradients(ScaledInside, LayerAttribution, GradientAttribution):
    """Integrated gradients from a layer's activation at the baselines to that at the inputs; see `attrfunc.layer`.

    Of a list of parallel layers, word and position embeddings say, all move together; deltas are those of all together.
    """

    _differs: tuple[str, ...] = (
        "Where one layer of a list feeds another, the first has what reaches the output around the second, as in "
        "Captum; where nothing does, both raise. The delta is that of the network in which both are replaced.",
    )
    _complete = True

    @face(af.ig, at="joint")
    def attribute(
        self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None,
        n_steps: int = 50, method: str = "gausslegendre", internal_batch_size: int | None = None,
        return_convergence_delta: bool = False, attribute_to_layer_input: bool = False, grad_kwargs: Options = None,
    ) -> Any: ...  # fmt: skip

    def _called(self, function: Callable[..., Any], at: str, inputs: Inputs, options: dict[str, Any]) -> Any:
        try:
            return super()._called(function, at, inputs, dict(options))
        except af.ModelError as error:
            if "depends on another layer" not in str(error):
                raise
            found = super()._called(function, "cut", inputs, options)
            if all(any(bool(leaf.any()) for leaf in pytree.tree_leaves(part)) for part in found):
                return found
            raise  # nothing of one reaches the output


class NeuronIntegratedGradients(ScaledInside, NeuronAttribution, GradientAttribution):
    """Integrated gradients of a neuron; see `attrfunc.integrated_gradients` and `attrfunc.neuron`."""

    @face(af.ig, at="neuron")
    def attribute(
        self, inputs: Inputs, neuron_selector: Selector, baselines: Baselines = None,
        additional_forward_args: Any = None, n_steps: int = 50, method: str = "gausslegendre",
        internal_batch_size: int | None = None, attribute_to_neuron_input: bool = False,
    ) -> Any: ...  # fmt: skip


class LayerConductance(LayerAttribution, GradientAttribution):
    """Conductance of a layer; see `attrfunc.conductance`. What bypasses the layer is in the delta, and is no error."""

    _differs: tuple[str, ...] = (
        "On smooth networks it is nearer to its integral: Captum's differences are of first order, and leave out the "
        "ends of the path with the default rule. At a kink either is off by the weight of a point.",
    )
    _multiply_by_inputs = True
    _complete = True  # where nothing bypasses the layer

    @face(af.conductance, at="one inside")
    def attribute(
        self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None,
        n_steps: int = 50, method: str = "gausslegendre", internal_batch_size: int | None = None,
        return_convergence_delta: bool = False, attribute_to_layer_input: bool = False, grad_kwargs: Options = None,
    ) -> Any: ...  # fmt: skip

    def _explained(self) -> Forward:
        return self.forward_func


class InternalInfluence(LayerAttribution, GradientAttribution):
    """The score's gradient at a layer, averaged along the inputs' path; see `attrfunc.internal_influence`."""

    _differs: tuple[str, ...] = (
        "On the small ReLU network of Captum's tests, from -20 to 80, a sum of 100,000 points gives .8100. With 500 "
        "points of the trapezoid it gives .8106, and Captum, whose weights sum to 499 / 500, .8090. By other "
        "rules both are off by the weight of a point at the kink, at most.",
    )

    @face(af.internal_influence, at="one inside")
    def attribute(
        self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None,
        n_steps: int = 50, method: str = "gausslegendre", internal_batch_size: int | None = None,
        attribute_to_layer_input: bool = False, grad_kwargs: Options = None,
    ) -> Any: ...  # fmt: skip


class NeuronConductance(ScaledInside, NeuronAttribution, GradientAttribution):
    """Conductance of the inputs through a neuron; see `attrfunc.neuron_conductance`. Callable selectors are linear."""

    _differs: tuple[str, ...] = (
        "That of a group of neurons is the sum of theirs. Captum multiplies the sums of the two gradients.",
    )

    @face(af.neuron_conductance, at="inside")
    def attribute(
        self, inputs: Inputs, neuron_selector: Selector, baselines: Baselines = None, target: Target = None,
        additional_forward_args: Any = None, n_steps: int = 50, method: str = "riemann_trapezoid",
        internal_batch_size: int | None = None, attribute_to_neuron_input: bool = False, grad_kwargs: Options = None,
    ) -> Any: ...  # fmt: skip


def _shap(model: Any, inputs: Inputs, *, multiply_by_inputs: bool, with_deltas: bool, **options: Any) -> Any:
    """Attributions, and with `with_deltas` the deltas of the same draws, which it makes no difference to."""
    seed = int(torch.randint(2**62, ()))
    one, same = (torch.Generator().manual_seed(seed) for _ in range(2))
    found = af.gradient_shap(model, inputs, **options, multiply_by_inputs=multiply_by_inputs, generator=one)
    return found, af.gradient_shap_gap(model, inputs, **options, generator=same).T.flatten() if with_deltas else None


class GradientShap(Scaled, NoFuture, GradientAttribution):
    """Gradient SHAP; see `attrfunc.gradient_shap`. Draws come from torch's default generator."""

    _differs: tuple[str, ...] = (
        "The baselines of several inputs are drawn together, so they are as many for each, and tensors; of "
        "`n_samples` points of a path, one lies in each of as many equal parts, so the variance is lower. With "
        "`multiply_by_inputs=False` deltas are what they are with `True`, since average gradients do not add up "
        "to anything.",
    )
    _random = _draws_baselines = _complete = True

    @face(_shap)
    def attribute(
        self, inputs: Inputs, baselines: Samples, n_samples: int = 5, stdevs: Numbers = 0.0, target: Target = None,
        additional_forward_args: Any = None, return_convergence_delta: bool = False,
    ) -> Any: ...  # fmt: skip


class LayerGradientShap(ScaledInside, LayerAttribution, GradientAttribution):
    """Gradient SHAP from a layer's activation at the baselines to that at the inputs; parallel layers move together."""

    _differs: tuple[str, ...] = (
        "Its points lie between the layer's activations, and so it is complete on average. Captum takes gradients"
        " at points between the inputs, and multiplies them by the activation's change.",
    )
    _random = _draws_baselines = _complete = True

    @face(_shap, at="joint")
    def attribute(
        self, inputs: Inputs, baselines: Samples, n_samples: int = 5, stdevs: Numbers = 0.0, target: Target = None,
        additional_forward_args: Any = None, return_convergence_delta: bool = False,
        attribute_to_layer_input: bool = False,
    ) -> Any: ...  # fmt: skip


class NeuronGradientShap(ScaledInside, NeuronAttribution, GradientAttribution):
    """Gradient SHAP of a neuron; see `attrfunc.gradient_shap` and `attrfunc.neuron`."""

    _random = _draws_baselines = True

    @face(_shap, at="neuron")
    def attribute(
        self, inputs: Inputs, neuron_selector: Selector, baselines: Samples, n_samples: int = 5,
        stdevs: Numbers = 0.0, additional_forward_args: Any = None, attribute_to_neuron_input: bool = False,
    ) -> Any: ...  # fmt: skip
