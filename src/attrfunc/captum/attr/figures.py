"""Figures of Captum's pictures: made and shown by `pyplot`, or not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["subplots"]


@contextlib.contextmanager
def subplots(given: Any, use_pyplot: bool, fig_size: Sequence[float], **grid: Any) -> Iterator[tuple[Any, Any]]:
    """The figure and axes to draw in; shown afterwards if `pyplot` is used, and closed where drawing fails."""
    if not use_pyplot:
        from attrfunc.viz.canvas import Picture

        yield given or _with_axes(Picture(figsize=fig_size), grid)
        return
    from matplotlib import pyplot as plt

    figure = None if given else plt.figure(figsize=fig_size)
    try:
        yield given or _with_axes(figure, grid)
    except BaseException:
        if figure is not None:
            plt.close(figure)
        raise
    plt.show()


def _with_axes(figure: Any, grid: dict[str, Any]) -> tuple[Any, Any]:
    return figure, figure.subplots(**grid)
