"""Places: where the point of a view stands. A place reads the point, and puts other points there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from attrfunc.core.errors import ModelError
from attrfunc.core.model.sites import Edit, Given, Site
from attrfunc.core.score.inputs import Inputs
from attrfunc.core.score.point import Part, Point
from attrfunc.core.trees import floats

if TYPE_CHECKING:
    from attrfunc.core.score.problem import Problem

__all__ = ["AT_INPUT", "AtInput", "AtLayers", "Edits", "Reading"]

Edits = tuple[tuple[Site, Edit], ...]


@dataclass(frozen=True)
class AtInput:
    """The input itself is the point."""

    sites: tuple[Site, ...] = ()
    several: bool = False
    joint: bool | Literal["cut"] = False

    def read(self, problem: Problem, *, stop: bool = False) -> Point:
        """The point at the input."""
        return Point.of_input(problem.inputs.x)

    def put(self, inputs: Inputs, point: Point, *, unread: bool = False) -> tuple[Inputs, Edits]:
        """What a run takes whose point is another one."""
        return inputs.moved(point.restored()), ()


AT_INPUT = AtInput()  # to a compiler, which makes none


@dataclass(frozen=True)
class AtLayers:
    """The activations at one or several layers are the point.

    Attributes:
        sites: The layers.
        several: Whether they came as a list: results then come as a list.
        joint: Whether they form one point; `"cut"` if one may feed another, which it then does not reach.
    """

    sites: tuple[Site, ...]
    several: bool = False
    joint: bool | Literal["cut"] = False

    def read(self, problem: Problem, *, stop: bool = False) -> Point:
        """The activations at the input, from one forward pass that may stop behind them."""
        if problem.splits(problem.inputs.rows):
            return Point.joined([self.read(part, stop=stop) for part in problem.singles()])
        reading = Reading(self)
        problem.output(problem.inputs, reading.edits(), stop=stop)
        return reading.point()

    def put(self, inputs: Inputs, point: Point, *, unread: bool = False) -> tuple[Inputs, Edits]:
        """What a run takes whose point is another one. Where nothing reads the input, it costs nothing."""
        edits = tuple((site, _put(part, point)) for site, part in zip(self.sites, point.parts, strict=True))
        return inputs.blank() if unread else inputs, edits


def _put(part: Part, point: Point) -> Edit:
    leaves = point.leaves[part.places]
    if part.whole:
        return Given(lambda: part.restore([leaf.clone() for leaf in leaves]))

    def replaced(value: Any) -> Any:
        """What comes, integers among it, with these tensors."""
        found, restore = floats(value)
        if [leaf.shape for leaf in found] != [leaf.shape for leaf in leaves]:
            raise ModelError(
                f"the activation at layer {part.name!r} has other shapes at other inputs, so its points cannot be put "
                "in place of each other. Choose another layer."
            )
        return restore([leaf.clone() for leaf in leaves])

    return replaced


class Reading:
    """Reads the activations at layers in one run.

    Args:
        place: The layers.
        change: What goes on in place of the tensors of each, and is read.
    """

    def __init__(self, place: AtLayers, change: Any = None) -> None:
        self._place, self._change = place, change
        self._values: dict[int, Any] = {}

    def edits(self) -> Edits:
        """The edits that read."""
        return tuple((site, self._edit(number, site)) for number, site in enumerate(self._place.sites))

    def _edit(self, number: int, site: Site) -> Edit:
        def read(value: Any) -> Any:
            tensors, restore = floats(value)
            if not tensors:
                raise ModelError(f"layer {site.name!r} has no floating-point tensor at its {site.side}.")
            if self._change is not None:
                tensors = self._change(number, tensors)
            self._values[number] = restore(tensors)
            return restore([leaf.clone() for leaf in tensors])  # what goes on may be changed in place

        return read

    def point(self) -> Point:
        """What was read."""
        sites = self._place.sites
        names = [site.name for site in sites]
        return Point.of_layers([self._values[number] for number in range(len(sites))], names, self._place.several)
