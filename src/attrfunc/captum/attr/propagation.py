"""The classes that go by rules: DeepLIFT, from one baseline and from several, and layer-wise relevance propagation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import attrfunc as af
from attrfunc.captum.attr.attribution import GradientAttribution, LayerAttribution, NeuronAttribution
from attrfunc.captum.attr.lrp_rules import EpsilonRule, PropagationRule
from attrfunc.captum.convert import CallError, captum_call, per_example
from attrfunc.captum.explainers import NoFuture, holding
from attrfunc.captum.faces import face
from attrfunc.captum.forms import Baselines, Custom, Inputs, Layers, Options, Samples, Selector, Target
from attrfunc.core.errors import describe

__all__ = [
    "LRP", "DeepLift", "DeepLiftShap", "LayerDeepLift", "LayerDeepLiftShap", "LayerLRP", "NeuronDeepLift",
    "NeuronDeepLiftShap",
]  # fmt: skip


def _several(
    model: Any, inputs: Any, *, explainer: Any, with_deltas: bool, baselines: Any, multiply_by_inputs: bool,
    **options: Any,
) -> Any:  # fmt: skip
    """Mean attributions from several baselines, and the deltas of each if they are asked for."""
    options["multiply_by_inputs"] = multiply_by_inputs
    found = af.deep_lift_shap(model, inputs, baselines=baselines, average=not with_deltas, **options)
    if not with_deltas:
        return found, None

    def delta(number: int) -> Any:
        each = pytree.tree_map(lambda part: part[:, number], found)
        one = pytree.tree_map(lambda leaf: leaf[number : number + 1], baselines)
        return explainer.compute_convergence_delta(each, one, inputs, options["target"], options["args"])

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


def _relevance(view: Any, inputs: Any, *, explainer: LRP, with_deltas: bool, verbose: bool, **score: Any) -> Any:
    relevance = af.lrp(view, inputs, rules=explainer._rules(verbose), **score)
    if not with_deltas:
        return relevance, None
    gap = af.relevance_gap(view, inputs, relevance, **score)
    return relevance, [-part for part in gap] if isinstance(gap, list) else -gap


class RuleError(CallError, TypeError):
    """A rule that is none, also for scripts that catch the `TypeError` which Captum raises for it."""


class LRP(NoFuture, GradientAttribution):
    """Relevance of the inputs.

    A module's attribute `rule`, one of `attrfunc.captum.attr._utils.lrp_rules`, holds inside it; it is read, and stays.
    Everything else has `EpsilonRule()`.
    """

    _differs: tuple[str, ...] = (
        "It goes by operation, too, takes reused modules and any operation of `attrfunc.lrp`, and does not look at "
        "modules that do not run. Several inputs share what they add up to, where Captum counts a sum once for each of "
        "them.",
        "`module.rule` holds inside the module, is read, and stays; Captum deletes it. `GammaRule` and "
        "`Alpha1_Beta0_Rule` leave a batch norm to `EpsilonRule`. Rules of one's own define `as_rule`. The rules "
        "are here, and in `attrfunc.captum.attr._utils.lrp_rules` as in Captum.",
    )
    _multiply_by_inputs = _complete = True  # but for the shares of biases

    model: nn.Module

    @holding
    def __init__(self, model: nn.Module) -> None: ...

    def _checked(self) -> None:
        self._rules(False)
        self.device_ids = getattr(self.model, "device_ids", None)

    @face(_relevance)
    def attribute(
        self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None,
        return_convergence_delta: bool = False, verbose: bool = False,
    ) -> Any: ...  # fmt: skip

    @captum_call
    def compute_convergence_delta(self, attributions: Any, output: Tensor) -> Tensor:  # type: ignore[override]
        """The output less what the relevance sums to, for each example."""
        return output.flatten() - per_example(attributions, output.numel())

    def _rules(self, verbose: bool) -> dict[Any, Any]:
        rules: dict[Any, Any] = af.rules.for_layers(EpsilonRule().as_rule())
        for name, module in self.model.named_modules():
            rule = getattr(module, "rule", None)
            if rule is not None and not isinstance(rule, PropagationRule):
                fix = "Set one of attrfunc.captum.attr._utils.lrp_rules: EpsilonRule, GammaRule, ..."
                error = RuleError(f"{name}.rule", describe(rule), "a PropagationRule", fix)
                raise error.within(type(self).__name__)
            if rule is not None:
                own = af.rules.for_layers(rule.as_rule())
                rules |= {name: own} if name else own
            if verbose and not list(module.children()):
                print(f"{type(rule or EpsilonRule()).__name__} holds in {name or 'the model'}: {module}")
        return rules


class LayerLRP(LRP, LayerAttribution):
    """Relevance of layers, a list of them, or with `None` of all modules without parts; all in one pass."""

    _differs: tuple[str, ...] = (
        "It gives the relevance of activations and, with `layer=None`, of all modules without parts.",
    )

    @holding
    def __init__(self, model: nn.Module, layer: Layers | None) -> None: ...

    @face(_relevance, at="layer")
    def attribute(  # type: ignore[override]  # as in Captum, with one argument more
        self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None,
        return_convergence_delta: bool = False, attribute_to_layer_input: bool = False, verbose: bool = False,
    ) -> Any: ...  # fmt: skip
