"""Saliency: the gradient of the score (Simonyan et al. 2014)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrfunc.core.score.method import method, open_problem
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
) -> Any:
    """The absolute gradient of the score with respect to the point.

    Args:
        model: A module, any callable, or a view of one.
        x: The input, a tensor `(B, *S)` or a structure of them.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        absolute: Give the gradient's absolute value; `False` gives the gradient itself.

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
    """
    problem = open_problem(model, x, target, args, kwargs)
    point, _, gradient = problem.gradient()
    return point.restored([leaf.abs() if absolute else leaf for leaf in gradient])
