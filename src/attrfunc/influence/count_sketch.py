"""Count sketches: short vectors whose inner products are those of gradients, in expectation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe, positive
from attrfunc.influence.network import Network
from attrfunc.influence.streams import public
from attrfunc.influence.terms import Dense, Gradients, Outer, Term

__all__ = ["CountSketch", "Sketcher", "count_sketch"]


@dataclass(frozen=True)
class CountSketch:
    """A random projection, made by `count_sketch`. It is a value: the same one projects queries and training data.

    Attributes:
        size: The length of the sketches.
        seed: Where the hashes come from.
    """

    size: int
    seed: int


@public
def count_sketch(size: int, *, generator: torch.Generator | None = None) -> CountSketch:
    """A random projection of gradients to short vectors that keep inner products in expectation.

    Every number of a gradient goes to one place of the sketch, with a random sign; for a matrix, the place is the sum
    of one for its row and one for its column, so that an outer product is sketched without being written out. The
    error of an inner product is about the product of the two norms over `sqrt(size)`.

    Args:
        size: The length of the sketches.
        generator: The source of randomness; `None` draws from torch's own.

    Returns:
        The projection, for `sketch=`.

    Raises:
        ArgumentError: If the size is no whole number of at least one.

    Example:
        >>> model, batch = torch.nn.Linear(3, 1), (torch.randn(8, 3), torch.randn(8, 1))
        >>> loss = lambda model, batch: (model(batch[0]) - batch[1]).square().sum(1)
        >>> sketch = af.influence.count_sketch(64, generator=torch.Generator().manual_seed(0))
        >>> af.influence.tracin(model, batch, data=[batch], loss=loss, sketch=sketch).shape
        torch.Size([8, 8])

    Reference:
        Charikar, Chen, Farach-Colton: Finding Frequent Items in Data Streams, ICALP 2002; Pham, Pagh: Fast and Scalable
        Polynomial Kernels via Explicit Feature Maps, KDD 2013 (of outer products), https://doi.org/10.1145/2487575.2487591
    """
    size = positive("size", size)
    if generator is not None and not isinstance(generator, torch.Generator):
        raise ArgumentError("generator", describe(generator), "a torch.Generator", "Pass torch.Generator().")
    device = "cpu" if generator is None else generator.device
    return CountSketch(size, int(torch.randint(2**62, (), generator=generator, device=device)))


class Sketcher:
    """A sketch for the parameters of a network.

    Args:
        sketch: The projection.
        network: The network.
    """

    def __init__(self, sketch: Any, network: Network) -> None:
        if not isinstance(sketch, CountSketch):
            fix = "Pass sketch=attrfunc.influence.count_sketch(2048, generator=g)."
            raise ArgumentError("sketch", describe(sketch), "what count_sketch gives, or None", fix)
        self.size, self._hashes = sketch.size, dict[str, list[tuple[Tensor, Tensor]]]()
        for number, (name, value) in enumerate(network.values.items()):
            generator = torch.Generator().manual_seed((sketch.seed + number) % 2**62)
            shape = [len(value), value[0].numel()] if value.dim() > 1 else [value.numel()]
            self._hashes[name] = [_drawn(count, self.size, generator, network) for count in shape]

    def __call__(self, gradients: Gradients) -> Tensor:
        """The sketches of the gradients, `(B, size)`."""
        total = None
        for name, terms in gradients.items():
            for term in terms:
                part = self._of(self._hashes[name], term)
                total = part if total is None else total + part
        assert total is not None
        return total

    def _of(self, hashes: list[tuple[Tensor, Tensor]], term: Term) -> Tensor:
        if isinstance(term, Outer):
            return self._of_outer(hashes, term)
        places, signs = hashes[0]
        if len(hashes) == 2:
            places = ((places[:, None] + hashes[1][0]) % self.size).flatten()
            signs = (signs[:, None] * hashes[1][1]).flatten()
        value = term.value.unsqueeze(-1).flatten(1).to(signs.dtype) * signs
        return value.new_zeros(self.size, len(value)).index_add_(0, places, value.T.contiguous()).T

    def _of_outer(self, hashes: list[tuple[Tensor, Tensor]], term: Outer) -> Tensor:
        """By the convolution theorem: the places of rows and columns add up."""
        (rows, row_signs), (columns, column_signs) = hashes
        right = self._scattered(term.right.to(column_signs.dtype) * column_signs, columns)
        if term.indices:
            left = right.new_zeros(right.shape)
            left.scatter_(2, rows[term.left].unsqueeze(2), row_signs[term.left].unsqueeze(2))
        else:
            left = self._scattered(term.left.to(row_signs.dtype) * row_signs, rows)
        both = torch.fft.rfft(left) * torch.fft.rfft(right)
        return torch.fft.irfft(both.sum(1), n=self.size)

    def _scattered(self, value: Tensor, places: Tensor) -> Tensor:
        return value.new_zeros(*value.shape[:2], self.size).index_add_(2, places, value)


def _drawn(count: int, size: int, generator: torch.Generator, network: Network) -> tuple[Tensor, Tensor]:
    """A place and a sign for each of so many numbers."""
    places = torch.randint(size, (count,), generator=generator)
    signs = torch.randint(2, (count,), generator=generator) * 2 - 1
    return places.to(network.device), signs.to(network.device, network.dtype)


def as_dense(sketches: Tensor) -> Mapping[str, tuple[Dense]]:
    """Sketches, as gradients of one parameter."""
    return {"": (Dense(sketches),)}
