"""What is to be known of a model before methods are tried on it: its target, its layers, whether it draws."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.model.parts import named_modules
from attrfunc.diagnosis.hand import Hand

__all__ = [
    "Layers",
    "coupled",
    "draws",
    "forward_seconds",
    "groups_of",
    "largest",
    "layers_of",
    "start_of",
    "stirs",
    "wait",
    "writes",
]

GROUPS, PLAYERS, TIMES = 4, 8, 3


@dataclass(frozen=True)
class Layers:
    """Layers that methods look at, by name; None where there is none.

    Attributes:
        cam: The last one whose activation has positions.
        units: One in the middle, or the same.
        embedding: The first that makes vectors of numbers.
    """

    cam: str | None = None
    units: str | None = None
    embedding: str | None = None


def largest(output: Any, rows: int) -> Any:
    """A target: the place of the largest number in each example's output; None where there is but one number.

    Args:
        output: What the model gives.
        rows: Number of examples.

    Raises:
        ArgumentError: If the output is not a tensor, has no logits, and does not begin with a tensor.
    """
    found = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", output)
    if isinstance(found, tuple | list) and found:
        found = found[0]
    if not isinstance(found, Tensor) or found.dim() == 0 or found.shape[0] != rows:
        raise ArgumentError(
            "target",
            f"None for an output that is {describe(output)}",
            "a callable, since no number of each example is told by the output's form",
            "Pass target=lambda output: ..., which returns one number for each example.",
        )
    if found[0].numel() == 1:
        return None
    places = found.detach().flatten(1).float().argmax(1)
    indices = torch.unravel_index(places, found.shape[1:])
    columns = [one.tolist() for one in indices]
    return [tuple(row) if len(row) > 1 else row[0] for row in zip(*columns, strict=True)]


def start_of(hand: Hand, baseline: Any) -> list[Tensor]:
    """The baseline of each tensor of the input, of its shape."""
    if callable(baseline):
        baseline = baseline(pytree.tree_unflatten(hand.end, hand.spec))
    given = pytree.tree_leaves(baseline) if isinstance(baseline, tuple | list | dict) else [baseline] * len(hand.end)
    full = []
    for leaf, one in zip(hand.end, given, strict=True):
        value = torch.zeros_like(leaf) if one is None else torch.as_tensor(one, dtype=leaf.dtype, device=leaf.device)
        full.append(value.expand_as(leaf).clone())
    return full


def draws(hand: Hand) -> float:
    """By how much the output differs from run to run; 0 for a model that draws no random numbers."""
    outputs = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        with torch.no_grad():
            outputs.append(hand.scores())
    size = max(float(outputs[0].abs().max()), 1e-30)
    return float((outputs[0] - outputs[1]).abs().max()) / size


def coupled(hand: Hand) -> bool:
    """Whether the first example's score changes with the others."""
    if hand.rows < 2:
        return False
    with torch.no_grad():
        score = hand.scores()[0]
        others = []
        for part in (0.5, 0.3):  # twice, since scores may be near each other by chance
            try:
                others.append(hand.scores([_others_changed(leaf, part) for leaf in hand.end])[0])
            except Exception:  # what the model makes of a changed batch tells nothing
                continue
    size = max(float(score.abs()), 1e-30)
    wide = score.dtype in (torch.float32, torch.float64)
    return any(bool(float((score - other).abs()) > (1e-4 if wide else 0.05) * size) for other in others)


def _others_changed(leaf: Tensor, part: float) -> Tensor:
    moved = leaf * part + part / 2 if leaf.is_floating_point() else leaf.flip(0)
    return torch.cat([leaf[:1], moved[1:]])


def stirs(hand: Hand) -> bool:
    """Whether a run leaves torch's global source of randomness in another state: it draws, or sets a seed."""
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with torch.no_grad():
        hand.scores()
    return not torch.equal(before, torch.get_rng_state())


def writes(hand: Hand) -> tuple[str, ...]:
    """Names of the tensors and attributes that a run changes on a copy of the model."""
    model = hand.fresh()
    if not isinstance(model, nn.Module):
        return ()
    before = {name: tensor.detach().clone() for name, tensor in model.state_dict().items() if _dense(tensor)}
    with torch.no_grad():
        hand.scores(model=model)
    after = model.state_dict()
    return tuple(name for name, old in before.items() if not torch.equal(after[name], old))


def _dense(value: Any) -> bool:
    return isinstance(value, Tensor) and not value.is_quantized


def forward_seconds(hand: Hand) -> float:
    """One forward pass of the batch: the least of some, on copies that are made before."""
    found = []
    for _ in range(TIMES):
        model = hand.fresh()
        start = time.perf_counter()
        with torch.no_grad():
            hand.output(model=model)
            wait(hand.end[0].device)
        found.append(time.perf_counter() - start)
    return min(found)


def wait(device: torch.device) -> None:
    """Let what was begun on a device come to its end."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def groups_of(hand: Hand) -> tuple[Any, int]:
    """A few groups of features, in the structure of the input, and how many."""
    most = GROUPS if hand.apart else max(1, PLAYERS // hand.rows)
    sizes = [leaf[0].numel() for leaf in hand.end]
    total, place, ids = sum(sizes), 0, []
    count = min(most, max(total, 1))
    for leaf, size in zip(hand.end, sizes, strict=True):
        numbers = (torch.arange(place, place + size) * count).div(max(total, 1), rounding_mode="floor")
        ids.append(numbers.view(1, *leaf.shape[1:]).to(leaf.device))
        place += size
    return pytree.tree_unflatten(ids, hand.spec), count


def layers_of(hand: Hand) -> Layers:
    """Layers that run once and give one tensor of the batch."""
    model = hand.fresh()
    names: dict[nn.Module, str] = {}
    for name, part in named_modules(model).items():
        names.setdefault(part, name)
    seen: list[tuple[str, Any]] = []
    handles = [
        part.register_forward_hook(lambda part, args, output: seen.append((names[part], output)))
        for part, name in names.items()
        if name and not isinstance(part, torch.jit.ScriptModule)
    ]
    with torch.no_grad():
        final = hand.output(model=model)
    for handle in handles:
        handle.remove()
    counts = [name for name, _ in seen]
    once = [(name, output) for name, output in seen if counts.count(name) == 1 and _fits(output, hand.rows)]
    known = dict(once)
    inner = [name for name, output in once if output is not final and not _is_whole(name, counts)]
    spread = [name for name in inner if known[name].dim() > 2 and known[name][0, 0].numel() > 1]
    images = [name for name in spread if known[name].dim() > 3]
    best = images or spread or inner[len(inner) // 2 :][:1]
    cam = best[-1] if best else None
    modules = named_modules(model)
    tables = [name for name, _ in once if isinstance(modules[name], nn.Embedding | nn.EmbeddingBag)]
    return Layers(cam, cam, tables[0] if tables else None)


def _fits(output: Any, rows: int) -> bool:
    return (
        isinstance(output, Tensor)
        and output.is_floating_point()
        and output.dim() > 1
        and output.shape[0] == rows
        and output.numel() > 0
    )


def _is_whole(name: str, names: list[str]) -> bool:
    """Whether a layer has parts that ran, too."""
    return any(other.startswith(name + ".") for other in names)
