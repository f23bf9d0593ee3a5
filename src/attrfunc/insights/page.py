"""The page itself, in Gradio: components, and what happens when they are used."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from attrfunc.core.errors import ArgumentError, AttributionError
from attrfunc.core.model.parts import named_modules
from attrfunc.core.score.views import as_view
from attrfunc.insights import markup
from attrfunc.insights.call import SCORES, Request
from attrfunc.insights.inputs import Image, Input, Table
from attrfunc.insights.jobs import Stopped
from attrfunc.insights.methods import fitting
from attrfunc.insights.options import Form, Option, options_of
from attrfunc.insights.pictures import Picture, explain
from attrfunc.insights.predictions import Filter
from attrfunc.insights.studio import Chosen, Desk, Studio, watched
from attrfunc.insights.uploads import MOST_BYTES

__all__ = ["CSS", "page", "theme"]

NARROW = 100  # pixels that a field needs beside others
TOP = 5  # classes that are one click away
ROWS_SHOWN = 60
STYLES = ("overlay", "heat", "masked", "alpha")
FORMS: tuple[Form, ...] = ("whole", "real", "choice", "flag")
NONE = "(none)"
INPUT = "(the input)"
LONGEST = 20_000  # characters of a text

CSS = """
.gradio-container{max-width:84rem!important;margin:auto}
.af-pictures{display:flex;flex-wrap:wrap;gap:1rem}
.af-pictures figure{flex:1 1 18rem;min-width:0;margin:0}
.af-pictures figure img{max-width:100%;height:auto}
.af-small{font-size:.85rem;opacity:.8;margin:.2rem 0}
.af-status{margin:.2rem 0}
.af-status progress{width:min(20rem,50%);vertical-align:middle}
.af-error{border-left:.3rem solid #b2182b;padding:.4rem .7rem;background:#fdecea;color:#5f0f16;overflow-wrap:anywhere}
.af-error code{background:none;color:inherit}
.af-exports p{margin:.2rem 0;display:flex;flex-wrap:wrap;gap:.2rem 1rem}
.af-save{text-decoration:underline}
.af-rows .wrap{max-height:24rem;overflow-y:auto;align-content:start}
.af-rows label{overflow-wrap:anywhere}
.af-gallery .caption-label{position:static;max-width:100%;white-space:normal;overflow:visible;font-size:.75rem;
  border:0;border-radius:0;width:100%}
.af-gallery button.thumbnail-item{display:flex;flex-direction:column;aspect-ratio:auto;height:auto}
.af-gallery button.thumbnail-item img{aspect-ratio:1;height:auto;width:100%}
.af-gallery .selected .caption-label,.af-gallery .caption-label{opacity:1;color:inherit}
.af-gallery .grid-container{grid-template-columns:repeat(3,minmax(0,1fr))}
@media (max-width:640px){.gradio-container .main.app{padding:.6rem!important}}
"""


def theme() -> Any:
    """Plain colours, and fonts that every machine has: none is loaded from anywhere."""
    local = ("system-ui", "sans-serif")
    return gr.themes.Base(primary_hue="blue", font=local, font_mono=("ui-monospace", "monospace"))


def page(studio: Studio, title: str) -> Any:
    """The page of a studio, as Gradio's blocks."""
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(600, 600)) as blocks:
        gr.Markdown(f"# {title}")
        if len(studio.desks) == 1:
            _Tab(studio, studio.desks[0], 0, blocks)
        else:
            with gr.Tabs():
                for number, desk in enumerate(studio.desks):
                    with gr.Tab(desk.task.name):
                        _Tab(studio, desk, number, blocks)

        def left(request: gr.Request) -> None:
            studio.leave(str(request.session_hash))

        blocks.unload(left)
    return blocks


class _Tab:
    """The components of one task, and their events."""

    def __init__(self, studio: Studio, desk: Desk, number: int, blocks: Any) -> None:
        self.studio, self.desk, self.task, self.number = studio, desk, desk.task, number
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
        self._events(blocks)

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
        layers = self._layers(next(iter(self.task.models)))
        with gr.Row():
            self.layer = gr.Dropdown(layers, value=INPUT, label="Layer", min_width=NARROW, elem_id=self._id("layer"))
            self.call = _number(None, label="Call of the layer", info="where it runs several times", min_width=NARROW)
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
            self.patches = _number(None, label="Patches a side", info="for groups of pixels", min_width=NARROW)
        with gr.Row():
            self.samples = _number(0, label="Noisy copies", info="SmoothGrad; 0 is none", min_width=NARROW)
            self.stdev = _number(0.1, label="Their noise", info="its standard deviation", min_width=NARROW)
            self.seed = _number(0, label="Seed", min_width=NARROW)

    def _slots(self, form: Form, method: str) -> list[Any]:
        """As many fields of a form as the method with the most options needs, filled in for the first."""
        most = max(len(self._options(name, form)) for name in self.methods)
        found = []
        for number in range(most):
            options = self._options(method, form)
            settings = _field_of(options[number]) if number < len(options) else {"visible": False}
            found.append(_WIDGETS[form](**settings, elem_id=self._id(f"{form}{number}")))
        return found

    def _answer(self) -> None:
        self.status = gr.HTML(markup.said("Choose an example, or bring your own."), elem_id=self._id("status"))
        self.shown = gr.HTML(elem_id=self._id("shown"))
        self.exports = gr.HTML(elem_id=self._id("exports"))
        with gr.Accordion("The Python call of this picture", open=False):
            self.code = gr.Code(language="python", interactive=False, label="Python", elem_id=self._id("code"))

    # What happens.

    def _events(self, blocks: Any) -> None:
        free: dict[str, Any] = {"concurrency_limit": 16, "api_visibility": "undocumented", "show_progress": "hidden"}
        listed = {
            "fn": self._list,
            "inputs": [self.chosen, self.model, self.label, self.right, self.uncertain],
            "outputs": [self.chosen, self.gallery, self.rows, self.listing],
            "trigger_mode": "always_last",
            **free,
        }
        asked = {
            "fn": self._explain,
            "inputs": [self.chosen, *self._answers()],
            "outputs": [self.status, self.shown, self.exports, self.code],
            "trigger_mode": "multiple",
            **free,
        }
        looked = [self.chosen, self.top, self.any, self.status]
        blocks.load(**listed, api_name=f"list_{self.number}")
        for part in (self.label, self.right, self.uncertain):
            part.input(**listed, api_name=False)
        self.method.change(
            self._method,
            [self.method],
            [self.filled_in, self.summary, *self._flat_pool()],
            api_name=f"method_{self.number}",
            **free,
        )
        self.model.change(self._model, [self.model], [self.layer], api_name=False, **free).then(
            **listed, api_name=False
        ).then(self._look, [self.chosen, self.model], looked, api_name=False, **free).success(**asked, api_name=False)
        pick = {"outputs": [*looked, *self.own], **free}
        self.gallery.select(self._pick_picture, [self.chosen, self.model], api_name=False, **pick).success(
            **asked, api_name=False
        )
        self.rows.input(
            self._pick, [self.chosen, self.model, self.rows], api_name=f"pick_{self.number}", **pick
        ).success(**asked, api_name=False)
        self.use.click(
            self._use, [self.chosen, self.model, *self.own], looked, api_name=f"use_{self.number}", **free
        ).success(**asked, api_name=False)
        target = {"fn": self._target, "outputs": [self.chosen], **free}
        self.top.input(inputs=[self.chosen, self.top], api_name=f"target_{self.number}", **target).success(
            **asked, api_name=False
        )
        self.any.input(inputs=[self.chosen, self.any], api_name=False, **target).success(**asked, api_name=False)
        self.explain.click(**asked, api_name=f"explain_{self.number}")
        self.cancel.click(
            self._cancel,
            None,
            [self.status],
            queue=False,
            api_name=f"cancel_{self.number}",
            **{name: value for name, value in free.items() if name != "concurrency_limit"},
        )

    def _list(
        self, now: Chosen, model: str, label: int, right: Any, uncertain: bool, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        """The rows that a filter keeps."""
        chosen = Filter(None if label in (-1, None) else label, right, bool(uncertain))
        same = (gr.skip(), gr.skip(), gr.skip())
        if not self.desk.examples:
            return
        session = f"{request.session_hash} list {self.number}"
        try:
            for job in watched(self.studio, session, lambda report: self.desk.listed(model, chosen, report)):
                yield *same, markup.busy(job.progress, job.waiting, "Asking the model")
            order = job.result()
        except Stopped:
            yield *same, markup.said("Stopped.")
        except TimeoutError:
            yield *same, markup.said(self._too_long())
        except Exception as error:
            yield *same, markup.trouble(error)
        else:
            told = f"{len(order)} of {len(self.desk.examples)} examples"
            told += f", the first {ROWS_SHOWN} are shown" if len(order) > ROWS_SHOWN else ""
            order = order[:ROWS_SHOWN]
            yield replace(now, order=order), *self._listed(order, model), markup.said(told)

    def _listed(self, order: Sequence[int], model: str) -> tuple[Any, Any]:
        captions = [self.desk.caption(number, model) for number in order]
        if not self.pictures_first:
            return gr.skip(), gr.update(choices=list(zip(captions, order, strict=True)), value=None)
        first = self.task.inputs[0]
        assert isinstance(first, Image)
        thumbs = [
            first.photo((self.desk.examples[number].shown or self.desk.examples[number].x)[0]) for number in order
        ]
        arrays = [(255 * one.expand(3, -1, -1).permute(1, 2, 0)).byte().numpy() for one in thumbs]
        return gr.update(value=list(zip(arrays, captions, strict=True)), selected_index=None), gr.skip()

    def _pick_picture(self, now: Chosen, model: str, event: gr.SelectData) -> tuple[Any, ...]:
        return self._pick(now, model, now.order[event.index])

    def _pick(self, now: Chosen, model: str, number: int) -> tuple[Any, ...]:
        """Turn to a row of the data set."""
        example = self.desk.examples[number]
        written = [gr.skip() if text is None else text for text in self.desk.written(example.x)]
        return (*self._turned(now, model, example.x, example.shown), *written)

    def _use(self, now: Chosen, model: str, *values: Any) -> tuple[Any, ...]:
        """Turn to what the user brought."""
        try:
            x = self.task.read(values)
        except AttributionError as error:
            raise gr.Error(str(error), print_exception=False) from None
        return self._turned(now, model, x)

    def _look(self, now: Chosen, model: str) -> tuple[Any, ...]:
        if now.x is None:
            raise gr.Error("Choose an example first.", visible=False, print_exception=False)
        return self._turned(now, model, now.x, now.shown)

    def _turned(self, now: Chosen, model: str, x: Any, seen: Any = None) -> tuple[Any, ...]:
        now = self.desk.look(model, x, now, seen)
        said = now.prediction
        assert said is not None
        if said.single:
            choices = [(f"the output: {said.top(1)[0][1]:.3f}", 0)]
            return now, gr.update(choices=choices, value=0), gr.update(visible=False), markup.said("")
        choices = [(f"{self.task.class_name(one)}: {share:.1%}", one) for one, share in said.top(TOP)]
        names = [(self.task.class_name(one), one) for one in range(len(said.probabilities))]
        others = gr.update(choices=names, value=None, visible=len(names) > TOP)
        return now, gr.update(choices=choices, value=said.best), others, markup.said("")

    def _target(self, now: Chosen, number: int | None) -> Chosen:
        return replace(now, target=number)

    def _method(self, name: str) -> list[Any]:
        updates: list[Any] = [name, markup.said(self.methods[name].summary)]
        for form in FORMS:
            options = self._options(name, form)
            for number in range(len(self.pool[form])):
                updates.append(
                    gr.update(**_field_of(options[number])) if number < len(options) else gr.update(visible=False)
                )
        return updates

    def _model(self, name: str) -> Any:
        return gr.update(choices=self._layers(name), value=INPUT)

    def _explain(self, now: Chosen, request: gr.Request, *answers: Any) -> Iterator[tuple[Any, ...]]:
        """Explain what is looked at by all models that were chosen."""
        same = (gr.skip(), gr.skip(), gr.skip())
        if now.x is None:
            yield markup.said("Choose an example first, or bring your own."), *same
            return
        session = f"{request.session_hash} explain {self.number}"
        pictures: list[Picture] = []
        failed: list[tuple[str, BaseException]] = []
        try:
            requests = list(self._requests(now, answers))
        except ArgumentError as error:
            yield markup.trouble(error), *same
            return
        for asked, style in requests:
            what = f"{asked.model}, {asked.method.replace('_', ' ')}"
            try:
                work = lambda report, asked=asked, style=style: explain(  # noqa: E731
                    self.task, asked, examples=self.desk.examples, style=style, report=report
                )
                for job in watched(self.studio, session, work):
                    yield markup.busy(job.progress, job.waiting, what), *same
                pictures.append(job.result())
            except Stopped:
                yield markup.said("Stopped."), *same
                return
            except TimeoutError:
                failed.append((asked.model, TimeoutError(self._too_long())))
            except Exception as error:
                failed.append((asked.model, error))
        code = "\n\n".join(one.code for one in pictures)
        yield (
            markup.said("Done." if pictures else ""),
            markup.shown(self.task, pictures, failed),
            markup.exports(pictures),
            code,
        )

    def _cancel(self, request: gr.Request) -> str:
        stopped = self.studio.stop(f"{request.session_hash} explain {self.number}")
        return markup.said("Stopping …" if stopped else "There is nothing to stop.")

    # What was asked.

    def _answers(self) -> list[Any]:
        common = [self.model, self.other, self.method, self.layer, self.call, self.baseline, self.score, self.style]
        return [*common, self.patches, self.samples, self.stdev, self.seed, self.filled_in, *self._flat_pool()]

    def _requests(self, now: Chosen, answers: Sequence[Any]) -> Iterator[tuple[Request, str]]:
        model, other, method, layer, call, baseline, score, style, patches, samples, stdev, seed, filled_in = answers[
            :13
        ]
        assert now.x is not None
        for name in dict.fromkeys([model, other]):
            if name != NONE:
                yield (
                    Request(
                        name,
                        now.x,
                        method,
                        now.target,
                        self._filled(method, answers[13:]) if filled_in == method else {},  # or they have not come yet
                        score,
                        None if layer in (INPUT, None) else layer,
                        call,
                        None if baseline in (NONE, None) else baseline,
                        patches or None,
                        samples or 0,
                        stdev or 0.0,
                        seed or 0,
                        now.shown,
                    ),
                    style,
                )

    def _filled(self, method: str, values: Sequence[Any]) -> dict[str, Any]:
        """The options of a method, from the fields of the pool."""
        found, start = {}, 0
        for form in FORMS:
            for number, option in enumerate(self._options(method, form) if method in self.methods else ()):
                value = values[start + number]
                found[option.name] = None if value == NONE and option.optional else value
            start += len(self.pool[form])
        return found

    def _flat_pool(self) -> list[Any]:
        return [slot for form in FORMS for slot in self.pool[form]]

    def _options(self, name: str, form: Form) -> list[Option]:
        return [one for one in options_of(self.methods[name], self.task.inputs) if one.form == form]

    def _layers(self, model: str) -> list[str]:
        return [INPUT, *(name for name in named_modules(as_view(self.task.models[model]).model) if name)]

    def _baselines(self) -> list[str]:
        import torch

        names = [NONE]
        for one in self.task.inputs:
            x = torch.zeros(1, 3, 2, 2) if isinstance(one, Image) else torch.zeros(1, 2)
            names += [name for name in one.baselines(x, "x") if name not in names]
        return names

    def _too_long(self) -> str:
        limit = f"{self.studio.seconds:g} seconds"
        return f"It took longer than {limit}, which is the limit of this page. Take fewer samples, steps or patches."

    def _id(self, name: str) -> str:
        return f"{name}-{self.number}"


def _field_of(option: Option) -> dict[str, Any]:
    """What a field of the pool is, for an option."""
    told = option.told if len(option.told) <= 160 else option.told[:157].rsplit(" ", 1)[0] + " …"
    value = "" if option.default is None and option.form in ("whole", "real") else option.default
    value = f"{value}" if option.form in ("whole", "real") else value
    found: dict[str, Any] = {"label": option.name, "info": told, "value": value, "visible": True}
    if option.form == "choice":
        none = [NONE] if option.optional else []
        found |= {"choices": [*none, *option.choices], "value": option.default or NONE}
    return found


def _number(value: float | None, **settings: Any) -> Any:
    """A field for a number that may be left empty; Gradio's own field shows a zero then, which is a number."""
    return gr.Textbox("" if value is None else f"{value}", max_length=40, **settings)


_WIDGETS: dict[Form, Any] = {"whole": gr.Textbox, "real": gr.Textbox, "choice": gr.Dropdown, "flag": gr.Checkbox}


def _read(name: str, text: Any, whole: bool = True) -> Any:
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
