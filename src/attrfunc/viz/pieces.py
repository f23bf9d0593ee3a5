"""The pieces that tokenizers cut texts into, as they are read: with spaces where words begin, and joined if asked."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.viz.arrays import text as readable

__all__ = ["Piece", "joined", "pieces_of", "visible", "width"]

BYTE_SPACE, BYTE_LINE, SENTENCE_SPACE, CONTINUED = "Ġ", "Ċ", "▁", "##"


@dataclass(frozen=True)
class Piece:
    """A part of a text.

    Attributes:
        text: What is read, without the space before it.
        spaced: Whether a space stands before it, and a word begins.
        numbers: Which tokens it is made of.
    """

    text: str
    spaced: bool
    numbers: tuple[int, ...]


def pieces_of(tokens: Any) -> list[Piece]:
    """Tokens as pieces; how words begin is told by the marks among them.

    Known are GPT-2's and RoBERTa's `Ġ` (and `Ċ` for a new line), SentencePiece's `▁`, BERT's `##` for what continues a
    word, and pieces with their spaces, as a tokenizer's `decode` gives them. Without any mark each token is a word.

    Args:
        tokens: Strings.
    """
    texts = _checked(tokens)
    if any(text.startswith(BYTE_SPACE) for text in texts):
        texts = [text.replace(BYTE_SPACE, " ").replace(BYTE_LINE, "\n") for text in texts]
    elif any(text.startswith(SENTENCE_SPACE) for text in texts):
        texts = [text.replace(SENTENCE_SPACE, " ") for text in texts]
    elif any(text.startswith(CONTINUED) and text != CONTINUED for text in texts):
        # All that continues nothing begins a word.
        texts = [text[2:] if text.startswith(CONTINUED) and text != CONTINUED else f" {text}" for text in texts]
    elif not any(text[:1].isspace() for text in texts):
        texts = [f" {text}" for text in texts]
    return [
        Piece(text[1:] if text[:1] == " " else text, text[:1] == " " and bool(number), (number,))
        for number, text in enumerate(texts)
    ]


def joined(pieces: Sequence[Piece]) -> list[Piece]:
    """Words in place of the pieces that they are made of. Marks in angles or square brackets stay by themselves."""
    words: list[Piece] = []
    for piece in pieces:
        alone = not words or piece.spaced or _special(piece.text) or _special(words[-1].text)
        if alone or words[-1].text[-1:].isspace():
            words.append(piece)
        else:
            last = words.pop()
            words.append(Piece(last.text + piece.text, last.spaced, last.numbers + piece.numbers))
    return words


def visible(text: str) -> str:
    """Control characters as signs for them, so that a text can neither command a terminal nor hide in one."""
    hidden = {"\n": "⏎", "\t": "⇥", "\r": "␍", "\x7f": "␡"}
    return "".join(hidden.get(one, chr(0x2400 + ord(one)) if ord(one) < 0x20 else _shown(one)) for one in text)


def width(text: str) -> int:
    """How many columns a text takes where all characters are equally wide, but for those of East Asia."""
    wide = sum(unicodedata.east_asian_width(one) in "WF" for one in text)
    none = sum(one in "\u200c\u200d" or unicodedata.category(one) in ("Mn", "Me") for one in text)
    return len(text) + wide - none


def _shown(one: str) -> str:
    # Format characters turn the direction of writing around, among other things; controls above ASCII command.
    return one if unicodedata.category(one) not in ("Cc", "Cf") or one in "\u200c\u200d" else "·"


def _special(text: str) -> bool:
    return len(text) > 2 and (text[0] + text[-1]) in ("<>", "[]")


def _checked(tokens: Any) -> list[str]:
    listed = list(tokens) if isinstance(tokens, Iterable) and not isinstance(tokens, str) else None
    if not listed or not all(isinstance(one, str) for one in listed):
        fix = "Pass tokenizer.convert_ids_to_tokens(ids), or [tokenizer.decode([i]) for i in ids]."
        raise ArgumentError("tokens", describe(tokens), "a list of at least one string", fix)
    return [readable(one) for one in listed]
