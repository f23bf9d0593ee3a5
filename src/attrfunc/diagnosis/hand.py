"""The same numbers by hand: plain autograd and plain loops on copies of the model, without a method of this library."""

from __future__ import annotations

import copy
import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from attrfunc.core.model.parts import model_root, named_modules
from attrfunc.core.model.twin import Twin
from attrfunc.core.score.target import Index, select

__all__ = ["Hand", "Leaves"]

Leaves = list[Tensor]


class Hand:
    """A model on a batch, evaluated one point at a time, each time by a new copy.

    Args:
        model: The model. A copy is made by `copy.deepcopy`; where that is not to be had (functions, what cannot be
            copied) the model is called as the library calls it.
        x: The input.
        args: Further positional arguments.
        kwargs: Keyword arguments.
        rows: Number of examples.

    Attributes:
        spec: The structure of the input.
        index: Which output is the score, in its canonical form.
        layer: A layer in whose output points stand; None for the input.
        end: The point itself.
        start: The baseline.
        apart: Whether examples do not depend on each other; else the batch is one example with one score, the sum.
    """

    def __init__(self, model: Any, x: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None, rows: int) -> None:
        self._model, self._rest, self.rows = model, (tuple(args), dict(kwargs or {})), rows
        leaves, self.spec = pytree.tree_flatten(x)
        self._leaves = [leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self.copies = model_root(model) is not None or isinstance(model, torch.jit.ScriptModule)
        if self.copies:
            try:
                self.fresh()
            except Exception:  # whatever a class makes of being copied
                self.copies = False
        self.index: Index = None
        self.layer: str | None = None
        self.end: Leaves = list(self._leaves)
        self.start: Leaves = []
        self.apart = True

    def moved(self) -> Hand:
        """The same at a point that is as near as the numbers allow: what changes is what rounding does."""
        other = copy.copy(self)
        generator = torch.Generator().manual_seed(0)
        other.end = []
        for leaf in self.end:
            if not leaf.is_floating_point():
                other.end.append(leaf)
                continue
            signs = torch.randint(0, 2, leaf.shape, generator=generator).to(leaf.device) * 2 - 1
            other.end.append(leaf * (1 + signs.to(leaf.dtype) * torch.finfo(leaf.dtype).eps))
        if self.layer is None:
            other._leaves = other.end
        return other

    def fresh(self) -> Any:
        """A copy of the model, as it is."""
        if not self.copies:
            return Twin(self._model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's graphs warn of torch
            return copy.deepcopy(self._model)

    def output(self, leaves: Leaves | None = None, model: Any = None) -> Any:
        """What the model gives for these tensors of the input."""
        given = pytree.tree_unflatten([leaf.clone() for leaf in leaves or self._leaves], self.spec)
        args, kwargs = copy.deepcopy(self._rest)
        model = self.fresh() if model is None else model
        return model(*given, *args, **kwargs) if isinstance(given, tuple) else model(given, *args, **kwargs)

    def scores(self, leaves: Leaves | None = None, model: Any = None) -> Tensor:
        """The scores `(B,)` at a point of the input."""
        return select(self.output(leaves, model), self.index, self.rows)

    def at(self, leaves: Leaves, model: Any = None) -> Tensor:
        """The scores `(B,)` at a point: of the input, or of the layer while the input stays as it is."""
        if self.layer is None:
            return self.scores(leaves, model)
        model = self.fresh() if model is None else model
        with hooked(model, self.layer, lambda output: leaves[0]):
            return self.scores(model=model)

    def gradient(self, leaves: Leaves) -> Leaves:
        """The gradient of the sum of the scores, by plain autograd; zeros where there is none."""
        with torch.enable_grad():
            points = [leaf.detach().clone().requires_grad_() for leaf in leaves]
            found = torch.autograd.grad(self.at(points).sum(), points, allow_unused=True)
        return [torch.zeros_like(p) if g is None else g for p, g in zip(points, found, strict=True)]

    def activation(self, layer: str, leaves: Leaves | None = None) -> Tensor:
        """What a layer gives."""
        kept: list[Tensor] = []
        model = self.fresh()

        def keep(output: Tensor) -> Tensor:
            kept.append(output)
            return output.clone()  # what stands behind it may write into it

        with hooked(model, layer, keep):
            self.output(leaves, model)
        return kept[0]

    def slopes(self, layer: str, leaves: Leaves) -> tuple[Tensor, Tensor]:
        """What a layer gives, and the gradient of the sum of the scores there."""
        kept: list[Tensor] = []
        model = self.fresh()

        def keep(output: Tensor) -> Tensor:
            kept.append(output if output.requires_grad else output.detach().requires_grad_())
            return kept[0].clone()

        with torch.enable_grad(), hooked(model, layer, keep):
            points = [leaf.detach().clone().requires_grad_(leaf.is_floating_point()) for leaf in leaves]
            scores = self.scores(points, model)
            return kept[0].detach(), torch.autograd.grad(scores.sum(), kept[0])[0]

    def path(self, steps: int) -> Iterator[tuple[Leaves, float]]:
        """Points on the straight line from the baseline, and their weights, by Gauss and Legendre."""
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            yield [a + float(node) * (b - a) for a, b in zip(self.start, self.end, strict=True)], float(weight)

    def average(self, steps: int) -> tuple[Leaves, Leaves]:
        """The mean of the gradient along the line, and its variance."""
        mean = [torch.zeros_like(leaf) for leaf in self.end]
        square = [torch.zeros_like(leaf) for leaf in self.end]
        for point, weight in self.path(steps):
            for place, gradient in enumerate(self.gradient(point)):
                mean[place] += weight * gradient
                square[place] += weight * gradient.square()
        return mean, [(s - m.square()).clamp(min=0) for m, s in zip(mean, square, strict=True)]

    def integrated(self, steps: int) -> Leaves:
        """Integrated gradients, by a loop."""
        mean, _ = self.average(steps)
        return [m * (b - a) for m, a, b in zip(mean, self.start, self.end, strict=True)]

    def influence(self, layer: str, steps: int) -> Tensor:
        """The gradient at a layer while the input moves, averaged."""
        return torch.stack([weight * self.slopes(layer, point)[1] for point, weight in self.path(steps)]).sum(0)

    def conductance(self, layer: str, steps: int) -> Tensor:
        """The gradient at a layer times how fast the layer changes along the line, integrated."""
        total: Any = 0
        way = [b - a for a, b in zip(self.start, self.end, strict=True)]
        for point, weight in self.path(steps):
            gradient = self.slopes(layer, point)[1]
            moved = lambda *leaves: self.activation(layer, list(leaves))  # noqa: E731
            _, speed = torch.autograd.functional.jvp(moved, tuple(point), tuple(way))
            total = total + weight * gradient * speed
        return total

    def neuron_conductance(self, layer: str, steps: int) -> Leaves:
        """What goes through the first neuron of a layer: two gradients, by the chain rule."""
        total = [torch.zeros_like(leaf) for leaf in self.end]
        for point, weight in self.path(steps):
            outer = self.slopes(layer, point)[1].flatten(1)[:, 0]
            with torch.enable_grad():
                points = [leaf.detach().clone().requires_grad_() for leaf in point]
                neuron = self.activation(layer, points).flatten(1)[:, 0]
                inner = torch.autograd.grad((outer * neuron).sum(), points)
            for place, gradient in enumerate(inner):
                total[place] += weight * gradient
        return [t * (b - a) for t, a, b in zip(total, self.start, self.end, strict=True)]

    def change(self, start: Leaves | None = None) -> Tensor:
        """The scores at the point less those at the baseline."""
        with torch.no_grad():
            change = self.at(self.end) - self.at(self.start if start is None else start)
        return change if self.apart else change.sum()[None]

    def total(self, found: Sequence[Tensor]) -> Tensor:
        """What attributions add up to, for each example."""
        sums = torch.stack([leaf.flatten(1).sum(1) for leaf in found]).sum(0)
        return sums if self.apart else sums.sum()[None]

    def value(self, present: Sequence[Tensor]) -> Tensor:
        """The scores with some elements of the point present, and the others as at the baseline."""
        mixed = [torch.where(p, b, a) for p, a, b in zip(present, self.start, self.end, strict=True)]
        with torch.no_grad():
            scores = self.at(mixed)
        return (scores if self.apart else scores.sum()[None]).to(torch.promote_types(scores.dtype, torch.float32))

    def game(self, ids: Sequence[Tensor]) -> Coalitions:
        """The game of groups of elements, whose numbers these are."""
        return Coalitions(self, ids)


class Coalitions:
    """The scores of coalitions of groups; each is evaluated once.

    Where examples depend on each other, groups of different examples are different players.
    """

    def __init__(self, hand: Hand, ids: Sequence[Tensor]) -> None:
        count = 1 + max(int(one.max()) for one in ids)
        if not hand.apart:
            rows = [torch.arange(hand.rows).view(-1, *[1] * (one.dim() - 1)) * count for one in ids]
            ids, count = [one + row.to(one.device) for one, row in zip(ids, rows, strict=True)], count * hand.rows
        self.players, self._hand, self._ids = count, hand, ids
        self._known: dict[frozenset[int], Tensor] = {}

    def __call__(self, coalition: Iterator[int] | Sequence[int] | frozenset[int]) -> Tensor:
        """The score of a coalition."""
        key = frozenset(coalition)
        if key not in self._known:
            here = torch.tensor([player in key for player in range(self.players)])
            self._known[key] = self._hand.value([here.to(one.device)[one] for one in self._ids])
        return self._known[key]

    def spread(self, values: Sequence[Tensor]) -> Leaves:
        """The value of its group for each element."""
        table = torch.stack(list(values), 1)  # (rows, players)
        full = []
        for one, leaf in zip(self._ids, self._hand.end, strict=True):
            wide = one.expand(leaf.shape)
            if self._hand.apart:
                full.append(table.gather(1, wide.flatten(1)).view(leaf.shape))
            else:
                full.append(table[0][wide])
        return full

    def ablation(self) -> Leaves:
        """What the score loses without each group."""
        every = range(self.players)
        whole = self(list(every))
        return self.spread([whole - self([p for p in every if p != player]) for player in every])

    def weighted(self, weight: Callable[[int, int], float]) -> Leaves:
        """What each group adds to coalitions of the others, in a mean with weights of (size, players)."""
        values = []
        for player in range(self.players):
            others = [p for p in range(self.players) if p != player]
            total: Any = 0
            for size in range(len(others) + 1):
                for some in itertools.combinations(others, size):
                    total = total + weight(size, self.players) * (self([*some, player]) - self(some))
            values.append(total)
        return self.spread(values)

    def shapley(self) -> Leaves:
        """Shapley values, by their definition."""
        return self.weighted(lambda size, n: math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n))

    def banzhaf(self) -> Leaves:
        """Banzhaf values, by their definition."""
        return self.weighted(lambda size, n: 2.0 ** (1 - n))

    def owen(self, unions: Sequence[Sequence[int]]) -> Leaves:
        """Owen values: the mean over all orders in which the members of a union stand together."""
        totals: list[Any] = [0] * self.players
        count = 0
        for order in itertools.permutations(unions):
            for within in itertools.product(*(itertools.permutations(union) for union in order)):
                before: list[int] = []
                for player in itertools.chain(*within):
                    totals[player] = totals[player] + self([*before, player]) - self(before)
                    before.append(player)
                count += 1
        return self.spread([total / count for total in totals])


@contextmanager
def hooked(model: Any, layer: str, edit: Callable[[Tensor], Any]) -> Iterator[None]:
    """Let a function see, and replace, what a layer of a copy gives."""
    module: nn.Module = named_modules(model)[layer]

    def hook(_: nn.Module, __: Any, output: Any) -> Any:
        changed = edit(output)
        return changed if isinstance(changed, Tensor) else None

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
