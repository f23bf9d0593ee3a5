"""`attrfunc explain`: a picture or a text, a model, a method, and a picture of what comes out."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import attrfunc
from attrfunc.cli.failures import UsageError
from attrfunc.cli.inputs import Preparation, Seen, class_number, read_picture
from attrfunc.cli.models import Loaded
from attrfunc.cli.options import require_all
from attrfunc.diagnosis.anatomy import layers_of
from attrfunc.diagnosis.hand import Hand

__all__ = ["Request", "explain_picture", "explain_text", "logits_of", "ranking"]

FORMS = (".png", ".svg", ".pdf", ".html", ".htm", ".jpg", ".jpeg", ".npy")
TEXT_FORMS = (".png", ".svg", ".pdf", ".html", ".htm", ".txt", ".json")
CELLS = 14  # of a grid of features, along the shorter side


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        loaded: The model.
        method: The method.
        options: Its options.
        labels: Names of the classes.
        target: A class, by number or name, or an answer; None for the likeliest.
        layer: A layer, by name.
        seed: Of what is drawn.
        smooth: Samples of noise, 0 for none.
        stdev: The noise.
        cells: Pixels of a cell of the grid of features.
        top: How many classes are told.
        style: Of the picture.
        output: Where it goes.
        words: Whether a text is explained by its words; else by tokens.
        say: What prints a line.
    """

    loaded: Loaded
    method: Callable[..., Any]
    options: dict[str, Any]
    labels: dict[int, str]
    target: str | None
    layer: str | None
    seed: int
    smooth: int
    stdev: float
    cells: int | None
    top: int
    style: str
    output: Path | None
    words: bool
    say: Callable[[str], None]

    @property
    def name(self) -> str:
        """What the method is called."""
        return str(self.method.__name__)

    def of(self, target: int | None) -> str:
        """What is explained, in words."""
        if target is None:
            return ""
        return f" of class {target}" + (f" {self.labels[target]}" if target in self.labels else "")

    def takes(self, name: str) -> bool:
        """Whether the method has a parameter."""
        return name in inspect.signature(self.method).parameters


def require_form(output: Path | None, known: tuple[str, ...]) -> None:
    """Raise where the name of the output does not say what to write."""
    if output is None:
        return
    if output.suffix.lower() not in known:
        raise UsageError(f"--output {str(output)!r}: expected a name that ends in one of {', '.join(known)}.")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"--output {str(output)!r}: there is no folder {str(output.parent)!r}.")


def logits_of(output: Any) -> Tensor:
    """The numbers `(1, C)` that classes have.

    Raises:
        UsageError: If a model gives something else.
    """
    found = output.get("logits") if isinstance(output, dict) else getattr(output, "logits", output)
    found = found[0] if isinstance(found, tuple | list) and found else found
    if not isinstance(found, Tensor) or found.dim() == 0 or found.shape[0] != 1:
        kind = f"a tensor {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise UsageError(f"the model gives {kind} for one input; expected numbers of classes, (1, C).")
    return found.detach().flatten(1).float()


def ranking(logits: Tensor, labels: dict[int, str], top: int) -> list[str]:
    """Lines with the likeliest classes."""
    if logits.shape[1] == 1:
        return [f"score {float(logits):+.4g}"]
    # What sums to one already, without anything negative, is taken for probabilities.
    known = bool((logits >= 0).all()) and abs(float(logits.sum()) - 1) < 1e-4
    shares = logits[0] if known else logits[0].softmax(0)
    best = shares.topk(min(top, len(shares)))
    return [
        f"{share:7.2%}  class {number}{'  ' + labels[number] if number in labels else ''}"
        for share, number in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]


def explain_picture(request: Request, path: Path, how: Preparation) -> Path:
    """Explain a picture, and draw the explanation.

    Returns:
        The file that was written.
    """
    require_form(request.output, FORMS)
    require_all(request.method, request.options)
    seen = read_picture(path, how)
    with torch.no_grad():
        logits = logits_of(request.loaded.model(seen.x))
    for line in ranking(logits, request.labels, request.top):
        request.say(line)
    target = class_number(request.target, request.labels)
    if target is None and logits.shape[1] > 1:
        target = int(logits.argmax())
    call = {**request.options, **_chosen(request, seen.x)}
    view = request.loaded.model
    if request.layer and not request.takes("layer"):
        view = attrfunc.layer(view, request.layer)
    if request.takes("target"):
        call["target"] = target
    method = _smoothed(request)
    start = time.perf_counter()
    found = method(view, seen.x, **call)
    seconds = time.perf_counter() - start
    if not isinstance(found, Tensor):
        raise UsageError(f"{request.name} gives {type(found).__name__} here; a picture is drawn of one tensor.")
    named = (
        ""
        if target is None
        else f" of class {target}{' ' + request.labels[target] if target in request.labels else ''}"
    )
    total = float(_once(found, call.get("feature_mask")).sum())
    request.say(f"{request.name}{named}: the attributions sum to {total:+.4g}, in {seconds:.2f} s")
    output = request.output or Path(f"{path.stem}.{request.name}.png")
    _drawn(request, found, seen, f"{request.name}{named}", output)
    request.say(f"written: {output}")
    return output


def _once(found: Tensor, groups: Any) -> Tensor:
    """Attributions as they add up: a group's stands at each of its pixels, and counts once."""
    if groups is None:
        return found
    numbers = groups.expand(found.shape).flatten()
    return found.flatten() / numbers.bincount()[numbers]


def _smoothed(request: Request) -> Callable[..., Any]:
    if not request.smooth:
        return request.method
    generator = torch.Generator().manual_seed(request.seed)
    return attrfunc.smooth(request.method, n_samples=request.smooth, stdev=request.stdev, generator=generator)


def _chosen(request: Request, x: Tensor) -> dict[str, Any]:
    """What is chosen for the user: a layer, groups of pixels, and a source of randomness."""
    call: dict[str, Any] = {}
    if request.takes("layer") and not request.name.startswith("full"):
        call["layer"] = request.layer or _layer(request, x)
    if request.takes("generator"):
        call["generator"] = torch.Generator().manual_seed(request.seed)
    if request.takes("baselines") and not request.takes("baseline") and request.name != "xrai":
        numbers = request.options.get("baselines") or (0.0,)
        call["baselines"] = torch.stack([torch.full_like(x[0], number) for number in numbers])
    if request.takes("feature_mask") and "feature_mask" not in request.options and not request.layer:
        side = request.cells or max(1, -(-min(x.shape[-2:]) // CELLS))
        call["feature_mask"] = attrfunc.masks.grid_mask(x, (side, side))
        request.say(f"features: squares of {side} pixels (--cells)")
    return call


def _layer(request: Request, x: Tensor) -> str:
    """The last layer whose activation has positions."""
    found = layers_of(Hand(request.loaded.model, x, (), {}, 1)).cam
    if found is None and isinstance(request.loaded.model, torch.fx.GraphModule):
        raise UsageError(
            f"{request.name} needs a layer, and an exported program has none left. Name the model itself, as "
            "--model file.py:function."
        )
    if found is None:
        raise UsageError(f"{request.name} needs a layer, and none was found: pass --layer NAME.")
    request.say(f"layer: {found} (--layer)")
    return found


def _drawn(request: Request, found: Tensor, seen: Seen, title: str, output: Path) -> None:
    if output.suffix == ".npy":
        np.save(output, found.detach().cpu().float().numpy())
        return
    if found.dim() != 4 or found.shape[0] != 1:
        raise UsageError(
            f"attributions of shape {tuple(found.shape)} are no picture (1, C, H, W). Choose a layer with positions, "
            "or write the numbers: --output attributions.npy."
        )
    heat = found.detach().float()
    if heat.shape[-2:] != seen.photo.shape[-2:]:
        heat = attrfunc.viz.interpolate(heat, tuple(seen.photo.shape[-2:]), "bilinear")
    figure: Any = attrfunc.viz.image(heat[0], seen.photo, style=request.style, title=title)  # type: ignore[arg-type]
    figure.save(output)


def explain_text(request: Request, text: str) -> None:
    """Explain what a model of language says of a text, or after it."""
    require_form(request.output, TEXT_FORMS)
    if request.smooth or request.cells:
        raise UsageError("--smooth and --cells are for pictures.")
    loaded = request.loaded
    if loaded.tokenizer is None:
        raise UsageError("a text needs a model of transformers, which has a tokenizer: --model FOLDER or NAME.")
    generates = loaded.task == "text-generation"
    # What a causal model reads last is always there; of a text that is classified the last word is one as any other.
    last = loaded.tokenizer(text)["input_ids"][-1:]
    fixed = "special" if generates or set(last) <= set(loaded.tokenizer.all_special_ids) else None
    parts = attrfunc.text.segments(loaded.tokenizer, text, by="word" if request.words else "token", fixed=fixed)
    if generates:
        _answer(request, parts)
    else:
        _class_of_text(request, parts)


def _answer(request: Request, parts: Any) -> None:
    options = {**request.options, **_drawing(request)}
    require_all(request.method, request.options)
    found = attrfunc.text.explain(request.method, request.loaded.model, parts, request.target, **options)
    request.say(f"answer: {found.answer!r}")
    shown = attrfunc.viz.tokens(
        list(found.labels), found.sequence, title=f"{request.name}: {found.answer}", unit=found.unit
    )
    _told(request, shown, found)


def _class_of_text(request: Request, parts: Any) -> None:
    model = attrfunc.text.outputs(request.loaded.model)
    ids = torch.tensor([parts.ids])
    with torch.no_grad():
        logits = logits_of(model(ids))
    for line in ranking(logits, request.labels, request.top):
        request.say(line)
    target = class_number(request.target, request.labels)
    target = int(logits.argmax()) if target is None else target
    require_all(request.method, request.options)
    options = {**request.options, **_drawing(request)}
    title = f"{request.name}{request.of(target)}"
    if request.takes("feature_mask"):
        found = attrfunc.text.explain(request.method, model, parts, target, **options)
        _told(request, attrfunc.viz.tokens(list(found.labels), found.sequence, title=title), found)
        return
    table = request.loaded.model.get_input_embeddings()
    values = request.method(attrfunc.layer(model, table), ids, target=target, **options)
    each = values.detach().flatten(2).sum(2)[0]  # (L,), by token
    wide = torch.zeros(len(parts)).index_add(
        0,
        torch.tensor([owner for owner in parts.owners if owner >= 0]),
        each[torch.tensor([owner >= 0 for owner in parts.owners])].float(),
    )
    _told(request, attrfunc.viz.tokens(list(parts.labels), wide, title=title), None)


def _drawing(request: Request) -> dict[str, Any]:
    if request.layer or request.takes("layer"):
        raise UsageError(f"--layer and methods of layers ({request.name}) are for pictures.")
    if request.takes("baselines") and not request.takes("baseline"):
        raise UsageError(f"{request.name} needs a distribution of baselines, which texts have none of.")
    if request.takes("generator"):
        return {"generator": torch.Generator().manual_seed(request.seed)}
    return {}


def _told(request: Request, shown: Any, found: Any) -> None:
    """Print a text, and write it where that was asked for."""
    request.say(str(shown) if sys.stdout.isatty() else shown.plain())
    if request.output is None:
        return
    if request.output.suffix == ".json":
        if found is None:
            raise UsageError(
                f"--output {str(request.output)!r}: JSON is for methods that perturb; write .html or .txt."
            )
        found.save(request.output)
    else:
        shown.save(request.output)
    request.say(f"written: {request.output}")
