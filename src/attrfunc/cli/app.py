"""The commands."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

import attrfunc
from attrfunc.cli import inputs
from attrfunc.cli.explain import Request, explain_picture, explain_text
from attrfunc.cli.failures import UsageError, reported
from attrfunc.cli.models import load, object_of
from attrfunc.cli.options import METHODS, method_named, parsed, taken
from attrfunc.cli.page import insights_module, launched
from attrfunc.cli.patient import patient_input, scored

__all__ = ["app"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Why did the model say that? Feature attribution for PyTorch.",
)

MODEL = (
    "model.pt2 of torch.export.save, module:attribute or file.py:function that returns a model (its code runs), or a "
    "folder or a name of transformers. No pickle is opened."
)
Model = Annotated[str, typer.Option("--model", "-m", help=MODEL)]
Weights = Annotated[Path | None, typer.Option(help="State dict for a Python model; tensors alone are read.")]
Task = Annotated[str | None, typer.Option(help="image-classification, text-classification or text-generation.")]
Size = Annotated[str | None, typer.Option(help="Side, or height,width, that pictures are cut and resized to.")]
Mean = Annotated[str | None, typer.Option(help="Subtracted from pixels from 0 to 1: one number, or one a channel.")]
Std = Annotated[str | None, typer.Option(help="What they are divided by then.")]
Grey = Annotated[bool, typer.Option("--grey", help="One channel in place of three.")]
Layer = Annotated[str | None, typer.Option(help="A layer, by name.")]
Labels = Annotated[Path | None, typer.Option(help="A file with the name of a class in each line.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show all that Python says of an error.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"attrfunc {attrfunc.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Why did the model say that? Feature attribution for PyTorch."""


@app.command()
def explain(
    given: Annotated[str, typer.Argument(metavar="INPUT", help="A picture, a text, a .txt file, or - for stdin.")],
    model: Model,
    method: Annotated[
        str | None, typer.Option(help="ig for pictures, feature_ablation for texts, or any other.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="A class by number or name, or an answer; the likeliest.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="heat.png, .svg, .html, .npy, ...")] = None,
    option: Annotated[list[str] | None, typer.Option("--option", "-O", help="name=value of the method's.")] = None,
    layer: Layer = None,
    weights: Weights = None,
    task: Task = None,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    grey: Grey = False,
    labels: Labels = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to print.")] = 5,
    style: Annotated[str, typer.Option(help="heat, overlay, masked or alpha.")] = "overlay",
    cells: Annotated[int | None, typer.Option(min=1, help="Pixels of a feature, for methods that perturb.")] = None,
    smooth: Annotated[int, typer.Option(min=0, help="Average over so many noisy copies.")] = 0,
    stdev: Annotated[float, typer.Option(min=0, help="Their noise.")] = 0.1,
    tokens: Annotated[bool, typer.Option("--tokens", help="Explain a text by tokens, not by words.")] = False,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
    debug: Debug = False,
) -> None:
    """Explain what a model says of a picture or a text.

    attrfunc explain photo.jpg --model model.pt2 --method ig --target 3 --output heat.png
    """
    with reported(debug):
        picture = inputs.is_picture(given)
        chosen = method_named(method or ("ig" if picture else "feature_ablation"))
        loaded = load(model, weights=weights, task=task)
        request = Request(
            loaded=loaded,
            method=chosen,
            options=parsed(chosen, option or []),
            labels=inputs.labels_of(labels, loaded),
            target=target,
            layer=layer,
            seed=seed,
            smooth=smooth,
            stdev=stdev,
            cells=cells,
            top=top,
            style=style,
            output=output,
            words=not tokens,
            say=typer.echo,
        )
        if picture:
            explain_picture(request, Path(given), inputs.preparation(loaded, size, mean, std, grey))
        else:
            explain_text(request, inputs.read_text(given))


@app.command()
def doctor(
    model: Model,
    given: Annotated[list[str] | None, typer.Argument(metavar="[INPUT]...", help="Pictures, a text, or .npy.")] = None,
    shape: Annotated[str | None, typer.Option(help="Random input of this shape instead: 2,3,224,224.")] = None,
    target: Annotated[int | None, typer.Option(help="A class; the largest output.")] = None,
    method: Annotated[list[str] | None, typer.Option("--method", help="Try these only.")] = None,
    layer: Layer = None,
    weights: Weights = None,
    task: Task = None,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    grey: Grey = False,
    time_limit: Annotated[float | None, typer.Option(help="Seconds after which no further method is begun.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a table in Markdown.")] = False,
    debug: Debug = False,
) -> None:
    """Try methods on a model: which are right on it, which are refused, how fast, and how much memory they take.

    attrfunc doctor --model file.py:net --shape 2,3,32,32
    """
    with reported(debug):
        if as_json and markdown:
            raise UsageError("--json and --markdown: choose one.")
        loaded = load(model, weights=weights, task=task)
        how = inputs.preparation(loaded, size, mean, std, grey)
        x = patient_input(loaded, given or [], shape, how)
        tried: Any = scored(loaded)
        found = attrfunc.doctor(tried, x, target=target, methods=method, layer=layer, time_limit=time_limit)
        typer.echo(found.to_json() if as_json else found.to_markdown() if markdown else str(found))
    if not found.healthy:
        raise typer.Exit(1)


@app.command()
def insights(
    demo: Annotated[bool, typer.Option("--demo", help="Real models and data, which come with their packages.")] = False,
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help=f"NAME=MODEL, or MODEL: {MODEL}")] = None,
    data: Annotated[Path | None, typer.Option(help="A folder of pictures.")] = None,
    tasks: Annotated[str | None, typer.Option(help="file.py:tasks that returns af.insights.Task objects.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="A free one by default.")] = None,
    host: Annotated[str, typer.Option(help="Another address lets other machines in.")] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser", help="Open it in a browser.")] = False,
    seconds: Annotated[float, typer.Option(min=1, help="How long a request may take.")] = 120.0,
    weights: Weights = None,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    grey: Grey = False,
    labels: Labels = None,
    debug: Debug = False,
) -> None:
    """Open a page in the browser, on which one clicks through explanations.

    attrfunc insights --demo
    """
    with reported(debug):
        page_of = insights_module()
        options: dict[str, Any] = {"host": host, "port": port, "in_browser": browser, "seconds": seconds}
        if sum(map(bool, (demo, model, tasks))) != 1:
            raise UsageError("pass one of --demo, --model and --tasks.")
        if demo:
            page = page_of.demo(**options)
        elif tasks:
            page = page_of.launch(object_of(tasks), **options)
        else:
            page = launched(page_of, model or [], data, labels, weights, (size, mean, std, grey), options)
        typer.echo(f"attrfunc insights: {page.url} (Ctrl-C ends it)")
        page.wait()


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="Tell the options of one.")] = None,
    debug: Debug = False,
) -> None:
    """List methods, or the options of one."""
    with reported(debug):
        if name is None:
            width = max(map(len, METHODS))
            for key, method in METHODS.items():
                typer.echo(f"{key:{width}}  {(inspect.getdoc(method) or '').splitlines()[0]}")
            return
        method = method_named(name)
        typer.echo(f"{method.__name__}: {(inspect.getdoc(method) or '').splitlines()[0]}")
        for option, parameter in taken(method).items():
            default = "needed" if parameter.default is parameter.empty else f"{parameter.default!r} by default"
            typer.echo(f"  --option {option}=...  {default}")
