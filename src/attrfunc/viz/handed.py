"""A figure for a package that draws by `pyplot`, without a trace of it afterwards."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from attrfunc.core.errors import ArgumentError
from attrfunc.viz.arrays import Array, described, text

__all__ = ["aside", "finish", "literal", "require_finite", "table"]


# Threads that draw at once would draw into each other's current figure: `pyplot` has only one.
_ALONE = threading.Lock()


@contextlib.contextmanager
def aside(size: tuple[float, float]) -> Iterator[Any]:
    """A figure that `pyplot` takes for its own while something draws.

    Afterwards it is nobody's but the caller's, the user's figure is the current one again, and NumPy's global random
    state, from which shap draws places, is what it was. Points get the same places in every run. One thread at a time
    is here.

    Args:
        size: Width and height in inches.
    """
    from matplotlib import pyplot as plt

    from attrfunc.viz.canvas import Picture

    with _ALONE, plt.ioff(), warnings.catch_warnings():
        before = plt.gcf().number if plt.get_fignums() else None
        state = np.random.get_state()
        warnings.simplefilter("ignore")  # what the package uses and matplotlib deprecates is not the user's to mend
        figure = plt.figure(figsize=size, FigureClass=Picture)
        try:
            np.random.seed(0)
            yield figure
        finally:
            np.random.set_state(state)
            plt.close(figure)
            if before is not None:
                plt.figure(before)


def finish(figure: Any, title: str | None, y: float = 0.9) -> Any:
    """A title, and files that are cut where the drawing ends: the package places its texts by itself."""
    figure.tight = True
    if title:
        figure.suptitle(text(title), fontsize=13, y=y, va="bottom", parse_math=False)
    return figure


def literal(names: list[str]) -> list[str]:
    """Names in which a dollar is no beginning of a formula."""
    return [name.replace("$", r"\$") for name in names]


def table(name: str, found: Array, given: Any) -> Array:
    """Check that values are those of a table, `(B, F)`."""
    if found.ndim != 2:
        fix = f"Flatten the features, {name}.flatten(1); for one example see af.viz.waterfall or af.viz.bars."
        raise ArgumentError(name, described(given), "(B, F): examples, and their features", fix)
    return found


def require_finite(name: str, found: Array) -> None:
    """Check that all numbers are finite."""
    if count := int((~np.isfinite(found)).sum()):
        fix = "Leave these examples or features out."
        raise ArgumentError(name, f"{count} values that are not finite", "finite numbers", fix)
