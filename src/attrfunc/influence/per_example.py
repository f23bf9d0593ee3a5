"""The gradients of each example: of factors where operations have them, else mapped over examples, or one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, AttributionError, ModelError
from attrfunc.core.model.culprits import diagnose
from attrfunc.core.trees import leaves_of
from attrfunc.influence.batches import one_of, row_of, rows_of, slow_maps, zeroth
from attrfunc.influence.network import Network, plain
from attrfunc.influence.terms import Dense, Gradients, Outer, Term, dense
from attrfunc.influence.uses import LAYOUTS, Recording, Use
from attrfunc.influence.values import Values

__all__ = ["PerExample", "loop", "mapped", "require_finite_scores"]

_TOLERANCE = {torch.float64: (1e-7, 1e-9), torch.float32: (1e-3, 1e-5)}
"""What gradients may differ by, as a part of their own norm and of that of all parameters; more in half precision."""


class PerExample:
    """Gives the gradient of a value of each example with respect to the network's parameters.

    The model runs once for a batch, and back once. How a parameter's gradients follow from the operations that take it
    is compared with plain autograd at two examples, for each shape of batch: a parameter that is used in a way that is
    not known, or whose examples do not stand where they were looked for, is differentiated by `vmap(grad)`, and where
    that cannot trace the model, example by example.

    Args:
        network: The model.
        values: A number for each example.

    Attributes:
        bends_gradients: Whether any operation that has been seen gives gradients that are no derivatives.
    """

    def __init__(self, network: Network, values: Values) -> None:
        self._network, self._values = network, values
        self._leaves = {name: value.detach().requires_grad_() for name, value in network.values.items()}
        self._call = network.call(self._leaves)
        self.bends_gradients = False
        self._known: dict[Any, dict[str, int | None]] = network.known.setdefault(values, {})

    def __call__(self, batch: Any) -> Gradients:
        """The gradients of the examples of a batch."""
        rows = rows_of(batch, self._values.of)
        batch = pytree.tree_map_only(Tensor, plain, batch)
        with torch.inference_mode(False), torch.enable_grad():
            try:
                return self._of_the_whole(batch) if self._values.whole else self._gradients(batch, rows)
            except RuntimeError as error:
                told = None if isinstance(error, AttributionError) else diagnose(error)
                if told is None:
                    raise
                raise told from error

    def _of_the_whole(self, batch: Any) -> Gradients:
        """The gradient of one number, as that of one example."""
        value = self._values(self._call, batch)
        self._require_sound(value)
        slopes = torch.autograd.grad(value, list(self._leaves.values()), torch.ones_like(value), allow_unused=True)
        pairs = zip(self._leaves.items(), slopes, strict=True)
        written = {name: torch.zeros_like(leaf) if slope is None else slope for (name, leaf), slope in pairs}
        return {name: (Dense(slope.to_dense().unsqueeze(0)),) for name, slope in written.items()}

    def _gradients(self, batch: Any, rows: int) -> Gradients:
        recording = Recording(self._leaves)
        with recording:
            values = self._values(self._call, batch)
        self._require_sound(values)
        self.bends_gradients = self.bends_gradients or any(use.bends_gradients for use in recording.uses)
        uses = [use for use in recording.uses if use.intact()]
        spoiled = {name for use in recording.uses if not use.intact() for name in use.places} | recording.others
        shapes = tuple(leaf.shape for leaf in leaves_of(batch) if isinstance(leaf, Tensor))
        layouts = self._known.get(shapes)
        new = layouts is None
        expected = self._expected(values, batch, rows) if new else []
        edges = [use.edge for use in uses]
        slopes: Sequence[Tensor | None] = ()
        if edges:
            slopes = torch.autograd.grad(values, edges, torch.ones_like(values), allow_unused=True)
        pairs = [(use, slope) for use, slope in zip(uses, slopes, strict=True) if slope is not None]
        found: dict[str, Sequence[Term]] = {}
        if layouts is None:
            layouts, found = self._found(pairs, spoiled, rows, expected)
            self._known[shapes] = layouts
        for layout in LAYOUTS:
            names = [name for name, where in layouts.items() if where == layout and name not in found]
            found |= _joined(pairs, names, rows, layout)
        left = [name for name, where in layouts.items() if where is None]
        for name in set(self._leaves) - set(found) - set(left):
            shape = self._leaves[name].shape
            found[name] = (Dense(self._leaves[name].detach().new_zeros(()).expand(rows, *shape)),)
        if left:
            found |= self._otherwise(batch, rows, left, expected)
        return {name: found[name] for name in self._leaves}

    def _require_sound(self, values: Tensor) -> None:
        if not values.requires_grad:
            raise self._unreached()
        if not torch.isfinite(values).all():
            bad = values.detach().flatten()[~torch.isfinite(values.detach()).flatten()][0]
            raise ModelError(
                f"the {self._values.name} of an example is not finite (it is {float(bad)}). Look for overflow, "
                "log(0) or 0/0 in the model, or for NaN in the data."
            )

    def _require_alike(self, together: float, alone: float, number: int, rows: int) -> None:
        own, _ = _TOLERANCE.get(self._network.dtype, (0.05, 0.01))
        if abs(together - alone) > own * (1 + abs(together)):
            raise ModelError(
                f"the {self._values.name} of example {number} is {together:.6g} in a batch of {rows}, and {alone:.6g} "
                "by itself: it depends on the other examples, or is random, and so would influence. Pass batches of "
                "one example, or a model and a loss that treat each by itself."
            )

    def _unreached(self) -> ArgumentError:
        names = ", ".join(repr(name) for name in self._network.names[:3])
        return ArgumentError(
            self._values.name,
            f"a value that depends on none of the parameters ({names}, ...)",
            "a value with a gradient for the parameters of the model that it is given",
            "Let it call its argument `model`, no other one, and outside of torch.no_grad; or choose parameters=.",
        )

    def _expected(self, values: Tensor, batch: Any, rows: int) -> list[tuple[int, dict[str, Tensor]]]:
        """By plain autograd, the gradients of the first and the last example by themselves."""
        found = []
        for number in sorted({0, rows - 1}):
            alone = self._values(self._call, row_of(batch, rows, number))
            self._require_alike(float(values[number].detach()), float(alone.detach()), number, rows)
            ones = torch.ones_like(alone)
            slopes = torch.autograd.grad(alone, list(self._leaves.values()), ones, allow_unused=True)
            shown = dict(zip(self._leaves, (_dense(slope) for slope in slopes), strict=True))
            found.append((number, {name: slope for name, slope in shown.items() if slope is not None}))
            if not all(bool(torch.isfinite(slope).all()) for slope in found[-1][1].values()):
                raise ModelError(
                    f"the gradient of example {number} is not finite, although its {self._values.name} is a number. "
                    "Look for the square root of zero, or overflow, in the model or the loss."
                )
        if not any(slopes for _, slopes in found):
            raise self._unreached()
        return found

    def _found(
        self,
        pairs: Sequence[tuple[Use, Tensor]],
        spoiled: set[str],
        rows: int,
        expected: Sequence[tuple[int, dict[str, Tensor]]],
    ) -> tuple[dict[str, int | None], dict[str, Sequence[Term]]]:
        """For each parameter that the values depend on, where the examples stand, or None; and the terms of those."""
        totals = [torch.stack([s.double().norm() for s in slopes.values()]).norm() for _, slopes in expected if slopes]
        scale = torch.stack(totals).max()
        reached = {name for _, slopes in expected for name in slopes}
        layouts: dict[str, int | None] = dict.fromkeys(name for name in self._leaves if name in reached)
        found: dict[str, Sequence[Term]] = {}
        for layout in LAYOUTS:
            open_names = [name for name, where in layouts.items() if where is None and name not in spoiled]
            for name, terms in _joined(pairs, open_names, rows, layout).items():
                wanted = [(number, slopes.get(name)) for number, slopes in expected]
                if all(_close(_row(terms, number), slope, scale) for number, slope in wanted):
                    layouts[name], found[name] = layout, terms
        return layouts, found

    def _otherwise(
        self, batch: Any, rows: int, names: Sequence[str], expected: Sequence[tuple[int, dict[str, Tensor]]]
    ) -> dict[str, Sequence[Term]]:
        """The gradients of parameters without factors."""
        maps: dict[Any, bool] = self._network.known.setdefault((self._values, "maps"), {})
        if maps.get(tuple(names), True):
            try:
                found = mapped(self._network, self._values, batch, rows, names)
                maps[tuple(names)] = True
            except (RuntimeError, ValueError, TypeError):
                maps[tuple(names)] = False  # what is wrong shows again below, if it is not the mapping
        if not maps[tuple(names)]:
            found = loop(self._call, self._values, batch, rows, {name: self._leaves[name] for name in names})
        totals = [slope.double().norm() for _, slopes in expected for slope in slopes.values()]
        for number, slopes in expected:
            for name in names:
                if not _close(found[name][number], slopes.get(name), torch.stack(totals).norm()):
                    raise ModelError(
                        f"the gradient of example {number} for {name!r} is another in a batch than by itself, so that "
                        "influence has no meaning. Look for randomness, or for what examples share."
                    )
        return {name: (Dense(value),) for name, value in found.items()}


def _dense(slope: Tensor | None) -> Tensor | None:
    return slope.to_dense() if slope is not None and slope.layout != torch.strided else slope


def _joined(
    pairs: Sequence[tuple[Use, Tensor]], names: Sequence[str], rows: int, layout: int
) -> dict[str, Sequence[Term]]:
    """The terms of some parameters; of those only that each of their uses has terms for."""
    found: dict[str, list[Term]] = {name: [] for name in names}
    for use, slope in pairs:
        if not found.keys() & use.places.keys():
            continue
        terms = use.terms(slope, rows, layout)
        for name in found.keys() & use.places.keys():
            if terms is None:
                del found[name]
            else:
                found[name].append(terms[name])
    return {name: _merged(terms) for name, terms in found.items() if terms}


def _merged(terms: Sequence[Term]) -> Sequence[Term]:
    """Several uses of one matrix are one with more steps."""
    outer = [term for term in terms if isinstance(term, Outer) and not term.indices]
    if len(outer) == len(terms) > 1:
        return (Outer(torch.cat([t.left for t in outer], 1), torch.cat([t.right for t in outer], 1), outer[0].count),)
    return terms


def _row(terms: Sequence[Term], number: int) -> Tensor:
    """The gradient of one example, written out."""
    kept = [term[number : number + 1] for term in terms]
    first = kept[0].value if isinstance(kept[0], Dense) else kept[0].right
    return dense(kept, first.dtype)[0]


def _close(value: Tensor, expected: Tensor | None, scale: Tensor) -> bool:
    own, all_of_it = _TOLERANCE.get(value.dtype, (0.05, 0.01))
    other = torch.zeros_like(value) if expected is None else expected.reshape(value.shape)
    bound = own * other.double().norm() + all_of_it * scale
    return bool((value.double() - other.double()).norm() <= bound)


def mapped(network: Network, values: Values, batch: Any, rows: int, names: Sequence[str]) -> dict[str, Tensor]:
    """Gradients by `vmap(grad)`, `(B, *shape)` by name."""
    dims = zeroth(batch, rows)

    def value(chosen: Mapping[str, Tensor], example: Any) -> Tensor:
        return values(network.call(chosen, plain=True), one_of(example, dims))[0]

    chosen = {name: network.values[name] for name in names}
    with slow_maps():
        return torch.vmap(torch.func.grad(value), (None, dims))(chosen, batch)


def loop(call: Any, values: Values, batch: Any, rows: int, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gradients one by one, `(B, *shape)` by name."""
    found: dict[str, list[Tensor]] = {name: [] for name in leaves}
    for number in range(rows):
        value = values(call, row_of(batch, rows, number))
        slopes = torch.autograd.grad(value, list(leaves.values()), torch.ones_like(value), allow_unused=True)
        for (name, leaf), slope in zip(leaves.items(), slopes, strict=True):
            written = _dense(slope)
            found[name].append(torch.zeros_like(leaf) if written is None else written)
    return {name: torch.stack(slopes).detach() for name, slopes in found.items()}


def require_finite_scores(scores: Tensor) -> Tensor:
    """Scores as they are; raise where one is infinite or not a number."""
    if not torch.isfinite(scores).all():
        raise ModelError(
            "an influence is not finite: the gradient of an example is infinite or not a number, although its loss is "
            "a number. Look for the square root of zero, or overflow of half precision, in the model or the loss."
        )
    return scores
