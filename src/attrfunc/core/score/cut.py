"""Gradients without a way: an input that the score does not use has zeros, a graph that was cut is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attrfunc.core.errors import ModelError
from attrfunc.core.model.engines import settled
from attrfunc.core.score.places import AtLayers
from attrfunc.core.score.point import Point

if TYPE_CHECKING:
    from attrfunc.core.score.problem import Problem

__all__ = ["filled"]


def filled(problem: Problem, point: Point, scores: Tensor, found: Sequence[Tensor | None]) -> list[Tensor]:
    """The gradients at a point, with zeros for what the score does not depend on.

    Args:
        problem: The problem.
        point: The point.
        scores: Its scores.
        found: The gradients; None where there is no way from the score.

    Raises:
        ModelError: If the score changes with a tensor that there is no way to.
    """
    missing = [number for number, slope in enumerate(found) if slope is None]
    problem = replace(problem, mode=None)
    if missing and not torch.compiler.is_compiling():
        for one, numbers in _by_place(problem, point, missing):
            _require_unused(one, scores, numbers)
    pairs = zip(found, point.leaves, strict=True)
    return [torch.zeros_like(leaf) if slope is None else slope for slope, leaf in pairs]


class _Alone:
    """A problem at one place, and the part of a point there."""

    def __init__(self, problem: Problem, point: Point) -> None:
        self.problem, self.point = problem, point

    def scores(self, leaves: Sequence[Tensor]) -> Tensor:
        """The scores, with other tensors there."""
        return self.problem.scores(self.point.like([leaf[None] for leaf in leaves]))


def _by_place(problem: Problem, point: Point, missing: list[int]) -> Iterator[tuple[_Alone, list[int]]]:
    """Each place with missing gradients by itself: layers that follow each other cut each other off."""
    place = problem.view.place
    if not isinstance(place, AtLayers):
        yield _Alone(problem, point), missing
        return
    for site, part in zip(place.sites, point.parts, strict=True):
        inside = [number - part.places.start for number in missing if part.places.start <= number < part.places.stop]
        if inside:
            leaves = point.leaves[part.places]
            own = replace(part, places=slice(0, len(leaves)))
            view = replace(problem.view, place=AtLayers((site,)))
            yield _Alone(replace(problem, view=view), Point(list(leaves), (own,))), inside


def _require_unused(alone: _Alone, scores: Tensor, missing: list[int]) -> None:
    with torch.no_grad():
        leaves = [leaf.detach() for leaf in alone.point.leaves]
        before = alone.scores(leaves)[0]
        if not settled((scores == before) | before.isnan()):
            return  # it is random, so nothing can be told
        for change in _CHANGES:
            moved = [change(leaf) if number in missing else leaf for number, leaf in enumerate(leaves)]
            try:
                after = alone.scores(moved)[0]
            except Exception:  # what the model makes of a changed point is not the caller's error
                continue
            if not settled(after == before):
                _refuse(alone, missing)


def _refuse(alone: _Alone, missing: list[int]) -> None:
    name = alone.point.part_of(missing[0]).name
    what = f"the activation at layer {name!r}" if name else "the input"
    if not name and len(alone.point.leaves) > 1:
        what = f"tensor {missing[0]} of the input"
    raise ModelError(
        f"the score changes with {what}, but has no gradient with respect to it: on the way the model computes under "
        "no_grad or inference_mode (as reentrant gradient checkpointing does), detaches, or turns numbers into indices "
        "or truth values (a cast to integers, argmax, a comparison, an embedding of them). Attribute at a place behind "
        "that, such as the embedding layer: af.layer(model, ...); or take a method that needs no gradient, such as "
        "feature_ablation."
    )


def _first_everywhere(leaf: Tensor) -> Tensor:
    """The first number of each example in place of all: what was valid (an identifier, say) stays so."""
    flat = leaf.flatten(1) if leaf.dim() > 1 else leaf[:, None]
    return flat[:, :1].expand(flat.shape).reshape(leaf.shape)


_CHANGES: tuple[Callable[[Tensor], Tensor], ...] = (
    _first_everywhere,
    torch.zeros_like,
    lambda leaf: leaf * 0.5 + 0.25,
    lambda leaf: leaf.roll(1, 0),
)
