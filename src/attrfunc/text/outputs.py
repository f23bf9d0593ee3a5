"""Classifiers and masked models as functions of tokens: what they give is what ordinary targets select from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from attrfunc.core.errors import ArgumentError, ModelError, describe
from attrfunc.text.public import public
from attrfunc.text.running import as_ids, device_of, takes

__all__ = ["Outputs", "outputs"]


class Outputs(nn.Module):
    """The logits of a classifier, or of a masked model at its mask; made by `outputs`.

    Attributes:
        model: The model.
        at: The token whose place is read; None for a model that gives one row of logits for each text.
        run: What is called in the model's place, if that is to be another thing.
    """

    def __init__(self, model: nn.Module, at: int | None) -> None:
        super().__init__()
        self.model, self.at = model, at
        self.training = False
        self.run: Callable[..., Any] | None = None
        self._names = takes(model)

    def forward(self, prompts: Any, attention_mask: Tensor | None = None) -> Tensor:
        """The logits `(rows, C)` of some texts.

        Args:
            prompts: Tokens `(rows, L)`, or a sequence with those of each text, of one length; or what the model takes
                for one text by name.
            attention_mask: 0 at what is not read.
        """
        if isinstance(prompts, Mapping):
            given, ids = dict(prompts), prompts["input_ids"]
        else:
            ids = prompts if isinstance(prompts, Tensor) else torch.stack([as_ids(row, "prompts") for row in prompts])
            ids = ids.to(device_of(self.model))
            mask = torch.ones_like(ids) if attention_mask is None else attention_mask.to(ids.device)
            given = {"input_ids": ids, "attention_mask": mask}
        output = (self.run or self.model)(**given)
        logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
        if not isinstance(logits, Tensor) or logits.dim() != (2 if self.at is None else 3):
            shape = "(rows, C)" if self.at is None else "(rows, L, V)"
            raise ModelError(
                f"the model gives {describe(logits)} where logits {shape} were expected. For a masked model say which "
                "token's place is read: outputs(model, at=tokenizer.mask_token_id)."
            )
        return logits if self.at is None else logits[torch.arange(len(ids)), self._places(ids)]

    def _places(self, ids: Tensor) -> Tensor:
        found: Tensor = ids.eq(torch.tensor(self.at, device=ids.device))
        if not bool((found.sum(1) == 1).all()):
            raise ArgumentError(
                "at",
                f"the token {self.at}, which stands {found.sum(1).tolist()[:5]} times in these texts",
                "a token that stands once in each",
                "Write the mask once, and hold it fixed: segments(..., fixed='special') does.",
            )
        return found.long().argmax(1)


@public
def outputs(model: nn.Module, *, at: int | None = None) -> Outputs:
    """Make of a classifier or a masked model a function of tokens: its logits, for ordinary targets.

    Args:
        model: A model of transformers that takes `input_ids` and `attention_mask`.
        at: For a masked model the token whose place is read, `tokenizer.mask_token_id`.

    Returns:
        A function of tokens `(rows, L)`, a module: logits `(rows, C)`. `af.text.game(made, segments)` takes it, and
        `target=3` then attributes class 3.
    """
    return Outputs(model, at)


Prompts = Tensor | Sequence[Any]
