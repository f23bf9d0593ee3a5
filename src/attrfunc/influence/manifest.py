"""What stands beside the numbers of a store: of what they are, and how many are whole."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.data.durable import write_whole

__all__ = ["FORMAT", "chained", "numbers_of", "read", "stale", "write"]

FORMAT = 1
_KEYS = {"format", "names", "parameters", "sketch", "width", "rows", "batches", "data", "complete"}


def stale(folder: Path, what: str) -> ArgumentError:
    """What to say of a store that is not the one that is wanted."""
    fix = "Delete the folder, or choose another; a DataLoader that shuffles gives another order each time."
    return ArgumentError("path", f"{folder}, a store of {what}", "one of this model and data, or a new folder", fix)


def chained(chain: str, batch: Any) -> str:
    """A hash of a batch and of all before it."""
    found = hashlib.sha256(chain.encode())
    for leaf in pytree.tree_leaves(batch):
        if isinstance(leaf, Tensor):
            value = leaf.detach().cpu().contiguous()
            found.update(f"{tuple(value.shape)} {value.dtype}".encode())
            found.update(value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
        else:
            found.update(describe(leaf).encode())
    return found.hexdigest()


def numbers_of(folder: Path) -> Path:
    """The file with the numbers."""
    return folder / "gradients.float32"


def read(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder; None where there is none."""
    file = folder / "manifest.json"
    if not file.exists():
        return None
    try:
        held = json.loads(file.read_text())
        if not held.keys() >= _KEYS:
            raise ValueError(held.keys())
    except (ValueError, AttributeError) as error:
        got = f"{folder}, whose manifest cannot be read"
        raise ArgumentError("path", got, "a folder that embed has written", "Delete it.") from error
    return dict(held)


def write(folder: Path, manifest: dict[str, Any]) -> None:
    """Whole, or not at all."""
    text = json.dumps(manifest)
    write_whole(folder / "manifest.json", lambda partial: partial.write_text(text))
