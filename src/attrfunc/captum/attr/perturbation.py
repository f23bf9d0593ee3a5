"""The classes that replace features: at the input, of a layer, and for a neuron; and Shapley values of these.

Of an output that is not one number for each example, each number has attributions of its own, in dimension 0: one for a
loss of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import attrfunc as af
from attrfunc.captum.attr.attribution import Attribution, LayerAttribution, NeuronAttribution, NoFuture
from attrfunc.captum.attr.convert import as_baseline
from attrfunc.captum.attr.faces import face
from attrfunc.captum.attr.forms import Baselines, Forward, Inputs, Selector, Target
from attrfunc.captum.attr.forms import Mask as Mask
from attrfunc.captum.attr.futures import WithFutures, later
from attrfunc.core.errors import ArgumentError, positive
from attrfunc.core.trees import batch_size
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
        rows, at_once = _rows(inputs), options["chunk_size"]
        options["chunk_size"] = None if at_once is None else positive("chunk_size", at_once) * rows
        if options.get("progress"):
            options["progress"] = _bar(f"{self.get_name()} attribution", rows)
        options = {"target": None} | options
        model = self._explained_at(at, options)
        forms = (self._per_output, self._per_number, self._typed)
        return Outputs(function, self.forward_func, inputs, options, *forms).attributed(model)


def _rows(inputs: Any) -> int:
    """The number of examples, or of rows of the first of several batches."""
    leaf = pytree.tree_leaves(inputs)[0]
    return leaf.shape[0] if leaf.dim() else batch_size(inputs)  # which raises


def _bar(description: str, rows: int) -> Any:
    """A bar in Captum's words: evaluations of the batch, the first of them without a perturbation."""
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped]
    except ImportError:
        return True  # which says what is missing
    shown: list[Any] = []

    def advance(done: int, total: int) -> None:
        if not shown:
            shown.append(tqdm(total=max(total // max(rows, 1), 1), desc=description))
        shown[0].update(done // max(rows, 1) - shown[0].n)
        if done >= total:
            shown[0].close()

    return advance


class FeatureAblation(WithFutures, PerturbationAttribution):
    """Feature ablation; see `attrfunc.feature_ablation`."""

    @face(af.feature_ablation)
    def attribute(
        self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None,
        feature_mask: Mask = None, perturbations_per_eval: int = 1, show_progress: bool = False, **kwargs: Any,
    ) -> Any: ...  # fmt: skip

    @later
    def attribute_future(
        self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None,
        feature_mask: Mask = None, perturbations_per_eval: int = 1, show_progress: bool = False, **kwargs: Any,
    ) -> Any: ...  # fmt: skip


class LayerFeatureAblation(LayerAttribution, PerturbationAttribution):
    """Feature ablation of a layer's activation; see `attrfunc.feature_ablation` and `attrfunc.layer`."""

    @face(af.feature_ablation, at="layer")
    def attribute(
        self, inputs: Inputs, layer_baselines: Baselines = None, target: Target = None,
        additional_forward_args: Any = None, layer_mask: Mask = None, attribute_to_layer_input: bool = False,
        perturbations_per_eval: int = 1,
    ) -> Any: ...  # fmt: skip

    def _called(self, function: Callable[..., Any], at: str, inputs: Inputs, options: dict[str, Any]) -> Any:
        self._single()
        given = options["baseline"]
        at_layer = None if given is None else lambda activation: as_baseline(given, activation)
        return super()._called(function, at, inputs, options | {"baseline": af.activation_baseline(at_layer)})


class NeuronFeatureAblation(NeuronAttribution, PerturbationAttribution):
    """Feature ablation that explains a neuron; see `attrfunc.feature_ablation` and `attrfunc.neuron`."""

    @face(af.feature_ablation, at="neuron")
    def attribute(
        self, inputs: Inputs, neuron_selector: Selector, baselines: Baselines = None,
        additional_forward_args: Any = None, feature_mask: Mask = None, attribute_to_neuron_input: bool = False,
        perturbations_per_eval: int = 1,
    ) -> Any: ...  # fmt: skip

    def _called(self, function: Callable[..., Any], at: str, inputs: Inputs, options: dict[str, Any]) -> Any:
        selector = options["neuron"]
        try:
            return super()._called(function, at, inputs, dict(options))
        except ArgumentError as error:
            if error.argument != "selector" or not callable(selector):
                raise
            return super()._called(function, at, inputs, options | {"neuron": af.batch_score(selector)})

    def _explained_at(self, at: str, options: dict[str, Any]) -> Any:
        side, selector = options.pop("side"), options.pop("neuron")
        return af.neuron(self.forward_func, self.layer, selector, side=side)


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

    def _called(self, function: Callable[..., Any], at: str, inputs: Inputs, options: dict[str, Any]) -> Any:
        window, stride = options["window"], options["stride"]
        if len(pytree.tree_leaves(inputs)) == 1:
            options["window"] = window[0] if isinstance(window[0], tuple) else window
            options["stride"] = stride[0] if isinstance(stride, tuple) and len(stride) == 1 else stride
        return super()._called(function, at, inputs, options)

    attribute_future = NoFuture.attribute_future  # type: ignore[assignment]


def _permute_feature(x: Tensor, feature_mask: Tensor) -> Tensor:
    """What stands for a random permutation; the library draws its own."""
    return torch.where(feature_mask, x[torch.randperm(len(x))], x)


class FeaturePermutation(FeatureAblation):
    """Feature permutation; see `attrfunc.feature_permutation`."""

    _differs: tuple[str, ...] = (
        "What a group has in several inputs moves together; Captum permutes each input by itself.",
    )

    def __init__(self, forward_func: Forward, perm_func: Callable[[Tensor, Tensor], Tensor] = _permute_feature) -> None:
        super().__init__(forward_func)
        self.perm_func = perm_func

    @face(af.feature_permutation)
    def attribute(  # type: ignore[override]  # as in Captum
        self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, feature_mask: Mask = None,
        perturbations_per_eval: int = 1, show_progress: bool = False, **kwargs: Any,
    ) -> Any: ...  # fmt: skip

    @later
    def attribute_future(  # type: ignore[override]  # as in Captum
        self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, feature_mask: Mask = None,
        perturbations_per_eval: int = 1, show_progress: bool = False, **kwargs: Any,
    ) -> Any: ...  # fmt: skip

    def _called(self, function: Callable[..., Any], at: str, inputs: Inputs, options: dict[str, Any]) -> Any:
        options["perm_func"] = None if self.perm_func is _permute_feature else self.perm_func
        if isinstance(inputs, tuple) and len({_rows((part,)) for part in inputs}) > 1:  # each has its own examples
            every = (self.perm_func(part, torch.ones_like(part[:1], dtype=torch.bool)) for part in inputs)
            options["baseline"] = tuple(every)
            del options["perm_func"]
            return super()._called(af.feature_ablation, at, inputs, options)
        return super()._called(function, at, inputs, options)


class LayerFeaturePermutation(LayerAttribution, FeaturePermutation):
    """Feature permutation of a layer's activation; see `attrfunc.feature_permutation` and `attrfunc.layer`."""

    def __init__(self, forward_func: Forward, layer: Any, device_ids: list[int] | None = None) -> None:
        LayerAttribution.__init__(self, forward_func, layer, device_ids)
        self.perm_func = _permute_feature

    @face(af.feature_permutation, at="layer")
    def attribute(  # type: ignore[override]  # as in Captum
        self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, layer_mask: Mask = None,
        perturbations_per_eval: int = 1,
    ) -> Any: ...  # fmt: skip

    def _called(self, function: Callable[..., Any], at: str, inputs: Inputs, options: dict[str, Any]) -> Any:
        self._single()
        return super()._called(function, at, inputs, options)


class ShapleyValueSampling(WithFutures, PerturbationAttribution):
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

    @later
    def attribute_future(
        self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None,
        feature_mask: Mask = None, n_samples: int = 25, perturbations_per_eval: int = 1, show_progress: bool = False,
    ) -> Any: ...  # fmt: skip


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
