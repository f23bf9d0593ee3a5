"""Layer-wise relevance propagation; see `attrfunc.lrp`."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

import attrfunc as af
from attrfunc.captum.attr._utils.lrp_rules import EpsilonRule, PropagationRule
from attrfunc.captum.attr.attribution import GradientAttribution, LayerAttribution
from attrfunc.captum.convert import CallError, captum_call, per_example
from attrfunc.captum.explainers import NoFuture, holding
from attrfunc.captum.faces import face
from attrfunc.captum.forms import Inputs, Layers, Target
from attrfunc.core.errors import describe

__all__ = ["LRP", "LayerLRP"]


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
