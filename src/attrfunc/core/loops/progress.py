"""Reports of progress on long work."""

from __future__ import annotations

from collections.abc import Callable

from attrfunc.core.errors import ArgumentError, describe

__all__ = ["Progress", "reporter"]

Progress = bool | Callable[[int, int], None]


def reporter(progress: Progress, total: int) -> Callable[[int], None]:
    """A function to be told of each amount of work done.

    Args:
        progress: `False`, `True` for a bar, or a callable of `(done, total)`.
        total: All the work there is.

    Returns:
        A function of the work done since it was last called.

    Raises:
        ArgumentError: If a bar is asked for and tqdm is missing.
    """
    if progress is False:
        return lambda amount: None
    if progress is True:
        try:
            from tqdm.auto import tqdm  # type: ignore[import-untyped]
        except ImportError:
            raise ArgumentError(
                "progress",
                "True without tqdm installed",
                "tqdm, False, or a callable of (done, total)",
                "Install the extra attrfunc[progress].",
            ) from None
        bar = tqdm(total=total, unit="row", leave=False)

        def advance(amount: int) -> None:
            bar.update(amount)
            if bar.n >= total:
                bar.close()

        return advance
    if not callable(progress):
        raise ArgumentError(
            "progress", describe(progress), "a bool or a callable of (done, total)", "Pass progress=True."
        )
    done = 0

    def count(amount: int) -> None:
        nonlocal done
        done += amount
        progress(done, total)

    return count
