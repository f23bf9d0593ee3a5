"""SmoothGrad and its kin: a combinator on methods (Smilkov et al. 2017)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, AttributionError, describe, positive
from attrfunc.core.loops.chunks import Work
from attrfunc.core.loops.plan import planned
from attrfunc.core.loops.progress import Progress
from attrfunc.core.loops.samples import Draws, Moments, distribution, sampled, unfolded
from attrfunc.core.model.folding import Pair
from attrfunc.core.model.sites import find_sites
from attrfunc.core.model.twin import Twin
from attrfunc.core.score.baseline import ActivationBaseline, resolve_baseline
from attrfunc.core.score.call import require_call
from attrfunc.core.score.inputs import Inputs
from attrfunc.core.score.method import named
from attrfunc.core.score.problem import Plan, Problem
from attrfunc.core.score.target import canonical
from attrfunc.core.score.views import Model, View, as_view
from attrfunc.core.trees import batch_size, floats, join_rows, map_rows, repeat_rows

__all__ = ["smooth"]

KINDS = ("smoothgrad", "smoothgrad_sq", "vargrad")
FOLLOWERS = {"target", "neuron", "args", "kwargs", "feature_mask"}


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
        batches, moments = _Batches(method, model, options, rows), Moments(second=kind != "smoothgrad")

        def evaluate(count: int) -> list[Tensor]:
            drawn = [(draws.noisy(), None if samples is None else draws.one_of(samples)) for _ in range(count)]
            return [unfolded(leaf, count) for leaf in batches.attribute(*zip(*drawn, strict=True))]

        # Draws inside the method must not depend on how many samples it is given.
        size = chunk_size if chunk_size is None else positive("chunk_size", chunk_size)
        size = rows if options.get("generator") is not None else size
        if size is not None and size < rows and "chunk_size" in inspect.signature(method).parameters:
            options.setdefault("chunk_size", size)
        positive("n_samples", n_samples)
        plan, folds = _plan(model, x, options) if n_samples > 1 and (size is None or size > rows) else (Plan(), ())
        batches.channels_last, batches.folds = plan.channels_last, folds
        work = Work(rows, leaves, target, folds=plan.folds)
        sampled(evaluate, n_samples, work, moments.take, chunk_size=size, progress=progress)
        return pytree.tree_unflatten(moments.result(kind), batches.spec)

    return named(f"smooth({getattr(method, '__name__', type(method).__name__)})", smoothed)


def _plan(model: Model, x: Any, options: dict[str, Any]) -> tuple[Plan, tuple[Pair, ...]]:
    """How several samples may go to the method: as one batch, in which memory format, and what the twin may fold."""
    view = replace(as_view(model), differentiated=False)
    index = _total if options.get("target") is None and view.output is None else options.get("target")
    rows, name = batch_size(x), "target" if view.output is None else "selector"
    index = canonical(index if view.output is None else view.output[1], rows, name)
    inputs = Inputs.of(x, options.get("args", ()), options.get("kwargs"), index)
    layer, side, call = (options.get(name) for name in ("layer", "side", "call"))
    sites = () if layer is None else find_sites(view.model, layer, side or "output", call, "layer")
    try:
        problem = planned(Problem(view, inputs, Twin(view.model, view.tensors), Plan()), sites=sites, share=False)
    except (AttributionError, RuntimeError, TypeError, IndexError):
        return Plan(), ()  # the method calls the model in a way of its own
    return problem.plan, problem.twin.folds


def _total(output: Any) -> Tensor:
    """What all floating-point outputs of an example sum to."""
    leaves, _ = floats(output)
    return torch.stack([leaf.reshape(len(leaf), -1).sum(1) for leaf in leaves]).sum(0)


@dataclass
class _Batches:
    """Calls a method on several samples at once, with what follows the examples repeated.

    Attributes:
        method: The method.
        model: The model.
        options: What the method is called with.
        rows: Number of examples.
        channels_last: Whether images go to the method with their channels last in memory.
        folds: Convolutions and batch norms that the method may compute as one.
        spec: How its attributions are nested, once it has been called.
    """

    method: Callable[..., Any]
    model: Model
    options: dict[str, Any]
    rows: int
    channels_last: bool = False
    folds: tuple[Pair, ...] = ()
    spec: Any = None

    def attribute(self, noisy: Sequence[Any], baselines: Sequence[Any]) -> list[Tensor]:
        """The attributions of noisy inputs, behind each other; a baseline of None leaves that of the options."""
        times, options = len(noisy), dict(self.options)
        if baselines[0] is not None:
            options["baseline"] = join_rows(baselines)
        elif times > 1 and isinstance(options.get("baseline"), ActivationBaseline):
            options["baseline"] = ActivationBaseline(self._repeated(options["baseline"].value, times))
        elif times > 1 and "baseline" in options:  # a callable sees one sample at a time
            options["baseline"] = join_rows([resolve_baseline(options["baseline"], one) for one in noisy])
        if times > 1:
            for name in FOLLOWERS & options.keys():
                index = name in ("target", "neuron")
                options[name] = self._repeated(
                    canonical(options[name], self.rows, name) if index else options[name], times
                )
        leaves, self.spec = pytree.tree_flatten(self.method(self._model(times), self._joined(noisy), **options))
        for leaf in leaves:
            if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
                got = f"attributions of type {type(leaf).__name__}"
                raise ArgumentError("method", got, "floating-point tensors", "Pass a method that gives these.")
        return [leaf.contiguous() for leaf in leaves]

    def _joined(self, noisy: Sequence[Any]) -> Any:
        joined = join_rows(noisy)
        return joined.contiguous(memory_format=torch.channels_last) if self.channels_last else joined

    def _model(self, times: int) -> Model:
        """The model; a neuron of each example follows these."""
        model = replace(as_view(self.model), folds=self.folds) if self.folds else self.model
        if times == 1 or not isinstance(model, View) or model.output is None:
            return model
        site, selector = model.output
        index = canonical(selector, self.rows, "selector")
        return replace(model, output=(site, self._repeated(index, times)))

    def _repeated(self, tree: Any, times: int) -> Any:
        return map_rows(lambda leaf: repeat_rows(leaf, times), tree, self.rows)
