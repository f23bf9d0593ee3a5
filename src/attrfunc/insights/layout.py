"""What stands on the page, for one task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr
import torch

from attrfunc.core.model.parts import named_modules
from attrfunc.core.score.views import as_view
from attrfunc.insights import markup
from attrfunc.insights.call import SCORES, Request
from attrfunc.insights.fields import FORMS, NONE, WIDGETS, field_of, number_field, read_number
from attrfunc.insights.inputs import Image, Input, Table
from attrfunc.insights.methods import fitting
from attrfunc.insights.options import Form, Option, options_of
from attrfunc.insights.studio import Chosen, Desk
from attrfunc.insights.uploads import MOST_BYTES

__all__ = ["Layout"]

NARROW = 100  # pixels that a field needs beside others
STYLES = ("overlay", "heat", "masked", "alpha")
INPUT = "(the input)"
LONGEST = 20_000  # characters of a text


class Layout:
    """The components of one task, and what they say together.

    Args:
        desk: The task.
        number: Which of the page's it is.
    """

    def __init__(self, desk: Desk, number: int) -> None:
        self.desk, self.task, self.number = desk, desk.task, number
        self.methods = fitting(self.task.inputs)
        self.chosen = gr.State(Chosen())
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                self._models()
                self._data()
                self._own()
            with gr.Column(scale=3, min_width=300):
                self._question()
                self._answer()

    # What stands there.

    def _models(self) -> None:
        names = list(self.task.models)
        with gr.Row():
            self.model = gr.Dropdown(names, value=names[0], label="Model", min_width=NARROW, elem_id=self._id("model"))
            self.other = gr.Dropdown(
                [NONE, *names],
                value=NONE,
                label="Compare with",
                min_width=NARROW,
                visible=len(names) > 1,
                elem_id=self._id("other"),
            )

    def _data(self) -> None:
        desk = self.desk
        self.pictures_first = isinstance(self.task.inputs[0], Image)
        with gr.Accordion("Data", open=True, visible=bool(desk.examples)):
            with gr.Row():
                classes = [("all classes", -1), *((self.task.class_name(label), label) for label in desk.labels)]
                shown = bool(desk.labels)
                self.label = gr.Dropdown(
                    classes, value=-1, label="Class", min_width=NARROW, visible=shown, elem_id=self._id("label")
                )
                right = ["all", "right", "wrong"]
                self.right = gr.Radio(
                    right, value="all", label="Predicted", min_width=NARROW, visible=shown, elem_id=self._id("right")
                )
            self.uncertain = gr.Checkbox(label="most uncertain first", elem_id=self._id("uncertain"))
            self.gallery = gr.Gallery(
                label="Click on an example",
                show_label=False,
                columns=3,
                height=420,
                allow_preview=False,
                interactive=False,
                buttons=[],
                object_fit="cover",
                visible=self.pictures_first,
                elem_id=self._id("gallery"),
                elem_classes="af-gallery",
            )
            self.rows = gr.Radio(
                [],
                label="Choose an example",
                visible=not self.pictures_first,
                elem_id=self._id("rows"),
                elem_classes="af-rows",
            )
            self.listing = gr.HTML(elem_id=self._id("listing"))

    def _own(self) -> None:
        with gr.Accordion("Your own", open=not self.desk.examples):
            self.own = [self._field(one, number) for number, one in enumerate(self.task.inputs)]
            self.use = gr.Button("Use it", elem_id=self._id("use"))

    def _field(self, one: Input, number: int) -> Any:
        name = self._id(f"own{number}")
        if isinstance(one, Image):
            told = f"{one.name}: a file of at most {MOST_BYTES // 2**20} MiB"
            return gr.File(label=told, type="filepath", height=120, elem_id=name)
        told = f"{one.name}: one line for each, column = number" if isinstance(one, Table) else one.name
        return gr.Textbox(label=told, lines=4, max_lines=12, max_length=LONGEST, elem_id=name)

    def _question(self) -> None:
        names = [(name.replace("_", " "), name) for name in self.methods]
        first = self.task.method if self.task.method in self.methods else next(iter(self.methods))
        self.method = gr.Dropdown(names, value=first, label="Method", elem_id=self._id("method"))
        self.filled_in = gr.State(first)  # the method that the fields of options are for
        self.summary = gr.HTML(markup.said(self.methods[first].summary), elem_id=self._id("summary"))
        with gr.Accordion("Options", open=False):
            self.pool = {form: self._slots(form, first) for form in FORMS}
            self._further(first)
        classes: list[tuple[str, int]] = []
        self.top = gr.Radio(classes, label="Explain (click on a class)", elem_id=self._id("classes"))
        self.any = gr.Dropdown(classes, value=None, label="or any other class", visible=False, elem_id=self._id("any"))
        with gr.Row():
            self.explain = gr.Button("Explain", variant="primary", min_width=NARROW, elem_id=self._id("explain"))
            self.cancel = gr.Button("Cancel", min_width=NARROW, elem_id=self._id("cancel"))

    def _further(self, method: str) -> None:
        """What all methods have in common."""
        layers = self.layers(next(iter(self.task.models)))
        with gr.Row():
            self.layer = gr.Dropdown(layers, value=INPUT, label="Layer", min_width=NARROW, elem_id=self._id("layer"))
            self.call = number_field(
                None, label="Call of the layer", info="where it runs several times", min_width=NARROW
            )
        with gr.Row():
            self.baseline = gr.Dropdown(
                self._baselines(), value=NONE, label="Baseline", min_width=NARROW, elem_id=self._id("baseline")
            )
            self.score = gr.Dropdown(
                list(SCORES), value=SCORES[0], label="Score", min_width=NARROW, elem_id=self._id("score")
            )
        image = any(isinstance(one, Image) for one in self.task.inputs)
        with gr.Row(visible=image):
            self.style = gr.Dropdown(
                list(STYLES), value=STYLES[0], label="Drawn as", min_width=NARROW, elem_id=self._id("style")
            )
            self.patches = number_field(None, label="Patches a side", info="for groups of pixels", min_width=NARROW)
        with gr.Row():
            self.samples = number_field(0, label="Noisy copies", info="SmoothGrad; 0 is none", min_width=NARROW)
            self.stdev = number_field(0.1, label="Their noise", info="its standard deviation", min_width=NARROW)
            self.seed = number_field(0, label="Seed", min_width=NARROW)

    def _slots(self, form: Form, method: str) -> list[Any]:
        """As many fields of a form as the method with the most options needs, filled in for the first."""
        most = max(len(self.options(name, form)) for name in self.methods)
        found = []
        for number in range(most):
            options = self.options(method, form)
            settings = field_of(options[number]) if number < len(options) else {"visible": False}
            found.append(WIDGETS[form](**settings, elem_id=self._id(f"{form}{number}")))
        return found

    def _answer(self) -> None:
        self.status = gr.HTML(markup.said("Choose an example, or bring your own."), elem_id=self._id("status"))
        self.shown = gr.HTML(elem_id=self._id("shown"))
        self.exports = gr.HTML(elem_id=self._id("exports"))
        with gr.Accordion("The Python call of this picture", open=False):
            self.code = gr.Textbox(
                label="Python",
                interactive=False,
                lines=12,
                max_lines=40,
                buttons=["copy"],
                elem_id=self._id("code"),
                elem_classes="af-code",
            )

    # What was asked.

    def answers(self) -> list[Any]:
        """The fields that a request is made of."""
        common = [self.model, self.other, self.method, self.layer, self.call, self.baseline, self.score, self.style]
        return [*common, self.patches, self.samples, self.stdev, self.seed, self.filled_in, *self.flat_pool()]

    def requests(self, now: Chosen, answers: Sequence[Any]) -> Iterator[tuple[Request, str]]:
        """What was asked: a request for each model, and how its picture is drawn."""
        model, other, method, layer, call, baseline, score, style, patches, samples, stdev, seed, filled_in = answers[
            :13
        ]
        assert now.x is not None
        assert now.prediction is not None
        first = Request(
            model,
            now.x,
            method,
            now.prediction.best if now.target is None else now.target,  # the same class of all models
            # The fields are for another method as long as those of this one have not come.
            self._filled(method, answers[13:]) if filled_in == method else {},
            score,
            None if layer in (INPUT, None) else layer,
            read_number("call", call),
            None if baseline in (NONE, None) else baseline,
            read_number("patches", patches),
            read_number("samples", samples) or 0,
            read_number("stdev", stdev, whole=False) or 0.0,
            read_number("seed", seed) or 0,
            now.shown,
        )
        yield first, style
        if other not in (NONE, None, model):
            yield replace(first, model=other), style

    def _filled(self, method: str, values: Sequence[Any]) -> dict[str, Any]:
        """The options of a method, from the fields of the pool."""
        found, start = {}, 0
        for form in FORMS:
            for number, option in enumerate(self.options(method, form) if method in self.methods else ()):
                value = values[start + number]
                found[option.name] = None if value == NONE and option.optional else value
            start += len(self.pool[form])
        return found

    def flat_pool(self) -> list[Any]:
        """The fields for options, in the order in which they are sent."""
        return [slot for form in FORMS for slot in self.pool[form]]

    def options(self, name: str, form: Form) -> list[Option]:
        """The options of a method that are filled in so."""
        return [one for one in options_of(self.methods[name], self.task.inputs) if one.form == form]

    def layers(self, model: str) -> list[str]:
        """The names of a model's layers, behind the input's."""
        return [INPUT, *(name for name in named_modules(as_view(self.task.models[model]).model) if name)]

    def _baselines(self) -> list[str]:
        names = [NONE]
        for one in self.task.inputs:
            x = torch.zeros(1, 3, 2, 2) if isinstance(one, Image) else torch.zeros(1, 2)
            names += [name for name in one.baselines(x, "x") if name not in names]
        return names

    def _id(self, name: str) -> str:
        return f"{name}-{self.number}"
