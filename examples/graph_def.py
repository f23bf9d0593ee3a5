"""The constants of a frozen TensorFlow graph (`GraphDef`), read without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FLOAT32 = 1  # TensorFlow's number for it


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """The numbered fields of a protobuf message: integers as they are, all else as bytes."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = varint(data, at)
        else:
            size, at = varint(data, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
            value, at = data[at : at + size], at + size
        yield number, value


def constants(path: Path) -> dict[str, Tensor]:
    """The tensors of floating-point constants, by the names of their nodes."""
    found = {}
    for number, node in fields(path.read_bytes()):
        if number != 1:
            continue
        parts = list(fields(node))
        texts = {key: value.decode() for key, value in parts if key in (1, 2)}
        attributes = dict(tuple(value for _, value in fields(entry)) for key, entry in parts if key == 5)
        if texts[2] == "Const":
            (tensor,) = (value for key, value in fields(attributes[b"value"]) if key == 8)
            given = dict(fields(tensor))
            if given[1] == FLOAT32 and 4 in given:  # as raw bytes, of which numbers by themselves have none
                shape = [dict(fields(size)).get(1, 0) for _, size in fields(given.get(2, b""))]
                found[texts[1]] = torch.from_numpy(np.frombuffer(given[4], "<f4").reshape(shape).copy())
    return found
