"""What the doctor tries methods on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import attrfunc
from attrfunc.cli import inputs
from attrfunc.cli.failures import UsageError
from attrfunc.cli.models import Loaded, first_tensor

__all__ = ["LastToken", "patient_input", "scored"]


def patient_input(loaded: Loaded, given: list[str], shape: str | None, how: inputs.Preparation) -> Any:
    """What the doctor tries methods on."""
    if shape and given:
        raise UsageError("--shape and an input: choose one.")
    if shape:
        try:
            sizes = [int(part) for part in shape.split(",")]
        except ValueError:
            sizes = [0]
        if min(sizes) < 1:
            raise UsageError(f"--shape {shape!r}: expected whole numbers such as 2,3,224,224, the batch first.")
        return torch.randn(sizes, generator=torch.Generator().manual_seed(0))
    if not given:
        if first_tensor(loaded.example) is None:
            raise UsageError("what is it to be tried on? Pass a picture, a text, a tensor in a .npy file, or --shape.")
        return loaded.example
    if loaded.tokenizer is not None:
        return _tokens(loaded, given)
    if all(map(inputs.is_picture, given)):
        return torch.cat([inputs.read_picture(Path(one), how).x for one in given])
    if Path(given[0]).suffix not in inputs.TENSORS:
        raise UsageError(f"{given[0]!r} is no picture and no tensor (.npy, .pt); texts need a model of transformers.")
    return torch.cat([inputs.read_tensor(Path(one)) for one in given])


def _tokens(loaded: Loaded, texts: list[str]) -> Tensor:
    """Tokens of texts, cut to the shortest."""
    rows = [loaded.tokenizer(inputs.read_text(one))["input_ids"] for one in texts]
    least = min(map(len, rows))
    if least < 1:
        raise UsageError("a text has no tokens.")
    return torch.tensor([row[:least] for row in rows])


class LastToken(nn.Module):
    """The logits of a language model behind a text."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        """Logits `(B, V)` of tokens `(B, L)`."""
        logits: Tensor = self.model(input_ids=ids, use_cache=False).logits[:, -1]
        return logits


def scored(loaded: Loaded) -> Any:
    """The model as a function of one tensor."""
    if loaded.task == "text-generation":
        return LastToken(loaded.model).eval()
    if loaded.task == "text-classification":
        return attrfunc.text.outputs(loaded.model)
    return loaded.model
