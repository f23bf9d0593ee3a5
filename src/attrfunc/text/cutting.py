"""Units of a text, as spans of characters: words, sentences, paragraphs, matches of a pattern."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from attrfunc.core.errors import ArgumentError, describe

__all__ = ["LEVELS", "Span", "checked_spans", "units"]

Span = tuple[int, int]
"""From a character to behind another one."""

# A word with its apostrophes and hyphens, or one sign, in a text whose marks are told by `_marked`.
_WORD = re.compile(r"\w[\w\ue000\u200c\u200d]*(?:['’\-]\w[\w\ue000]*)*|[^\w\s]\ue000*(?:\u200d[^\w\s]\ue000*)*")
# Up to and with the white space that follows. Chinese and Japanese sentences have none.
_SENTENCE = re.compile(r".+?(?:[.!?…][\"'”’)\]]*(?=\s|\Z)|[。！？]+|\n|\Z)\s*", re.DOTALL)
_PARAGRAPH = re.compile(r".+?(?:\n\s*\n\s*|\Z)", re.DOTALL)
LEVELS = {"word": _WORD, "sentence": _SENTENCE, "paragraph": _PARAGRAPH}
"""The units that have a name, from the finest to the coarsest; tokens are finer."""


def units(text: str, by: Any) -> list[Span]:
    """The units of a text.

    Args:
        text: The text.
        by: A name in `LEVELS`, or a pattern.

    Raises:
        ArgumentError: If there is no unit of that name, or the pattern cannot be read.
    """
    pattern = LEVELS.get(by) if isinstance(by, str) else by
    if pattern is None:
        try:
            pattern = re.compile(by)
        except re.error as error:
            raise ArgumentError(
                "by",
                f"{by!r}, which is no pattern: {error}",
                f'"token", {", ".join(repr(name) for name in LEVELS)}, a regular expression, or spans',
                "Put a backslash before signs that mean something in a pattern.",
            ) from None
    text = _marked(text) if by == "word" else text
    return [match.span() for match in pattern.finditer(text) if match.end() > match.start()]


def _marked(text: str) -> str:
    """The text with one sign of private use for each mark that belongs to the character before it.

    Vowels of Hindi and Thai, accents of their own, and colours of emojis are such marks; to a pattern they are no
    letters.
    """
    return text if text.isascii() else "".join("\ue000" if _is_mark(one) else one for one in text)


def _is_mark(one: str) -> bool:
    return unicodedata.category(one)[0] == "M" or "\U0001f3fb" <= one <= "\U0001f3ff"


def checked_spans(spans: Sequence[Any], length: int, argument: str) -> list[Span]:
    """Spans that a caller gave, in order.

    Args:
        spans: Pairs of integers.
        length: Number of characters of the text.
        argument: The argument's name, for errors.

    Raises:
        ArgumentError: If one is not a pair, is empty, leaves the text, or overlaps another.
    """
    found: list[Span] = []
    for span in spans:
        pair = tuple(span) if isinstance(span, Sequence) and not isinstance(span, str) else ()
        if len(pair) != 2 or not all(isinstance(end, int) for end in pair) or not 0 <= pair[0] < pair[1] <= length:
            raise ArgumentError(
                argument,
                describe(span),
                f"spans (start, end) of characters, with 0 <= start < end <= {length}",
                "Take them from the rendered text, for example text.find(part) and that plus len(part).",
            )
        found.append((pair[0], pair[1]))
    found.sort()
    for one, other in itertools.pairwise(found):
        if other[0] < one[1]:
            raise ArgumentError(argument, f"{one} and {other}", "spans that do not overlap", "Merge or shorten them.")
    return found
