"""A trial: a method with everything that it is called with but the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, AttributionError
from attrfunc.core.score.method import open_problem
from attrfunc.core.score.views import Model, as_view
from attrfunc.core.trees import floats

__all__ = ["Method", "Trial", "require_input_view"]

Method = Callable[..., Any]
"""Any callable `method(model, x, baseline=..., target=..., **options)` that returns attributions shaped like `x`."""


@dataclass(frozen=True)
class Trial:
    """What a check calls a method with, and the scores that belong to it.

    Arguments that were not given are not passed on, so that a method need not know them (saliency has no baseline).

    Attributes:
        method: The method.
        x: The input.
        baseline: The baseline.
        target: The target.
        args: Further positional arguments of the model.
        kwargs: Keyword arguments of the model.
        options: The method's own. A generator among them is set back before each call, so that the calls of one check
            draw the same numbers.
        states: The states of these generators.
    """

    method: Method
    x: Any
    baseline: Any = None
    target: Any = None
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    states: Mapping[str, Tensor] | None = None

    def __post_init__(self) -> None:
        if self.states is None:
            options = self.options.items()
            states = {name: value.get_state() for name, value in options if isinstance(value, torch.Generator)}
            object.__setattr__(self, "states", states)

    @property
    def name(self) -> str:
        """The method's name, for messages."""
        return getattr(self.method, "__name__", None) or repr(self.method)

    def but(self, **changes: Any) -> Trial:
        """The same trial with some of it changed."""
        return replace(self, **changes)

    def run(self, model: Model) -> list[Tensor]:
        """Attribute a model: the floating-point tensors of the result.

        Raises:
            AssertionError: If there is an infinity or NaN in it.
        """
        for name, state in (self.states or {}).items():
            self.options[name].set_state(state)
        given = {"baseline": self.baseline, "target": self.target, "args": self.args or None, "kwargs": self.kwargs}
        arguments = {name: value for name, value in given.items() if value is not None}
        result = self.method(model, self.x, **arguments, **self.options)
        leaves = [leaf.detach() for leaf in floats(result)[0]]
        if not all(leaf.isfinite().all() for leaf in leaves):
            raise AssertionError(f"{self.name} returned attributions that are not finite: {leaves}")
        return leaves

    def run_at_input(self, model: Model) -> list[Tensor]:
        """The same, where the result must have the shapes of `x`.

        Raises:
            AssertionError: If it has others.
        """
        result = self.run(model)
        shapes, expected = [tuple(leaf.shape) for leaf in result], [tuple(leaf.shape) for leaf in floats(self.x)[0]]
        if shapes != expected:
            raise AssertionError(
                f"{self.name} returned attributions of shapes {shapes} for inputs of shapes {expected}"
            )
        return result

    def scores(self, model: Model, check: str) -> Tensor:
        """The scores `(5, B)` of a model or view (the first of several) from the baseline straight to the input.

        The scores on the way tell the size of a score that happens to vanish at both ends.
        """
        view = as_view(model)
        one = view.each()[0] if view.place.several and not view.place.joint else view
        try:
            problem = open_problem(one, self.x, self.target, self.args, self.kwargs)
            start, end = problem.endpoints(self.baseline)
            way = end.like([_way(*pair) for pair in zip(start.leaves, end.leaves, strict=True)])
            with torch.no_grad():
                scores = problem.scores(way)
        except AttributionError as error:
            raise error.within(check)  # noqa: B904  # the same error, now with its name
        return scores.detach()


def _way(start: Tensor, end: Tensor) -> Tensor:
    return torch.stack([start, *(torch.lerp(start, end, part) for part in (0.25, 0.5, 0.75)), end]).detach()


def require_input_view(model: Model, check: str) -> None:
    """Raise for a view at a layer, where a check can only change the input."""
    view = as_view(model)
    if view.sites:
        raise ArgumentError(
            "model",
            f"a view at layer {view.sites[0].name!r}",
            "a model, or a view that attributes to the input: this check chooses the point itself",
            "Check the method at a layer with testing.at_layer(method), and pass the model behind the layer.",
        ).within(check)
