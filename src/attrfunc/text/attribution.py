"""What `explain` gives: attributions of an answer's tokens to the segments of its prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.text import show
from attrfunc.text.cutting import Span
from attrfunc.viz.coloured import Texts

__all__ = ["TextAttribution"]

_TENSORS = ("values", "elsewhere", "scores", "baseline_scores", "among")
_FORMAT = "attrfunc.text.TextAttribution"


@dataclass(frozen=True, eq=False)
class TextAttribution:
    """Attributions to the n segments of a prompt, of T tokens of an answer.

    Attributes:
        values: `(T, n)`, in the `unit`. (T is 1 where the answer was explained as a whole.)
        labels: The segments as text.
        spans: Their characters in the prompt.
        text: The prompt.
        outputs: What was explained, T texts: the tokens of the answer.
        scores: What the model gives each of them after the prompt, `(T,)`: log-probabilities in nats, unless said
            otherwise.
        baseline_scores: The same with all segments absent, `(T,)`; None for a method that compares with nothing.
        elsewhere: What the method gave to places that are no segments, `(T,)`: zeros, unless it has no baseline.
        among: The influence of earlier tokens of the answer on later ones, `(T, T)`, if it was asked for.
        units: The words, sentences and paragraphs that each segment belongs to, as numbers.
        level: What the segments are: tokens, words, ...
        fixed: What was always there: spans of characters.
        method: The name of the method.
        absent: What stood for a segment that was absent.
        unit: The unit of the values.
        evaluations: How many prompts the model read.
    """

    values: Tensor
    labels: tuple[str, ...]
    spans: tuple[Span, ...]
    text: str
    outputs: tuple[str, ...]
    scores: Tensor
    baseline_scores: Tensor | None
    elsewhere: Tensor
    among: Tensor | None
    units: dict[str, tuple[int, ...]]
    level: str
    fixed: tuple[Span, ...]
    method: str
    absent: str
    unit: str
    evaluations: int

    @property
    def sequence(self) -> Tensor:
        """Attributions of the whole answer, `(n,)`: the sum over its tokens."""
        return self.values.sum(0)

    @property
    def answer(self) -> str:
        """The answer as text."""
        return "".join(self.outputs)

    @property
    def change(self) -> Tensor:
        """By how much the segments change the score of each token, `(T,)`: what complete attributions add up to."""
        return self.scores if self.baseline_scores is None else self.scores - self.baseline_scores

    @property
    def gap(self) -> Tensor:
        """What the attributions add up to beyond the change, `(T,)`; zero where the method is complete."""
        return self.values.sum(1) + self.elsewhere - self.change

    def by(self, level: str) -> TextAttribution:
        """The same for coarser segments, whose values are sums.

        Args:
            level: `"word"`, `"sentence"` or `"paragraph"`.

        Raises:
            ArgumentError: If the segments are not finer than that.
        """
        if level == self.level:
            return self
        if level not in self.units:
            known = ", ".join(repr(name) for name in (self.level, *self.units))
            raise ArgumentError("level", describe(level), f"one of {known}", "Cut the prompt finer: segments(by=...).")
        names = list(dict.fromkeys(self.units[level]))
        numbers = torch.tensor([names.index(unit) for unit in self.units[level]])
        values = self.values.new_zeros(len(self.values), len(names)).index_add(1, numbers, self.values)
        members = [[n for n, unit in enumerate(self.units[level]) if unit == name] for name in names]
        spans = tuple((self.spans[some[0]][0], self.spans[some[-1]][1]) for some in members)
        labels = tuple(self.text[a:b].strip() or self.text[a:b] for a, b in spans)
        place = list(self.units).index(level)
        coarser = {
            name: tuple(numbers[some[0]] for some in members) for name, numbers in list(self.units.items())[place + 1 :]
        }
        return replace(self, values=values, spans=spans, labels=labels, units=coarser, level=level)

    def span(self, start: int | str, stop: int | None = None) -> Tensor:
        """Attributions `(n,)` of a part of the answer: the sum over the tokens that it touches.

        Args:
            start: Its first character, or the part itself as text.
            stop: Behind its last character.

        Raises:
            ArgumentError: If the answer has no such part.
        """
        answer = self.answer
        if isinstance(start, str):
            place = answer.find(start)
            first, last = place, place + len(start)
        else:
            first, last = start, len(answer) if stop is None else stop
        if not 0 <= first < last <= len(answer):
            raise ArgumentError(
                "start",
                f"{describe(start)} and stop={stop}",
                f"a part of the answer {answer[:60]!r}, which has {len(answer)} characters",
                "Pass 0 <= start < stop, or words that are in it.",
            )
        total, begin, end = torch.zeros_like(self.values[0]), 0, 0
        waiting: list[Tensor] = []  # parts of a sign that a later token completes
        for output, row in zip(self.outputs, self.values, strict=True):
            begin, end = end, end + len(output)
            waiting.append(row)
            if output:
                total = total + sum(waiting) if begin < last and first < end else total
                waiting = []
        return total

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The k segments of the largest absolute value for the whole answer, with their values."""
        whole = self.sequence
        order = whole.abs().argsort(descending=True)[:k]
        return [(self.labels[number], float(whole[number])) for number in order.tolist()]

    def __sub__(self, other: TextAttribution) -> TextAttribution:
        """The difference of two attributions of the same segments: of two models, methods or answers.

        Raises:
            ArgumentError: If they have other segments, or other numbers of tokens.
        """
        if (
            not isinstance(other, TextAttribution)
            or self.spans != other.spans
            or self.values.shape != other.values.shape
        ):
            got = (
                f"{tuple(other.values.shape)} of other segments"
                if isinstance(other, TextAttribution)
                else describe(other)
            )
            raise ArgumentError(
                "other",
                got,
                f"attributions of the same segments, {tuple(self.values.shape)}",
                "Explain one prompt twice.",
            )
        both = None not in (self.baseline_scores, other.baseline_scores)
        return replace(
            self,
            values=self.values - other.values,
            elsewhere=self.elsewhere - other.elsewhere,
            scores=self.scores - other.scores,
            baseline_scores=self.baseline_scores - other.baseline_scores if both else None,  # type: ignore[operator]
            among=self.among - other.among if self.among is not None and other.among is not None else None,
            outputs=_either(self.outputs, other.outputs),
            method=_either((self.method,), (other.method,))[0],
            evaluations=self.evaluations + other.evaluations,
        )

    def to_json(self) -> str:
        """All of it as JSON; numbers keep their digits."""
        held = asdict(self)
        for name in _TENSORS:
            tensor = held[name]
            held[name] = None if tensor is None else {"dtype": str(tensor.dtype), "data": tensor.tolist()}
        return json.dumps({"format": _FORMAT, "version": 1, **held}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> TextAttribution:
        """What `to_json` has written.

        Raises:
            ArgumentError: If it is another thing.
        """
        expected, fix = "what TextAttribution.to_json wrote", "Save it again with this version of attrfunc."
        try:
            held = json.loads(text)
        except ValueError as error:
            raise ArgumentError("text", f"no JSON ({error})", expected, fix) from None
        names = {field.name for field in fields(cls)}
        if not isinstance(held, dict) or held.get("format") != _FORMAT or not names <= set(held):
            raise ArgumentError("text", "JSON of something else", expected, fix)
        made = {name: held[name] for name in names}
        for name in _TENSORS:
            if made[name] is not None:
                dtype = getattr(torch, made[name]["dtype"].removeprefix("torch."))
                made[name] = torch.tensor(made[name]["data"], dtype=dtype)
        for name in ("labels", "outputs"):
            made[name] = tuple(made[name])
        for name in ("spans", "fixed"):
            made[name] = tuple((a, b) for a, b in made[name])
        made["units"] = {name: tuple(numbers) for name, numbers in made["units"].items()}
        return cls(**made)

    def save(self, path: str | Path) -> None:
        """Write it to a file, as JSON."""
        Path(path).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> TextAttribution:
        """Read what `save` has written."""
        return cls.from_json(Path(path).read_text(encoding="utf-8"))

    def coloured(self) -> Texts:
        """The prompt in colours, red for and blue against: an object as `af.viz.tokens` gives it.

        It shows itself in notebooks and terminals, and its `save` writes `.html`, `.png`, `.svg` or `.txt`.
        """
        return show.coloured(self)

    def _repr_html_(self) -> str:
        return self.coloured()._repr_html_()

    def __str__(self) -> str:
        """The prompt as lines with bars, for a terminal."""
        return show.lines(self)

    def plot(self, **options: Any) -> Any:
        """Draw it with matplotlib: segments above, tokens of the answer below each other.

        Returns:
            The figure.
        """
        return show.plot(self, **options)


def _either(one: Sequence[str], other: Sequence[str]) -> tuple[str, ...]:
    """Both names, where they differ."""
    return tuple(a if a == b else f"{a} - {b}" for a, b in zip(one, other, strict=True))
