"""What `attrfunc insights` opens."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from attrfunc.cli import inputs
from attrfunc.cli.failures import UsageError
from attrfunc.cli.models import Loaded, load
from attrfunc.core.errors import AttributionError

__all__ = ["insights_module", "launched"]


def insights_module() -> Any:
    """`attrfunc.insights`, which is imported when it is used."""
    try:
        return importlib.import_module("attrfunc.insights")
    except ImportError as error:
        missing, fix = error.name or "what is not installed", "pip install 'attrfunc[insights]'"
        raise AttributionError(f"the page needs {missing}. Install the extra: {fix}.") from None


def launched(
    page_of: Any,
    models: list[str],
    data: Path | None,
    labels: Path | None,
    weights: Path | None,
    preparing: tuple[Any, ...],
    options: dict[str, Any],
) -> Any:
    """The page for models of pictures."""
    named: dict[str, Loaded] = {}
    for one in models:
        name, sign, spec = one.partition("=")
        named[name if sign else Path(one.rpartition(":")[2]).stem] = load(spec if sign else one, weights=weights)
    first = next(iter(named.values()))
    how = inputs.preparation(first, *preparing)
    if how.processor is not None:
        mean, std = getattr(how.processor, "image_mean", 0.0), getattr(how.processor, "image_std", 1.0)
        side = getattr(getattr(first.model, "config", None), "image_size", 224)
        how = inputs.Preparation((side, side), _each(mean), _each(std), how.channels)
    classes = inputs.labels_of(labels, first)
    rows: list[Path] = []
    if data is not None:
        if not data.is_dir():
            raise UsageError(f"--data {str(data)!r}: there is no such folder.")
        rows = sorted(path for path in data.rglob("*") if inputs.is_picture(str(path)))
        if not rows:
            raise UsageError(f"--data {str(data)!r}: no picture is in it.")
    image = page_of.Image(size=how.size, mean=_plain(how.mean), std=_plain(how.std), channels=how.channels)
    loaded = {name: one.model for name, one in named.items()}
    return page_of.launch(loaded, [str(row) for row in rows] or None, inputs=image, classes=classes, **options)


def _plain(numbers: tuple[float, ...]) -> Any:
    return numbers[0] if len(numbers) == 1 else numbers


def _each(numbers: Any) -> tuple[float, ...]:
    return (float(numbers),) if isinstance(numbers, int | float) else tuple(numbers)
