"""Captum's rules of layer-wise relevance propagation, which users set as `module.rule`; see `attrfunc.rules`.

`set_bias_to_zero` leaves a bias out, so that it takes no share of the relevance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

import attrfunc as af

__all__ = ["Alpha1_Beta0_Rule", "EpsilonRule", "GammaRule", "IdentityRule", "PropagationRule"]


class PropagationRule:
    """Base of the rules."""

    STABILITY_FACTOR = 1e-9

    def as_rule(self) -> Callable[[af.rules.Operation], tuple[Any, ...]]:
        """The rule, for a rule book."""
        raise NotImplementedError(f"{type(self).__name__} says no rule: define as_rule; see attrfunc.rules.")


class EpsilonRule(PropagationRule):
    """`attrfunc.rules.epsilon`."""

    def __init__(self, epsilon: float = 1e-9) -> None:
        self.STABILITY_FACTOR = epsilon

    def as_rule(self) -> Callable[[af.rules.Operation], tuple[Any, ...]]:
        """The rule, for a rule book."""
        return af.rules.epsilon(self.STABILITY_FACTOR)


class GammaRule(PropagationRule):
    """Positive weights count `1 + gamma` times, for layers whose inputs are not negative."""

    def __init__(self, gamma: float = 0.25, set_bias_to_zero: bool = False) -> None:
        self.gamma, self.set_bias_to_zero = gamma, set_bias_to_zero

    def as_rule(self) -> Callable[[af.rules.Operation], tuple[Any, ...]]:
        """The rule, for a rule book."""
        return _reweighted(lambda weight: weight + self.gamma * weight.clamp(min=0), self.set_bias_to_zero)


class Alpha1_Beta0_Rule(PropagationRule):  # noqa: N801  # Captum's name
    """Positive weights alone, for layers whose inputs are not negative."""

    def __init__(self, set_bias_to_zero: bool = False) -> None:
        self.set_bias_to_zero = set_bias_to_zero

    def as_rule(self) -> Callable[[af.rules.Operation], tuple[Any, ...]]:
        """The rule, for a rule book."""
        return _reweighted(lambda weight: weight.clamp(min=0), self.set_bias_to_zero)


class IdentityRule(EpsilonRule):
    """`attrfunc.rules.identity`."""

    def as_rule(self) -> Callable[[af.rules.Operation], tuple[Any, ...]]:
        """The rule, for a rule book."""
        return af.rules.identity


def _reweighted(change: Callable[[Tensor], Tensor], drop_bias: bool) -> Callable[[af.rules.Operation], tuple[Any, ...]]:
    keep: Callable[[Tensor], Tensor | None] = lambda bias: None if drop_bias else bias  # noqa: E731
    return af.rules.reweighted(change, keep, epsilon=PropagationRule.STABILITY_FACTOR)
