"""The parts of the page that are written as HTML: all that comes from users or models is text in it."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Sequence

from attrfunc.core.errors import AttributionError
from attrfunc.insights.pictures import Picture
from attrfunc.insights.task import Task

__all__ = ["busy", "exports", "said", "shown", "trouble"]


def busy(progress: tuple[int, int] | None, waiting: bool, what: str) -> str:
    """A bar, as far as work has reported."""
    if waiting:
        return f'<p class="af-status" role="status">{html.escape(what)}: waiting for another picture to be done …</p>'
    if progress is None or not progress[1]:
        bar, told = "<progress></progress>", "…"
    else:
        bar = f'<progress max="{progress[1]}" value="{progress[0]}"></progress>'
        told = f"{progress[0] / progress[1]:.0%}"
    return f'<p class="af-status" role="status">{html.escape(what)} {bar} {told}</p>'


def said(text: str) -> str:
    """A message."""
    return f'<p class="af-status" role="status">{html.escape(text)}</p>'


def trouble(error: BaseException) -> str:
    """An error, as the library words it."""
    text = str(error) if isinstance(error, AttributionError) else f"{type(error).__name__}: {error}"
    # Ends of sentences and code in the words of the library.
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text[:2000]))
    return f'<p class="af-status af-error" role="alert">{marked}</p>'


def shown(task: Task, pictures: Sequence[Picture], failed: Iterable[tuple[str, BaseException]] = ()) -> str:
    """Pictures side by side, where there is room, and what went wrong instead of others."""
    parts = [_figure(task, one) for one in pictures]
    parts += [
        f"<figure><figcaption>{html.escape(name)}</figcaption>{trouble(error)}</figure>" for name, error in failed
    ]
    return f'<div class="af-pictures">{"".join(parts)}</div>'


def _figure(task: Task, picture: Picture) -> str:
    top = picture.prediction.top(3)
    if picture.prediction.single:
        says = f"{top[0][1]:.3f}"
    else:
        says = ", ".join(f"{task.class_name(number)} {share:.1%}" for number, share in top)
    caption = f"<b>{html.escape(picture.model)}</b> says: {html.escape(says)}"
    return (
        f'<figure data-model="{html.escape(picture.model)}"><figcaption>{caption}</figcaption>'
        f'{picture.html()}<p class="af-small">{picture.seconds:.1f} s</p></figure>'
    )


def exports(pictures: Sequence[Picture]) -> str:
    """Links that save what is shown: the data are in the links, and nothing lies on the server's disk."""
    rows = []
    for picture in pictures:
        name = re.sub(r"\W+", "-", f"{picture.model} {picture.title}").strip("-").lower()[:80] or "picture"
        files = [
            ("PNG", f"{name}.png", "image/png", picture.png()),
            ("HTML", f"{name}.html", "text/html", picture.page().encode()),
            ("Python", f"{name}.py", "text/x-python", picture.code.encode()),
            ("input.npz", "input.npz", "application/octet-stream", picture.arrays()),
        ]
        links = " ".join(
            f'<a class="af-save" download="{html.escape(file)}" '
            f'href="data:{kind};base64,{base64.b64encode(data).decode()}">{label}</a>'
            for label, file, kind, data in files
        )
        rows.append(f"<p>Save {html.escape(picture.model)}: {links}</p>")
    return f'<div class="af-exports">{"".join(rows)}</div>'
