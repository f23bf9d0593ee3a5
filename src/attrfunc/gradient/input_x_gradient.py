"""Input times gradient (Shrikumar et al. 2016)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrfunc.core.loops.examples import by_examples
from attrfunc.core.loops.progress import Progress
from attrfunc.core.score.method import method, open_problem
from attrfunc.core.score.problem import Problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model

__all__ = ["input_x_gradient"]


@method
def input_x_gradient(
    model: Model,
    x: Any,
    *,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """The point times the gradient of the score there.

    Args:
        model: A module, any callable, or a view of one.
        x: The input, a tensor `(B, *S)` or a structure of them.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Attributions in units of the score, with the structure and shapes of `x` (or of the layer's activation; for a
        list of layers, a list, from one forward and one backward pass). *Completeness* against a zero baseline holds
        for networks that are positively homogeneous (ReLU without biases), and only for these.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If the score is not finite, or torch.func cannot trace the model.

    Example:
        >>> model = torch.nn.Linear(3, 2, bias=False)
        >>> x = torch.ones(5, 3)
        >>> attributions = af.input_x_gradient(model, x, target=1)
        >>> torch.allclose(attributions.sum(1), model(x)[:, 1])
        True

    Reference:
        Shrikumar, Greenside, Shcherbina, Kundaje: Not Just a Black Box, 2016.
        https://arxiv.org/abs/1605.01713
    """

    def attribute(part: Problem, rows: slice) -> Any:
        point, _, gradient = part.gradient()
        return point.restored([leaf * slope for leaf, slope in zip(point.leaves, gradient, strict=True)])

    return by_examples(open_problem(model, x, target, args, kwargs), attribute, chunk_size, progress)
