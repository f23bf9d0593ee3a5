"""The classes that replace units of a layer, or features for a neuron; see `attrfunc.captum.attr.perturbation`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from torch.utils import _pytree as pytree

import attrfunc as af
from attrfunc.captum.attr.attribution import LayerAttribution, NeuronAttribution
from attrfunc.captum.attr.convert import Baselines, Inputs, as_args, as_baseline, captum_call, only
from attrfunc.captum.attr.neuron import Selector
from attrfunc.captum.attr.perturbation import FeaturePermutation, Mask, PerturbationAttribution, _permute_feature
from attrfunc.core.errors import positive
from attrfunc.core.score.target import Target

__all__ = ["LayerFeatureAblation", "LayerFeaturePermutation", "NeuronFeatureAblation"]


class LayerFeatureAblation(LayerAttribution, PerturbationAttribution):
    """Feature ablation of a layer's activation; see `attrfunc.feature_ablation` and `attrfunc.layer`."""

    _names: ClassVar[dict[str, str]] = {
        **PerturbationAttribution._names,
        "feature_mask": "layer_mask",
        "baseline": "layer_baselines",
    }

    @captum_call
    def attribute(
        self,
        inputs: Inputs,
        layer_baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        layer_mask: Mask = None,
        attribute_to_layer_input: bool = False,
        perturbations_per_eval: int = 1,
    ) -> Any:
        """Attribute to the layer; `layer_baselines` are those of its activation, zeros by default."""
        self._single()
        options = self._options(inputs, target, additional_forward_args, perturbations_per_eval)
        given = None if layer_baselines is None else lambda activation: as_baseline(layer_baselines, activation)
        baseline = af.activation_baseline(given)
        view = self._view(attribute_to_layer_input)
        result = af.feature_ablation(view, inputs, baseline=baseline, feature_mask=only(layer_mask), **options)
        return self._mirrored(result)


class LayerFeaturePermutation(LayerAttribution, FeaturePermutation):
    """Feature permutation of a layer's activation; see `attrfunc.feature_permutation` and `attrfunc.layer`."""

    _names: ClassVar[dict[str, str]] = {**PerturbationAttribution._names, "feature_mask": "layer_mask"}

    def __init__(self, forward_func: Callable[..., Any], layer: Any, device_ids: list[int] | None = None) -> None:
        LayerAttribution.__init__(self, forward_func, layer, device_ids)
        self.perm_func = _permute_feature

    @captum_call
    def attribute(  # type: ignore[override]  # as in Captum
        self,
        inputs: Inputs,
        target: Target = None,
        additional_forward_args: Any = None,
        layer_mask: Mask = None,
        perturbations_per_eval: int = 1,
    ) -> Any:
        """Attribute to the layer's output."""
        self._single()
        options = self._options(inputs, target, additional_forward_args, perturbations_per_eval)
        return self._mirrored(self._permuted(self._view(), inputs, only(layer_mask), options))


class NeuronFeatureAblation(NeuronAttribution, PerturbationAttribution):
    """Feature ablation that explains a neuron; see `attrfunc.feature_ablation` and `attrfunc.neuron`."""

    @captum_call
    def attribute(
        self,
        inputs: Inputs,
        neuron_selector: Selector,
        baselines: Baselines = None,
        additional_forward_args: Any = None,
        feature_mask: Mask = None,
        attribute_to_neuron_input: bool = False,
        perturbations_per_eval: int = 1,
    ) -> Any:
        """Attribute to the inputs, a tensor or a tuple as `inputs` is."""
        at_once, rows = positive("chunk_size", perturbations_per_eval), pytree.tree_leaves(inputs)[0].shape[0]
        return af.feature_ablation(
            self._view(neuron_selector, attribute_to_neuron_input),
            inputs,
            baseline=as_baseline(baselines, inputs),
            args=as_args(additional_forward_args),
            feature_mask=as_baseline(feature_mask, inputs),
            chunk_size=None if at_once == 1 else at_once * rows,
        )
