"""What the doctor finds, and its table."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["VERDICTS", "Diagnosis", "Finding"]

VERDICTS = ("wrong", "failed", "warned", "unjudged", "refused", "consistent", "right")
"""From what needs attention most."""

HEADS = ("method", "verdict", "seconds", "x forward", "memory", "said")


@dataclass(frozen=True)
class Finding:
    """What was found of one method.

    Attributes:
        method: Its name in `attrfunc`.
        verdict: One of
            `"right"` (it gives what `check` gives, which is computed without this library's methods);
            `"consistent"` (there is nothing to compare with, but all ways to call it agree);
            `"refused"` (by an error of the library, in `said`);
            `"warned"` (it ran, but not as it should: the library said so);
            `"unjudged"` (the scores are random, or so inexact that nothing can be compared);
            `"failed"` (an error that is not the library's: the model's own, as a rule);
            `"wrong"` (never expected: please report it).
        check: What it was compared with.
        error: How far it is from that, as a share of its length; None where nothing was compared.
        seconds: One call.
        ratio: The same in forward passes of the batch.
        memory: The most bytes that were allocated at a time, beside what there was before; None if not measured.
        slow: Whether the same by hand, a plain loop, is more than three times as fast.
        said: The library's error or warnings, or what is wrong.
        options: What it was called with, in short.
    """

    method: str
    verdict: str
    check: str = ""
    error: float | None = None
    seconds: float | None = None
    ratio: float | None = None
    memory: int | None = None
    slow: bool = False
    said: str = ""
    options: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """What `attrfunc.doctor` found; printed, it is a table.

    Attributes:
        model: The class of the model.
        findings: One for each method, in the order in which they were tried.
        notes: What is to be known of the model itself, in sentences.
        target: What was attributed.
        seconds: One forward pass of the batch.
        memory: The most bytes that it allocates at a time; None if not measured.
        parameters: Number of parameters.
    """

    model: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    target: str
    seconds: float
    memory: int | None
    parameters: int

    def __getitem__(self, method: str) -> Finding:
        """The finding of one method."""
        return next(one for one in self.findings if one.method == method)

    def by_verdict(self, verdict: str) -> tuple[str, ...]:
        """The methods with this verdict."""
        return tuple(one.method for one in self.findings if one.verdict == verdict)

    @property
    def healthy(self) -> bool:
        """Whether no method was wrong, and none failed."""
        return not (self.by_verdict("wrong") or self.by_verdict("failed"))

    def __str__(self) -> str:
        """For a terminal: what is to be known of the model, and a table."""
        rows = [HEADS, *map(_cells, self.findings)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS) - 1)]
        lines = [self._head(), *(f"- {note}" for note in self.notes), ""]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            lines.append("  ".join([*cells, row[-1]]).rstrip())
        return "\n".join([*lines, "", self._foot()])

    def to_markdown(self) -> str:
        """The same for a page in Markdown."""
        lines = [self._head(), "", *(f"- {note}" for note in self.notes), ""]
        for row in (HEADS, ("---",) * len(HEADS), *map(_cells, self.findings)):
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
        return "\n".join([*lines, "", self._foot()])

    def to_json(self) -> str:
        """All of it as JSON, with whole numbers of bytes."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    def _repr_html_(self) -> str:
        """For notebooks; nothing in it runs."""
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        head = "".join(f"<th style='text-align:left'>{name}</th>" for name in HEADS)
        body = "".join(_html_row(one) for one in self.findings)
        return (
            f"<p>{html.escape(self._head())}</p><ul>{notes}</ul>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{html.escape(self._foot())}</p>"
        )

    def _head(self) -> str:
        memory = "" if self.memory is None else f", {_bytes(self.memory)}"
        counted = f"{self.model}, {self.parameters:,} parameters"
        return f"{counted}; one forward pass: {_seconds(self.seconds)}{memory}; target: {self.target}"

    def _foot(self) -> str:
        counts = [(name, len(self.by_verdict(name))) for name in reversed(VERDICTS)]
        told = ", ".join(f"{count} {name}" for name, count in counts if count)
        report = " What is wrong is a bug of attrfunc: please report it." if self.by_verdict("wrong") else ""
        return f"{len(self.findings)} methods: {told or 'none'}.{report}"


COLOURS = {"right": "#1a7f37", "consistent": "#1a7f37", "refused": "#57606a", "wrong": "#cf222e", "failed": "#cf222e"}


def _html_row(finding: Finding) -> str:
    cells = [html.escape(cell) for cell in _cells(finding)]
    colour = COLOURS.get(finding.verdict, "#9a6700")
    cells[1] = f"<span style='color:{colour}'>{cells[1]}</span>"
    return "<tr>" + "".join(f"<td style='text-align:left'>{cell}</td>" for cell in cells) + "</tr>"


def _cells(finding: Finding) -> Sequence[str]:
    verdict = finding.verdict + (", slow" if finding.slow else "")
    told = [finding.said]
    if finding.check and finding.verdict in ("right", "wrong"):
        told = [f"{finding.check}: {finding.error:.0e} apart" if finding.error is not None else finding.check, *told]
    elif finding.check and finding.verdict in ("consistent", "unjudged"):
        told = [finding.check, *told]
    seconds: Any = "" if finding.seconds is None else _seconds(finding.seconds)
    ratio = "" if finding.ratio is None else f"{finding.ratio:.3g}"
    memory = "" if finding.memory is None else _bytes(finding.memory)
    name = f"{finding.method}({finding.options})" if finding.options else finding.method
    return name, verdict, seconds, ratio, memory, "; ".join(filter(None, told)).replace("\n", " ")


def _seconds(value: float) -> str:
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"


def _bytes(value: int) -> str:
    amount, unit = float(value), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            break
        amount /= 1000
    return f"{amount:.3g} {unit}"
