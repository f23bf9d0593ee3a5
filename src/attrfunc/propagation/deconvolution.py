"""Deconvolution (Zeiler and Fergus 2014)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrfunc.core.loops.examples import by_examples
from attrfunc.core.loops.progress import Progress
from attrfunc.core.score.method import method, open_problem
from attrfunc.core.score.problem import Problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.propagation.propagate import layer_names, propagated
from attrfunc.propagation.rectifiers import DECONVOLUTION
from attrfunc.propagation.rule_book import RuleBook, Rules, laid_over

__all__ = ["deconvolution"]


@method
def deconvolution(
    model: Model,
    x: Any,
    *,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    rules: RuleBook | Rules | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """The gradient of the score, with each ReLU on its way back in place of the ReLU's derivative.

    `max(g, 0)` goes back from an activation with the gradient `g` at its value, whether it was active or not, for ReLU
    and its relatives in whatever form a model writes them; see `attrfunc.propagation.rectifiers`.

    Args:
        model: A module, any callable, or a view of one.
        x: The input, a tensor `(B, *S)` or a structure of them.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        rules: Other rules; see `attrfunc.propagation.rule_book`.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        What goes back, in units of the score per unit of the point, with the structure and shapes of `x` (or of the
        layer's activation; for a list of layers, a list, from one forward and one backward pass). *Sensitivity*: zeros
        where no path of operations leads from the point to the score; its values add up to nothing. Under
        `torch.compile` it has no derivatives.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If the score is not finite, or torch.func cannot trace the model.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> found = af.deconvolution(model, torch.ones(5, 3), target=1)
        >>> torch.allclose(found, (model[2].weight[1].relu() @ model[0].weight).expand(5, 3))
        True

    Reference:
        Zeiler, Fergus: Visualizing and Understanding Convolutional Networks, ECCV 2014.
        https://arxiv.org/abs/1311.2901
    """
    problem = open_problem(model, x, target, args, kwargs)
    book = laid_over(DECONVOLUTION, rules, layer_names(problem))

    def attribute(part: Problem, rows: slice) -> Any:
        point, gradient = propagated(part, book)
        return point.restored(gradient)

    return by_examples(problem, attribute, chunk_size, progress)
