"""Layer-wise relevance propagation (Bach et al. 2015), by operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, ModelError, describe, warn
from attrfunc.core.loops.examples import by_examples
from attrfunc.core.loops.progress import Progress
from attrfunc.core.model.engines import known
from attrfunc.core.score.method import method, open_problem
from attrfunc.core.score.problem import Problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model, as_view
from attrfunc.core.trees import floats
from attrfunc.propagation.account import Account
from attrfunc.propagation.lrp_books import DEFAULT, SCORE, SEED
from attrfunc.propagation.propagate import layer_names, propagated
from attrfunc.propagation.rule_book import RuleBook, Rules, laid_over

__all__ = ["lrp", "relevance_gap"]


@method
def lrp(
    model: Model,
    x: Any,
    *,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    rules: RuleBook | Rules | None = None,
    with_info: bool = False,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """The score, handed back from operation to operation to the inputs that contributed: relevance.

    `R_i = sum_j x_i w_ij R_j / sum_i x_i w_ij` for a layer with weights `w`, or another rule.

    Args:
        model: A module, any callable, or a view of one.
        x: The input, a tensor `(B, *S)` or a structure of them.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        rules: A rule book of `attrfunc.rules`, or rules that are laid over the default, `attn_lrp()`; see
            `attrfunc.propagation.lrp_rules` and `attrfunc.propagation.rule_book`.
        with_info: Also return what is known beside: the gap of each example, and what each kind of operation took of
            the relevance; see `attrfunc.propagation.account`. At the input only, of all examples at once.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Relevance in units of the score, with the structure and shapes of `x` (or of the layer's activation; for a list
        of layers, a list, from one forward and one backward pass). *Conservation*: it sums to the score, less the
        shares of biases and `epsilon`; `relevance_gap` measures these, and `with_info` tells them apart.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If an operation has no rule, or the score or the relevance is not finite.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> x = torch.ones(5, 3)
        >>> relevance = af.lrp(model, x, target=1, rules=af.rules.attn_lrp(bias=False))
        >>> af.relevance_gap(model, x, relevance, target=1).abs().max() < 1e-4
        tensor(True)

    Reference:
        Bach et al.: On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance Propagation,
        2015.
        https://doi.org/10.1371/journal.pone.0130140
    """
    problem = open_problem(model, x, target, args, kwargs)
    book = laid_over(DEFAULT, rules, layer_names(problem))
    book = book if book.find(SCORE) else book | SEED
    if with_info and chunk_size is not None:
        raise ArgumentError("chunk_size", describe(chunk_size), "None beside with_info", "Leave one of them out.")
    attribute = lambda part, rows: _relevance(part, book, with_info)  # noqa: E731
    return by_examples(problem, attribute, chunk_size, progress)


def _relevance(problem: Problem, book: RuleBook, with_info: bool) -> Any:
    account = _account(problem, with_info)
    point, relevance = propagated(problem, book, account)
    wide = [part.to(torch.promote_types(part.dtype, torch.float32)) for part in relevance]
    total = torch.stack([part.sum() for part in wide]).sum()
    if known(total.isfinite()) is False:
        raise ModelError(
            f"the relevance is not finite (its sum is {float(total)}): a rule divides by zero or overflows. Give the "
            "rules an epsilon above 0, or attribute at a layer to find where it begins."
        )
    if account is None:
        return point.restored(relevance)
    _warn_of_cuts(problem, account)
    return (point.restored(relevance), account.info(relevance)) if with_info else point.restored(relevance)


def _account(problem: Problem, wanted: bool) -> Account | None:
    """What relevance goes into, where nothing traces the run."""
    if wanted and (problem.view.sites or torch.compiler.is_compiling()):
        fix = "Leave it out: relevance_gap has the gap at a layer, and what flows around the layer is in it."
        raise ArgumentError("with_info", "True", "False at a layer and under torch.compile", fix)
    if torch.compiler.is_compiling():
        return None
    return Account(problem.inputs.rows, whole=wanted)


def _warn_of_cuts(problem: Problem, account: Account) -> None:
    """Warn where relevance ends at values that depend on the input, but have no gradient."""
    cut = account.cut()
    if cut is None:
        return
    lost = float(cut.abs().max())
    if lost > 1e-3 * float(account.scale()):
        warn(
            f"{lost:.3g} of a score's relevance ends at a value that depends on the input, but "
            "goes on without a gradient (detach(), no_grad, an index). Let the gradient through, or read the relevance "
            "as that of a model in which this value is a constant."
        )


@method
def relevance_gap(
    model: Model,
    x: Any,
    relevance: Any,
    *,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """What the relevance of each example sums to, less the score: the shares of biases and `epsilon`, negated.

    Args:
        model: The model or view that was attributed.
        x: The input.
        relevance: What `lrp` returned for them.
        target: The target that was used; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.

    Returns:
        Signed gaps `(B,)` in units of the score; for a list of layers, a list of them. What flows around a layer is in
        its gap.

    Raises:
        ArgumentError: If the relevance does not have the examples in dimension 0.

    Example:
        >>> model = torch.nn.Linear(3, 2, bias=False)
        >>> x = torch.ones(5, 3)
        >>> af.relevance_gap(model, x, af.lrp(model, x, target=0), target=0).shape
        torch.Size([5])
    """
    view = as_view(model)
    problem = open_problem(view, x, target, args, kwargs)
    _, scores = problem.observe()
    if view.place.several and not view.place.joint:
        return [_total(part, len(scores)) - scores for part in relevance]
    return _total(relevance, len(scores)) - scores


def _total(relevance: Any, rows: int) -> Tensor:
    parts, _ = floats(relevance)
    if not parts or any(part.dim() == 0 or part.shape[0] != rows for part in parts):
        shapes = [tuple(part.shape) for part in parts]
        fix = "Pass what lrp returned, with the same model, view and input."
        raise ArgumentError("relevance", f"shapes {shapes}", f"the {rows} examples in dimension 0", fix)
    return torch.stack([part.flatten(1).sum(1) for part in parts]).sum(0)
