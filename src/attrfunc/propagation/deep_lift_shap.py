"""DeepLIFT averaged over a distribution of baselines: DeepSHAP (Lundberg and Lee 2017)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ModelError
from attrfunc.core.loops.chunks import Work
from attrfunc.core.loops.examples import by_examples
from attrfunc.core.loops.progress import Progress
from attrfunc.core.loops.samples import Moments, distribution, sampled
from attrfunc.core.model.engines import require_finite
from attrfunc.core.score.method import each_layer, method, open_problem
from attrfunc.core.score.problem import Problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.propagation.completeness import Completeness
from attrfunc.propagation.deep_lift import Contribution, lifted
from attrfunc.propagation.deep_lift_rules import RESCALE
from attrfunc.propagation.propagate import layer_names
from attrfunc.propagation.rule_book import RuleBook, Rules, laid_over

__all__ = ["deep_lift_shap"]

log = logging.getLogger("attrfunc")


@method
@each_layer
def deep_lift_shap(
    model: Model,
    x: Any,
    *,
    baselines: Any,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    rules: RuleBook | Rules | None = None,
    multiply_by_inputs: bool = True,
    contribution: Contribution = None,
    average: bool = True,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """`deep_lift` from every baseline of a distribution, averaged.

    The network runs forward once for the input and once for each baseline, and back once for each pair.

    Args:
        model: A module, any callable, or a view of one.
        x: The input, a tensor `(B, *S)` or a structure of them.
        baselines: All of these samples `(N, *S)` are taken, for each example; see `attrfunc.core.loops.samples`.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        rules: Other rules; see `attrfunc.propagation.rule_book`.
        multiply_by_inputs: `False` gives the average multipliers.
        contribution: As for `deep_lift`; it is called with one baseline at a time.
        average: `False` gives the attributions from each baseline, `(B, N, *S)`.
        chunk_size: Pairs of examples and baselines taken at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Attributions in units of the score, with the structure and shapes of `x` (or of the layer's activation; for a
        list of layers, a list). *Completeness*: they sum to the score less its mean over the baselines, exactly.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: As for `deep_lift`.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> x, background = torch.ones(5, 3), torch.randn(20, 3)
        >>> attributions = af.deep_lift_shap(model, x, baselines=background, target=1)
        >>> change = model(x)[:, 1] - model(background)[:, 1].mean()
        >>> torch.allclose(attributions.sum(1), change, atol=1e-5)
        True

    Reference:
        Lundberg, Lee: A Unified Approach to Interpreting Model Predictions, NeurIPS 2017.
        https://arxiv.org/abs/1705.07874
    """
    problem = open_problem(model, x, target, args, kwargs)
    book = laid_over(RESCALE, rules, layer_names(problem))
    samples, complete = distribution(baselines, x), Completeness()

    def attribute(part: Problem, rows: slice) -> Any:
        pairs = _Pairs(part, book, samples, multiply_by_inputs, contribution, complete, average)
        moments = Moments(second=False)
        each: list[list[Tensor]] = []
        # Baselines are mapped, not put behind each other, and share what the input takes: half of what one takes.
        work = replace(Work.of(part), folds=True, shared_part=0.5)
        bar = progress if part is problem else False
        take = moments.take if average else each.append
        sampled(pairs.next, pairs.count, work, take, chunk_size=chunk_size, progress=bar)
        if average:
            result = moments.result("smoothgrad")
        else:
            result = [torch.cat(parts).transpose(0, 1) for parts in zip(*each, strict=True)]
        for leaf in result:
            require_finite(leaf)  # what is mapped hides which score is not
        return part.point().restored(result)

    if chunk_size == 1:  # a model that takes one example at a time, perhaps
        return by_examples(problem, attribute, chunk_size, progress)
    return attribute(problem, slice(None))


class _Pairs:
    """What each baseline gives for all examples."""

    def __init__(
        self,
        problem: Problem,
        book: RuleBook,
        samples: list[Tensor],
        multiply_by_inputs: bool,
        contribution: Contribution,
        complete: Completeness,
        average: bool,
    ) -> None:
        self._problem, self._book, self._multiply = problem, book, multiply_by_inputs
        self._contribution, self._complete = contribution, complete
        self._samples, self.count, self._taken = samples, len(samples[0]), 0
        self._spec = pytree.tree_structure(problem.inputs.x)
        # What a compiler traces has no batching rule for batch norm, and a user's function need have none. Each by
        # itself is as exact as `deep_lift`, where mapped sums are rounded otherwise.
        self._mapped = average and contribution is None and not torch.compiler.is_compiling()

    def next(self, count: int) -> list[Tensor]:
        """Attributions `(K, *point)` from the next K baselines: mapped, so that what all share runs once."""
        parts = [leaf[self._taken : self._taken + count] for leaf in self._samples]
        self._taken += count
        if len(parts[0]) > 1 and self._mapped:
            try:
                return torch.func.vmap(self._one)(parts)
            except ModelError:
                raise
            except RuntimeError as error:
                log.debug("vmap failed, so baselines are taken one by one: %s", error)
                self._mapped = False
        found = [self._one([leaf[k] for leaf in parts]) for k in range(len(parts[0]))]
        return [torch.stack(leaves) for leaves in zip(*found, strict=True)]

    def _one(self, sample: list[Tensor]) -> list[Tensor]:
        baseline = pytree.tree_unflatten([leaf[None] for leaf in sample], self._spec)
        given = (self._book, self._multiply, self._contribution, self._complete)
        return lifted(self._problem, baseline, *given, shared=True)
