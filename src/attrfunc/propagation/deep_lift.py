"""DeepLIFT (Shrikumar et al. 2017), by operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.loops.examples import baseline_at, by_examples
from attrfunc.core.loops.progress import Progress
from attrfunc.core.model.engines import require_finite
from attrfunc.core.score.baseline import Baseline, one_for_all
from attrfunc.core.score.method import each_layer, method, open_problem
from attrfunc.core.score.problem import Problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.propagation.completeness import Completeness
from attrfunc.propagation.deep_lift_rules import RESCALE
from attrfunc.propagation.propagate import layer_names, multipliers
from attrfunc.propagation.rule_book import RuleBook, Rules, laid_over

__all__ = ["Contribution", "deep_lift", "lifted"]

Contribution = Callable[[Any, Any, Any], Any] | None


@method
@each_layer
def deep_lift(
    model: Model,
    x: Any,
    *,
    baseline: Baseline = None,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    rules: RuleBook | Rules | None = None,
    multiply_by_inputs: bool = True,
    contribution: Contribution = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """Differences from the baseline, sent back through multipliers of every operation: DeepLIFT.

    `(x - b) * m`, where `m` is the chain of the operations' slopes from the baseline to the input.

    Args:
        model: A module, any callable, or a view of one.
        x: The input, a tensor `(B, *S)` or a structure of them.
        baseline: What the input is compared with; see `attrfunc.core.score.baseline`.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        rules: Other rules; see `attrfunc.propagation.rule_book`. `af.REVEAL_CANCEL` is the paper's second book.
        multiply_by_inputs: `False` gives the multipliers themselves.
        contribution: `(multipliers, x, baseline) -> attributions`, each with the structure of `x` (or of the layer's
            activation): takes the place of the product of multipliers and differences.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Attributions in units of the score, with the structure and shapes of `x` (or of the layer's activation; for a
        list of layers, a list). *Completeness*: they sum to `score(x) - score(baseline)`, exactly, for every operation
        that has a rule.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If an operation has no rule, the model runs others at the baseline, or the score or a multiplier is
            not finite.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.GELU(), torch.nn.Linear(4, 2))
        >>> x = torch.ones(5, 3)
        >>> attributions = af.deep_lift(model, x, baseline=0.5, target=1)
        >>> af.completeness_gap(model, x, attributions, baseline=0.5, target=1).abs().max() < 1e-5
        tensor(True)

    Reference:
        Shrikumar, Greenside, Kundaje: Learning Important Features Through Propagating Activation Differences, 2017.
        https://arxiv.org/abs/1704.02685
    """
    problem = open_problem(model, x, target, args, kwargs)
    book = laid_over(RESCALE, rules, layer_names(problem))
    count, shared, complete = problem.inputs.rows, one_for_all(baseline, x), Completeness()

    def attribute(part: Problem, rows: slice) -> Any:
        own = baseline_at(baseline, x, rows, count)
        return part.point().restored(lifted(part, own, book, multiply_by_inputs, contribution, complete, shared=shared))

    return by_examples(problem, attribute, chunk_size, progress)


def lifted(
    problem: Problem,
    baseline: Any,
    book: RuleBook,
    multiply_by_inputs: bool,
    contribution: Contribution,
    complete: Completeness,
    *,
    shared: bool,
) -> list[Tensor]:
    """What `deep_lift` attributes to a problem's point; `shared` says whether all examples have one baseline."""
    start, end = problem.endpoints(baseline)
    low, high, eps, found = multipliers(problem, book, start, end, shared=shared)
    require_finite(low)  # multipliers hide what it is
    ends = zip(found, start.leaves, end.leaves, strict=True)
    attributions = [slope * (last - first) for slope, first, last in ends]
    complete.require(problem, attributions, low, high, eps)
    if contribution is None:
        return attributions if multiply_by_inputs else found
    given = contribution(*(end.restored(list(leaves)) for leaves in (found, end.leaves, start.leaves)))
    leaves, spec = pytree.tree_flatten(given)
    if spec != pytree.tree_structure(end.restored(list(found))) or not all(isinstance(leaf, Tensor) for leaf in leaves):
        expected = "attributions with the structure of what is attributed to"
        raise ArgumentError("contribution", f"a callable that gives {describe(given)}", expected, "Return these.")
    return leaves
