"""Web pages that stand by themselves: one file, no script, nothing loaded from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attrfunc.core.errors import ArgumentError, describe

__all__ = ["target", "write_page"]

_STYLE = "body{font:16px/1.6 sans-serif;max-width:64em;margin:2em auto;padding:0 1em;color:#222;background:#fff}"


def target(path: Any, known: Iterable[str]) -> Path:
    """Where a picture is written, if its name says in which form.

    Args:
        path: What the user passed.
        known: The endings that have a form, without dots.
    """
    known = sorted(known)
    fix = "Pass 'picture.png', say; into a stream figure.savefig(stream, format='png') writes."
    expected = f"a path that ends in one of {', '.join(f'.{one}' for one in known)}"
    try:
        found = Path(path)
    except TypeError:
        raise ArgumentError("path", describe(path), expected, fix).within("save") from None
    if found.suffix[1:].lower() not in known:
        raise ArgumentError("path", repr(str(found)), expected, fix).within("save")
    return found


def write_page(path: Path, body: str, title: str) -> Path:
    """Write a page.

    Args:
        path: Where.
        body: What is on it, as HTML.
        title: What the browser's tab says, as plain text.

    Returns:
        The path.
    """
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>"
    )
    path.write_text(f"{head}<body>\n{body}\n</body></html>\n", encoding="utf-8", errors="replace")
    return path
