"""DeepLIFT, from one baseline and from a distribution of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import attrfunc as af
from attrfunc.captum.attr.attribution import GradientAttribution, LayerAttribution, NeuronAttribution
from attrfunc.captum.explainers import NoFuture, holding
from attrfunc.captum.faces import face
from attrfunc.captum.forms import Baselines, Custom, Inputs, Options, Samples, Selector, Target

__all__ = ["DeepLift", "DeepLiftShap", "LayerDeepLift", "LayerDeepLiftShap", "NeuronDeepLift", "NeuronDeepLiftShap"]


def _several(
    model: Any, inputs: Any, *, explainer: Any, with_deltas: bool, baselines: Any, multiply_by_inputs: bool,
    **options: Any,
) -> Any:  # fmt: skip
    """Mean attributions from several baselines, and the deltas of each if they are asked for."""
    options["multiply_by_inputs"] = multiply_by_inputs
    found = af.deep_lift_shap(model, inputs, baselines=baselines, average=not with_deltas, **options)
    if not with_deltas:
        return found, None

    def delta(number: int) -> Tensor:
        each = pytree.tree_map(lambda part: part[:, number], found)
        one = pytree.tree_map(lambda leaf: leaf[number : number + 1], baselines)
        change: Tensor = explainer.compute_convergence_delta(each, one, inputs, options["target"], options["args"])
        return change

    deltas = [delta(number) for number in range(len(pytree.tree_leaves(baselines)[0]))]
    return pytree.tree_map(lambda part: part.mean(1), found), torch.stack(deltas, 1).flatten()


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

    @holding
    def __init__(self, model: nn.Module, multiply_by_inputs: bool = True, eps: float = 1e-10) -> None: ...

    @face(af.deep_lift)
    def attribute(
        self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None,
        return_convergence_delta: bool = False, custom_attribution_func: Custom = None,
    ) -> Any: ...  # fmt: skip


class DeepLiftShap(DeepLift):
    """DeepLIFT averaged over baselines; see `attrfunc.deep_lift_shap`. Deltas are those of each pair, `(B * N,)`."""

    _draws_baselines = True

    @holding
    def __init__(self, model: nn.Module, multiply_by_inputs: bool = True) -> None: ...

    @face(_several)
    def attribute(  # type: ignore[override]
        self, inputs: Inputs, baselines: Samples, target: Target = None, additional_forward_args: Any = None,
        return_convergence_delta: bool = False, custom_attribution_func: Custom = None,
    ) -> Any: ...  # fmt: skip


class LayerDeepLift(LayerAttribution, DeepLift):
    """DeepLIFT from a layer's activation at the baselines to that at the inputs; see `attrfunc.deep_lift`."""

    @holding
    def __init__(self, model: nn.Module, layer: nn.Module, multiply_by_inputs: bool = True) -> None: ...

    @face(af.deep_lift, at="layer")
    def attribute(  # type: ignore[override]
        self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None,
        return_convergence_delta: bool = False, attribute_to_layer_input: bool = False,
        custom_attribution_func: Custom = None, grad_kwargs: Options = None,
    ) -> Any: ...  # fmt: skip


class LayerDeepLiftShap(LayerDeepLift, DeepLiftShap):
    """The same averaged over baselines; see `attrfunc.deep_lift_shap`."""

    _draws_baselines = True

    @face(_several, at="layer")
    def attribute(  # type: ignore[override]
        self, inputs: Inputs, baselines: Samples, target: Target = None, additional_forward_args: Any = None,
        return_convergence_delta: bool = False, attribute_to_layer_input: bool = False,
        custom_attribution_func: Custom = None,
    ) -> Any: ...  # fmt: skip


class _NeuronScaled(NeuronAttribution, GradientAttribution):
    """Base of the classes of a neuron."""

    @holding
    def __init__(self, model: nn.Module, layer: nn.Module, multiply_by_inputs: bool = True) -> None: ...


class NeuronDeepLift(_NeuronScaled):
    """DeepLIFT of a neuron; see `attrfunc.deep_lift` and `attrfunc.neuron`."""

    @face(af.deep_lift, at="neuron")
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
