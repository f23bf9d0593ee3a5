"""What a row of `benchmarks.further` is, and the networks and data that rows have in common."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Row", "classes", "cnn", "correlation", "frozen", "images", "mlp", "relative", "seeded"]

Run = Callable[[], Any]


def relative(found: Any, wanted: Any) -> float:
    """The largest difference, as a share of the largest number."""
    one, other = (torch.as_tensor(np.asarray(value), dtype=torch.float64) for value in (found, wanted))
    return float((one - other).abs().max() / other.abs().max().clamp(min=1e-12))


def correlation(found: Any, wanted: Any) -> float:
    """One less the correlation of the numbers, in absolute value: for maps whose sign and size are conventions."""
    both = torch.stack([torch.as_tensor(np.asarray(value), dtype=torch.float64).flatten() for value in (found, wanted)])
    return float(1 - torch.corrcoef(both)[0, 1].abs())


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: The method, and what of it is called.
        ours: The call.
        hand: The same by a loop that says literally what the method is, without a library.
        theirs: The peer's call.
        peer: Its package.
        same: The peer's call where the one that is timed draws other numbers; it is not timed.
        oracle: The numbers that are right, where `hand` takes no more points than the others; it is not timed.
        judge: How far numbers are from the right ones.
        worth: What a result is worth by itself, in place of this, where it is drawn or searched for.
        meaning: What that number is.
        tolerance: How far ours may be from the right ones.
        note: Why the peer's numbers are others.
    """

    name: str
    ours: Run
    hand: Run | None = None
    theirs: Run | None = None
    peer: str = ""
    same: Run | None = None
    oracle: Run | None = None
    judge: Callable[[Any, Any], float] = relative
    worth: Callable[[Any], float] | None = None
    meaning: str = ""
    tolerance: float = 1e-3
    note: str = ""


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cnn() -> nn.Sequential:
    """Three convolutions on images of 3 x 32 x 32; layer 7 has 32 channels of 8 x 8."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(2048, 10),
    )  # fmt: skip
    return net.eval().requires_grad_(False)


def mlp(inputs: int, outputs: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs))
    return net.eval().requires_grad_(False)


def images(count: int) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=seeded())


def classes(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x).argmax(1)


def frozen(model: nn.Module) -> Any:
    """A copy for whoever replaces or hooks layers."""
    return copy.deepcopy(model)
