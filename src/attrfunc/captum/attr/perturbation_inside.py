"""The classes that replace units of a layer, or features for a neuron; see `attrfunc.captum.attr.perturbation`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrfunc as af
from attrfunc.captum.attr.attribution import LayerAttribution, NeuronAttribution
from attrfunc.captum.attr.convert import Baselines, Inputs, as_baseline
from attrfunc.captum.attr.faces import face
from attrfunc.captum.attr.neuron import Selector
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

    @face(af.feature_ablation, at="layer")
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

    def _called(self, function: Callable[..., Any], at: str, inputs: Inputs, options: dict[str, Any]) -> Any:
        self._single()
        given = options.pop("layer_baselines")
        at_layer = None if given is None else lambda activation: as_baseline(given, activation)
        options["baseline"] = af.activation_baseline(at_layer)
        return super()._called(function, at, inputs, options)


class LayerFeaturePermutation(LayerAttribution, FeaturePermutation):
    """Feature permutation of a layer's activation; see `attrfunc.feature_permutation` and `attrfunc.layer`."""

    _names: ClassVar[dict[str, str]] = {**PerturbationAttribution._names, "feature_mask": "layer_mask"}

    def __init__(self, forward_func: Callable[..., Any], layer: Any, device_ids: list[int] | None = None) -> None:
        LayerAttribution.__init__(self, forward_func, layer, device_ids)
        self.perm_func = _permute_feature

    @face(af.feature_permutation, at="layer")
    def attribute(  # type: ignore[override]  # as in Captum
        self,
        inputs: Inputs,
        target: Target = None,
        additional_forward_args: Any = None,
        layer_mask: Mask = None,
        perturbations_per_eval: int = 1,
    ) -> Any:
        """Attribute to the layer's output."""

    def _called(self, function: Callable[..., Any], at: str, inputs: Inputs, options: dict[str, Any]) -> Any:
        self._single()
        return super()._called(function, at, inputs, options)


class NeuronFeatureAblation(NeuronAttribution, PerturbationAttribution):
    """Feature ablation that explains a neuron; see `attrfunc.feature_ablation` and `attrfunc.neuron`."""

    @face(af.feature_ablation, at="neuron")
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

    def _called(self, function: Callable[..., Any], at: str, inputs: Inputs, options: dict[str, Any]) -> Any:
        selector = options["neuron"]
        try:
            return super()._called(function, at, inputs, dict(options))
        except ArgumentError as error:
            if error.argument != "selector" or not callable(selector):
                raise
            options["neuron"] = af.batch_score(selector)  # one number for the whole batch
            return super()._called(function, at, inputs, options)

    def _explained_at(self, at: str, options: dict[str, Any]) -> Any:
        side, selector = options.pop("side"), options.pop("neuron")
        return af.neuron(self.forward_func, self.layer, selector, side=side)
