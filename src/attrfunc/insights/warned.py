"""What the library warns of, heard in the thread that it works in: a page has several users at once."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["heard"]

NAMED = r"(smooth\()?\w+\)?: "
"""How messages of the library begin: with what was called."""

_HERE, _LOCK = threading.local(), threading.Lock()
_LISTENERS: list[object] = []
_BEFORE: list[Any] = []


@contextmanager
def heard() -> Iterator[list[str]]:
    """Hear what the library warns of in this thread; it is told as ever, too.

    `warnings.catch_warnings` is for a single thread: two that end in another order than they began would leave the
    process with what one of them had set. Here the first that listens puts a listener in, and the last takes it out.

    Returns:
        A list that fills with the messages, each once.
    """
    found: list[str] = []
    before, _HERE.found = getattr(_HERE, "found", None), found
    with _LOCK:
        if not _LISTENERS:
            _BEFORE.append(warnings.showwarning)
            warnings.showwarning = _show
            warnings.filterwarnings("always", NAMED, UserWarning)  # else a second user would hear nothing
        _LISTENERS.append(found)
    try:
        yield found
    finally:
        _HERE.found = before
        with _LOCK:
            _LISTENERS.pop()
            if not _LISTENERS:
                _put_back()


def _put_back() -> None:
    original = _BEFORE.pop()
    if warnings.showwarning is _show:
        warnings.showwarning = original
    for entry in list(warnings.filters):
        if entry[0] == "always" and getattr(entry[1], "pattern", None) == NAMED:
            warnings.filters.remove(entry)  # type: ignore[attr-defined]  # typed as what is only read


def _show(message: Any, category: Any, *where: Any, **more: Any) -> None:
    found = getattr(_HERE, "found", None)
    text = str(message)
    if found is not None and text not in found and re.match(NAMED, text):
        found.append(text)
    original = _BEFORE[-1] if _BEFORE else None
    if original is not None:
        original(message, category, *where, **more)
