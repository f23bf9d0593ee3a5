"""The page itself, in Gradio: what happens when it is used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from attrfunc.core.errors import ArgumentError, AttributionError
from attrfunc.insights import markup
from attrfunc.insights.fields import FORMS, field_of
from attrfunc.insights.inputs import Image
from attrfunc.insights.jobs import Stopped
from attrfunc.insights.layout import INPUT, Layout
from attrfunc.insights.pictures import Picture, explain
from attrfunc.insights.predictions import Filter
from attrfunc.insights.studio import Chosen, Desk, Studio, watched

__all__ = ["page"]

TOP = 5  # classes that are one click away
ROWS_SHOWN = 60


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


class _Tab(Layout):
    """The components of one task, and their events."""

    def __init__(self, studio: Studio, desk: Desk, number: int, blocks: Any) -> None:
        super().__init__(desk, number)
        self.studio = studio
        self._events(blocks)

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
            "inputs": [self.chosen, *self.answers()],
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
            [self.filled_in, self.summary, *self.flat_pool()],
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
        # Not `input`, which comes when the keyboard goes through the field, too.
        self.any.select(inputs=[self.chosen, self.any], api_name=False, **target).success(**asked, api_name=False)
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
        except Stopped as stopped:
            if not stopped.replaced:
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
            return self._failed(now, error)
        return self._turned(now, model, x)

    def _look(self, now: Chosen, model: str) -> tuple[Any, ...]:
        if now.x is None:
            return now, gr.skip(), gr.skip(), gr.skip()
        return self._turned(now, model, now.x, now.shown)

    def _turned(self, now: Chosen, model: str, x: Any, seen: Any = None) -> tuple[Any, ...]:
        try:
            now = self.desk.look(model, x, now, seen)
        except AttributionError as error:
            return self._failed(now, error)
        said = now.prediction
        assert said is not None
        if said.single:
            choices = [(f"the output: {said.top(1)[0][1]:.3f}", 0)]
            return now, gr.update(choices=choices, value=0), gr.update(visible=False), markup.said("")
        choices = [(f"{self.task.class_name(one)}: {share:.1%}", one) for one, share in said.top(TOP)]
        names = [(self.task.class_name(one), one) for one in range(len(said.probabilities))]
        others = gr.update(choices=names, value=None, visible=len(names) > TOP)
        return now, gr.update(choices=choices, value=said.best), others, markup.said("")

    def _failed(self, now: Chosen, error: AttributionError) -> tuple[Any, ...]:
        """Look at nothing, and say why."""
        told = markup.trouble(error)
        nothing = gr.update(choices=[], value=None)
        return replace(now, x=None, prediction=None, trouble=told), nothing, gr.update(visible=False), told

    def _target(self, now: Chosen, number: int | None) -> Chosen:
        return replace(now, target=number)

    def _method(self, name: str) -> list[Any]:
        updates: list[Any] = [name, markup.said(self.methods[name].summary)]
        for form in FORMS:
            options = self.options(name, form)
            for number in range(len(self.pool[form])):
                updates.append(
                    gr.update(**field_of(options[number])) if number < len(options) else gr.update(visible=False)
                )
        return updates

    def _model(self, name: str) -> Any:
        return gr.update(choices=self.layers(name), value=INPUT)

    def _explain(self, now: Chosen, request: gr.Request, *answers: Any) -> Iterator[tuple[Any, ...]]:
        """Explain what is looked at by all models that were chosen."""
        same = (gr.skip(), gr.skip(), gr.skip())
        if now.x is None:
            yield now.trouble or markup.said("Choose an example first, or bring your own."), "", "", ""
            return
        session = f"{request.session_hash} explain {self.number}"
        pictures: list[Picture] = []
        failed: list[tuple[str, BaseException]] = []
        try:
            requests = list(self.requests(now, answers))
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
            except Stopped as stopped:
                if not stopped.replaced:  # otherwise there is something else to look at
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

    def _cancel(self, request: gr.Request) -> Any:
        stopped = self.studio.stop(f"{request.session_hash} explain {self.number}")
        # What was stopped says so itself, and may have done so already.
        return gr.skip() if stopped else markup.said("There is nothing to stop.")

    def _too_long(self) -> str:
        limit = f"{self.studio.seconds:g} seconds"
        return f"It took longer than {limit}, which is the limit of this page. Take fewer samples, steps or patches."
