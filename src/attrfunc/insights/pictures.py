"""From a request to a picture: the attributions, how they are drawn, and the code of both."""

from __future__ import annotations

import html
import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attrfunc.insights.call import Request, call_of
from attrfunc.insights.drawing import DPI, Drawing, drawings
from attrfunc.insights.methods import methods
from attrfunc.insights.predictions import Prediction, predict, require_class
from attrfunc.insights.task import Example, Task
from attrfunc.insights.warned import heard

__all__ = ["Picture", "background", "explain"]

BACKGROUND = 8  # examples that serve as baselines


@dataclass(frozen=True, eq=False)
class Picture:
    """What is shown of one model.

    Attributes:
        model: The model's name.
        title: What is explained.
        prediction: What the model says.
        target: The class that is explained.
        attributions: What the method gave, as it gave it.
        drawn: The drawings, one for each input.
        seconds: How long the method took.
        code: Python that makes the same.
        data: The tensors that the code reads, by name.
        warned: What the library warned of.
    """

    model: str
    title: str
    prediction: Prediction
    target: int | None
    attributions: Any
    drawn: tuple[Drawing, ...]
    seconds: float
    code: str
    data: Mapping[str, Tensor]
    warned: tuple[str, ...] = ()

    def html(self) -> str:
        """What the page shows; all that comes from users is text."""
        told = "".join(f'<p class="af-warned" role="note">{html.escape(one)}</p>' for one in self.warned)
        return "".join(one.html for one in self.drawn) + told

    def page(self) -> str:
        """A page by itself, in one file: no script, and nothing is loaded."""
        style = "body{font:16px/1.5 sans-serif;max-width:64em;margin:2em auto;padding:0 1em;color:#222;background:#fff}"
        head = f'<meta charset="utf-8"><title>{html.escape(self.title)}</title><style>{style}</style>'
        body = f"<h1>{html.escape(self.title)}</h1>{self.html()}<pre>{html.escape(self.code)}</pre>"
        return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'

    def png(self) -> bytes:
        """The pictures of all inputs, one below the other."""
        pictures = [one.png for one in self.drawn]
        return pictures[0] if len(pictures) == 1 else _stacked(pictures)

    def arrays(self) -> bytes:
        """The tensors that the code reads, as a file of numpy's without pickle."""
        stream = io.BytesIO()
        arrays: dict[str, Any] = {name: leaf.detach().cpu().numpy() for name, leaf in self.data.items()}
        np.savez_compressed(stream, **arrays)
        return stream.getvalue()


def explain(
    task: Task,
    request: Request,
    *,
    examples: tuple[Example, ...] = (),
    style: str = "overlay",
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Picture:
    """Compute and draw what a request asks for.

    Args:
        task: The task.
        request: The request; nothing in it is trusted. Without a `target` the most probable class is explained.
        examples: Rows of the data set, for methods that take a distribution of baselines.
        style: How images are drawn; see `af.viz.image`.
        report: Is told of progress, `(done, total)`.

    Returns:
        The picture.

    Raises:
        ArgumentError: If a part of the request cannot be right.
        ModelError: If the model cannot be explained so.
    """
    prediction = predict(task, request.model, request.x)[0] if request.model in task.models else None
    target = None if prediction is None else require_class(task, prediction, request.target)
    request = replace(request, target=target)
    call = call_of(task, request, background(examples))
    started = time.perf_counter()
    with heard() as warned:
        attributions = call.run(report)
    seconds = time.perf_counter() - started
    explained = task.inputs[0].name if target is None else task.class_name(target)
    title = f"{explained}, {request.method.replace('_', ' ')}" + (f" at {request.layer}" if request.layer else "")
    at_layer = bool(request.layer) or methods()[request.method].names_layer
    drawn = drawings(task, request.x, request.shown, attributions, title, style, at_layer)
    data = {**_inputs(request.x), **call.data, **_shown(request.shown)}
    code = _code(task, request, call.code, [one.code for one in drawn], data)
    assert prediction is not None
    return Picture(request.model, title, prediction, target, attributions, drawn, seconds, code, data, tuple(warned))


def background(examples: tuple[Example, ...]) -> tuple[Tensor, ...]:
    """Some rows of the data set as baselines, where they have the same shapes."""
    first = [one.x for one in examples[:BACKGROUND]]
    if not first or any([leaf.shape for leaf in x] != [leaf.shape for leaf in first[0]] for x in first):
        return ()
    return tuple(torch.cat(leaves) for leaves in zip(*first, strict=True))


def _inputs(x: tuple[Tensor, ...]) -> dict[str, Tensor]:
    return {"x": x[0]} if len(x) == 1 else {f"x{number}": leaf for number, leaf in enumerate(x)}


def _shown(shown: tuple[Tensor, ...] | None) -> dict[str, Tensor]:
    return {f"shown{number}": leaf for number, leaf in enumerate(shown or ())}


def _code(task: Task, request: Request, call: str, drawn: list[str], data: Mapping[str, Tensor]) -> str:
    """A script: what the data are, the call, and the drawing of each input."""
    lines = ["import numpy as np", "import torch", "", "import attrfunc as af", ""]
    lines += ['data = np.load("input.npz")  # which the page gives, too']
    lines += [f'{name} = torch.from_numpy(data["{name}"])' for name in data]
    if len(request.x) > 1:
        lines += [f"x = ({', '.join(_inputs(request.x))})"]
    if task.setup:
        lines += [task.setup, f"model = models[{request.model!r}]"]
    else:
        lines += [f"# model is {request.model!r}, as it was given to the page."]
    lines += ["", call]
    for number, code in enumerate(drawn):
        name = "picture" if len(drawn) == 1 else f"picture{number}"
        lines += [code, f'figure.save("{name}.png", dpi={DPI})']
    return "\n".join(lines) + "\n"


def _stacked(pictures: list[bytes]) -> bytes:
    from PIL import Image

    opened = [Image.open(io.BytesIO(one)).convert("RGB") for one in pictures]
    whole = Image.new("RGB", (max(one.width for one in opened), sum(one.height for one in opened)), "white")
    top = 0
    for one in opened:
        whole.paste(one, (0, top))
        top += one.height
    stream = io.BytesIO()
    whole.save(stream, "PNG")
    return stream.getvalue()
