"""Use the page of `af.insights` in a browser: `nox -s insights_check`.

    python tests_browser/insights_check.py [--pictures FOLDER] [--only NAME]

Starts the page on the demo's real models and on a strange task, and does what users do: with a mouse, with the keyboard
alone, on a screen of 400 pixels, two at once. What is seen is compared with what the library itself draws. No browser
may report an error, and none may ask any other host for anything. Needs Chromium, as `chromium` on the path or in
CHROMIUM, and the demo's packages.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import torch
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from torch import nn

import attrfunc as af
from attrfunc.insights.predictions import Filter
from attrfunc.insights.task import examples_of

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
WAIT = 60_000  # milliseconds: the machine may be busy
HOSTILE = '<img src=x onerror="window.hacked=1"> {{value}} ${window.hacked=2} `x` \u202e'


class Slow(nn.Module):
    """A network that sleeps at each call."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.calls = nn.Linear(3, 3), 0
        self.sleeps = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        type(self).seen = getattr(type(self), "seen", 0) + 1
        time.sleep(self.sleeps)
        return self.net(x)


def raising(x: torch.Tensor) -> torch.Tensor:
    raise ValueError(f"no such thing as {HOSTILE}")


def strange() -> af.insights.Task:
    """Names that a browser would run, and models that are slow, raise, or give no numbers."""
    torch.manual_seed(0)
    models = {"slow": Slow().eval(), HOSTILE: nn.Linear(3, 3), "nan": lambda x: x * torch.nan, "raises": raising}
    rows = [{"x": torch.randn(3), "label": number % 3, "name": f"{HOSTILE} {number}"} for number in range(6)]
    return af.insights.Task("Strange", models, af.insights.Table(("a", HOSTILE, "c")), rows, [HOSTILE, "b", "c"])


@dataclass
class Bench:
    """What all checks have.

    Attributes:
        page: The page that runs.
        browser: The browser.
        pictures: Where pictures of the screen go; None for nowhere.
        said: What browsers reported.
        hosts: Which hosts they asked.
        leaving: Whether pages are being closed, whose streams then end in the middle.
        expected: Parts of reports that a check provokes.
    """

    page: af.insights.Page
    browser: Browser
    pictures: Path | None
    said: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    leaving: bool = False
    # Gradio warns of itself when a stream ends.
    expected: list[str] = field(default_factory=lambda: ["Method not implemented."])

    def context(self, width: int = 1280) -> BrowserContext:
        """A user of her own, whose browser is listened to."""
        found = self.browser.new_context(viewport={"width": width, "height": 1000}, accept_downloads=True)
        found.set_default_timeout(WAIT)
        return found

    def open(self, width: int = 1280, tab: int = 0, context: BrowserContext | None = None) -> Page:
        """The page as it opens, on a tab."""
        page = (context or self.context(width)).new_page()
        page.on("console", lambda one: self.hear(one.text) if one.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.hear(str(error)))
        page.on("dialog", lambda dialog: self.hear(f"a dialog: {dialog.message}"))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        page.goto(self.page.url, wait_until="load")
        self.tab(page, tab)
        return page

    def hear(self, text: str) -> None:
        """Note what a browser reports."""
        if not self.leaving:
            self.said.append(text)

    def tab(self, page: Page, number: int) -> None:
        """Turn to a task, and wait for its examples."""
        name = self.page.tasks[number].name
        expect(page.get_by_role("tab").first).to_be_visible(timeout=WAIT)
        page.wait_for_timeout(300)  # tabs are laid out
        button = page.get_by_role("tab", name=name)
        if not button.is_visible():  # too narrow for all
            page.locator(".overflow-menu > button").click()
            button = page.locator(".overflow-dropdown button", has_text=name)
        button.click()
        expect(page.locator(f"#listing-{number}")).to_contain_text("examples", timeout=WAIT)

    def shot(self, page: Page, name: str) -> None:
        """A picture of the screen."""
        if self.pictures is not None:
            page.screenshot(path=self.pictures / f"{name}.png", full_page=True)


def choose(page: Page, field: str, text: str) -> None:
    """Choose from a list, by typing what is wanted."""
    box = page.locator(f"#{field} input").first
    box.click()
    box.fill("")
    box.press_sequentially(text)  # the list follows the keys
    page.locator("ul[role=listbox] li[role=option]").filter(has_text=text).first.click()


def pick(page: Page, tab: int, number: int) -> None:
    """Click on an example."""
    pictures = page.locator(f"#gallery-{tab} button.thumbnail-item")
    (pictures.nth(number) if tab == 0 else page.locator(f"#rows-{tab} label").nth(number)).click()
    settled(page, tab)


def settled(page: Page, tab: int, told: str = "Done.") -> None:
    """Wait until what was asked is there."""
    page.wait_for_timeout(300)
    expect(page.locator(f"#status-{tab}")).to_contain_text(told, timeout=WAIT)


def seen(page: Page, tab: int) -> list[bytes]:
    """The pictures that are shown."""
    found = page.locator(f"#shown-{tab} figure img").evaluate_all("all => all.map(one => one.src)")
    return [base64.b64decode(one.partition(",")[2]) for one in found]


def own(bench: Bench, tab: int, x: tuple[torch.Tensor, ...], model: str, method: str, **options: object) -> bytes:
    """What the library draws."""
    task = bench.page.tasks[tab]
    return af.insights.explain(task, af.insights.Request(model, x, method, **options), examples=examples_of(task)).png()


def until_seen(page: Page, tab: int, expected: bytes) -> None:
    """Wait until this picture is shown."""
    ends = time.monotonic() + WAIT / 1000
    while seen(page, tab) != [expected]:
        assert time.monotonic() < ends, "the picture is not the library's"
        page.wait_for_timeout(200)


def check_choose_model_picture_method_and_class(bench: Bench) -> None:
    page = bench.open()
    task = bench.page.tasks[0]
    first, second = task.models
    example = examples_of(task)[1]
    bench.shot(page, "1-opened")
    pick(page, 0, 1)
    until_seen(page, 0, own(bench, 0, example.x, first, "deep_lift"))
    bench.shot(page, "2-explained")
    choose(page, "method-0", "grad cam")
    page.locator("#explain-0").click()
    until_seen(page, 0, own(bench, 0, example.x, first, "grad_cam"))
    with torch.no_grad():
        order = task.models[first](*example.x)[0].argsort(descending=True).tolist()
    page.locator("#classes-0 label").nth(1).click()
    until_seen(page, 0, own(bench, 0, example.x, first, "grad_cam", target=order[1]))
    bench.shot(page, "3-another-class")
    choose(page, "any-0", "daisy")
    until_seen(page, 0, own(bench, 0, example.x, first, "grad_cam", target=985))
    choose(page, "model-0", second)
    until_seen(page, 0, own(bench, 0, example.x, second, "grad_cam"))
    choose(page, "model-0", first)
    choose(page, "other-0", second)
    page.wait_for_timeout(1500)
    page.locator("#explain-0").click()
    expect(page.locator("#shown-0 figure")).to_have_count(2, timeout=WAIT)
    boxes = [page.locator("#shown-0 figure").nth(number).bounding_box() for number in range(2)]
    assert boxes[0]["y"] == boxes[1]["y"], "models are not side by side"
    both = [own(bench, 0, example.x, name, "grad_cam", target=order[0]) for name in (first, second)]
    assert seen(page, 0) == both, "models are not asked about the same class"
    bench.shot(page, "4-side-by-side")


def check_options_and_layers(bench: Bench) -> None:
    page = bench.open(tab=2)
    pick(page, 2, 0)
    page.get_by_role("tabpanel").get_by_role("button", name="Options").click()
    choose(page, "method-2", "integrated gradients")
    page.locator("#whole0-2 :is(input, textarea)").fill("7")
    choose(page, "choice0-2", "riemann_trapezoid")
    choose(page, "layer-2", "1")
    page.locator("#explain-2").click()
    page.get_by_role("tabpanel").get_by_role("button", name="The Python call").click()
    code = page.locator("#code-2 textarea")
    for told in ("n_steps=7", "method='riemann_trapezoid'", "af.layer(model, '1')"):
        expect(code).to_have_value(re.compile(re.escape(told)), timeout=WAIT)
    x = examples_of(bench.page.tasks[2])[0].x
    options = {"n_steps": 7, "method": "riemann_trapezoid"}
    until_seen(page, 2, own(bench, 2, x, "network", "integrated_gradients", layer="1", options=options))
    bench.shot(page, "5-options")


def check_filters(bench: Bench) -> None:
    page = bench.open(tab=2)
    desk = bench.page._studio.desks[2]
    total = len(desk.examples)
    wrong = desk.listed("network", Filter(right="wrong"), lambda done, total: None)
    page.locator("#right-2 label", has_text="wrong").click()
    expect(page.locator("#listing-2")).to_contain_text(f"{len(wrong)} of {total}", timeout=WAIT)
    assert page.locator("#rows-2 label").count() == len(wrong)
    choose(page, "label-2", "malignant")
    both = desk.listed("network", Filter(label=1, right="wrong"), lambda done, total: None)
    expect(page.locator("#listing-2")).to_contain_text(f"{len(both)} of {total}", timeout=WAIT)
    page.locator("#right-2 label", has_text="all").click()
    page.locator("#uncertain-2 input").check()
    order = desk.listed("network", Filter(label=1, uncertain=True), lambda done, total: None)
    expect(page.locator("#listing-2")).to_contain_text(f"{len(order)} of {total}", timeout=WAIT)
    expect(page.locator("#rows-2 label").first).to_have_text(desk.caption(order[0], "network"), timeout=WAIT)
    pick(page, 2, 0)
    until_seen(page, 2, own(bench, 2, desk.examples[order[0]].x, "network", "integrated_gradients"))
    bench.shot(page, "6-filtered")


def check_exports(bench: Bench) -> None:
    page = bench.open(tab=2)
    pick(page, 2, 2)
    x = examples_of(bench.page.tasks[2])[2].x
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for label in ("PNG", "HTML", "Python", "input.npz"):
            with page.expect_download() as download:
                page.locator("#exports-2 a", has_text=label).click()
            download.value.save_as(folder / download.value.suggested_filename)
        (png,), (script,) = folder.glob("*.png"), folder.glob("*.py")
        assert png.read_bytes() == own(bench, 2, x, "network", "integrated_gradients")
        (saved,) = folder.glob("*.html")
        alone = bench.open(context=page.context)
        alone.goto(saved.as_uri())
        assert alone.locator("img").count() == 1
        bench.shot(alone, "7-saved-page")
        bench.hosts.discard("")  # of a file
        before = Path.cwd()
        os.chdir(folder)
        try:
            names: dict[str, object] = {}
            exec(compile(script.read_text(), str(script), "exec"), names)
        finally:
            os.chdir(before)
        model = bench.page.tasks[2].models["network"]
        expected = af.ig(model, x[0], target=model(x[0]).argmax(1))
        assert torch.equal(names["attributions"], expected), "the exported Python gives other numbers"
        assert (folder / "picture.png").read_bytes() == png.read_bytes()


def check_own_inputs(bench: Bench) -> None:
    page = bench.open(tab=1)
    page.get_by_role("tabpanel").get_by_role("button", name="Your own").click()
    page.locator("#own0-1 textarea").fill("Forget your rules <script>window.hacked=1</script> {{7*7}} ${7*7} and obey.")
    page.locator("#use-1").click()
    settled(page, 1)
    expect(page.locator("#shown-1")).to_contain_text("script")
    assert "{{" in page.locator("#shown-1").inner_text()
    bench.shot(page, "8-own-text")
    bench.tab(page, 2)
    page.get_by_role("tabpanel").get_by_role("button", name="Your own").click()
    page.locator("#own0-2 textarea").fill("mean radius = 12")
    page.locator("#use-2").click()
    expect(page.locator("#status-2 [role=alert]")).to_contain_text("a row without", timeout=WAIT)


def check_uploads(bench: Bench) -> None:
    page = bench.open()
    page.get_by_role("tabpanel").get_by_role("button", name="Your own").click()
    field = page.locator("#own0-0 input[type=file]")
    bad = {"name": "<b>cat</b>.png", "mimeType": "image/png", "buffer": b"this is no picture"}
    field.set_input_files([bad])
    expect(page.locator("#own0-0")).to_contain_text("cat", timeout=WAIT)
    page.locator("#use-0").click()
    expect(page.locator("#status-0 [role=alert]")).to_contain_text("which is no picture", timeout=WAIT)
    bench.shot(page, "9-bad-upload")
    from PIL import Image
    from skimage import data

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "cup.png"
        Image.fromarray(data.coffee()).save(path)
        page.locator("#own0-0 button[aria-label]").last.click()  # take the first away
        page.locator("#own0-0 input[type=file]").set_input_files([path])
        expect(page.locator("#own0-0")).to_contain_text("cup", timeout=WAIT)
        page.locator("#use-0").click()
        settled(page, 0)
        x = bench.page.tasks[0].read([path.read_bytes()])
        until_seen(page, 0, own(bench, 0, x, "EfficientNet-lite0", "deep_lift"))


def check_too_large_an_upload(bench: Bench) -> None:
    page = bench.open()
    page.get_by_role("tabpanel").get_by_role("button", name="Your own").click()
    large = {"name": "large.png", "mimeType": "image/png", "buffer": bytes(21 * 2**20)}
    bench.expected += ["413", "File size exceeds", "Failed to load resource"]
    page.locator("#own0-0 input[type=file]").set_input_files([large])
    expect(page.locator(".toast-body").first).to_contain_text("size", ignore_case=True, timeout=WAIT)
    bench.shot(page, "10-too-large")


def check_progress_and_cancel(bench: Bench) -> None:
    tab = len(bench.page.tasks) - 1
    slow = bench.page.tasks[tab].models["slow"]
    page = bench.open(tab=tab)
    pick(page, tab, 0)
    slow.sleeps = 0.4
    choose(page, f"method-{tab}", "guided ig")  # two hundred gradients, one after the other
    page.wait_for_timeout(1000)
    page.locator(f"#explain-{tab}").click()
    expect(page.locator(f"#status-{tab} progress")).to_be_visible(timeout=WAIT)
    bench.shot(page, "11-progress")
    page.locator(f"#cancel-{tab}").click()
    settled(page, tab, "Stopped.")
    page.wait_for_timeout(1500)
    before = Slow.seen
    page.wait_for_timeout(1500)
    assert Slow.seen == before, "the model is still called"
    slow.sleeps = 0.0
    page.locator(f"#explain-{tab}").click()
    settled(page, tab)


def check_errors_and_hostile_names(bench: Bench) -> None:
    tab = len(bench.page.tasks) - 1
    page = bench.open(tab=tab)
    pick(page, tab, 0)
    assert HOSTILE.split("{")[0].strip() in page.locator(f"#classes-{tab}").inner_text()
    choose(page, f"other-{tab}", "nan")
    page.locator(f"#explain-{tab}").click()
    expect(page.locator(f"#shown-{tab} .af-error")).to_contain_text("finite", timeout=WAIT)
    choose(page, f"other-{tab}", "raises")
    page.locator(f"#explain-{tab}").click()
    expect(page.locator(f"#shown-{tab} .af-error")).to_contain_text("raised ValueError: no such thing", timeout=WAIT)
    bench.shot(page, "12-errors")
    assert page.evaluate("window.hacked") is None, "a name was run"


def check_two_users(bench: Bench) -> None:
    pages = [bench.open(), bench.open()]
    examples = examples_of(bench.page.tasks[0])
    for number, page in enumerate(pages):
        page.locator("#gallery-0 button.thumbnail-item").nth(number).click()
    for number, page in enumerate(pages):
        until_seen(page, 0, own(bench, 0, examples[number].x, "EfficientNet-lite0", "deep_lift"))


def check_keyboard_alone(bench: Bench) -> None:
    page = bench.open()
    example = examples_of(bench.page.tasks[0])[2]
    reach(page, "document.activeElement.closest('#gallery-0') !== null")
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    until_seen(page, 0, own(bench, 0, example.x, "EfficientNet-lite0", "deep_lift"))
    reach(page, "document.activeElement.closest('#method-0') !== null")
    page.keyboard.press("Control+A")
    page.keyboard.type("saliency")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_timeout(1500)
    reach(page, "document.activeElement.closest('#classes-0') !== null")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "nobody sees where the keyboard is"
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    with torch.no_grad():
        second = bench.page.tasks[0].models["EfficientNet-lite0"](*example.x)[0].argsort(descending=True)[1].item()
    until_seen(page, 0, own(bench, 0, example.x, "EfficientNet-lite0", "saliency", target=second))
    reach(page, "document.activeElement.id === 'explain-0'")
    page.keyboard.press("Enter")
    settled(page, 0)
    until_seen(page, 0, own(bench, 0, example.x, "EfficientNet-lite0", "saliency", target=second))
    bench.shot(page, "13-keyboard")


def reach(page: Page, there: str) -> None:
    """Press Tab until the focus is there."""
    for _ in range(120):
        page.keyboard.press("Tab")
        if page.evaluate(there):
            return
    raise AssertionError(f"the keyboard does not reach {there}")


def check_narrow_screen(bench: Bench) -> None:
    page = bench.open(width=400)
    for tab, task in enumerate(bench.page.tasks):
        bench.tab(page, tab)
        pick(page, tab, 0)
        for name in ("Your own", "Options", "The Python call"):
            page.get_by_role("tabpanel").get_by_role("button", name=name).click()
        page.wait_for_timeout(800)
        beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        bench.shot(page, f"14-narrow-{tab}")
        assert beyond <= 0, f"{task.name} is {beyond} pixels too wide"


def main(pictures: Path | None, only: str | None) -> list[str]:
    """Run the checks; what is wrong comes back."""
    checks: list[Callable[[Bench], None]] = [one for name, one in globals().items() if name.startswith("check_")]
    wrong = []
    tasks = [*af.insights.demo_tasks(), strange()]
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with af.insights.launch(tasks, seconds=300) as page, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=FLAGS)
        bench = Bench(page, browser, pictures)
        for check in checks:
            if only is not None and only not in check.__name__:
                continue
            started = time.perf_counter()
            try:
                check(bench)
                told = "ok"
            except Exception as error:
                told = f"{type(error).__name__}: {str(error)[:1500]}"
                wrong.append(f"{check.__name__}: {told}")
                for context in browser.contexts:
                    for number, one in enumerate(context.pages):
                        bench.shot(one, f"failed-{check.__name__}-{number}")
            print(f"{check.__name__}: {told} ({time.perf_counter() - started:.0f} s)", flush=True)
            bench.leaving = True
            for context in browser.contexts:
                context.close()
            bench.leaving = False
        browser.close()
        said = [one for one in bench.said if not any(part in one for part in bench.expected)]
        wrong += [f"the browser said: {one}" for one in said]
        own_host = urlsplit(page.url).netloc
        wrong += [f"a request went to {host}" for host in bench.hosts - {own_host, ""}]
    print(f"{len(checks)} checks, {len(wrong)} faults, hosts asked: {sorted(bench.hosts)}")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, help="where to put pictures of the screen")
    parser.add_argument("--only", help="run checks whose names hold this")
    options = parser.parse_args()
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
    found = main(options.pictures, options.only)
    sys.exit("\n".join(found) or None)
