"""The smallest radius at which an attack succeeds: a combinator on attacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe, positive
from attrfunc.core.score.method import named
from attrfunc.core.score.views import Model
from attrfunc.robust.ball import norms
from attrfunc.robust.numbers import finite
from attrfunc.robust.victim import open_victim

__all__ = ["minimal_perturbation"]


def minimal_perturbation(
    attack: Callable[..., Tensor], *, largest: float, n_bisections: int = 10
) -> Callable[..., Tensor]:
    """Make of an attack a measure: the smallest radius at which it succeeds, for each example, by bisection.

    An attack that succeeds at some radius is taken to succeed at larger ones. What it finds may be nearer than the
    radius that it was given; then that distance counts.

    Args:
        attack: Any function `(model, x, *, label, radius, ...)` that gives perturbed inputs and takes a radius for each
            example, `(B,)`: all of this package do.
        largest: The largest radius that is tried.
        n_bisections: How often the interval is halved.

    Returns:
        A function `(model, x, *, label, norm="linf", **options)`, called as the attack is but without a radius, which
        gives radii `(B,)`: 0 where the model is wrong by itself, infinity where the attack fails at `largest`. Each is
        an upper bound of the distance to the decision boundary, above the smallest radius that succeeds by `largest /
        2^n_bisections` at most.

    Raises:
        ArgumentError: If an argument cannot be right.

    Example:
        >>> model = torch.nn.Linear(2, 2)
        >>> _ = model.load_state_dict({"weight": torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), "bias": torch.zeros(2)})
        >>> measure = af.robust.minimal_perturbation(af.robust.fgsm, largest=1.0)
        >>> measure(model, torch.tensor([[0.3, 0.0]]), label=0)
        tensor([0.3008])

    Reference:
        Carlini et al.: On Evaluating Adversarial Robustness, 2019, https://arxiv.org/abs/1902.06705.
    """
    name = f"minimal_perturbation({getattr(attack, '__name__', type(attack).__name__)})"
    if not callable(attack):
        error = ArgumentError(
            "attack", describe(attack), "a callable (model, x, *, label, radius)", "Pass af.robust.pgd."
        )
        raise error.within("minimal_perturbation")
    named("minimal_perturbation", finite)(largest, "largest")
    steps = named("minimal_perturbation", positive)("n_bisections", n_bisections)

    def measure(model: Model, x: Tensor, /, *, label: Any, norm: str = "linf", **options: Any) -> Tensor:
        if "radius" in options:
            fix = f"Pass largest to minimal_perturbation: it is {largest}."
            raise ArgumentError("radius", describe(options["radius"]), "none: it is what is looked for", fix)
        shared = {key: options[key] for key in ("args", "kwargs", "targeted", "chunk_size") if key in options}
        with torch.no_grad():
            victim = open_victim(model, x, label, **shared)
            wrong = victim.fooled(victim.logits(victim.x))
        high = torch.where(wrong, 0.0, torch.inf).to(victim.x)
        low, radius = torch.zeros_like(high), torch.full_like(high, largest)
        for _ in range(steps + 1):
            found = attack(model, x, label=label, norm=norm, radius=radius, **options)
            with torch.no_grad():
                hit = victim.fooled(victim.logits(found.detach()))
                distance = torch.minimum(norms(found.detach() - victim.x, norm), radius)
            high = torch.where(hit, torch.minimum(high, distance), high)
            low = torch.where(hit, low, torch.maximum(low, radius))
            low = torch.minimum(low, high)
            radius = torch.where(high.isfinite(), (low + high) / 2, largest)
            if not bool((high.isfinite() & (high > 0)).any()):
                break
        return high

    return named(name, measure)
