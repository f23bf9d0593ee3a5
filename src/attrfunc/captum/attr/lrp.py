"""Layer-wise relevance propagation; see `attrfunc.lrp`.

verbose: Print which rules modules have.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

import attrfunc as af
from attrfunc.captum.attr._utils.lrp_rules import EpsilonRule, PropagationRule
from attrfunc.captum.attr.attribution import GradientAttribution, LayerAttribution, NoFuture
from attrfunc.captum.attr.convert import Inputs, Layers, as_args, captum_call, only, per_example, side
from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.score.target import Target

__all__ = ["LRP", "LayerLRP"]


class LRP(NoFuture, GradientAttribution):
    """Relevance of the inputs.

    Args:
        model: The model. A module's attribute `rule`, one of `attrfunc.captum.attr._utils.lrp_rules`, holds inside it;
            it is read, and stays. Everything else has `EpsilonRule()`.
    """

    _differs: tuple[str, ...] = (
        "It goes by operation, too, and takes reused modules and any operation of `attrfunc.lrp`. Several inputs "
        "share what they add up to, where Captum counts a sum once for each of them.",
        "`module.rule` holds inside the module, is read, and stays; Captum deletes it. `GammaRule` and "
        "`Alpha1_Beta0_Rule` leave a batch norm to `EpsilonRule`. Rules of one's own define `as_rule`. The rules "
        "are here, and in `attrfunc.captum.attr._utils.lrp_rules` as in Captum.",
    )

    _multiply_by_inputs = True

    def __init__(self, model: nn.Module) -> None:
        GradientAttribution.__init__(self, model)
        self.model = model
        self._check_rules()

    @captum_call
    def attribute(
        self,
        inputs: Inputs,
        target: Target = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
        verbose: bool = False,
    ) -> Any:
        """Attribute to the inputs; for the arguments see `attrfunc.captum.attr.convert` and above.

        Returns:
            Relevance, a tensor or a tuple as `inputs` is; with `return_convergence_delta`, a pair of this and deltas.
        """
        return self._relevance(self.model, inputs, target, additional_forward_args, return_convergence_delta, verbose)

    def has_convergence_delta(self) -> bool:
        """Relevance is conserved, but for the shares of biases."""
        return True

    @captum_call
    def compute_convergence_delta(  # type: ignore[override]  # as in Captum
        self, attributions: Any, output: Tensor
    ) -> Tensor:
        """The output less what the relevance sums to.

        Args:
            attributions: What `attribute` returned.
            output: The score of each example.

        Returns:
            One signed number for each example.
        """
        return output.flatten() - per_example(attributions, output.numel())

    def _relevance(self, view: Any, inputs: Any, target: Any, further: Any, deltas: bool, verbose: bool) -> Any:
        call = {"target": target, "args": as_args(further)}
        relevance = af.lrp(view, inputs, rules=self._rules(verbose), **call)
        if not deltas:
            return relevance
        gap = af.relevance_gap(view, inputs, relevance, **call)
        return relevance, [-part for part in gap] if isinstance(gap, list) else -gap

    def _rules(self, verbose: bool) -> dict[Any, Any]:
        self._check_rules()
        rules: dict[Any, Any] = af.rules.for_layers(EpsilonRule().as_rule())
        for name, module in self.model.named_modules():
            rule = getattr(module, "rule", None)
            if rule is not None:
                own = af.rules.for_layers(rule.as_rule())
                rules |= {name: own} if name else own
            if verbose and not list(module.children()):
                print(f"{type(rule or EpsilonRule()).__name__} holds in {name or 'the model'}: {module}")
        return rules

    def _check_rules(self) -> None:
        for name, module in self.model.named_modules():
            rule = getattr(module, "rule", None)
            if rule is not None and not isinstance(rule, PropagationRule):
                fix = "Set one of attrfunc.captum.attr._utils.lrp_rules: EpsilonRule, GammaRule, ..."
                raise ArgumentError(f"{name}.rule", describe(rule), "a PropagationRule", fix).within(
                    type(self).__name__
                )


class LayerLRP(LRP, LayerAttribution):
    """Relevance of layers.

    Args:
        model: As for `LRP`.
        layer: The layer, a list of layers, or `None` for all modules without parts; all in one pass.
    """

    _differs: tuple[str, ...] = (
        "It gives the relevance of activations and, with `layer=None`, of all modules without parts.",
    )

    def __init__(self, model: nn.Module, layer: Layers | None) -> None:
        LRP.__init__(self, model)
        self.layer: Any = layer
        self.device_ids = getattr(model, "device_ids", None)

    @captum_call
    def attribute(  # type: ignore[override]  # as in Captum, with one argument more
        self,
        inputs: Inputs,
        target: Target = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
        attribute_to_layer_input: bool = False,
        verbose: bool = False,
    ) -> Any:
        """Attribute to the layers; for the arguments see `attrfunc.captum.attr.convert`.

        Returns:
            Relevance, for several layers a list; with `return_convergence_delta`, a pair of this and the deltas.
        """
        layers = self.layer
        if layers is None:
            layers = [module for module in self.model.modules() if not list(module.children())]
        view = af.layer(self.model, layers, side=side(attribute_to_layer_input))
        found = self._relevance(view, inputs, target, additional_forward_args, return_convergence_delta, verbose)
        relevance, *deltas = found if return_convergence_delta else (found,)
        relevance = [only(part) for part in relevance] if view.place.several else only(relevance)
        return (relevance, *deltas) if return_convergence_delta else relevance
