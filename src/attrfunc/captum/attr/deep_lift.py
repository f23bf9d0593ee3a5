"""DeepLIFT, from one baseline and from a distribution of them; see `attrfunc.deep_lift` and `attrfunc.deep_lift_shap`.

custom_attribution_func: What to make of the multipliers: a function of a tuple of multipliers, or of these and the
    inputs, or of these, the inputs and the baselines, each a tuple; it gives a tuple. At a layer inputs and baselines
    are the layer's activations. Of several baselines it is called with one at a time.
eps: Kept, without effect: how near a change must be to nothing for the derivative to be taken follows from the
    precision.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import attrfunc as af
from attrfunc.captum.attr.attribution import GradientAttribution, LayerAttribution, NeuronAttribution, NoFuture
from attrfunc.captum.attr.convert import (
    Baselines,
    Inputs,
    as_args,
    as_baseline,
    as_samples,
    captum_call,
    check_grad_kwargs,
    only,
    per_example,
)
from attrfunc.captum.attr.gradient_shap import Samples
from attrfunc.captum.attr.neuron import Selector
from attrfunc.core.loops.samples import distribution
from attrfunc.core.score.baseline import resolve_baseline
from attrfunc.core.score.target import Target

__all__ = [
    "DeepLift",
    "DeepLiftShap",
    "LayerDeepLift",
    "LayerDeepLiftShap",
    "NeuronDeepLift",
    "NeuronDeepLiftShap",
]

Custom = Callable[..., tuple[Tensor, ...]] | None


class DeepLift(NoFuture, GradientAttribution):
    """DeepLIFT's Rescale rule; see `attrfunc.deep_lift`.

    Args:
        model: The model.
        multiply_by_inputs: `False` gives the multipliers.
        eps: Kept, without effect.
    """

    def __init__(self, model: nn.Module, multiply_by_inputs: bool = True, eps: float = 1e-10) -> None:
        super().__init__(model)
        self.model, self.eps = model, eps
        self._multiply_by_inputs = multiply_by_inputs

    @captum_call
    def attribute(
        self,
        inputs: Inputs,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
        custom_attribution_func: Custom = None,
    ) -> Any:
        """Attribute to the inputs, a tensor or a tuple as `inputs` is; with `return_convergence_delta`, and deltas."""
        score = {"target": target, "args": as_args(additional_forward_args)}
        found = _one(self, self.model, inputs, as_baseline(baselines, inputs), score, custom_attribution_func)
        if not return_convergence_delta:
            return found
        return found, self.compute_convergence_delta(found, baselines, inputs, target, additional_forward_args)

    def has_convergence_delta(self) -> bool:
        """Attributions are complete."""
        return True


class DeepLiftShap(DeepLift):
    """DeepLIFT averaged over baselines; see `attrfunc.deep_lift_shap`.

    Args:
        model: The model.
        multiply_by_inputs: `False` gives the average multipliers.
    """

    _draws_baselines = True

    def __init__(self, model: nn.Module, multiply_by_inputs: bool = True) -> None:
        super().__init__(model, multiply_by_inputs)

    @captum_call
    def attribute(  # type: ignore[override]
        self,
        inputs: Inputs,
        baselines: Samples,
        target: Target = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
        custom_attribution_func: Custom = None,
    ) -> Any:
        """Attribute to the inputs; deltas are those of each pair, `(B * N,)`, example by example."""
        score = {"target": target, "args": as_args(additional_forward_args)}
        samples = as_samples(baselines, inputs)
        found, deltas = _several(
            self, self.model, inputs, samples, score, custom_attribution_func, return_convergence_delta
        )
        return (found, deltas) if return_convergence_delta else found


class LayerDeepLift(LayerAttribution, DeepLift):
    """DeepLIFT from a layer's activation at the baselines to that at the inputs; see `attrfunc.deep_lift`.

    Args:
        model: The model.
        layer: The layer.
        multiply_by_inputs: `False` gives the multipliers.
    """

    def __init__(self, model: nn.Module, layer: nn.Module, multiply_by_inputs: bool = True) -> None:
        LayerAttribution.__init__(self, model, layer)
        self.model = model
        self._multiply_by_inputs = multiply_by_inputs

    @captum_call
    def attribute(  # type: ignore[override]
        self,
        inputs: Inputs,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
        attribute_to_layer_input: bool = False,
        custom_attribution_func: Custom = None,
        grad_kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Attribute to the layer; with `return_convergence_delta`, a pair of attributions and deltas."""
        check_grad_kwargs(grad_kwargs)
        score = {"target": target, "args": as_args(additional_forward_args)}
        view = self._view(attribute_to_layer_input)
        found = only(_one(self, view, inputs, as_baseline(baselines, inputs), score, custom_attribution_func))
        if not return_convergence_delta:
            return found
        return found, self.compute_convergence_delta(found, baselines, inputs, target, additional_forward_args)


class LayerDeepLiftShap(LayerDeepLift, DeepLiftShap):
    """The same averaged over baselines; see `attrfunc.deep_lift_shap`.

    Args:
        model: The model.
        layer: The layer.
        multiply_by_inputs: `False` gives the average multipliers.
    """

    _draws_baselines = True

    def __init__(self, model: nn.Module, layer: nn.Module, multiply_by_inputs: bool = True) -> None:
        super().__init__(model, layer, multiply_by_inputs)

    @captum_call
    def attribute(  # type: ignore[override]
        self,
        inputs: Inputs,
        baselines: Samples,
        target: Target = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
        attribute_to_layer_input: bool = False,
        custom_attribution_func: Custom = None,
    ) -> Any:
        """Attribute to the layer; deltas are those of each pair, `(B * N,)`, example by example."""
        score = {"target": target, "args": as_args(additional_forward_args)}
        view, samples = self._view(attribute_to_layer_input), as_samples(baselines, inputs)
        found, deltas = _several(self, view, inputs, samples, score, custom_attribution_func, return_convergence_delta)
        return (only(found), deltas) if return_convergence_delta else only(found)


class NeuronDeepLift(NeuronAttribution, GradientAttribution):
    """DeepLIFT of a neuron; see `attrfunc.deep_lift` and `attrfunc.neuron`.

    Args:
        model: The model.
        layer: The neuron's layer.
        multiply_by_inputs: `False` gives the multipliers.
    """

    def __init__(self, model: nn.Module, layer: nn.Module, multiply_by_inputs: bool = True) -> None:
        super().__init__(model, layer)
        self._multiply_by_inputs = multiply_by_inputs

    @captum_call
    def attribute(
        self,
        inputs: Inputs,
        neuron_selector: Selector,
        baselines: Baselines = None,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
        custom_attribution_func: Custom = None,
    ) -> Any:
        """Attribute to the inputs, a tensor or a tuple as `inputs` is."""
        view, score = self._view(neuron_selector, attribute_to_neuron_input), {"args": as_args(additional_forward_args)}
        return _one(self, view, inputs, as_baseline(baselines, inputs), score, custom_attribution_func)


class NeuronDeepLiftShap(NeuronAttribution, GradientAttribution):
    """The same averaged over baselines; see `attrfunc.deep_lift_shap` and `attrfunc.neuron`.

    Args:
        model: The model.
        layer: The neuron's layer.
        multiply_by_inputs: `False` gives the average multipliers.
    """

    _draws_baselines = True

    def __init__(self, model: nn.Module, layer: nn.Module, multiply_by_inputs: bool = True) -> None:
        super().__init__(model, layer)
        self._multiply_by_inputs = multiply_by_inputs

    @captum_call
    def attribute(
        self,
        inputs: Inputs,
        neuron_selector: Selector,
        baselines: Samples,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
        custom_attribution_func: Custom = None,
    ) -> Any:
        """Attribute to the inputs, a tensor or a tuple as `inputs` is."""
        view, score = self._view(neuron_selector, attribute_to_neuron_input), {"args": as_args(additional_forward_args)}
        samples = as_samples(baselines, inputs)
        return _several(self, view, inputs, samples, score, custom_attribution_func, False)[0]


def _one(explainer: Any, model: Any, inputs: Any, baseline: Any, score: dict[str, Any], custom: Custom) -> Any:
    """Attributions from one baseline."""
    multiply = explainer._multiply_by_inputs and custom is None
    found = af.deep_lift(model, inputs, baseline=baseline, multiply_by_inputs=multiply, **score)
    if custom is None:
        return found
    ends = [inputs, resolve_baseline(baseline, inputs)]
    if isinstance(model, af.View) and model.sites:
        ends = [af.activation(model, end, args=score["args"]) for end in ends]
    parts = [tuple(part) if isinstance(part, tuple | list) else (part,) for part in (found, *ends)]
    given = len(inspect.signature(custom).parameters)
    attributions = custom(*parts[: given if given < 3 else 3])
    return attributions if isinstance(found, tuple) else only(attributions)


def _several(
    explainer: Any, model: Any, inputs: Any, samples: Any, score: dict[str, Any], custom: Custom, with_deltas: bool
) -> tuple[Any, Tensor | None]:
    """Mean attributions from several baselines, and the deltas of each if they are asked for."""
    if custom is None and not with_deltas:
        multiply = explainer._multiply_by_inputs
        return af.deep_lift_shap(model, inputs, baselines=samples, multiply_by_inputs=multiply, **score), None
    leaves, structure = distribution(samples, inputs), pytree.tree_structure(inputs)
    found, deltas = [], []
    for number in range(len(leaves[0])):
        baseline = pytree.tree_unflatten([leaf[number : number + 1] for leaf in leaves], structure)
        found.append(_one(explainer, model, inputs, baseline, score, custom))
        if with_deltas:
            change = af.score_change(explainer._explained(), inputs, baseline=baseline, **score)
            change = only(change) if isinstance(change, list) else change
            deltas.append(per_example(found[-1], len(change)) - change)
    mean = pytree.tree_map(lambda *parts: torch.stack(parts).mean(0), *found)
    return mean, torch.stack(deltas, 1).flatten() if with_deltas else None
