"""A language model as a function of its prompt: the log-probabilities of the tokens of one answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attrfunc.core.errors import ArgumentError, ModelError, describe, warn
from attrfunc.text.public import public
from attrfunc.text.readings import Reading, log_probabilities
from attrfunc.text.running import (
    as_ids,
    cached,
    device_of,
    is_encoder_decoder,
    kept_logits,
    limit,
    padded,
    positions,
    require_language,
    takes,
    takes_places,
    to_left,
    vocabulary,
)

__all__ = ["Continuation", "continuation"]

Prompts = Tensor | Sequence[Any] | Mapping[str, Tensor]


@dataclass
class Counter:
    """How many prompts a model has read; the twins of a model count together."""

    rows: int = 0


class Continuation(nn.Module):
    """The log-probabilities of an answer as a function of prompts; made by `continuation`.

    It holds the model as a part, so that `attrfunc.layer` finds its layers, and is not trained itself.

    Attributes:
        model: The language model.
        ids: The T tokens of the answer.
        foil: Those of another answer, or None.
        reading: What is read of the logits of each step.
        fed: The tokens of the answer as the model reads them, if that is to be another thing than what is scored.
        counter: Counts the prompts that are read.
        run: What is called in the model's place, if that is to be another thing.
    """

    def __init__(
        self, model: nn.Module, ids: Tensor, foil: Tensor | None, reading: Reading, fed: Tensor | None = None
    ) -> None:
        super().__init__()
        self.model, self.reading = model, reading
        self.ids, self.foil, self.fed, self.counter = ids, foil, fed, Counter()
        self.run: Callable[..., Any] | None = None
        self.training = False  # of this module alone: the model's own mode is the user's
        self.encodes = is_encoder_decoder(model)
        self._names, self._takes_places = takes(model), takes_places(model)

    @property
    def columns(self) -> int:
        """How many numbers each prompt gets: T, or 1 for two answers of different lengths."""
        return len(self.ids) if self.foil is None or len(self.foil) == len(self.ids) else 1

    def forward(
        self,
        prompts: Prompts,
        attention_mask: Tensor | None = None,
        *,
        keeps_positions: bool = False,
        cache: Any = None,
    ) -> Tensor:
        """Read one answer after some prompts, in one forward pass.

        Args:
            prompts: Tokens `(rows, L)`; a sequence with the tokens of each prompt, which are padded here; or what the
                model takes for one prompt by name, its `input_ids` among it.
            attention_mask: 0 at the padding of `prompts`, on either side, and at tokens that are as good as deleted.
            keeps_positions: Whether the other tokens stay at their positions then.
            cache: Keys and values of the beginning of a single prompt, which is not run again.

        Returns:
            Numbers `(rows, T)`: log-probabilities in nats, or the reading's own.
        """

        def read(ids: Tensor) -> Tensor:
            return self.logits(prompts, ids, attention_mask, keeps_positions=keeps_positions, cache=cache)

        if self.foil is None:
            return self.reading(read(self.ids), self.ids)
        if torch.equal(self.ids[:-1], self.foil[:-1]):  # one forward pass reads both
            logits = read(self.ids)
            return self.reading(logits, self.ids) - self.reading(logits, self.foil)
        one, other = (self.reading(read(ids), ids) for ids in (self.ids, self.foil))
        return one - other if one.shape == other.shape else one.sum(1, True) - other.sum(1, True)

    def logits(
        self,
        prompts: Prompts,
        ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        keeps_positions: bool = False,
        cache: Any = None,
    ) -> Tensor:
        """The logits `(rows, T, V)` of the steps at which the tokens of an answer are chosen; see `forward`."""
        if isinstance(prompts, Mapping):
            # Images may take more places than their tokens, so that the last ones are counted from the end.
            return self._called(len(ids), self._extended(prompts, ids), counts=True)
        place = device_of(self.model)
        if not isinstance(prompts, Tensor):
            rows = [as_ids(row, "prompts").tolist() for row in prompts]
            if not rows:
                raise ArgumentError("prompts", "no prompts", "at least one", "Pass [tokens].")
            prompts, attention_mask = padded(rows, left=not self.encodes)
        elif prompts.dim() != 2 or prompts.is_floating_point() or 0 in prompts.shape:
            raise ArgumentError("prompts", describe(prompts), "tokens (rows, L)", "Give one prompt a batch: ids[None].")
        prompts = prompts.to(place)
        mask = torch.ones_like(prompts) if attention_mask is None else attention_mask.to(place).long()
        _require_fit(self.model, prompts.shape[1] + (0 if self.encodes else len(ids) - 1))
        if self.encodes:
            return self._called(len(ids), self._encoded(prompts, mask, ids))
        given = self._followed(prompts, mask, ids, keeps_positions)
        if cache is not None:
            given = cached(given, cache, self._names)
        return self._called(len(ids), given)

    def _followed(self, prompts: Tensor, mask: Tensor, ids: Tensor, keeps_positions: bool) -> dict[str, Any]:
        """The prompts, each with the answer right behind it; its last token is not read."""
        if not keeps_positions and not bool(mask[:, -1].all()):  # the answer would stand behind the padding
            prompts, mask = to_left(prompts, mask)
        said = self._fed(ids).to(prompts.device).expand(len(prompts), -1)
        prompts = torch.cat([prompts, said], 1)
        mask = torch.cat([mask, torch.ones_like(said)], 1)
        counted = torch.ones_like(mask) if keeps_positions else mask
        given = {"input_ids": prompts, "attention_mask": mask, "position_ids": positions(counted)}
        return {name: tensor for name, tensor in given.items() if name in self._names or name == "input_ids"}

    def _fed(self, ids: Tensor) -> Tensor:
        return (ids if self.fed is None else self.fed)[:-1]

    def _encoded(self, prompts: Tensor, mask: Tensor, ids: Tensor) -> dict[str, Tensor]:
        return {"input_ids": prompts, "attention_mask": mask, "decoder_input_ids": self._decoded(prompts, ids)}

    def _decoded(self, prompts: Tensor, ids: Tensor) -> Tensor:
        """The answer behind the token with which a decoder starts, for each row of what the encoder reads."""
        configs = [self.model.config, getattr(self.model, "generation_config", None)]
        starts = [getattr(one, name, None) for name in ("decoder_start_token_id", "bos_token_id") for one in configs]
        first = torch.tensor([next((start for start in starts if isinstance(start, int)), 0)])
        return torch.cat([first, self._fed(ids)]).to(prompts.device).expand(len(prompts), -1)

    def _extended(self, inputs: Mapping[str, Tensor], ids: Tensor) -> dict[str, Tensor]:
        """What a model takes by name, with the answer behind its tokens."""
        given = dict(inputs)
        if self.encodes:  # which may read an image, or sounds, and no tokens
            read = [part for part in given.values() if isinstance(part, Tensor) and part.dim()]
            if not read:
                raise ArgumentError("prompts", f"names {sorted(given)}", "tensors among them", "Pass input_ids, say.")
            return {**given, "decoder_input_ids": self._decoded(read[0], ids)}
        if "input_ids" not in given:
            raise ArgumentError("prompts", f"names {sorted(given)}", "input_ids among them", "Pass the tokens, too.")
        prompts = given["input_ids"]
        said = self._fed(ids).to(prompts.device).expand(len(prompts), -1)
        for name, tensor in inputs.items():
            if isinstance(tensor, Tensor) and tensor.shape == prompts.shape and name != "position_ids":
                more = said if name == "input_ids" else torch.full_like(said, int(name == "attention_mask"))
                given[name] = torch.cat([tensor, more.to(tensor.dtype)], 1)
        given.pop("position_ids", None)
        return given

    def _called(self, count: int, given: dict[str, Any], *, counts: bool = False) -> Tensor:
        read = given.get("input_ids", given.get("decoder_input_ids"))
        assert read is not None
        length, places = read.shape[1], None
        if self._takes_places and not counts:
            places = torch.arange(length - count, length, device=read.device)
        options: dict[str, Any] = {} if self.encodes else kept_logits(self._names, count, places)
        if "use_cache" in self._names and "use_cache" not in given:
            options["use_cache"] = False
        output = (self.run or self.model)(**given, **options)
        self.counter.rows += len(read)
        logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
        if not isinstance(logits, Tensor) or logits.dim() != 3 or logits.shape[1] < count:
            raise ModelError(
                f"the model gives {describe(logits)} where logits (rows, L, V) of each place were expected. Pass a "
                "language model with its head (AutoModelForCausalLM); for a classifier take af.text.outputs(model)."
            )
        return logits[:, -count:]


def _require_fit(model: Any, length: int) -> None:
    most, ends = limit(model)
    if most is None or length <= most:
        return
    if ends:
        raise ArgumentError(
            "prompts",
            f"{length} tokens with the answer",
            f"at most {most}, which the model takes",
            "Shorten the prompt or the answer.",
        )
    warn(
        f"{length} tokens with the answer are more than the {most} that the model was made for. It can read them, "
        "since its positions are rotary or distances, but it may say anything there."
    )


@public
def continuation(model: nn.Module, ids: Any, *, foil: Any = None, reading: Reading = log_probabilities) -> Continuation:
    """Make of a language model a function of prompts: the log-probabilities of the tokens of one answer.

    The answer stands behind the prompt, so one forward pass tells how probable each of its tokens is (on a causal model
    this is exactly what one pass for each token gives). Padding on the left, attention masks and positions are made
    here, and only the logits that are needed are asked for. Prompts of encoder-decoder models are padded on the right.

    Args:
        model: A causal or encoder-decoder language model of transformers, or one that is called alike.
        ids: The T tokens of the answer.
        foil: Those of another answer, whose log-probabilities are subtracted: of the same length token by token, of
            another length as sums.
        reading: What is read of the logits of each step; see `attrfunc.text.readings`.

    Returns:
        A function of prompts, a module: `(rows, L)` tokens to `(rows, T)` numbers in nats. Methods take it as a model:
        `af.ig(af.layer(made, "model.model.embed_tokens"), prompt, target=t)` attributes token t to embeddings.

    Raises:
        ArgumentError: If the answer has no tokens, or tokens that the model does not know.

    Example:
        >>> says = af.text.continuation(model, tokenizer(" Paris. The").input_ids)
        >>> says(tokenizer("The capital of France is", return_tensors="pt").input_ids).shape
        torch.Size([1, 3])
    """
    require_language(model)
    size = vocabulary(model)
    made = as_ids(ids, "ids", size=size)
    return Continuation(model, made, None if foil is None else as_ids(foil, "foil", size=size), reading)
