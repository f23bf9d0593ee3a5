"""Which tokens belong to which part of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrfunc.core.errors import ArgumentError
from attrfunc.text.cutting import Span

__all__ = ["Tokens"]


class Tokens:
    """Tokens and the characters that they stand for.

    Args:
        text: The text.
        offsets: The characters of each token, as the tokenizer tells them.
        special: Which tokens are marks, and no text.
    """

    def __init__(self, text: str, offsets: list[Any], special: list[bool]) -> None:
        self.text, self.special = text, special
        self.offsets = [self.trimmed(*pair) for pair in offsets]

    def trimmed(self, a: int, b: int) -> Span:
        """A span without the white space around it; that of white space alone stays."""
        part = self.text[a:b]
        inner = part.strip()
        start = a + len(part) - len(part.lstrip())
        return (start, start + len(inner)) if inner else (a, b)

    def inside(self, regions: Sequence[Span]) -> list[bool]:
        """Which tokens stand for characters of these regions only, and are not special."""
        pairs = zip(self.offsets, self.special, strict=True)
        return [not odd and any(s <= a and b <= e for s, e in regions) for (a, b), odd in pairs]

    def units(self) -> list[Span]:
        """Each token; those that make up one character together are one."""
        found: list[Span] = []
        for (a, b), odd in zip(self.offsets, self.special, strict=True):
            if odd or a == b:
                continue
            if found and a < found[-1][1]:
                found[-1] = (found[-1][0], max(b, found[-1][1]))
            else:
                found.append((a, b))
        return found

    def owners(self, wanted: list[Span], free: list[bool], *, joins: bool) -> list[int]:
        """The unit of each token, -1 for none.

        Args:
            wanted: Spans of characters.
            free: Which tokens may belong to one.
            joins: Whether units that share a token become one; otherwise that is an error.
        """
        parent = list(range(len(wanted)))
        owners = []
        for token, (a, b) in enumerate(self.offsets):
            met = [n for n, (s, e) in enumerate(wanted) if s < b and a < e] if free[token] and a < b else []
            if met and not joins and (len(met) > 1 or not (wanted[met[0]][0] <= a and b <= wanted[met[0]][1])):
                self._refuse(wanted[met[0]], (a, b))
            for other in met[1:]:
                parent[other] = parent[met[0]]
            owners.append(met[0] if met else -1)
        for token in range(len(owners) - 2, -1, -1):  # a mark of no characters goes with what follows it
            a, b = self.offsets[token]
            if a == b and owners[token] < 0 and free[token]:
                owners[token] = owners[token + 1]
        return [parent[owner] if owner >= 0 else -1 for owner in owners]

    def _refuse(self, span: Span, token: Span) -> None:
        a, b = token
        raise ArgumentError(
            "by",
            f"the span {span} ({self.text[slice(*span)]!r}), which cuts the token {self.text[a:b]!r} at {token}",
            "spans of whole tokens",
            f"Let it begin or end at {a} or {b}.",
        )

    def without(self, owners: list[int], fixed: tuple[bool, list[Span]], *, whole: bool) -> list[int]:
        """The owners, without what is held fixed.

        Args:
            owners: The unit of each token.
            fixed: Whether the last token is, and spans.
            whole: Whether with the last token all of its unit is.
        """
        last, spans = fixed
        owners = list(owners)
        for token, (a, b) in enumerate(self.offsets):
            if any(s < b and a < e for s, e in spans):
                owners[token] = -1
        if last and owners:
            unit = owners[-1]
            owners = [-1 if whole and unit >= 0 and owner == unit else owner for owner in owners]
            owners[-1] = -1
        return owners
