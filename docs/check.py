"""Open every page of the built site in a browser: `nox -s docs_check`.

    python docs/check.py [docs-output/site] [--pictures FOLDER]

A page must load without a message of the browser's, have no link or picture that leads nowhere, and be readable on a
screen of 400 pixels: nothing reaches beyond its edge. Needs Chromium, as `chromium` on the path or in CHROMIUM.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

from playwright.sync_api import Page, sync_playwright

WIDTHS = (1280, 400)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves without a line for each request."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder on a port of this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()


def faults(page: Page, base: str, path: str, anchors: dict[str, set[str]]) -> Iterator[str]:
    """What is wrong with one page; its anchors are noted for the links of others."""
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("response", lambda reply: said.append(f"{reply.status} {reply.url}") if reply.status >= 400 else None)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(base + path, wait_until="load")
        beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if beyond > 0:
            yield f"at {width} pixels the page is {beyond} pixels too wide"
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)"
    yield from (f"picture {source} does not load" for source in page.evaluate(broken))
    anchors[path] = set(page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)"))
    yield from said


def links(page: Page, base: str, path: str) -> list[str]:
    """Where the page's links lead, inside of the site."""
    found = page.evaluate("[...document.querySelectorAll('a[href]')].map(a => a.getAttribute('href'))")
    there = [urljoin(base + path, link) for link in found if not link.startswith(("http", "mailto", "javascript"))]
    return [link.removeprefix(base) for link in there]


def check(folder: Path, pictures: Path | None) -> list[str]:
    """What is wrong with the site."""
    pages = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.html") if "_static" not in path.parts)
    wrong: list[str] = []
    anchors: dict[str, set[str]] = {}
    targets: list[tuple[str, str]] = []
    browser_path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with served(folder) as base, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path, args=FLAGS)
        for path in pages:
            page = browser.new_page()
            wrong += [f"{path}: {fault}" for fault in faults(page, base, path, anchors)]
            targets += [(path, link) for link in links(page, base, path)]
            if pictures is not None and "api/" not in path:
                page.screenshot(path=pictures / f"{path.replace('/', '-')}.png", full_page=True)
            page.close()
        browser.close()
    for path, link in dict.fromkeys(targets):
        file, anchor = urldefrag(link)
        file = unquote(file).partition("?")[0] or "index.html"
        file += "index.html" if file.endswith("/") else ""
        if file.endswith(".html") and file not in anchors:
            wrong.append(f"{path}: the link to {link} leads nowhere")
        elif anchor and file in anchors and unquote(anchor) not in anchors[file]:
            wrong.append(f"{path}: {file} has no {anchor}")
        elif not (folder / file).exists():
            wrong.append(f"{path}: the link to {link} leads nowhere")
    print(f"{len(pages)} pages, {len(set(targets))} links, {len(wrong)} faults")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("docs-output/site"))
    parser.add_argument("--pictures", type=Path, help="where to put a picture of each page")
    options = parser.parse_args()
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
    found = check(options.folder.resolve(), options.pictures)
    sys.exit("\n".join(found) or None)
