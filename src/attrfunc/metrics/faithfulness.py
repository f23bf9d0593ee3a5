"""Whether sums of attributions go along with changes of the score (Bhatt et al. 2020; Ancona et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe, positive
from attrfunc.core.loops.progress import Progress
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import method
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.metrics.explanation import Explanation, open_explanation
from attrfunc.metrics.perturbation_curve import curve, order_of
from attrfunc.metrics.subsets import correlation, subsets
from attrfunc.perturbation.feature_groups import FeatureMask

__all__ = ["faithfulness_correlation", "monotonicity", "sensitivity_n"]


@method
def faithfulness_correlation(
    model: Model,
    x: Any,
    attributions: Any,
    *,
    baseline: Baseline = None,
    target: Target = None,
    feature_mask: FeatureMask = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    subset_size: int | None = None,
    n_subsets: int = 100,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Tensor:
    """The correlation of sums of attributions with what the score loses without these features.

    Pearson's, over random sets S of features: `corr(sum of a over S, score(x) - score(x with S at the baseline))`. All
    examples have the same sets. If there are no more than `n_subsets` of this size, each is taken once.

    Args:
        model: A module, any callable, or a view of one; no gradient is taken.
        x: The input, a tensor `(B, *S)` or a structure of them; integers, too.
        attributions: What is measured; see `attrfunc.metrics.explanation`.
        baseline: What replaces features; see `attrfunc.core.score.baseline`.
        target: Which output was attributed; see `attrfunc.core.score.target`.
        feature_mask: What is replaced together; see `attrfunc.perturbation.feature_groups`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        subset_size: How many features a set has; `None` is a fifth of all, at least one.
        n_subsets: How many sets.
        generator: The source of randomness; `None` is torch's default generator.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Correlations `(B,)` from -1 to 1; 1 for exact attributions of an additive score. NaN where either side is the
        same for all sets.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If a score is not finite, or examples are not scored apart.

    Example:
        >>> model, x = torch.nn.Linear(4, 2), torch.ones(5, 4)
        >>> af.metrics.faithfulness_correlation(model, x, af.ig(model, x, target=1), target=1).min() > 0.999
        tensor(True)

    Reference:
        Bhatt, Weller, Moura: Evaluating and Aggregating Feature-based Model Explanations, IJCAI 2020,
        https://arxiv.org/abs/2005.00631.
    """
    options: dict[str, Any] = {"baseline": baseline, "target": target, "feature_mask": feature_mask}
    explanation = open_explanation(model, x, attributions, args=args, kwargs=kwargs, chunk_size=chunk_size, **options)
    size = max(1, explanation.groups // 5) if subset_size is None else subset_size
    chosen = subsets(explanation.groups, size, positive("n_subsets", n_subsets), generator)
    return _correlated(explanation, chosen, chunk_size, progress)


@method
def sensitivity_n(
    model: Model,
    x: Any,
    attributions: Any,
    *,
    n: int | Sequence[int],
    baseline: Baseline = None,
    target: Target = None,
    feature_mask: FeatureMask = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    n_subsets: int = 100,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Tensor:
    """Sensitivity-n: the correlation of attributions and changes of the score over sets of n features.

    A method satisfies sensitivity-n if over all sets of n features the sum of its attributions is what the score loses
    without them. It is measured by Pearson's correlation over random sets, as in the paper.

    Args:
        model: As in `faithfulness_correlation`.
        x: As there.
        attributions: As there.
        n: The size of the sets; several give the mean of their correlations.
        baseline: As there.
        target: As there.
        feature_mask: As there.
        args: As there.
        kwargs: As there.
        n_subsets: How many sets of each size; all, if there are no more.
        generator: As there.
        chunk_size: As there.
        progress: As there.

    Returns:
        Correlations `(B,)`; 1 for each n if the score is additive and the attributions are exact.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If a score is not finite, or examples are not scored apart.

    Example:
        >>> model, x = torch.nn.Linear(4, 2), torch.ones(5, 4)
        >>> af.metrics.sensitivity_n(model, x, af.ig(model, x, target=1), n=[1, 2, 3], target=1).min() > 0.999
        tensor(True)

    Reference:
        Ancona, Ceolini, Oeztireli, Gross: Towards better understanding of gradient-based attribution methods for Deep
        Neural Networks, ICLR 2018, https://arxiv.org/abs/1711.06104.
    """
    options: dict[str, Any] = {"baseline": baseline, "target": target, "feature_mask": feature_mask}
    explanation = open_explanation(model, x, attributions, args=args, kwargs=kwargs, chunk_size=chunk_size, **options)
    sizes, count = list(n) if isinstance(n, Iterable) else [n], positive("n_subsets", n_subsets)
    if not sizes:
        raise ArgumentError("n", describe(n), "one size at least", "Pass n=[1, 2], say.")
    chosen = [subsets(explanation.groups, size, count, generator, name="n") for size in sizes]
    said, lost = explanation.changes(torch.cat(chosen), chunk_size=chunk_size, progress=progress)
    lengths = [len(part) for part in chosen]
    pairs = zip(said.split(lengths), lost.split(lengths), strict=True)
    return torch.stack([correlation(*pair) for pair in pairs]).mean(0).to(said.dtype)


@method
def monotonicity(
    model: Model,
    x: Any,
    attributions: Any,
    *,
    baseline: Baseline = None,
    target: Target = None,
    feature_mask: FeatureMask = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Tensor:
    """How often the score rises, or stays, as features are put in place of the baseline, the least important first.

    The paper asks if it always does: whether this share is 1.

    Args:
        model: As in `faithfulness_correlation`.
        x: As there.
        attributions: As there.
        baseline: Where to begin.
        target: As there.
        feature_mask: As there.
        args: As there.
        kwargs: As there.
        chunk_size: As there.
        progress: As there.

    Returns:
        Shares `(B,)` of the n steps. For an additive score and exact attributions, the share of features whose
        attribution is not negative.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If a score is not finite, or examples are not scored apart.

    Example:
        >>> model = lambda x: (x * torch.tensor([1.0, -3.0, 2.0, 1.0])).sum(1)
        >>> x = torch.ones(1, 4)
        >>> af.metrics.monotonicity(model, x, af.ig(model, x))
        tensor([0.7500])

    Reference:
        Luss et al.: Leveraging Latent Features for Local Explanations, 2019, https://arxiv.org/abs/1905.12698; Arya et
        al.: One Explanation Does Not Fit All, 2019, https://arxiv.org/abs/1909.03012.
    """
    options: dict[str, Any] = {"baseline": baseline, "target": target, "feature_mask": feature_mask}
    explanation = open_explanation(model, x, attributions, args=args, kwargs=kwargs, chunk_size=chunk_size, **options)
    places = order_of(explanation.sums, least_first=True)
    counts = range(explanation.groups + 1)
    scores = curve(explanation, places, counts, put_back=True, imputer=None, chunk_size=chunk_size, progress=progress)
    return (scores[:, 1:] >= scores[:, :-1]).to(scores.dtype).mean(1)


def _correlated(explanation: Explanation, chosen: Tensor, chunk_size: int | None, progress: Progress) -> Tensor:
    said, lost = explanation.changes(chosen, chunk_size=chunk_size, progress=progress)
    return correlation(said, lost).to(said.dtype)
