"""Gradient SHAP, at the input, at a layer and for a neuron; see `attrfunc.gradient_shap`.

baselines: The distribution of baselines: a tensor of samples `(N, *S)`, a tuple of these that are drawn together, or a
    callable that gives them, of the inputs or of nothing.
stdevs: A number, or a tuple of numbers, one for each input.

Draws come from torch's default generator: `torch.manual_seed` makes them reproducible. Whether deltas are asked for
makes no difference to them. Deltas are those of each sample, `(B * n_samples,)`, example by example.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import attrfunc as af
from attrfunc.captum.attr.attribution import GradientAttribution, LayerAttribution, NeuronAttribution, NoFuture
from attrfunc.captum.attr.convert import Inputs, as_args, as_baseline, as_samples, captum_call
from attrfunc.captum.attr.neuron import Selector
from attrfunc.core.score.target import Target

__all__ = ["GradientShap", "LayerGradientShap", "NeuronGradientShap"]

Samples = Tensor | tuple[Tensor, ...] | Callable[..., Tensor | tuple[Tensor, ...]]


class GradientShap(NoFuture, GradientAttribution):
    """Gradient SHAP; see `attrfunc.gradient_shap`.

    Args:
        forward_func: The model.
        multiply_by_inputs: `False` gives the average gradient itself.
    """

    _random = _draws_baselines = True

    def __init__(self, forward_func: Callable[..., Any], multiply_by_inputs: bool = True) -> None:
        super().__init__(forward_func)
        self._multiply_by_inputs = multiply_by_inputs

    @captum_call
    def attribute(
        self,
        inputs: Inputs,
        baselines: Samples,
        n_samples: int = 5,
        stdevs: float | tuple[float, ...] = 0.0,
        target: Target = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
    ) -> Any:
        """Attribute to the inputs, a tensor or a tuple as `inputs` is; with `return_convergence_delta`, and deltas."""
        draws = _draws(inputs, baselines, n_samples, stdevs)
        score = {"target": target, "args": as_args(additional_forward_args)}
        return _attributed(self.forward_func, inputs, draws, score, self._multiply_by_inputs, return_convergence_delta)

    def has_convergence_delta(self) -> bool:
        """Attributions are complete, on average."""
        return True


class LayerGradientShap(LayerAttribution, GradientAttribution):
    """Gradient SHAP from a layer's activation at the baselines to that at the inputs; see `attrfunc.gradient_shap`.

    Args:
        forward_func: The model, or a callable that runs the layer.
        layer: The layer; a list of parallel layers moves together.
        device_ids: Kept, without effect.
        multiply_by_inputs: `False` gives the average gradient itself.
    """

    _random = _draws_baselines = True

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: nn.Module,
        device_ids: list[int] | None = None,
        multiply_by_inputs: bool = True,
    ) -> None:
        super().__init__(forward_func, layer, device_ids)
        self._multiply_by_inputs = multiply_by_inputs

    @captum_call
    def attribute(
        self,
        inputs: Inputs,
        baselines: Samples,
        n_samples: int = 5,
        stdevs: float | tuple[float, ...] = 0.0,
        target: Target = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
        attribute_to_layer_input: bool = False,
    ) -> Any:
        """Attribute to the layer; with `return_convergence_delta`, a pair of attributions and deltas."""
        view, draws = self._view(attribute_to_layer_input, joint=True), _draws(inputs, baselines, n_samples, stdevs)
        score = {"target": target, "args": as_args(additional_forward_args)}
        found = _attributed(view, inputs, draws, score, self._multiply_by_inputs, return_convergence_delta)
        return (self._mirrored(found[0]), found[1]) if return_convergence_delta else self._mirrored(found)

    def has_convergence_delta(self) -> bool:
        """Attributions are complete, on average."""
        return True


class NeuronGradientShap(NeuronAttribution, GradientAttribution):
    """Gradient SHAP of a neuron; see `attrfunc.gradient_shap` and `attrfunc.neuron`.

    Args:
        forward_func: The model, or a callable that runs the layer.
        layer: The neuron's layer.
        device_ids: Kept, without effect.
        multiply_by_inputs: `False` gives the average gradient itself.
    """

    _random = _draws_baselines = True

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: nn.Module,
        device_ids: list[int] | None = None,
        multiply_by_inputs: bool = True,
    ) -> None:
        super().__init__(forward_func, layer, device_ids)
        self._multiply_by_inputs = multiply_by_inputs

    @captum_call
    def attribute(
        self,
        inputs: Inputs,
        neuron_selector: Selector,
        baselines: Samples,
        n_samples: int = 5,
        stdevs: float | tuple[float, ...] = 0.0,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
    ) -> Any:
        """Attribute to the inputs, a tensor or a tuple as `inputs` is."""
        view, draws = (
            self._view(neuron_selector, attribute_to_neuron_input),
            _draws(inputs, baselines, n_samples, stdevs),
        )
        score = {"args": as_args(additional_forward_args)}
        return _attributed(view, inputs, draws, score, self._multiply_by_inputs, False)


def _draws(inputs: Inputs, baselines: Samples, n_samples: int, stdevs: float | tuple[float, ...]) -> dict[str, Any]:
    """What is drawn: the same for every generator in the same state."""
    samples = as_samples(baselines, inputs)
    return {"baselines": samples, "n_samples": n_samples, "stdev": as_baseline(stdevs, inputs)}


def _attributed(
    model: Any, inputs: Inputs, draws: dict[str, Any], score: dict[str, Any], multiply: bool, with_delta: bool
) -> Any:
    """Attributions, and with `with_delta` the deltas of the same draws."""
    seed = int(torch.randint(2**62, ()))
    generators = [torch.Generator().manual_seed(seed) for _ in range(2)]
    options: dict[str, Any] = {**draws, **score}
    attributions = af.gradient_shap(model, inputs, **options, multiply_by_inputs=multiply, generator=generators[0])
    if not with_delta:
        return attributions
    return attributions, af.gradient_shap_gap(model, inputs, **options, generator=generators[1]).T.flatten()
