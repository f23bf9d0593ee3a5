"""Saliency: the gradient of the score (Simonyan et al. 2014)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrfunc.core.loops.examples import by_examples
from attrfunc.core.loops.progress import Progress
from attrfunc.core.score.method import method, open_problem
from attrfunc.core.score.problem import Problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model

__all__ = ["saliency"]


@method
def saliency(
    model: Model,
    x: Any,
    *,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    absolute: bool = True,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """The absolute gradient of the score with respect to the point.

    Args:
        model: A module, any callable, or a view of one.
        x: The input, a tensor `(B, *S)` or a structure of them.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        absolute: Give the gradient's absolute value; `False` gives the gradient itself.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Gradients in units of the score per unit of the point, with the structure and shapes of `x` (or of the layer's
        activation; for a list of layers, a list, from one forward and one backward pass). Zeros where the score does
        not depend on it: *sensitivity*.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If the score is not finite, or torch.func cannot trace the model.

    Example:
        >>> model = torch.nn.Linear(3, 2)
        >>> gradient = af.saliency(model, torch.ones(5, 3), target=1, absolute=False)
        >>> torch.equal(gradient, model.weight[1].detach().expand(5, 3))
        True

    Reference:
        Simonyan, Vedaldi, Zisserman: Deep Inside Convolutional Networks, ICLR workshop 2014.
        https://arxiv.org/abs/1312.6034
    """

    def attribute(part: Problem, rows: slice) -> Any:
        point, _, gradient = part.gradient()
        return point.restored([leaf.abs() if absolute else leaf for leaf in gradient])

    return by_examples(open_problem(model, x, target, args, kwargs), attribute, chunk_size, progress)
