"""Segments: the parts of a prompt that are attributed to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.text.cutting import LEVELS, Span, checked_spans, units
from attrfunc.text.public import public
from attrfunc.text.sources import Source, Template, as_source
from attrfunc.text.tokens import Tokens

__all__ = ["Segments", "segments"]


@dataclass(frozen=True)
class Segments:
    """A prompt and its n segments; made by `segments`.

    Attributes:
        text: The prompt as the model reads it.
        ids: Its L tokens.
        offsets: The characters of each token; `(a, a)` of one that stands for none.
        owners: The segment that each token belongs to; -1 if it is held fixed.
        spans: The characters of each segment, without white space around them.
        labels: The same as text.
        tree: The segments, nested in words, sentences and paragraphs as far as these are coarser: what
            `attrfunc.owen_values` takes as `nesting`.
        units: The coarser units of each segment, by name: the word that a token belongs to, as a number.
        by: What the segments are.
    """

    text: str
    ids: tuple[int, ...]
    offsets: tuple[Span, ...]
    owners: tuple[int, ...]
    spans: tuple[Span, ...]
    labels: tuple[str, ...]
    tree: tuple[Any, ...]
    units: dict[str, tuple[int, ...]]
    by: str
    source: Source = field(repr=False, compare=False)
    tokenizer: Any = field(repr=False, compare=False)
    extents: tuple[Span, ...] = field(repr=False)

    def __len__(self) -> int:
        """Number of segments, n."""
        return len(self.spans)

    @property
    def full(self) -> Tensor:
        """All segments present, `(1, n)`: the input of methods that attribute to them."""
        return torch.ones(1, len(self), dtype=torch.bool)

    @property
    def fixed(self) -> tuple[int, ...]:
        """The places of tokens that are in every coalition."""
        return tuple(place for place, owner in enumerate(self.owners) if owner < 0)

    def present(self, mask: Any) -> tuple[int, ...]:
        """The tokens that are left with some segments present.

        Args:
            mask: Which are, n booleans.
        """
        kept = self.kept(mask)
        return tuple(token for token, here in zip(self.ids, kept, strict=True) if here)

    def kept(self, mask: Any) -> tuple[bool, ...]:
        """Which of the L tokens are left with some segments present."""
        here = [*self._mask(mask), True]  # of which the last is the owner -1
        return tuple(here[owner] for owner in self.owners)

    def render(self, mask: Any, texts: Sequence[str] | None = None) -> str:
        """The prompt as a text with some segments present; a chat template is rendered again.

        Args:
            mask: Which are present, n booleans.
            texts: What stands in place of each segment that is not; nothing by default.
        """
        here, contents = self._mask(mask), []
        _, regions = self.source.assemble(self.source.contents)
        for start, end in regions:
            said, place = "", start
            for number, (a, b) in enumerate(self.extents):
                if here[number] or b <= start or a >= end:
                    continue
                a, b = max(a, start), min(b, end)
                if texts:  # behind the white space that stood before the segment, as far as it is the region's own
                    said, place = said + self.text[place : max(a, self.spans[number][0])] + texts[number], b
                else:
                    said, place = said + self.text[place:a], b
            contents.append(said + self.text[place:end])
        return self.source.assemble(contents)[0]

    def encode(self, text: str) -> tuple[int, ...]:
        """Tokens of a rendered prompt."""
        return tuple(self.tokenizer(text, add_special_tokens=self.source.special)["input_ids"])

    def merges(self) -> tuple[int, ...]:
        """Segments without which the tokenizer reads other tokens than the ones that are left.

        Deleting tokens and deleting text are then two different things: `absent="render"` does the latter.
        """
        alone = ~torch.eye(len(self), dtype=torch.bool)
        return tuple(n for n, mask in enumerate(alone) if self.encode(self.render(mask)) != self.present(mask))

    def members(self, level: str) -> list[list[int]]:
        """The segments in each unit of a level.

        Args:
            level: `"word"`, `"sentence"`, `"paragraph"`, or what the segments are.

        Raises:
            ArgumentError: If the segments are not finer than that.
        """
        if level == self.by:
            return [[number] for number in range(len(self))]
        if level not in self.units:
            known = ", ".join(repr(name) for name in (self.by, *self.units))
            raise ArgumentError("level", describe(level), f"one of {known}", "Cut the prompt finer: segments(by=...).")
        found: dict[int, list[int]] = {}
        for number, unit in enumerate(self.units[level]):
            found.setdefault(unit, []).append(number)
        return list(found.values())

    def _mask(self, mask: Any) -> list[bool]:
        flat = mask.tolist() if isinstance(mask, Tensor) else list(mask)
        if len(flat) != len(self) or not all(entry in (True, False) for entry in flat):
            raise ArgumentError("mask", describe(mask), f"{len(self)} booleans", "Say for each segment if it is there.")
        return [bool(entry) for entry in flat]


@public
def segments(
    tokenizer: Any,
    source: Any,
    *,
    by: Any = None,
    fixed: Any = "special",
) -> Segments:
    """Cut a prompt into the segments that are attributed to.

    A segment is whole tokens. Which characters these stand for is read from the tokenizer's own offsets, so that
    subwords are joined, and a character that several tokens make up stays one.

    Args:
        tokenizer: A fast tokenizer of transformers.
        source: A text; a list of messages, which the chat template renders and of which only the contents are
            segments; or a template `(text, values)` with fields `{}` or `{name}`, of which only the values are.
        by: `"token"` (the default), `"word"`, `"sentence"`, `"paragraph"`, a regular expression whose matches are the
            segments, or their spans `(start, end)` of characters of the text as it is rendered. `"value"` is for
            templates, and their default: each value is a segment.
        fixed: What is no segment and always present. `"special"`: special tokens, and the last token of the prompt,
            whose place is the one that the answer is read from. (Of a word it is the whole word, of longer segments
            the token alone.) `None`: nothing. Otherwise spans of characters, which are fixed besides these.

    Returns:
        The segments.

    Raises:
        ArgumentError: If there is no text, no token is left to attribute to, or a span cuts a token.

    Example:
        >>> parts = af.text.segments(tokenizer, "The sky is blue. What colour is it?", by="sentence")
        >>> parts.labels
        ('The sky is blue.', 'What colour is it')
    """
    made = as_source(tokenizer, source)
    text, regions = made.assemble(made.contents)
    if not getattr(tokenizer, "is_fast", False):
        raise ArgumentError(
            "tokenizer",
            f"{type(tokenizer).__name__}, which tells no offsets of tokens",
            "a fast tokenizer of transformers",
            "Load it with use_fast=True.",
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"a text with {text[error.start]!r}, half of a pair of surrogates"
        fix = 'Decode what it came from anew, or drop it: text.encode("utf-8", "ignore").decode().'
        raise ArgumentError("source", half, "a text that can be written as UTF-8", fix) from None
    by = ("value" if isinstance(made, Template) else "token") if by is None else by
    if not isinstance(by, str | Sequence) and not hasattr(by, "finditer"):
        raise ArgumentError("by", describe(by), "a name, a pattern, or spans", 'Pass by="word", say.')
    read = tokenizer(
        text, add_special_tokens=made.special, return_offsets_mapping=True, return_special_tokens_mask=True
    )
    ids, offsets = tuple(read["input_ids"]), [tuple(pair) for pair in read["offset_mapping"]]
    # What the tokenizer does not know is said by the prompt all the same.
    specials = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    special = [bool(mark) or one in specials for mark, one in zip(read["special_tokens_mask"], ids, strict=True)]
    tokens = Tokens(text, offsets, special)
    free = tokens.inside(regions)
    kinds: dict[str, Callable[[], list[Span]]] = {"token": tokens.units, "value": lambda: list(regions)}
    if isinstance(by, str) and by in kinds:
        wanted = kinds[by]()
    elif isinstance(by, str) or hasattr(by, "finditer"):
        wanted = [(a + start, b + start) for start, end in regions for a, b in units(text[start:end], by)]
    else:
        wanted = checked_spans(by, len(text), "by")
    owners = tokens.owners(wanted, free, joins=isinstance(by, str) and by in LEVELS)
    owners = tokens.without(owners, _fixed(fixed, len(text)), whole=by in ("token", "word"))
    return _numbered(tokens, owners, ids, made, tokenizer, by if isinstance(by, str) and by in _NAMED else "span")


_NAMED = ("token", "value", *LEVELS)


def _fixed(fixed: Any, length: int) -> tuple[bool, list[Span]]:
    """Whether the special tokens and the last one are fixed, and which spans."""
    if fixed is None:
        return False, []
    if isinstance(fixed, str):
        if fixed == "special":
            return True, []
        raise ArgumentError("fixed", describe(fixed), '"special", None, or spans', "Pass spans of characters.")
    return True, checked_spans(fixed, length, "fixed")


def _numbered(
    tokens: Tokens, owners: list[int], ids: tuple[int, ...], source: Source, tokenizer: Any, by: str
) -> Segments:
    """The segments, numbered in the order of the text."""
    order = {unit: number for number, unit in enumerate(dict.fromkeys(unit for unit in owners if unit >= 0))}
    if not order:
        raise ArgumentError(
            "source",
            f"a prompt of {len(ids)} tokens, all of which are held fixed",
            "tokens that are left to attribute to",
            "Pass fixed=None, a longer prompt, or another `by`.",
        )
    numbers = tuple(order.get(unit, -1) for unit in owners)
    text, offsets = tokens.text, tokens.offsets
    spans = [_hull([pair for pair, own in zip(offsets, numbers, strict=True) if own == n]) for n in range(len(order))]
    spans = [tokens.trimmed(*span) for span in spans]
    extents, place = [(0, 0)] * len(order), 0
    for (a, b), own, odd in zip(offsets, numbers, tokens.special, strict=True):
        if own >= 0:
            start = extents[own][0] if extents[own][1] else min(place, a)
            extents[own] = (start, max(b, extents[own][1]))
        place = place if odd and b == 0 else max(place, b)
    coarser = [name for name in LEVELS if by == "token" or (by in LEVELS and list(LEVELS).index(by) < _rank(name))]
    held = {name: _unit_of(spans, units(text, name)) for name in coarser}
    tree = _nested(list(range(len(spans))), [held[name] for name in reversed(coarser)])
    labels = tuple(text[a:b] for a, b in spans)
    return Segments(
        text, ids, tuple(offsets), numbers, tuple(spans), labels, tree, held, by, source, tokenizer, tuple(extents)
    )


def _rank(name: str) -> int:
    return list(LEVELS).index(name)


def _hull(pairs: list[Span]) -> Span:
    solid = [pair for pair in pairs if pair[0] < pair[1]] or pairs
    return min(a for a, _ in solid), max(b for _, b in solid)


def _unit_of(spans: Sequence[Span], found: Sequence[Span]) -> tuple[int, ...]:
    """The number of the unit that each span begins in; white space goes with the unit before it."""
    return tuple(max((n for n, (start, _) in enumerate(found) if start <= a), default=0) for a, _ in spans)


def _nested(members: list[int], levels: list[tuple[int, ...]]) -> tuple[Any, ...]:
    """Segments in units in coarser units; a unit of one is not nested."""
    if not levels:
        return tuple(members)
    groups: dict[int, list[int]] = {}
    for member in members:
        groups.setdefault(levels[0][member], []).append(member)
    if len(groups) == 1:
        return _nested(members, levels[1:])
    return tuple(inner[0] if len(inner := _nested(group, levels[1:])) == 1 else inner for group in groups.values())
