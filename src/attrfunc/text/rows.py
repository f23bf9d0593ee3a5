"""Many prompts: in batches of like lengths, or one after the other with what their beginnings have in common."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from attrfunc.core.errors import ModelError, warn
from attrfunc.core.model.parts import unsettled
from attrfunc.text.continuation import Continuation
from attrfunc.text.outputs import Outputs
from attrfunc.text.running import device_of, padded, stateless, takes
from attrfunc.text.trial import agree, is_causal, shortened, steps

__all__ = ["Row", "evaluator"]

# What a pass costs, in tokens, before it has read one. On one core, SmolLM2 takes .06 s for one and .003 for each more;
# an accelerator reads hundreds in the time of one.
CPU_START, OTHER_START = 24, 1024
# Tokens of one batch. On a processor, larger ones are not faster.
CPU_TOKENS, OTHER_TOKENS = 256, 2**14


class Row(NamedTuple):
    """A prompt that is evaluated.

    Attributes:
        ids: Its tokens.
        hidden: Which of them are not attended to; None if all are.
    """

    ids: tuple[int, ...]
    hidden: tuple[bool, ...] | None = None


def evaluator(model: Any, batch_size: int | None, shares: bool | None) -> Callable[[Sequence[Any]], Tensor]:
    """A function of rows: what a model gives for each of them, `(rows, T)`, without a graph.

    Args:
        model: A `Continuation`, or any function of a list of tokens.
        batch_size: Rows in one pass at most; None to choose.
        shares: Whether keys and values of common beginnings are kept; None to choose.
    """
    if not isinstance(model, Continuation | Outputs):
        return _Rows(model, model, batch_size, shares)
    if isinstance(model.model, nn.Module) and unsettled(model.model.modules()):
        warn("game: the model is in training mode, so that what it says is random. Call model.eval() first.")
    call = copy.copy(model)
    call.run = stateless(model.model)
    return _Rows(model, call, batch_size, shares)


@dataclass
class _Rows:
    model: Any
    call: Callable[..., Any]
    batch_size: int | None
    shares: bool | None
    is_checked: bool = False
    is_apart: bool | None = None
    """Whether rows may stand in one batch; None until one was tried by itself."""
    looks_ahead: bool | None = None
    """Whether each token of the answer takes a pass of its own; None until that was tried."""

    def __call__(self, rows: Sequence[Any]) -> Tensor:
        with torch.no_grad():
            if not all(isinstance(row, Row) for row in rows):  # what the model takes by name
                return torch.cat([self.call(row).cpu() for row in rows])
            if self._is_worth_sharing(rows):
                found = self._shared(rows)
                if found is not None:
                    return found
                self.shares = False
            return self._batched(rows)

    def _batched(self, rows: Sequence[Row]) -> Tensor:
        found: list[Any] = [None] * len(rows)
        for chosen in self._batches(rows, isinstance(self.model, Continuation)):
            some = [rows[number] for number in chosen]
            values = self._read(some)
            if self.is_apart is None and (len(some) > 1 or self.looks_ahead is None):
                self._try(some, values)
                values = self._read(some) if self.looks_ahead else values
            if len(some) > 1 and not (self.is_apart and bool(values.isfinite().all())):
                values = torch.cat([self._read([row]) for row in some])
            for number, value in zip(chosen, values, strict=True):
                found[number] = value
        return torch.stack(found)

    def _read(self, some: Sequence[Row], call: Callable[..., Any] | None = None) -> Tensor:
        """One pass; of a model that looks ahead one for each token of the answer."""
        if call is None and self.looks_ahead:
            return torch.cat([self._read(some, step)[:, -1:] for step in steps(self.call)], 1)
        call, pads = call or self.call, isinstance(self.model, Continuation)
        ids, mask = padded([row.ids for row in some], left=not getattr(self.model, "encodes", False))
        options: dict[str, Any] = {}
        if some[0].hidden is not None:
            mask = 1 - torch.tensor([row.hidden for row in some]).long()
            options = {"keeps_positions": True} if pads else {}
        values = call(ids, attention_mask=mask, **options) if pads or some[0].hidden else call(ids)
        return torch.as_tensor(values).cpu()

    def _try(self, some: Sequence[Row], values: Tensor) -> None:
        """Read the row that a batch may have changed most, by itself.

        Models that know nothing of padding (recurrent ones, or wrappers that lose masks and positions) and those that
        look at a batch as a whole (quantised on the way) say something else in a batch than of a prompt by itself.
        """
        model = getattr(self.model, "model", self.model)
        if isinstance(model, nn.Module) and unsettled(model.modules()):  # random, of which it was warned
            self.is_apart = True
            return
        place = min(range(len(some)), key=lambda number: len(some[number].ids) - sum(some[number].hidden or ()))
        row, value = some[place], values[place : place + 1]
        if row.hidden is not None and any(row.hidden):
            self._require_hidden(row, value)
        short = self.call if self.looks_ahead else shortened(self.call)
        alone = self._read([row], short) if len(some) > 1 or short is not self.call else value
        agrees = agree(alone, value[:, : alone.shape[1]], model)
        name = f"game: the {type(model).__name__} says something else of"
        if self.looks_ahead is None:
            self.looks_ahead = not agrees and row.hidden is None and not is_causal(self.call, torch.tensor([row.ids]))
            if self.looks_ahead:
                warn(
                    f"{name} a token where others stand behind it, since it looks ahead or is quantised on the way: "
                    "each token of the answer is read in a pass of its own, which is slower. Is it a model that "
                    "continues texts?"
                )
        if len(some) > 1:
            self.is_apart = agrees
            if not agrees:
                warn(
                    f"{name} a prompt in a batch than by itself, since it does not heed padding or looks at the batch "
                    "as a whole: prompts are read one by one, which is slower."
                )

    def _require_hidden(self, row: Row, value: Tensor) -> None:
        """Check that tokens which are hidden do not matter."""
        other = next(token for token in row.ids if token != row.ids[0]) if len(set(row.ids)) > 1 else 0
        ids = tuple(
            (other if one != other else row.ids[0]) if gone else one
            for one, gone in zip(row.ids, row.hidden or (), strict=True)
        )
        if not agree(self._read([Row(ids, row.hidden)]), value, getattr(self.model, "model", self.model)):
            raise ModelError(
                'the model does not heed attention masks, which absent="mask" hides tokens by: what it says changes '
                'with tokens that are hidden. Take absent="delete", or a token.'
            )

    def _batches(self, rows: Sequence[Row], pads: bool) -> Iterator[list[int]]:
        """The numbers of rows of like lengths; of one length, where the model knows no padding."""
        order = sorted(range(len(rows)), key=lambda number: len(rows[number].ids))
        most = CPU_TOKENS if self._on_cpu() else OTHER_TOKENS
        batch: list[int] = []
        for number in order:
            length = len(rows[number].ids)
            full = 1 if self.is_apart is False else self.batch_size or max(1, most // max(length, 1))
            if batch and (len(batch) >= full or (not pads and length != len(rows[batch[0]].ids))):
                yield batch
                batch = []
            batch.append(number)
        if batch:
            yield batch

    def _on_cpu(self) -> bool:
        return device_of(getattr(self.model, "model", None)).type == "cpu"

    def _is_worth_sharing(self, rows: Sequence[Row]) -> bool:
        if self.shares is False or not isinstance(self.model, Continuation) or self.model.encodes or len(rows) < 2:
            return False
        inner = self.model.model
        if not hasattr(inner, "config") or {"cache", "past_key_values"}.isdisjoint(takes(inner)) or self.looks_ahead:
            return False
        if self.model.foil is not None or any(row.hidden is not None for row in rows):
            return False
        if self.shares:
            return True
        start = CPU_START if self._on_cpu() else OTHER_START
        said, ordered = len(self.model.ids) - 1, sorted(row.ids for row in rows)
        shared = sum(len(row) + said - past + start for row, past in zip(ordered, _pasts(ordered), strict=True))
        batches = list(self._batches(rows, pads=True))
        plain = sum(start + len(batch) * (len(rows[batch[-1]].ids) + said) for batch in batches)
        return shared < plain

    def _shared(self, rows: Sequence[Row]) -> Tensor | None:
        """One row after the other, in an order in which each begins as much as can be like the one before it.

        Sorted, rows are the leaves of a tree of their beginnings from left to right, and each token of the tree is read
        once. None, if the model's cache cannot be cut back, or gives other numbers.
        """
        from transformers import DynamicCache
        from transformers.cache_utils import DynamicLayer

        model = self.model
        order = sorted(range(len(rows)), key=lambda number: rows[number].ids)
        ordered = [rows[number].ids for number in order]
        try:
            cache = DynamicCache(config=model.model.config)
        except TypeError:  # before it told of layers of several kinds
            cache = DynamicCache()
        if any(type(layer) is not DynamicLayer for layer in cache.layers):
            return None  # of a recurrence, say, which is not told by the tokens
        found: list[Any] = [None] * len(rows)
        for number, row, past in zip(order, ordered, _pasts(ordered), strict=True):
            length = cache.get_seq_length()
            if length > past:
                cache.crop(past - length)
            found[number] = self.call(torch.tensor([row]), cache=cache)[0].cpu()
            if any(type(layer) is not DynamicLayer for layer in cache.layers):
                return None  # of a sliding window, say, whose beginning is gone
            if past > 0 and not self.is_checked:
                plain = shortened(self.call)(torch.tensor([row]))[0].cpu()
                if not agree(found[number][: len(plain)], plain, model.model):
                    return None
                self.is_checked = True
        return torch.stack(found)


def _pasts(ordered: Sequence[tuple[int, ...]]) -> list[int]:
    """How many of the first tokens of each row are those of the row before; never the last, which is read from."""
    pasts: list[int] = []
    before: tuple[int, ...] = ()
    for row in ordered:
        common = 0
        for one, other in zip(before, row, strict=False):
            if one != other:
                break
            common += 1
        pasts.append(min(common, len(row) - 1))
        before = row
    return pasts
