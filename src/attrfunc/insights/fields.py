"""Fields for the options of methods, and what is read from them."""

from __future__ import annotations

import math
from typing import Any

import gradio as gr

from attrfunc.core.errors import ArgumentError
from attrfunc.insights.options import Form, Option

__all__ = ["FORMS", "NONE", "WIDGETS", "field_of", "number_field", "read_number"]

NONE = "(none)"
FORMS: tuple[Form, ...] = ("whole", "real", "choice", "flag")


def field_of(option: Option) -> dict[str, Any]:
    """What a field of the pool is, for an option."""
    told = option.told if len(option.told) <= 160 else option.told[:157].rsplit(" ", 1)[0] + " …"
    value = "" if option.default is None and option.form in ("whole", "real") else option.default
    value = f"{value}" if option.form in ("whole", "real") else value
    found: dict[str, Any] = {"label": option.name, "info": told, "value": value, "visible": True}
    if option.form == "choice":
        none = [NONE] if option.optional else []
        found |= {"choices": [*none, *option.choices], "value": option.default or NONE}
    return found


def number_field(value: float | None, **settings: Any) -> Any:
    """A field for a number that may be left empty; Gradio's own field shows a zero then, which is a number."""
    return gr.Textbox("" if value is None else f"{value}", max_length=40, **settings)


WIDGETS: dict[Form, Any] = {"whole": gr.Textbox, "real": gr.Textbox, "choice": gr.Dropdown, "flag": gr.Checkbox}


def read_number(name: str, text: Any, whole: bool = True) -> Any:
    """A number that was written in a field; None where there is none."""
    if text is None or not str(text).strip():
        return None
    try:
        number = float(text)
        if not math.isfinite(number) or (whole and number != int(number)):
            raise ValueError
    except ValueError:
        kind = "a whole number" if whole else "a number"
        raise ArgumentError(name, repr(text)[:60], f"{kind}, or nothing", "Mend it, or leave it empty.") from None
    return int(number) if whole else number
