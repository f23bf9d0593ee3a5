"""Gradient SHAP, or expected gradients (Erion et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ModelError
from attrfunc.core.loops.chunks import Work
from attrfunc.core.loops.plan import planned
from attrfunc.core.loops.progress import Progress
from attrfunc.core.loops.samples import Draws, Moments, distribution, sampled, unfolded
from attrfunc.core.score.method import each_layer, method, open_problem
from attrfunc.core.score.point import Point
from attrfunc.core.score.problem import Problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.core.trees import join_rows

__all__ = ["gradient_shap", "gradient_shap_gap"]


@method
@each_layer
def gradient_shap(
    model: Model,
    x: Any,
    *,
    baselines: Any,
    n_samples: int = 5,
    stdev: Any = 0.0,
    generator: torch.Generator | None = None,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    multiply_by_inputs: bool = True,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """Integrated gradients averaged over a distribution of baselines, with one random point of each path.

    `E[(x' - b) * gradient at b + t (x' - b)]` over baselines b, noisy inputs `x' = x + stdev * noise` and t in [0, 1].
    Of an example's `n_samples` values of t one lies in each of as many equal parts of [0, 1]: that lowers the variance.

    Args:
        model: A module, any callable, or a view of one.
        x: The input, a tensor `(B, *S)` or a structure of them.
        baselines: The distribution of baselines; see `attrfunc.core.loops.samples`.
        n_samples: Number of samples for each example.
        stdev: Standard deviation of the noise; see `attrfunc.core.loops.samples`.
        generator: The source of randomness; see `attrfunc.core.loops.samples`.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        multiply_by_inputs: `False` leaves the factor `x' - b` out.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Attributions in units of the score, with the structure and shapes of `x` (or of the layer's activation; for a
        list of layers, a list). *Completeness* in expectation: they sum to the mean of `score(x') - score(b)`;
        `gradient_shap_gap` measures it for each sample.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If the score is not finite, or torch.func cannot trace the model.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
        >>> x, background = torch.ones(5, 3), torch.randn(20, 3)
        >>> generator = torch.Generator().manual_seed(0)
        >>> af.gradient_shap(model, x, baselines=background, target=1, generator=generator).shape
        torch.Size([5, 3])

    Reference:
        Erion, Janizek, Sturmfels, Lundberg, Lee: Improving Performance of Deep Learning Models with Axiomatic
        Attribution Priors and Expected Gradients, Nature Machine Intelligence 2021.
        https://doi.org/10.1038/s42256-021-00343-w
    """
    problem = planned(open_problem(model, x, target, args, kwargs), chunk_size, share=False)
    samples = _Samples(problem, Draws(x, stdev, generator), distribution(baselines, x), n_samples)
    mean = Moments(second=False)

    def evaluate(count: int) -> list[Tensor]:
        _, _, way, gradient = samples.next(count)
        if multiply_by_inputs:
            gradient = [slope * step for slope, step in zip(gradient, way, strict=True)]
        return [unfolded(leaf, count) for leaf in gradient]

    sampled(evaluate, n_samples, Work.of(problem), mean.take, chunk_size=chunk_size, progress=progress)
    return samples.restored(mean.result("smoothgrad"))


@method
@each_layer
def gradient_shap_gap(
    model: Model,
    x: Any,
    *,
    baselines: Any,
    n_samples: int = 5,
    stdev: Any = 0.0,
    generator: torch.Generator | None = None,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
) -> Any:
    """What the attributions of each single sample of `gradient_shap` sum to, less its change of the score.

    Args:
        model: The model or view.
        x: The input.
        baselines: The distribution of baselines.
        n_samples: Number of samples for each example.
        stdev: Standard deviation of the noise.
        generator: The source of randomness, in the state that `gradient_shap` was given it in.
        target: The target.
        args: Further positional arguments of the model.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows evaluated at once.

    Returns:
        Signed gaps `(n_samples, B)` in units of the score. Their mean over samples is what the attributions miss.

    Raises:
        ArgumentError: If an argument cannot be right, or the point has no dimension for the examples.

    Example:
        >>> model, x, background = torch.nn.Linear(3, 2), torch.ones(5, 3), torch.randn(20, 3)
        >>> gap = af.gradient_shap_gap(model, x, baselines=background, target=1)
        >>> gap.shape, gap.abs().max() < 1e-5  # linear
        (torch.Size([5, 5]), tensor(True))
    """
    problem = planned(open_problem(model, x, target, args, kwargs), chunk_size, share=False)
    samples = _Samples(problem, Draws(x, stdev, generator), distribution(baselines, x), n_samples)
    gaps: list[Tensor] = []

    def evaluate(count: int) -> list[Tensor]:
        part, start, way, gradient = samples.next(count)
        if any(leaf.dim() == 0 or leaf.shape[0] != part.inputs.rows for leaf in start.leaves):
            raise ModelError("the point has no dimension for the examples in front, so there is no gap of each.")
        end = start.like([at + step for at, step in zip(start.leaves, way, strict=True)])
        low, high = part.scores(Point.stacked([start, end]))
        products = [(slope * step).flatten(1).sum(1) for slope, step in zip(gradient, way, strict=True)]
        return [(torch.stack(products).sum(0) - (high - low)).unflatten(0, (count, -1))]

    sampled(evaluate, n_samples, Work.of(problem), gaps.extend, chunk_size=chunk_size, progress=False)
    return torch.cat(gaps)


class _Samples:
    """Draws paths, and evaluates the gradient at one point of each."""

    def __init__(self, problem: Problem, draws: Draws, baselines: list[Tensor], n_samples: int) -> None:
        self._problem, self._draws, self._baselines, self._n = problem, draws, baselines, n_samples
        self._drawn = 0
        self.restored: Callable[[list[Tensor]], Any]

    def next(self, count: int) -> tuple[Problem, Point, list[Tensor], list[Tensor]]:
        """The problem of the next noisy inputs, where their paths start, which way they go, and the gradients there."""
        inputs, baselines, nodes = zip(*(self._draw() for _ in range(count)), strict=True)
        part = self._problem.varied(join_rows(inputs))
        start, end = part.endpoints(join_rows(baselines))
        way = [last - first for first, last in zip(start.leaves, end.leaves, strict=True)]
        # Where the examples do not stand in front, they share a point.
        node = torch.cat(nodes) if part.plan.apart else nodes[0][:1]
        pairs = zip(start.leaves, way, strict=True)
        point = [at + node.to(step).reshape(-1, *[1] * (step.dim() - 1)) * step for at, step in pairs]
        _, gradient = part.gradients(start.like([leaf[None] for leaf in point]))
        self.restored = start.restored
        return part, start, way, [leaf[0] for leaf in gradient]

    def _draw(self) -> tuple[Any, Any, Tensor]:
        node = (self._drawn + self._draws.uniform()) / self._n
        self._drawn += 1
        return self._draws.noisy(), self._draws.one_of(self._baselines), node
