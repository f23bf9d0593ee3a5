"""The classes that replace units of a layer, or features for a neuron; see `attrfunc.captum.attr.perturbation`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrfunc as af
from attrfunc.captum.attr.attribution import LayerAttribution, NeuronAttribution
from attrfunc.captum.attr.convert import Baselines, Inputs, as_baseline, as_mask, captum_call, only, side
from attrfunc.captum.attr.neuron import Selector
from attrfunc.captum.attr.outputs import as_groups
from attrfunc.captum.attr.perturbation import FeaturePermutation, Mask, PerturbationAttribution, _permute_feature
from attrfunc.core.errors import ArgumentError
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
        options |= {"baseline": baseline, "feature_mask": as_groups(only(layer_mask))}
        return self._mirrored(self._attributed(af.feature_ablation, inputs, options, model=view, flat=True))


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
        return self._mirrored(self._permuted(self._view(), inputs, as_groups(only(layer_mask)), options))


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
        options = self._options(inputs, None, additional_forward_args, perturbations_per_eval)
        options |= {"baseline": as_baseline(baselines, inputs), "feature_mask": as_mask(feature_mask, inputs)}
        where: dict[str, Any] = {"side": side(attribute_to_neuron_input)}
        try:
            view = af.neuron(self.forward_func, self.layer, neuron_selector, **where)
            return af.feature_ablation(view, inputs, **options)
        except ArgumentError as error:
            if error.argument != "selector" or not callable(neuron_selector):
                raise
            view = af.neuron(self.forward_func, self.layer, af.batch_score(neuron_selector), **where)
            return af.feature_ablation(view, inputs, **options)  # one number for the whole batch
