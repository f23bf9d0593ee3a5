"""DeepLIFT, from one baseline and from a distribution of them."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

import attrfunc as af
from attrfunc.captum.attr.attribution import GradientAttribution, LayerAttribution, NeuronAttribution, NoFuture
from attrfunc.captum.convert import only
from attrfunc.captum.faces import face
from attrfunc.captum.forms import Baselines, Custom, Inputs, Options, Samples, Selector, Target
from attrfunc.core.loops.samples import distribution
from attrfunc.core.score.baseline import resolve_baseline

__all__ = ["DeepLift", "DeepLiftShap", "LayerDeepLift", "LayerDeepLiftShap", "NeuronDeepLift", "NeuronDeepLiftShap"]


def _one(
    model: Any, inputs: Any, *, baseline: Any, multiply_by_inputs: bool, custom_attribution_func: Custom,
    **options: Any,
) -> Any:  # fmt: skip
    """Attributions from one baseline."""
    multiply = multiply_by_inputs and custom_attribution_func is None
    found = af.deep_lift(model, inputs, baseline=baseline, multiply_by_inputs=multiply, **options)
    if custom_attribution_func is None:
        return found
    ends = [inputs, resolve_baseline(baseline, inputs)]
    if isinstance(model, af.View) and model.sites:
        ends = [af.activation(model, end, args=options["args"]) for end in ends]
    parts = [tuple(part) if isinstance(part, tuple | list) else (part,) for part in (found, *ends)]
    attributions = custom_attribution_func(*parts[: len(inspect.signature(custom_attribution_func).parameters) or 3])
    return attributions if isinstance(found, tuple) else only(attributions)


def _several(
    model: Any, inputs: Any, *, baselines: Any, explainer: Any, with_deltas: bool, multiply_by_inputs: bool,
    custom_attribution_func: Custom, **options: Any,
) -> Any:  # fmt: skip
    """Mean attributions from several baselines, and the deltas of each if they are asked for."""
    options["multiply_by_inputs"] = multiply_by_inputs
    if custom_attribution_func is None and not with_deltas:
        return af.deep_lift_shap(model, inputs, baselines=baselines, **options), None
    samples, structure = distribution(baselines, inputs), pytree.tree_structure(inputs)
    found, deltas = [], []
    for number in range(len(samples[0])):
        one = pytree.tree_unflatten([leaf[number : number + 1] for leaf in samples], structure)
        found.append(_one(model, inputs, baseline=one, custom_attribution_func=custom_attribution_func, **options))
        if with_deltas:
            score = (options["target"], options["args"])
            deltas.append(explainer.compute_convergence_delta(found[-1], one, inputs, *score))
    mean = pytree.tree_map(lambda *parts: torch.stack(parts).mean(0), *found)
    return mean, torch.stack(deltas, 1).flatten() if with_deltas else None


class DeepLift(NoFuture, GradientAttribution):
    """DeepLIFT's Rescale rule; see `attrfunc.deep_lift`."""

    _differs: tuple[str, ...] = (
        "It and its relatives go by operation: functional activations, reused and in-place modules, GELU, "
        "softmax, attention and normalisation are complete, where Captum takes the plain gradient, or raises. A "
        "softmax is that of each example, where Captum's depends on the whole batch. Where max pooling chooses "
        "another number at the baseline, both share the change, so that multipliers lie between 0 and 1; Captum "
        "gives all of it to the input's.",
    )
    _complete = True

    def __init__(self, model: nn.Module, multiply_by_inputs: bool = True, eps: float = 1e-10) -> None:
        super().__init__(model)
        self.model, self.eps = model, eps
        self._multiply_by_inputs = multiply_by_inputs

    @face(_one)
    def attribute(
        self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None,
        return_convergence_delta: bool = False, custom_attribution_func: Custom = None,
    ) -> Any: ...  # fmt: skip


class DeepLiftShap(DeepLift):
    """DeepLIFT averaged over baselines; see `attrfunc.deep_lift_shap`. Deltas are those of each pair, `(B * N,)`."""

    _draws_baselines = True

    def __init__(self, model: nn.Module, multiply_by_inputs: bool = True) -> None:
        super().__init__(model, multiply_by_inputs)

    @face(_several)
    def attribute(  # type: ignore[override]
        self, inputs: Inputs, baselines: Samples, target: Target = None, additional_forward_args: Any = None,
        return_convergence_delta: bool = False, custom_attribution_func: Custom = None,
    ) -> Any: ...  # fmt: skip


class LayerDeepLift(LayerAttribution, DeepLift):
    """DeepLIFT from a layer's activation at the baselines to that at the inputs; see `attrfunc.deep_lift`."""

    def __init__(self, model: nn.Module, layer: nn.Module, multiply_by_inputs: bool = True) -> None:
        LayerAttribution.__init__(self, model, layer)
        self.model = model
        self._multiply_by_inputs = multiply_by_inputs

    @face(_one, at="layer")
    def attribute(  # type: ignore[override]
        self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None,
        return_convergence_delta: bool = False, attribute_to_layer_input: bool = False,
        custom_attribution_func: Custom = None, grad_kwargs: Options = None,
    ) -> Any: ...  # fmt: skip


class LayerDeepLiftShap(LayerDeepLift, DeepLiftShap):
    """The same averaged over baselines; see `attrfunc.deep_lift_shap`."""

    _draws_baselines = True

    def __init__(self, model: nn.Module, layer: nn.Module, multiply_by_inputs: bool = True) -> None:
        super().__init__(model, layer, multiply_by_inputs)

    @face(_several, at="layer")
    def attribute(  # type: ignore[override]
        self, inputs: Inputs, baselines: Samples, target: Target = None, additional_forward_args: Any = None,
        return_convergence_delta: bool = False, attribute_to_layer_input: bool = False,
        custom_attribution_func: Custom = None,
    ) -> Any: ...  # fmt: skip


class _NeuronScaled(NeuronAttribution, GradientAttribution):
    """Base of the classes of a neuron."""

    def __init__(self, model: nn.Module, layer: nn.Module, multiply_by_inputs: bool = True) -> None:
        super().__init__(model, layer)
        self._multiply_by_inputs = multiply_by_inputs


class NeuronDeepLift(_NeuronScaled):
    """DeepLIFT of a neuron; see `attrfunc.deep_lift` and `attrfunc.neuron`."""

    @face(_one, at="neuron")
    def attribute(
        self, inputs: Inputs, neuron_selector: Selector, baselines: Baselines = None,
        additional_forward_args: Any = None, attribute_to_neuron_input: bool = False,
        custom_attribution_func: Custom = None,
    ) -> Any: ...  # fmt: skip


class NeuronDeepLiftShap(_NeuronScaled):
    """The same averaged over baselines; see `attrfunc.deep_lift_shap` and `attrfunc.neuron`."""

    _draws_baselines = True

    @face(_several, at="neuron")
    def attribute(
        self, inputs: Inputs, neuron_selector: Selector, baselines: Samples, additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False, custom_attribution_func: Custom = None,
    ) -> Any: ...  # fmt: skip
