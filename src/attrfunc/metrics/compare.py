"""Methods beside each other: means of metrics over data, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe, positive, warn
from attrfunc.core.score.method import named
from attrfunc.core.score.views import Model
from attrfunc.core.trees import batch_size
from attrfunc.metrics.simplicity import complexity, sparseness

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Comparison", "Measured", "compare"]


@dataclass(frozen=True)
class Measured:
    """What a metric of `compare` looks at.

    Attributes:
        method: The method.
        model: The model or view.
        x: A batch of inputs `(B, *S)`.
        options: What the method was called with besides, the batch's target say.
        attributions: What it gave.
    """

    method: Callable[..., Any]
    model: Model
    x: Any
    options: dict[str, Any]
    attributions: Any


@dataclass(frozen=True)
class Comparison:
    """The table that `compare` gives; printed, it is a table in Markdown.

    Attributes:
        methods: Their names, M.
        metrics: Their names, N.
        values: Each example's numbers `(N, M, E)`.
        means: `(N, M)`, over the examples that have numbers for all methods.
        low: Lower ends `(N, M)` of the means' intervals.
        high: Upper ends `(N, M)`.
        differ: `(N, M, M)`, whether two methods differ beyond chance: 0 is outside of the interval of their mean
            difference, which is wide enough to hold for all pairs of a metric together.
        confidence: Of the intervals.
    """

    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    values: Tensor
    means: Tensor
    low: Tensor
    high: Tensor
    differ: Tensor
    confidence: float

    def __str__(self) -> str:
        lines = [["method", *self.metrics], ["---"] * (len(self.metrics) + 1)]
        for number, name in enumerate(self.methods):
            cells = zip(self.means[:, number], self.low[:, number], self.high[:, number], strict=True)
            lines.append([name, *(f"{mean:.3g} [{low:.3g}, {high:.3g}]" for mean, low, high in cells)])
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def draw(self) -> Figure:
        """Draw the means with their intervals, a panel for each metric (needs matplotlib, `attrfunc[viz]`).

        Returns:
            The figure; see `af.viz.image`.
        """
        from attrfunc.viz.canvas import Picture

        size = (1.5 + 2.4 * len(self.metrics), 1.2 + 0.4 * len(self.methods))
        figure = Picture(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(self.metrics), squeeze=False, sharey=True)[0]
        places = list(range(len(self.methods)))
        for number, (panel, name) in enumerate(zip(panels, self.metrics, strict=True)):
            means, low, high = (part[number].tolist() for part in (self.means, self.low, self.high))
            ways = [
                [mean - end for mean, end in zip(means, low, strict=True)],
                [end - mean for mean, end in zip(means, high, strict=True)],
            ]
            panel.errorbar(means, places, xerr=ways, fmt="o", color="#333333", capsize=3)
            panel.set_title(name, fontsize=9)
            panel.set_yticks(places, self.methods)
            panel.margins(y=0.2)
            panel.grid(axis="x", color="#dddddd")
        panels[0].invert_yaxis()
        figure.supxlabel(f"mean and its {self.confidence:.0%} interval", fontsize=8)
        return figure


Metric = Callable[[Measured], Tensor]


def compare(
    methods: Mapping[str, Callable[..., Any]],
    model: Model,
    data: Iterable[tuple[Any, Any]],
    *,
    metrics: Mapping[str, Metric] | None = None,
    confidence: float = 0.95,
    n_resamples: int = 2000,
    generator: torch.Generator | None = None,
) -> Comparison:
    """Measure methods by metrics on the same examples, and say where they differ beyond chance.

    The intervals are percentiles of a bootstrap over examples; two methods are compared by the differences of each
    example's numbers. Where no two methods differ in a metric, a warning says so. The data is read once, batch by
    batch.

    Args:
        methods: Functions `(model, x, target=..., **options)` by name; `functools.partial` holds options of their own.
        model: A module, any callable, or a view of one.
        data: Pairs `(x, target)` of a batch, as a data loader gives them; in place of the target, a dict of options
            `{"target": ..., "kwargs": ...}`.
        metrics: Functions of `Measured` that give numbers `(B,)`, by name, for example `{"insertion": lambda m:
            af.metrics.curve_area(af.metrics.perturbation_curve(m.model, m.x, m.attributions, start="baseline",
            **m.options))}`; `None` takes `sparseness` and `complexity`, which need no model. A NaN (not defined for
            this example) leaves the example out, for all methods.
        confidence: Of the intervals.
        n_resamples: How often examples are drawn anew.
        generator: The source of randomness of the bootstrap.

    Returns:
        A `Comparison`: `str` gives the table, `draw` a picture.

    Raises:
        ArgumentError: If an argument cannot be right, or a metric is defined for fewer than two examples.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> data = [(torch.randn(20, 4), 1), (torch.randn(20, 4), 1)]
        >>> table = af.metrics.compare({"IG": af.ig, "saliency": af.saliency}, model, data, n_resamples=100)
        >>> table.means.shape
        torch.Size([2, 2])

    Reference:
        Efron, Tibshirani: An Introduction to the Bootstrap, 1993, https://doi.org/10.1201/9780429246593.
    """
    return named("compare", _compared)(methods, model, data, metrics, confidence, n_resamples, generator)


def _compared(
    methods: Mapping[str, Callable[..., Any]],
    model: Model,
    data: Iterable[tuple[Any, Any]],
    metrics: Mapping[str, Metric] | None,
    confidence: float,
    n_resamples: int,
    generator: torch.Generator | None,
) -> Comparison:
    plain: dict[str, Metric] = {
        "sparseness": lambda m: sparseness(m.attributions),
        "complexity": lambda m: complexity(m.attributions),
    }
    chosen = plain if metrics is None else metrics
    for name, given in (("methods", methods), ("metrics", chosen)):
        if not isinstance(given, Mapping) or not given or not all(map(callable, given.values())):
            raise ArgumentError(name, describe(given), "a dict of functions by name", "Pass {'IG': af.ig}, say.")
    if not isinstance(confidence, Real) or not 0 < float(confidence) < 1:
        raise ArgumentError("confidence", describe(confidence), "a number between 0 and 1", "Pass 0.95, say.")
    positive("n_resamples", n_resamples)
    blocks = [_measured(methods, model, batch, chosen) for batch in data]
    if not blocks:
        fix = "A generator can be read only once: pass a list or a data loader."
        raise ArgumentError("data", "no batch", "pairs (x, target)", fix)
    values = torch.cat(blocks, dim=2)
    results = [
        _interval(values[number], name, confidence, n_resamples, generator) for number, name in enumerate(chosen)
    ]
    means, low, high, differ = (torch.stack(parts) for parts in zip(*results, strict=True))
    alike = [name for name, part in zip(chosen, differ, strict=True) if not part.any()]
    if alike and len(methods) > 1:
        warn(
            f"in {', '.join(alike)} no two methods differ beyond chance on these {values.shape[2]} examples. "
            "Take more examples before you prefer one."
        )
    return Comparison(tuple(methods), tuple(chosen), values, means, low, high, differ, float(confidence))


def _measured(
    methods: Mapping[str, Callable[..., Any]], model: Model, batch: Any, metrics: Mapping[str, Metric]
) -> Tensor:
    """The numbers `(N, M, B)` of a batch."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        fix = "Pass [(x, target)], a list of one batch, or a data loader."
        raise ArgumentError("data", f"a batch that is {describe(batch)}", "pairs (x, target)", fix)
    x, given = batch
    options = dict(given) if isinstance(given, Mapping) else {"target": given}
    rows, found = batch_size(x), []
    for name, one in methods.items():
        seen = Measured(one, model, x, options, one(model, x, **options))
        numbers = []
        for key, metric in metrics.items():
            value = metric(seen)
            if not isinstance(value, Tensor) or value.shape != (rows,):
                fix = "Return one number for each example."
                got = f"{key!r} of {name!r}, which gave {describe(value)}"
                raise ArgumentError("metrics", got, f"a tensor of shape ({rows},)", fix)
            numbers.append(value.detach().double().cpu())
        found.append(torch.stack(numbers))
    return torch.stack(found, dim=1)


def _interval(
    values: Tensor, name: str, confidence: float, resamples: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Means `(M,)` of values `(M, E)`, the ends of their intervals, and which methods differ `(M, M)`."""
    values = values[:, values.isfinite().all(0)]
    count, examples = values.shape
    if examples < 2:
        got = f"{name!r}, which is a number for {examples} of the examples"
        raise ArgumentError("metrics", got, "two examples and more", "Take more examples, or another metric.")
    device = None if generator is None else generator.device
    means, differences = [], []
    pairs = torch.triu_indices(count, count, 1)
    for _ in range(resamples):
        drawn = torch.randint(examples, (examples,), generator=generator, device=device).cpu()
        mean = values[:, drawn].mean(1)
        means.append(mean)
        differences.append(mean[pairs[0]] - mean[pairs[1]])
    tail = (1 - confidence) / 2
    low, high = torch.quantile(torch.stack(means), torch.tensor([tail, 1 - tail]).double(), dim=0)
    differ = torch.zeros(count, count, dtype=torch.bool)
    if count > 1:
        least = tail / pairs.shape[1]  # Bonferroni
        ends = torch.quantile(torch.stack(differences), torch.tensor([least, 1 - least]).double(), dim=0)
        apart = (ends[0] > 0) | (ends[1] < 0)
        differ[pairs[0], pairs[1]] = apart
        differ |= differ.T.clone()
    return values.mean(1), low, high, differ
