"""Bars in Captum's words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from attrfunc.core.errors import ArgumentError

__all__ = ["evaluations", "reported"]


def evaluations(description: str, rows: int) -> Callable[[int, int], None]:
    """A bar of evaluations of a batch of so many rows, the first of them without a perturbation."""
    bar = _tqdm()
    shown: list[Any] = []

    def advance(done: int, total: int) -> None:
        if not shown:
            shown.append(bar(total=max(total // max(rows, 1), 1), desc=description))
        shown[0].update(done // max(rows, 1) - shown[0].n)
        if done >= total:
            shown[0].close()

    return advance


def reported(batches: Iterable[Any], show_progress: bool, text: str) -> Iterable[Any]:
    """Batches, with a bar if it is asked for."""
    return _Reported(batches, text) if show_progress else batches


class _Reported:
    """Batches with a bar."""

    def __init__(self, batches: Iterable[Any], text: str) -> None:
        self.batches, self._text = batches, text

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        return iter(_tqdm()(self.batches, desc=self._text))


def _tqdm() -> Any:
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped]
    except ImportError:
        fix = "Install the extra attrfunc[progress]."
        raise ArgumentError("show_progress", "True without tqdm installed", "tqdm, or False", fix) from None
    return tqdm
