"""In-silico mutagenesis, and what letters that are not there would get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.loops.chunks import Work, appended, in_chunks, joined
from attrfunc.core.loops.plan import planned
from attrfunc.core.loops.progress import Progress
from attrfunc.core.model.engines import known, require_finite
from attrfunc.core.score.baseline import Baseline, resolve_baseline
from attrfunc.core.score.method import method, named, open_problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model, as_view
from attrfunc.perturbation.precision import wide
from attrfunc.perturbation.soft_masks import require_apart

__all__ = ["hypothetical_attributions", "in_silico_mutagenesis"]


@method
def in_silico_mutagenesis(
    model: Model,
    x: Any,
    *,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Tensor:
    """What every single mutation changes: the score with another letter at a place, less the score as it is.

    `score(x with letter a at place l) - score(x)`, for all letters and places.

    Args:
        model: A module, any callable, or a view of one by `af.bind` or `af.neuron`; no gradient is taken.
        x: Sequences of letters, one-hot `(B, A, L)`: A letters (4 of DNA) and L places. A place without a letter, all
            zeros, is an unknown one.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`. There are `A * L` of each example.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Changes `(B, A, L)` in units of the score; zero for the letters that are there. The usual picture of one number
        for each place takes the mean over the other letters from what is there: `-changes.sum(1) / (A - 1)`.
        *Sensitivity*: a place that the score does not depend on gets zeros.

    Raises:
        ArgumentError: If an argument cannot be right, or `x` is not one-hot.
        ModelError: If a score is not finite, or examples are not scored apart.

    Example:
        >>> x = torch.nn.functional.one_hot(torch.tensor([[0, 1, 3]]), 4).mT.float()  # ACT
        >>> count_of_c = lambda x: x[:, 1].sum(1)
        >>> af.in_silico_mutagenesis(count_of_c, x)[0]
        tensor([[ 0., -1.,  0.],
                [ 1.,  0.,  1.],
                [ 0., -1.,  0.],
                [ 0., -1.,  0.]])

    Reference:
        Zhou, Troyanskaya: Predicting effects of noncoding variants with deep learning-based sequence model, Nature
        Methods 2015.
        https://doi.org/10.1038/nmeth.3547
    """
    view = as_view(model)
    if view.sites:
        raise ArgumentError(
            "model",
            f"a view of layer {view.sites[0].name!r}",
            "a model of sequences, since letters are replaced in the input",
            "Pass the model itself, or af.neuron(model, ...) for a neuron.",
        )
    _require_one_hot("x", x)
    problem = planned(open_problem(model, x, target, args, kwargs, differentiate=False), chunk_size)
    end = problem.point()
    require_apart(problem, end, "mutations")
    letters, places = x.shape[1:]

    def visit(rows: slice, chosen: slice) -> list[Tensor]:
        numbers = torch.arange(chosen.start, chosen.stop, device=x.device) - 1  # 0 is the input as it is
        letter, place = numbers // places, numbers % places
        here = (torch.arange(places, device=x.device) == place[:, None]) & (numbers >= 0)[:, None]
        new = (torch.arange(letters, device=x.device) == letter[:, None])[:, None, :, None].to(x.dtype)
        scores = problem.at(rows).scores(end.like([torch.where(here[:, None, None], new, x[rows])]))
        require_finite(scores)
        return [scores]

    def finish(rows: slice, scores: list[Tensor]) -> list[Tensor]:
        return [torch.cat(scores) if len(scores) > 1 else scores[0]]

    work, count = Work.of(problem), 1 + letters * places
    blocks = in_chunks(work, count, visit, appended, finish, chunk_size=chunk_size, progress=progress)
    scores = wide(joined(blocks, dim=1)[0])
    changes = (scores[1:] - scores[0]).T.unflatten(1, (letters, places))
    return changes.to(x.dtype) if x.is_floating_point() else changes


def _hypothetical_attributions(multipliers: Tensor, x: Tensor, *, baseline: Baseline = None) -> Tensor:
    """What each letter would get if it stood at each place, beside the multipliers of the sequence that is there.

    `sum over letters c of multiplier[c, l] * (1 if c is a else 0 - baseline[c, l])`, for letter a at place l.

    Args:
        multipliers: Attributions without the factor `x - baseline`, `(B, A, L)`: what `af.ig`, `af.deep_lift` and
            `af.gradient_shap` give with `multiply_by_inputs=False`, or `af.saliency` with `absolute=False`.
        x: The sequences, one-hot `(B, A, L)`.
        baseline: The baseline that the multipliers belong to; see `attrfunc.core.score.baseline`.

    Returns:
        Hypothetical attributions `(B, A, L)` in units of the score. *Consistency*: times `x` they are the attributions
        summed over the letters of each place.

    Raises:
        ArgumentError: If the shapes do not go together, or `x` is not one-hot.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
        >>> x = torch.nn.functional.one_hot(torch.tensor([[0, 1, 3]]), 4).mT.float()
        >>> slopes = af.ig(model, x, baseline=0.25, target=1, multiply_by_inputs=False)
        >>> letters = af.hypothetical_attributions(slopes, x, baseline=0.25)
        >>> places = af.ig(model, x, baseline=0.25, target=1).sum(1)
        >>> torch.allclose((letters * x).sum(1), places, atol=1e-6)
        True

    Reference:
        Shrikumar, Tian, Avsec, Shcherbina, Banerjee, Sharmin, Nair, Kundaje: Technical Note on Transcription Factor
        Motif Discovery from Importance Scores (TF-MoDISco), 2018.
        https://arxiv.org/abs/1811.00416
    """
    _require_one_hot("x", x)
    if not isinstance(multipliers, Tensor) or multipliers.shape != x.shape or not multipliers.is_floating_point():
        raise ArgumentError(
            "multipliers",
            describe(multipliers),
            f"a floating-point tensor of the shape of x, {tuple(x.shape)}",
            "Pass af.ig(..., multiply_by_inputs=False), say.",
        )
    start = resolve_baseline(baseline, x).to(multipliers.dtype)
    return multipliers - (multipliers * start).sum(1, keepdim=True)


hypothetical_attributions = named("hypothetical_attributions", _hypothetical_attributions)


def _require_one_hot(name: str, x: Any) -> None:
    if not isinstance(x, Tensor) or x.dim() != 3 or x.shape[1] < 2:
        raise ArgumentError(
            name,
            describe(x),
            "one-hot sequences (B, A, L) of A letters",
            "Pass torch.nn.functional.one_hot(numbers, 4).mT.float(), where numbers are (B, L).",
        )
    right = ((x == 0) | (x == 1)).all() & (x.sum(1) <= 1).all()
    if known(right) is False:
        raise ArgumentError(
            name,
            f"{describe(x)} whose places are not all one letter",
            "a single 1 among the letters of a place, or none where it is unknown",
            "Letters are in dimension 1: pass x.mT if they are in the last.",
        )
