"""How attributions of each kind of input are drawn, and the code that draws them."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc import viz
from attrfunc.core.errors import ModelError, describe
from attrfunc.insights.inputs import Image, Input, Table, Text
from attrfunc.insights.task import Task

__all__ = ["DPI", "Drawing", "drawings"]

DPI = 144
SHOWN = 96  # pixels to an inch, as browsers count them
TOP = 20  # bars


@dataclass(frozen=True, eq=False)
class Drawing:
    """A drawing, made once: what a page shows, what is saved, and what the code saves are the same to the bit.

    Attributes:
        shown: A figure or a text of `af.viz`.
        code: Python that makes it, from `attributions` and `x`.
        png: The picture.
        html: What a page shows; all that comes from users is text in it.
    """

    shown: Any
    code: str
    png: bytes
    html: str

    @classmethod
    def of(cls, shown: Any, code: str, title: str) -> Drawing:
        """Draw a figure or a text."""
        text = not hasattr(shown, "savefig")
        figure = shown.figure() if text else shown
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=DPI)
        png = stream.getvalue()
        if text:
            return cls(shown, code, png, shown._repr_html_())
        width = f"width:{round(SHOWN * figure.get_size_inches()[0])}px;max-width:100%;height:auto"
        data = base64.b64encode(png).decode()
        return cls(
            shown, code, png, f'<img style="{width}" alt="{html.escape(title)}" src="data:image/png;base64,{data}">'
        )


def drawings(
    task: Task,
    x: tuple[Tensor, ...],
    shown: tuple[Tensor, ...] | None,
    attributions: Any,
    title: str,
    style: str,
    at_layer: bool,
) -> tuple[Drawing, ...]:
    """Draw attributions, one picture for each input, or one of a layer.

    Args:
        task: The task.
        x: The input.
        shown: What is drawn of it, where that is not `x`.
        attributions: What the method gave.
        title: What stands above.
        style: How images are drawn; see `af.viz.image`.
        at_layer: Whether they are those of a layer.
    """
    drawn = [f"x[{number}]" if len(x) > 1 else "x" for number in range(len(x))]
    if shown is not None:
        x, drawn = shown, [f"shown{number}" for number in range(len(x))]
    if len(x) > 1 and not at_layer:
        return tuple(
            _drawn(one, leaf, drawn[number], values, f"attributions[{number}]", f"{title}: {one.name}", style)
            for number, (one, leaf, values) in enumerate(zip(task.inputs, x, attributions, strict=True))
        )
    name = "attributions"
    while isinstance(attributions, tuple | list) and attributions:
        attributions, name = attributions[0], f"{name}[0]"
    if not isinstance(attributions, Tensor):
        leaves = pytree.tree_leaves(attributions)
        raise ModelError(f"the layer gives {describe(leaves)}, which has no picture. Choose one that gives a tensor.")
    return (_drawn(task.inputs[0], x[0], drawn[0], attributions, name, title, style),)


def _drawn(one: Input, x: Tensor, x_code: str, values: Tensor, code: str, title: str, style: str) -> Drawing:
    if isinstance(one, Image) and values.ndim == 4:
        return _image(one, x, x_code, values, code, {"style": style, "title": title})
    pieces = one.pieces(x) if isinstance(one, Text) else []
    if isinstance(one, Text) and values.ndim > 1 and values.shape[1] == len(pieces):
        summed, told = (values[0], f"{code}[0]")
        if values.ndim > 2:
            summed, told = summed.flatten(1).sum(1), f"{told}.flatten(1).sum(1)"
        code = _call("tokens", [repr(pieces), told], {"title": title})
        return Drawing.of(viz.tokens(pieces, summed, title=title), code, title)
    named: dict[str, Any] = {"top": TOP, "title": title}
    if isinstance(one, Table) and values.shape == (1, len(one.columns)):
        return _bars(values[0], f"{code}[0]", {"names": list(one.columns), **named})
    return _bars(values[0].flatten(), f"{code}[0].flatten()", named)


def _image(one: Image, x: Tensor, x_code: str, values: Tensor, code: str, options: Mapping[str, Any]) -> Drawing:
    size = (x.shape[2], x.shape[3])
    shown, told = values[0], f"{code}[0]"
    if values.shape[2:] != size:
        shown = viz.interpolate(values.sum(1, keepdim=True), size, mode="bilinear")[0]
        told = f'af.viz.interpolate({code}.sum(1, keepdim=True), {size}, mode="bilinear")[0]'
    figure = viz.image(shown, one.photo(x), **options)
    return Drawing.of(figure, _call("image", [told, one.photo_code(x_code)], options), options["title"])


def _bars(values: Tensor, code: str, options: Mapping[str, Any]) -> Drawing:
    return Drawing.of(viz.bars(values, **options), _call("bars", [code], options), options["title"])


def _call(name: str, arguments: list[str], options: Mapping[str, Any]) -> str:
    told = [*arguments, *(f"{key}={value!r}" for key, value in options.items())]
    return f"figure = af.viz.{name}(\n" + "".join(f"    {one},\n" for one in told) + ")"
