"""SmoothGrad and its kin: a combinator on methods (Smilkov et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.baseline import resolve_baseline
from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.inputs import Inputs
from attrfunc.core.method import named
from attrfunc.core.progress import Progress
from attrfunc.core.samples import Draws, Moments, distribution, sampled, unfolded
from attrfunc.core.target import canonical
from attrfunc.core.trees import batch_size, join_rows, map_rows, repeat_rows
from attrfunc.core.views import Model, View

__all__ = ["smooth"]

KINDS = ("smoothgrad", "smoothgrad_sq", "vargrad")


def smooth(
    method: Callable[..., Any],
    *,
    n_samples: int = 5,
    stdev: Any = 1.0,
    kind: str = "smoothgrad",
    baselines: Any = None,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Callable[..., Any]:
    """Make of any method one that averages it over noisy copies of the input.

    `E[a(x + stdev * noise)]` (`"smoothgrad"`), the mean of the squares (`"smoothgrad_sq"`) or the variance
    (`"vargrad"`) of the method's attributions a. Means are running means: memory does not grow with `n_samples`.

    Several samples go to the method as one larger batch. What it is called with as `target`, `args`, `kwargs`,
    `baseline` and `feature_mask` follows the examples; everything else is passed on as it is. A method that draws at
    random itself (that is given a `generator`) gets one sample at a time.

    Args:
        method: Any function `(model, x, **options)` that gives attributions: of attrfunc, or the caller's own.
        n_samples: Number of samples for each example.
        stdev: Standard deviation of the noise; see `attrfunc.core.samples`.
        kind: `"smoothgrad"`, `"smoothgrad_sq"` or `"vargrad"`.
        baselines: A distribution, from which the method's `baseline` is drawn for each sample; see
            `attrfunc.core.samples`. `None` leaves the baseline as the method is called.
        generator: The source of randomness; see `attrfunc.core.samples`.
        chunk_size: Rows given to the method at once; see `attrfunc.core.evaluate`.
        progress: Whether and how to report; see `attrfunc.core.evaluate`.

    Returns:
        A method, to be called as `method` is. Its attributions have the units of the method's (squared, for the other
        two kinds). Means keep what is linear: if the method is *complete*, they sum to the mean change of the score.

    Raises:
        ArgumentError: If an argument cannot be right.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> smoothed = af.smooth(af.ig, n_samples=8, stdev=0.1, generator=torch.Generator().manual_seed(0))
        >>> smoothed(model, torch.ones(5, 3), baseline=0.5, target=1).shape
        torch.Size([5, 3])

    Reference:
        Smilkov, Thorat, Kim, Viegas, Wattenberg: SmoothGrad: removing noise by adding noise, 2017; Adebayo et al.:
        Local Explanation Methods for Deep Neural Networks Lack Sensitivity to Parameter Values, ICLR workshop 2018
        (VarGrad).
    """
    if not callable(method):
        error = ArgumentError("method", describe(method), "a callable (model, x, **options)", "Pass af.ig, say.")
        raise error.within("smooth")
    if kind not in KINDS:
        raise ArgumentError("kind", repr(kind), f"one of {', '.join(KINDS)}", "SmoothGrad is the default.").within(
            "smooth"
        )

    def smoothed(model: Model, x: Any, /, **options: Any) -> Any:
        rows = batch_size(x)
        draws = Draws(x, stdev, generator)
        samples = None if baselines is None else distribution(baselines, x)
        inputs = Inputs(x, (), {}, canonical(options.get("target"), rows), rows)
        moments = Moments(second=kind != "smoothgrad")
        specs: list[Any] = []

        def evaluate(count: int) -> list[Tensor]:
            drawn = [(draws.noisy(), None if samples is None else draws.one_of(samples)) for _ in range(count)]
            noisy = [one for one, _ in drawn]
            arguments = dict(options)
            if samples is not None:
                arguments["baseline"] = join_rows([baseline for _, baseline in drawn])
            elif count > 1 and "baseline" in options:
                arguments["baseline"] = join_rows([resolve_baseline(options["baseline"], one) for one in noisy])
            arguments |= _repeated(options, inputs, count)
            leaves, spec = pytree.tree_flatten(method(_view(model, rows, count), join_rows(noisy), **arguments))
            for leaf in leaves:
                if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
                    got = f"attributions of type {type(leaf).__name__}"
                    raise ArgumentError("method", got, "floating-point tensors", "Pass a method that gives these.")
            specs.append(spec)
            return [unfolded(leaf, count) for leaf in leaves]

        # Draws inside the method must not depend on how many samples it is given.
        size = rows if options.get("generator") is not None else chunk_size
        sampled(evaluate, n_samples, inputs, moments.take, chunk_size=size, progress=progress)
        return pytree.tree_unflatten(moments.result(kind), specs[0])

    return named(f"smooth({getattr(method, '__name__', type(method).__name__)})", smoothed)


def _repeated(options: dict[str, Any], inputs: Inputs, times: int) -> dict[str, Any]:
    """The options that follow the examples, for a batch of several samples."""
    followers = {name: options[name] for name in ("args", "kwargs", "feature_mask", "target") if name in options}
    if "target" in followers:
        followers["target"] = inputs.target
    return {name: _repeat(value, inputs.rows, times) for name, value in followers.items()} if times > 1 else {}


def _repeat(tree: Any, rows: int, times: int) -> Any:
    return map_rows(lambda leaf: repeat_rows(leaf, times), tree, rows)


def _view(model: Model, rows: int, times: int) -> Model:
    """The model, with a neuron for each example repeated with these."""
    if times == 1 or not isinstance(model, View) or model.output is None:
        return model
    site, selector = model.output
    return replace(model, output=(site, _repeat(canonical(selector, rows, "selector"), rows, times)))
