"""Keeps what was found on disk, so that an interrupted run can go on."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from pathlib import Path

import torch

from case import Finding


class Journal:
    """The findings of one photograph, a file for each method.

    Args:
        folder: Where they are kept.
        steps: What they depend on; findings with other numbers of steps are not read.
    """

    def __init__(self, folder: Path, steps: int) -> None:
        self.folder, self.steps = folder, steps

    def read(self, key: str) -> tuple[Finding, float] | None:
        """What was found, and in how many seconds; None if it is not there."""
        path = self.folder / f"{key}.pt"
        if not path.exists():
            return None
        entry = torch.load(path, weights_only=True)
        return (Finding(**entry["finding"]), entry["seconds"]) if entry["steps"] == self.steps else None

    def write(self, key: str, finding: Finding, seconds: float) -> None:
        """Keep what was found; a file is there as a whole, or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        entry = {"finding": dataclasses.asdict(finding), "seconds": seconds, "steps": self.steps}
        unfinished = self.folder / f"{key}.part"
        torch.save(entry, unfinished)
        unfinished.replace(self.folder / f"{key}.pt")

    def clear(self) -> None:
        """Forget everything."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # other photographs' findings may be beside them
            self.folder.parent.rmdir()
