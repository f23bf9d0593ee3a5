"""Web pages that stand by themselves: one file, no script, nothing loaded from elsewhere."""

from __future__ import annotations

import html
from pathlib import Path

__all__ = ["write_page"]

_STYLE = "body{font:16px/1.6 sans-serif;max-width:64em;margin:2em auto;padding:0 1em;color:#222;background:#fff}"


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
