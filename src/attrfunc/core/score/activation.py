"""The activation that a layer view attributes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrfunc.core.score.method import method, open_problem
from attrfunc.core.score.views import Model

__all__ = ["activation"]


@method
def activation(model: Model, x: Any, *, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
    """The point that a view attributes to: a layer's activation, from one forward pass.

    Args:
        model: A view of a model at one or several layers.
        x: The input, a tensor `(B, *S)` or a structure of them.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.

    Returns:
        The activation, with the structure that the layer gives it; for a list of layers, a list.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If the layer does not run, or runs several times when no call was chosen.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> x = torch.ones(5, 3)
        >>> torch.equal(af.activation(af.layer(model, "0"), x), model[0](x))
        True
    """
    problem = open_problem(model, x, None, args, kwargs)
    return problem.point().restored()
