"""Starting and stopping the page."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from attrfunc.core.errors import ArgumentError, describe, positive
from attrfunc.core.extras import require
from attrfunc.insights.demonstration import demo_tasks
from attrfunc.insights.studio import Studio
from attrfunc.insights.task import Names, Task, tasks_of

__all__ = ["Page", "demo", "launch"]

LOCAL = "127.0.0.1"


class Page:
    """A page that runs.

    Attributes:
        url: Where a browser finds it.
        tasks: What it is about.
    """

    def __init__(self, blocks: Any, url: str, studio: Studio) -> None:
        self._blocks, self._studio, self.url = blocks, studio, url
        self.tasks: tuple[Task, ...] = tuple(desk.task for desk in studio.desks)
        self._closed = threading.Event()

    def close(self) -> None:
        """Stop it, and free its port."""
        if not self._closed.is_set():
            self._closed.set()
            self._blocks.close(verbose=False)

    def wait(self) -> None:
        """Wait until it is closed, or until Ctrl-C, which closes it."""
        try:
            while not self._closed.wait(0.5):
                pass
        except KeyboardInterrupt:
            self.close()

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Page {self.url}{', closed' if self._closed.is_set() else ''}>"


def launch(
    models: Any,
    data: Iterable[Any] | None = None,
    *,
    inputs: Any = None,
    classes: Names = (),
    title: str = "attrfunc insights",
    host: str = LOCAL,
    port: int | None = None,
    in_browser: bool = False,
    inline: bool | None = None,
    height: int = 900,
    seconds: float = 120.0,
    at_once: int = 2,
    wait: bool = False,
) -> Page:
    """Start a page in the browser that explains what models say: of a data set, and of a user's own inputs.

    It listens to this machine alone, loads nothing from elsewhere and reports to nobody. Whoever can open it can run
    the models on inputs of their own, and nothing else.

    Args:
        models: A model, several by name, or a `Task` or a list of them, which say all of what follows for themselves.
        data: A data set: pairs `(x, label)` or inputs alone; see `Task`.
        inputs: What the models take: `Image`, `Text` or `Table`, one for each argument.
        classes: Names of the classes, in order or by number.
        title: What stands above.
        host: The address to listen to. Another one than the default lets other machines in: there is no password.
        port: The port; a free one by default.
        in_browser: Whether to open it in a browser.
        inline: Whether to show it in the cell of a notebook; by default where there is one.
        height: Its height there, in pixels.
        seconds: How long a request may take.
        at_once: How many pictures are computed at once; further ones wait.
        wait: Whether to return only when it is closed, as by Ctrl-C.

    Returns:
        The page, with `url`, `close()` and `wait()`; it ends with the process.

    Raises:
        ArgumentError: If an argument cannot be right, a row of the data is not what the models take, or the port is
            not free.
        AttributionError: If Gradio is not installed (`attrfunc[insights]`).

    Example:
        >>> net = torch.nn.Linear(2, 3)
        >>> table = af.insights.Table(("age", "dose"))
        >>> with af.insights.launch({"net": net}, [([40.0, 2.0], 1)], inputs=table, classes=["a", "b", "c"]) as page:
        ...     page.url.startswith("http://127.0.0.1:")
        True
    """
    try:
        tasks = tasks_of(models, data, inputs, classes)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
            raise ArgumentError("seconds", describe(seconds), "a time above zero", "Two minutes are the default.")
        studio = Studio(tasks, seconds=float(seconds), at_once=positive("at_once", at_once))
        require("matplotlib", "viz")
        with _silent():
            require("gradio", "insights")
            page = _served(studio, title, host, port, in_browser, inline, height)
    except ArgumentError as error:
        raise error.within("launch")  # noqa: B904  # the same error, now with its name
    if wait:
        page.wait()
    return page


def demo(
    *,
    host: str = LOCAL,
    port: int | None = None,
    in_browser: bool = False,
    inline: bool | None = None,
    height: int = 900,
    seconds: float = 120.0,
    at_once: int = 2,
    wait: bool = False,
) -> Page:
    """Start the page on real models: a classifier of photographs, a detector of prompt injections, and a table.

    Args:
        host: The address to listen to.
        port: The port; a free one by default.
        in_browser: Whether to open it in a browser.
        inline: Whether to show it in the cell of a notebook; by default where there is one.
        height: Its height there, in pixels.
        seconds: How long a request may take.
        at_once: How many pictures are computed at once.
        wait: Whether to return only when it is closed.

    Returns:
        The page; see `launch`.

    Raises:
        ArgumentError: If an argument cannot be right.
        AttributionError: If the models or Gradio are not installed; it says how to install them.
    """
    options: dict[str, Any] = {"inline": inline, "height": height, "seconds": seconds, "at_once": at_once, "wait": wait}
    return launch(list(demo_tasks()), host=host, port=port, in_browser=in_browser, **options)


def _served(
    studio: Studio, title: str, host: str, port: int | None, in_browser: bool, inline: bool | None, height: int
) -> Page:
    from attrfunc.insights.looks import CSS, theme
    from attrfunc.insights.page import page
    from attrfunc.insights.uploads import MOST_BYTES

    _require_address(host, port)
    blocks = page(studio, title)
    blocks.queue(max_size=64, api_open=False)
    try:
        _, url, _ = blocks.launch(
            server_name=host,
            server_port=port,
            share=False,
            inbrowser=in_browser,
            inline=inline,
            height=height,
            prevent_thread_lock=True,
            quiet=True,
            show_error=True,
            max_file_size=MOST_BYTES,
            footer_links=[],
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            run_history=False,
            num_workers=0,
            theme=theme(),
            head=f"<style>{CSS}</style>",
        )
    except OSError as error:
        fix = "Leave it out for a free one."
        raise ArgumentError("port", f"{port} at {host} ({error})", "a port that is free", fix) from None
    return Page(blocks, url, studio)


def _require_address(host: str, port: int | None) -> None:
    """Raise for an address that is none of this machine's: Gradio would try it with each of a hundred ports."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        with socket.socket(found[0][0], socket.SOCK_STREAM) as trial:
            trial.bind((host, 0))
    except (OSError, TypeError, UnicodeError) as error:
        got, expected = f"{describe(host)} ({error})", "an address of this machine"
        raise ArgumentError("host", got, expected, f"{LOCAL!r} is for this machine alone.") from None
    if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536):
        raise ArgumentError("port", describe(port), "a number from 1 to 65535", "Leave it out for a free one.")


@contextmanager
def _silent() -> Iterator[None]:
    """Nothing is reported to Gradio's makers, nor to those of its parts."""
    names = ("GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict(zip(names, ("False", "1"), strict=True)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
