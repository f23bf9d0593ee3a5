"""The classes that replace features: at the input, of a layer, and for a neuron; and Shapley values of these.

Of an output that is not one number for each example, each number has attributions of its own, in dimension 0: one for a
loss of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import attrfunc as af
from attrfunc.captum.attr.attribution import Attribution, LayerAttribution, NeuronAttribution
from attrfunc.captum.explainers import NoFuture, holding
from attrfunc.captum.faces import face
from attrfunc.captum.forms import Baselines, Forward, Inputs, Selector, Target
from attrfunc.captum.forms import Mask as Mask
from attrfunc.captum.futures import later
from attrfunc.captum.places import explained
from attrfunc.perturbation.outputs import Outputs

__all__ = [
    "FeatureAblation", "FeaturePermutation", "LayerFeatureAblation", "LayerFeaturePermutation",
    "NeuronFeatureAblation", "Occlusion", "PerturbationAttribution", "ShapleyValueSampling", "ShapleyValues",
]  # fmt: skip


class PerturbationAttribution(Attribution):
    """Base of the classes that replace features."""

    _differs: tuple[str, ...] = (
        "Where `perturbations_per_eval` is not given, the library chooses how many perturbations to evaluate as one "
        "batch. Given 1, it never evaluates two at once. Where an output is not one number for each example, or these "
        "depend on each other, each of its numbers has attributions, as in Captum, also to `KernelShap`.",
        "Of integers that are replaced by fractions all become fractions. Captum cuts off the digits, or raises.",
        "A floating-point mask makes a group of each number, also for `KernelShap` and `Lime`.",
        "`attribute_future` evaluates in a thread, and several perturbations at once. Errors come with the future.",
    )
    _multiply_by_inputs = True
    _per_output = True  # attributions of an output have it in one dimension, and not in its own
    _typed = True  # differences of scores have their dtype
    _per_number = True  # each number of an output that is not one for each example has attributions

    def _called(self, function: Callable[..., Any], at: str, inputs: Inputs, options: dict[str, Any]) -> Any:
        options = {"target": None} | options
        model = explained(self, at, options)
        forms = (self._per_output, self._per_number, self._typed)
        return Outputs(function, self.forward_func, inputs, options, *forms).attributed(model)


class FeatureAblation(PerturbationAttribution):
    """Feature ablation; see `attrfunc.feature_ablation`."""

    @face(af.feature_ablation)
    def attribute(
        self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None,
        feature_mask: Mask = None, perturbations_per_eval: int = 1, show_progress: bool = False, **kwargs: Any,
    ) -> Any: ...  # fmt: skip

    attribute_future = later(attribute)


class LayerFeatureAblation(LayerAttribution, PerturbationAttribution):
    """Feature ablation of a layer's activation; see `attrfunc.feature_ablation` and `attrfunc.layer`."""

    @face(af.feature_ablation, at="one layer")
    def attribute(
        self, inputs: Inputs, layer_baselines: Baselines = None, target: Target = None,
        additional_forward_args: Any = None, layer_mask: Mask = None, attribute_to_layer_input: bool = False,
        perturbations_per_eval: int = 1,
    ) -> Any: ...  # fmt: skip


class NeuronFeatureAblation(NeuronAttribution, PerturbationAttribution):
    """Feature ablation that explains a neuron; see `attrfunc.feature_ablation` and `attrfunc.neuron`."""

    _of_batch = staticmethod(af.batch_score)

    @face(af.feature_ablation, at="neuron")
    def attribute(
        self, inputs: Inputs, neuron_selector: Selector, baselines: Baselines = None,
        additional_forward_args: Any = None, feature_mask: Mask = None, attribute_to_neuron_input: bool = False,
        perturbations_per_eval: int = 1,
    ) -> Any: ...  # fmt: skip


class Occlusion(FeatureAblation):
    """Occlusion; see `attrfunc.occlusion`."""

    _typed = False

    _differs: tuple[str, ...] = (
        "Of more than two inputs each window is put where it belongs; Captum mixes their numbers up. Windows and steps "
        "may be those of the last dimensions alone, which Captum refuses.",
    )

    @face(af.occlusion)
    def attribute(  # type: ignore[override]  # as in Captum
        self, inputs: Inputs, sliding_window_shapes: tuple[Any, ...], strides: int | tuple[Any, ...] | None = None,
        baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None,
        perturbations_per_eval: int = 1, show_progress: bool = False,
    ) -> Any: ...  # fmt: skip

    attribute_future = NoFuture.attribute_future  # type: ignore[assignment]


def _permute_feature(x: Tensor, feature_mask: Tensor) -> Tensor:
    """What stands for a random permutation; the library draws its own."""
    return torch.where(feature_mask, x[torch.randperm(len(x))], x)


class FeaturePermutation(FeatureAblation):
    """Feature permutation; see `attrfunc.feature_permutation`."""

    _differs: tuple[str, ...] = (
        "What a group has in several inputs moves together; Captum permutes each input by itself.",
    )

    perm_func: Callable[[Tensor, Tensor], Tensor]

    @holding
    def __init__(
        self, forward_func: Forward, perm_func: Callable[[Tensor, Tensor], Tensor] = _permute_feature
    ) -> None: ...

    @face(af.feature_permutation)
    def attribute(  # type: ignore[override]  # as in Captum
        self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, feature_mask: Mask = None,
        perturbations_per_eval: int = 1, show_progress: bool = False, **kwargs: Any,
    ) -> Any: ...  # fmt: skip

    attribute_future = later(attribute)  # type: ignore[assignment]

    def _called(self, function: Callable[..., Any], at: str, inputs: Inputs, options: dict[str, Any]) -> Any:
        own = None if self.perm_func is _permute_feature else self.perm_func
        return super()._called(function, at, inputs, options | {"perm_func": own})


class LayerFeaturePermutation(LayerAttribution, FeaturePermutation):
    """Feature permutation of a layer's activation; see `attrfunc.feature_permutation` and `attrfunc.layer`."""

    perm_func = staticmethod(_permute_feature)

    @face(af.feature_permutation, at="one layer")
    def attribute(  # type: ignore[override]  # as in Captum
        self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, layer_mask: Mask = None,
        perturbations_per_eval: int = 1,
    ) -> Any: ...  # fmt: skip


class ShapleyValueSampling(PerturbationAttribution):
    """Shapley values from sampled permutations; see `attrfunc.shapley_sampling`."""

    _differs: tuple[str, ...] = (
        "Permutations are drawn in pairs of reverses, so standard errors are lower after as many evaluations, and"
        " numbers differ from Captum's for the same seed.",
    )
    _random, _per_output, _typed = True, False, False

    @face(af.shapley_sampling)
    def attribute(
        self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None,
        feature_mask: Mask = None, n_samples: int = 25, perturbations_per_eval: int = 1, show_progress: bool = False,
    ) -> Any: ...  # fmt: skip

    attribute_future = later(attribute)


class ShapleyValues(ShapleyValueSampling):
    """Shapley values, exactly; see `attrfunc.shapley_values`."""

    _differs: tuple[str, ...] = (
        "Each of the 2^n coalitions of groups is evaluated once, not n! permutations; up to 20 groups.",
    )
    _random = False

    @face(af.shapley_values)
    def attribute(  # type: ignore[override]  # as in Captum
        self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None,
        feature_mask: Mask = None, perturbations_per_eval: int = 1, show_progress: bool = False,
    ) -> Any: ...  # fmt: skip
