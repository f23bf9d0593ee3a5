"""Whether a concept matters more than random ones do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attrfunc.concepts.fits import Fit, ridge
from attrfunc.concepts.tcav import concept_sensitivity, shares
from attrfunc.concepts.vectors import activations_of, at_one_layer, fitted
from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.score.method import method
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model

__all__ = ["TcavTest", "tcav_test"]


@dataclass(frozen=True)
class TcavTest:
    """What `tcav_test` gives; printed, it is a table in Markdown.

    Attributes:
        names: The concepts, C.
        scores: `(C, R)`, the statistic of each concept against each of R random sets.
        random: `(R,)`, the mean of each random set against the others.
        mean: `(C,)`, that of each concept against the random sets.
        low: The lower end of the interval in which the mean of one more random set would be expected.
        high: Its upper end.
        p: `(C,)`, the p values of a mean like that of one more random set, corrected for as many tests as there are
            concepts (Holm's).
    """

    names: tuple[str, ...]
    scores: Tensor
    random: Tensor
    mean: Tensor
    low: float
    high: float
    p: Tensor

    def __str__(self) -> str:
        lines = ["| concept | TCAV | p |", "| --- | --- | --- |"]
        for name, mean, p in zip(self.names, self.mean, self.p, strict=True):
            lines.append(f"| {name} | {mean:.3g} | {p:.2g} |")
        lines.append(f"| random | {self.low:.3g} to {self.high:.3g} | |")
        return "\n".join(lines)


@method
def tcav_test(
    view: Model,
    x: Any,
    *,
    concepts: Mapping[str, Any],
    random: Sequence[Any],
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    fit: Fit | None = None,
    statistic: str = "sign",
    confidence: float = 0.95,
    chunk_size: int | None = None,
) -> TcavTest:
    """TCAV of concepts against several sets of random examples, compared with that of the random sets themselves.

    A vector is fitted for each concept against each random set, and for each random set against the others. A concept
    counts as found if its mean score is not one that another random set would have: the two-sided t test of one more
    number against those of the R random sets (needs scipy, which comes with scikit-learn). It is exact for independent
    normal numbers; scores, which are bounded, made it find random concepts less often than the p values say.

    The paper tests the scores of one concept against all random sets as if they were independent, which they are not,
    since they share the concept's examples: random concepts then have p values below 0.05 in a third of the cases and
    more. The more random sets, the smaller p values can be: take ten and more.

    Args:
        view: A view of a model at a layer.
        x: Examples of the class, a tensor `(B, *S)` or a structure of them.
        concepts: Examples of each concept, as in `concept_vectors`.
        random: Sets of random examples, each in the same form: three and more.
        target: Which output is explained; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        fit: How a direction is found; see `attrfunc.concepts.fits`. `None` is `ridge()`.
        statistic: `"sign"`, the share of positive sensitivities as published, or `"mean"`, the mean sensitivity: it is
            not bounded, so it still tells a strong concept from random ones where the share is near 0 or 1 for these,
            too (where the score is nearly linear).
        confidence: Of the interval of random concepts.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.

    Returns:
        A `TcavTest`.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If the score is not finite, or there is no way for its gradient.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
        >>> random = [torch.randn(10, 3) for _ in range(4)]
        >>> view, concepts = af.layer(model, "1"), {"large": torch.rand(10, 3) + 1}
        >>> test = af.concepts.tcav_test(view, torch.randn(20, 3), concepts=concepts, random=random, target=1)
        >>> test.scores.shape, test.p.shape
        (torch.Size([1, 4]), torch.Size([1]))

    Reference:
        Kim et al.: Interpretability Beyond Feature Attribution: Quantitative Testing with Concept Activation Vectors,
        ICML 2018, https://arxiv.org/abs/1711.11279.
    """
    at = at_one_layer(view)
    if not isinstance(concepts, Mapping) or not concepts:
        fix = "Pass {'striped': images}, say."
        raise ArgumentError("concepts", describe(concepts), "a dict of examples by name", fix)
    if isinstance(random, Tensor | Mapping) or not isinstance(random, Sequence) or len(random) < 3:
        fix = "Split the random examples into sets: list(examples.split(50))."
        raise ArgumentError("random", describe(random), "a list of three sets of examples and more", fix)
    if not 0 < confidence < 1:
        raise ArgumentError("confidence", describe(confidence), "a number between 0 and 1", "Pass 0.95, say.")
    if statistic not in ("sign", "mean"):
        raise ArgumentError("statistic", repr(statistic), "'sign' or 'mean'", "The sign is what is published.")
    own = {name: activations_of(at, data, f"concepts[{name!r}]") for name, data in concepts.items()}
    others = [activations_of(at, data, f"random[{number}]") for number, data in enumerate(random)]
    pairs = [(part, other) for part in own.values() for other in others]
    pairs += [(one, other) for number, one in enumerate(others) for other in others[number + 1 :]]
    fitting = fit or ridge()
    directions = [fitted(fitting, *pair, "random examples", 0.0, None)[0] for pair in pairs]
    vectors = torch.stack(directions).view(-1, *others[0].shape[1:])
    options: dict[str, Any] = {"target": target, "args": args, "kwargs": kwargs, "chunk_size": chunk_size}
    sensitivities = concept_sensitivity(at, x, vectors=vectors, **options).double().cpu()
    signs = statistic == "sign"
    sign = shares(sensitivities).sign if signs else sensitivities.mean(0)
    count, sets = len(own) * len(others), len(others)
    scores, found = sign[:count].view(len(own), sets), iter(sign[count:])
    against = torch.zeros(sets, sets, dtype=torch.float64)
    for one in range(sets):
        for other in range(one + 1, sets):
            against[one, other] = next(found)
            against[other, one] = float(signs) - against[one, other]  # the opposite vector
    null = against.sum(1) / (sets - 1)
    p, half = _one_more(scores.mean(1), null, confidence)
    middle = float(null.mean())
    low, high = (max(0.0, middle - half), min(1.0, middle + half)) if signs else (middle - half, middle + half)
    return TcavTest(tuple(own), scores, null, scores.mean(1), low, high, _holm(p))


def _one_more(means: Tensor, null: Tensor, confidence: float) -> tuple[Tensor, float]:
    """P values `(C,)` of numbers as one more of a sample, and half the width of the interval of one more."""
    from scipy import special

    freedom = len(null) - 1
    spread = float(null.std()) * (1 + 1 / len(null)) ** 0.5
    difference = (means - null.mean()).abs()
    p = 2 * torch.as_tensor(special.stdtr(freedom, -(difference / max(spread, 1e-300)).numpy()))
    return p, float(special.stdtrit(freedom, (1 + confidence) / 2)) * spread


def _holm(p: Tensor) -> Tensor:
    """P values corrected for their number."""
    order = p.argsort()
    factors = torch.arange(len(p), 0, -1)
    corrected = (p[order] * factors).cummax(0).values.clamp(max=1)
    return torch.empty_like(p).scatter(0, order, corrected)
