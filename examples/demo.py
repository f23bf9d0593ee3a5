"""Why does a real classifier see what it sees? Explains photographs by every method, a picture for each.

    python examples/demo.py [all | coffee rocket ...] [--output demo-output] [--steps 32] [--fresh]

Each picture is written as soon as it is there, and the page of all of them at the end of a photograph. Interrupted (by
Ctrl-C), the demo writes the page of what there is; called again, it goes on from there.
"""

from __future__ import annotations

import argparse
import signal
import time
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # an interruption while torch is imported needs no traceback either
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import numpy as np
import torch
from skimage.segmentation import mark_boundaries
from tqdm import tqdm

from case import Case
from classifier import PHOTOS, load_classifier
from gallery import SIGMA, Panel, Picture, draw_page, draw_picture
from journal import Journal
from methods import METHODS, Method

INTERRUPTED = 130  # what a shell expects after Ctrl-C


class Studio:
    """Explains one photograph by all methods.

    Args:
        case: What is explained.
        folder: Where pictures go.
        methods: The methods.
    """

    def __init__(self, case: Case, folder: Path, methods: Sequence[Method] = METHODS) -> None:
        self.case, self.folder, self.methods = case, folder, methods
        self.name = case.photo.name
        self.journal = Journal(folder / ".unfinished" / self.name, case.steps)
        self.page = folder / f"{self.name}.png"

    @property
    def heading(self) -> str:
        """What the classifier says."""
        return f"{self.name}: {self.case.photo.label}, probability {self.case.probability:.2f}"

    def panels(self) -> list[Panel]:
        """What is there."""
        entries = [(method, self.journal.read(method.key)) for method in self.methods]
        return [Panel(method, *entry) if entry else Panel(method) for method, entry in entries]

    def done(self) -> int:
        """How many methods have been run."""
        return sum(panel.finding is not None for panel in self.panels())

    def run(self, bar: tqdm) -> None:
        """Run the methods that have not been run, and write a picture of each at once; the page at the end."""
        try:
            for number, method in enumerate(self.methods, 1):
                bar.set_description(f"{self.name}: {method.title}")
                if self.journal.read(method.key) is None:
                    self._explain(number, method)
                bar.update()
            bar.set_description(f"{self.name}: the page")
        finally:
            self.draw_page()

    def _explain(self, number: int, method: Method) -> None:
        start = time.perf_counter()
        finding = method.run(self.case)
        panel = Panel(method, finding, time.perf_counter() - start)
        path = self.folder / self.name / f"{number:02}-{method.key}.png"
        draw_picture(panel, self.case.photo.image(), self.heading, path)
        self.journal.write(method.key, finding, panel.seconds)

    def draw_page(self) -> None:
        """Write the page of what there is."""
        panels = self.panels()
        photo = self.case.photo.image()
        done = [panel for panel in panels if panel.finding]
        if not done:
            return
        patches = mark_boundaries(np.asarray(photo), self.case.patches[0, 0].numpy(), color=(1, 1, 0))
        tiles: list[Panel | Picture] = [
            Picture("photograph", photo, self.case.photo.label),
            *panels[:6],
            Picture("baseline", self.case.blurred, "where methods that compare begin"),
            *panels[6:19],
            Picture("patches", patches, f"{int(self.case.patches.max()) + 1} superpixels, blurred some at a time"),
            *panels[19:],
        ]
        seconds = sum(panel.seconds for panel in done)
        title = f"{self.heading} \N{EM DASH} {len(done)} of {len(panels)} methods, {seconds:.0f} s on one thread"
        draw_page(title, NOTES, tiles, photo, self.page)


NOTES = (
    "Under each picture: where the colour scale ends (and the peak, where that lies beyond), what was evaluated, and "
    "the time. gap: how far the values are from",
    "adding up to the change of the score, where that is promised; more --steps narrow it. Maps at the input are "
    f"smoothed (sigma {SIGMA} pixels), which hides that pixels cancel. Orange: be cautious.",
)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    names = [photo.name for photo in PHOTOS]
    parser = argparse.ArgumentParser(description="Explain real photographs of a real classifier by every method.")
    parser.add_argument("photos", nargs="*", default=names[:1], metavar="NAME", help=f"all, or {', '.join(names)}")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder of the pictures")
    parser.add_argument("--steps", type=int, default=32, help="points on a path at the input; more narrow the gaps")
    parser.add_argument("--fresh", action="store_true", help="forget what an interrupted run left")
    options = parser.parse_args(arguments)
    if options.steps < 2:
        parser.error(f"--steps is {options.steps}; some methods take half as many, so at least 2 are needed")
    unknown = [name for name in options.photos if name not in (*names, "all")]
    if unknown:
        parser.error(f"there is no photograph {unknown[0]!r}; there are {', '.join(names)}, and all for all of them")
    options.photos = [photo for photo in PHOTOS if photo.name in options.photos or "all" in options.photos]
    return options


def explain_all(studios: Sequence[Studio]) -> int:
    """Explain one photograph after the other; returns the exit status."""
    count = sum(len(studio.methods) for studio in studios)
    try:
        with tqdm(total=count, unit="method", smoothing=0) as bar:
            for studio in studios:
                studio.run(bar)
    except KeyboardInterrupt:
        done = sum(studio.done() for studio in studios)
        print(f"\nInterrupted: {done} of {count} pictures are there, and nothing is lost.")
        print("Run the same again to go on, or with --fresh to start anew.")
        return INTERRUPTED
    for studio in studios:
        studio.journal.clear()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo."""
    started = time.perf_counter()
    options = parse_arguments(arguments)
    # Two threads gain little on a quiet machine, and beside other work they wait for each other: ten times as long.
    torch.set_num_threads(1)
    model = load_classifier()
    studios = [Studio(Case(model, photo, options.steps), options.output) for photo in options.photos]
    if options.fresh:
        for studio in studios:
            studio.journal.clear()
    print(f"What does EfficientNet-Lite0 see? Each picture is in {options.output} as soon as it is done.")
    if found := sum(studio.done() for studio in studios):
        print(f"Going on where a run was interrupted: {found} of them are there. With --fresh it starts anew.")
    status = explain_all(studios)
    for studio in studios:
        if studio.page.exists():
            print(f"Look at {studio.page}, and at larger pictures in {studio.page.with_suffix('')}.")
        if int(studio.case.logits.argmax()) not in studio.case.photo.classes:
            print(f"The classifier's first choice for {studio.name} is not {studio.case.photo.label}.")
    print(f"{time.perf_counter() - started:.0f} s in all.")
    return status


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    raise SystemExit(main())
