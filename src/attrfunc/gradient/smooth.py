"""SmoothGrad and its kin: a combinator on methods (Smilkov et al. 2017)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe, positive
from attrfunc.core.loops.chunks import Work
from attrfunc.core.loops.method_batches import Batches
from attrfunc.core.loops.progress import Progress
from attrfunc.core.loops.samples import Draws, Moments, distribution, sampled, unfolded
from attrfunc.core.score.call import require_call
from attrfunc.core.score.method import named
from attrfunc.core.score.target import canonical
from attrfunc.core.score.views import Model, as_view
from attrfunc.core.trees import batch_size

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

    Several samples go to the method as one larger batch. What it is called with as `baseline`, `target`, `neuron`,
    `args`, `kwargs` and `feature_mask` follows the examples; everything else is passed on as it is. A method that draws
    at random itself (that is given a `generator`) gets one sample at a time.

    Args:
        method: Any function `(model, x, **options)` that gives attributions: of attrfunc, or the caller's own.
        n_samples: Number of samples for each example.
        stdev: Standard deviation of the noise; see `attrfunc.core.loops.samples`.
        kind: `"smoothgrad"`, `"smoothgrad_sq"` or `"vargrad"`.
        baselines: A distribution, from which the method's `baseline` is drawn for each sample; see
            `attrfunc.core.loops.samples`. `None` leaves the baseline as the method is called.
        generator: The source of randomness; see `attrfunc.core.loops.samples`.
        chunk_size: Rows given to the method at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

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
        https://arxiv.org/abs/1706.03825
        https://arxiv.org/abs/1810.03307
    """
    if not callable(method):
        error = ArgumentError("method", describe(method), "a callable (model, x, **options)", "Pass af.ig, say.")
        raise error.within("smooth")
    if kind not in KINDS:
        error = ArgumentError("kind", repr(kind), f"one of {', '.join(KINDS)}", "SmoothGrad is the default.")
        raise error.within("smooth")

    def smoothed(model: Model, x: Any, /, **options: Any) -> Any:
        rows = batch_size(x)
        if callable(model):  # a method of the user's may need none
            view = replace(as_view(model), differentiated=False)
            require_call(view, x, options.get("args", ()), options.get("kwargs"))
        leaves, target = pytree.tree_leaves(x), canonical(options.get("target"), rows)
        draws = Draws(x, stdev, generator)
        samples = None if baselines is None else distribution(baselines, x)
        moments = Moments(second=kind != "smoothgrad")
        most = chunk_size if chunk_size is None else positive("chunk_size", chunk_size)
        count = positive("n_samples", n_samples)
        batches, plan, size = Batches.planned(method, model, x, options, samples=count, chunk_size=most)
        if size is not None and size < rows and "chunk_size" in inspect.signature(method).parameters:
            options.setdefault("chunk_size", size)

        def evaluate(count: int) -> list[Tensor]:
            drawn = [(draws.noisy(), None if samples is None else draws.one_of(samples)) for _ in range(count)]
            return [unfolded(leaf, count) for leaf in batches.attribute(*zip(*drawn, strict=True))]

        work = Work(rows, leaves, target, folds=plan.folds)
        sampled(evaluate, n_samples, work, moments.take, chunk_size=size, progress=progress)
        return pytree.tree_unflatten(moments.result(kind), batches.spec)

    return named(f"smooth({getattr(method, '__name__', type(method).__name__)})", smoothed)
