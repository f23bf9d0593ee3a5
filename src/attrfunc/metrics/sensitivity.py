"""How much attributions change where the input hardly does (Yeh et al. 2019; Alvarez-Melis and Jaakkola 2018)."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.loops.chunks import Work
from attrfunc.core.loops.method_batches import Batches
from attrfunc.core.loops.progress import Progress
from attrfunc.core.loops.samples import Draws, sampled, unfolded
from attrfunc.core.model.engines import settled
from attrfunc.core.score.method import named
from attrfunc.core.score.target import canonical
from attrfunc.core.score.views import Model
from attrfunc.core.trees import batch_size
from attrfunc.perturbation.precision import wide

__all__ = ["avg_sensitivity", "local_lipschitz", "max_sensitivity"]

Perturb = Callable[[Any, torch.Generator | None], Any]
Metric = Callable[..., Tensor]
"""A function `(model, x, **options)`, called as the method is."""


def max_sensitivity(
    method: Callable[..., Any],
    *,
    radius: float,
    n_samples: int = 10,
    relative: bool = False,
    perturb: Perturb | None = None,
    norm: float = 2.0,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Metric:
    """The largest change of a method's attributions in a small neighbourhood of the input.

    `max ||a(x + d) - a(x)||` over d whose every element is between -radius and radius, estimated by uniform draws: the
    estimate is below the maximum, and grows with `n_samples`.

    Args:
        method: Any function `(model, x, **options)` that gives attributions.
        radius: The largest change of an element of `x`.
        n_samples: How many neighbours of each example are explained.
        relative: Divide by `||a(x)||`.
        perturb: Draws neighbours in another way: `(x, generator) -> x'`, nested and shaped as `x`, one neighbour of
            each example.
        norm: The order p of the norm, over all elements of an example; `inf` is the largest one.
        generator: The source of randomness; see `attrfunc.core.loops.samples`. One that the *method* is given is set
            back to where it was, so that both explanations have the same draws.
        chunk_size: Rows given to the method at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        A metric `(model, x, **options)`, called as the method is, which gives norms `(B,)`, in units of the
        attributions. 0 for a gradient of a linear score.

    Raises:
        ArgumentError: If an argument cannot be right.

    Example:
        >>> measure = af.metrics.max_sensitivity(af.saliency, radius=0.1)
        >>> measure(torch.nn.Linear(3, 2), torch.ones(5, 3), target=1)
        tensor([0., 0., 0., 0., 0.])

    Reference:
        Yeh, Hsieh, Suggala, Inouye, Ravikumar: On the (In)fidelity and Sensitivity of Explanations, NeurIPS 2019,
        https://arxiv.org/abs/1901.09392.
    """
    loop = _Neighbours(method, radius, n_samples, perturb, norm, generator, chunk_size, progress)

    def measure(model: Model, x: Any, /, **options: Any) -> Tensor:
        largest, size = loop.walk(model, x, options, lambda change, way: change, torch.maximum)
        return largest / size if relative else largest

    return _metric("max_sensitivity", method, measure, loop)


def avg_sensitivity(
    method: Callable[..., Any],
    *,
    radius: float,
    n_samples: int = 10,
    relative: bool = False,
    perturb: Perturb | None = None,
    norm: float = 2.0,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Metric:
    """The mean change of a method's attributions in a small neighbourhood of the input.

    `E ||a(x + d) - a(x)||` over d that are uniform between -radius and radius.

    Args:
        method: As in `max_sensitivity`.
        radius: As there.
        n_samples: As there.
        relative: As there.
        perturb: As there.
        norm: As there.
        generator: As there.
        chunk_size: As there.
        progress: As there.

    Returns:
        A metric as that of `max_sensitivity`, and never above it for the same draws.

    Raises:
        ArgumentError: If an argument cannot be right.

    Example:
        >>> measure = af.metrics.avg_sensitivity(af.ig, radius=0.1, generator=torch.Generator().manual_seed(0))
        >>> measure(torch.nn.Linear(3, 2), torch.ones(5, 3), target=1).shape
        torch.Size([5])

    Reference:
        Bhatt, Weller, Moura: Evaluating and Aggregating Feature-based Model Explanations, IJCAI 2020,
        https://arxiv.org/abs/2005.00631.
    """
    loop = _Neighbours(method, radius, n_samples, perturb, norm, generator, chunk_size, progress)

    def measure(model: Model, x: Any, /, **options: Any) -> Tensor:
        total, size = loop.walk(model, x, options, lambda change, way: change, torch.add)
        mean = total / n_samples
        return mean / size if relative else mean

    return _metric("avg_sensitivity", method, measure, loop)


def local_lipschitz(
    method: Callable[..., Any],
    *,
    radius: float,
    n_samples: int = 10,
    perturb: Perturb | None = None,
    norm: float = 2.0,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Metric:
    """How fast a method's attributions change in a small neighbourhood of the input, at most.

    `max ||a(x + d) - a(x)|| / ||d||` over the draws of `max_sensitivity`.

    Args:
        method: As in `max_sensitivity`.
        radius: As there.
        n_samples: As there.
        perturb: As there.
        norm: As there.
        generator: As there.
        chunk_size: As there.
        progress: As there.

    Returns:
        A metric `(model, x, **options)`, called as the method is: rates `(B,)`, in units of the attributions per unit
        of `x`, a lower bound of the local Lipschitz constant. For `input_x_gradient` of a linear score it lies between
        the least and the largest of its absolute weights.

    Raises:
        ArgumentError: If an argument cannot be right.

    Example:
        >>> measure = af.metrics.local_lipschitz(af.saliency, radius=0.1)
        >>> measure(torch.nn.Linear(3, 2), torch.ones(5, 3), target=1)
        tensor([0., 0., 0., 0., 0.])

    Reference:
        Alvarez-Melis, Jaakkola: On the Robustness of Interpretability Methods, 2018, https://arxiv.org/abs/1806.08049.
    """
    loop = _Neighbours(method, radius, n_samples, perturb, norm, generator, chunk_size, progress)

    def measure(model: Model, x: Any, /, **options: Any) -> Tensor:
        return loop.walk(model, x, options, lambda change, way: change / way, torch.maximum)[0]

    return _metric("local_lipschitz", method, measure, loop)


def _metric(name: str, method: Callable[..., Any], measure: Metric, loop: _Neighbours) -> Metric:
    named(name, loop.check)()
    return named(f"{name}({getattr(method, '__name__', type(method).__name__)})", measure)


class _Neighbours:
    """Explains neighbours of the input, and looks at what changes."""

    def __init__(
        self,
        method: Callable[..., Any],
        radius: float,
        n_samples: int,
        perturb: Perturb | None,
        norm: float,
        generator: torch.Generator | None,
        chunk_size: int | None,
        progress: Progress,
    ) -> None:
        self._method, self._radius, self._n, self._generator = method, radius, n_samples, generator
        self._perturb, self._order = perturb, norm
        self._size, self._progress = chunk_size, progress

    def check(self) -> None:
        if not callable(self._method):
            got = describe(self._method)
            raise ArgumentError("method", got, "a callable (model, x, **options)", "Pass af.ig, say.")
        real = isinstance(self._radius, Real) and not isinstance(self._radius, bool)
        if not real or not 0 < float(self._radius) < math.inf:
            raise ArgumentError("radius", describe(self._radius), "a finite number above 0", "Pass radius=0.02, say.")

        if isinstance(self._order, bool) or not isinstance(self._order, Real) or not float(self._order) >= 1:
            raise ArgumentError("norm", describe(self._order), "a number of at least 1", "Pass norm=2.")

    def walk(
        self,
        model: Model,
        x: Any,
        options: dict[str, Any],
        measured: Callable[[Tensor, Tensor], Tensor],
        merge: Callable[[Tensor, Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:
        """What is measured of changes `(K, B)` of attributions and inputs, merged; and the size of attributions."""
        rows, leaves = batch_size(x), pytree.tree_leaves(x)
        draws = Draws(x, 0.0, self._generator)
        batches, plan, size = Batches.planned(self._method, model, x, options, samples=self._n, chunk_size=self._size)
        inner: Any = options.get("generator")
        state = inner.get_state() if isinstance(inner, torch.Generator) else None
        before = [wide(leaf) for leaf in batches.attribute([x], [None])]
        _require_rows(before, rows)
        found: list[Tensor] = []

        def evaluate(count: int) -> list[Tensor]:
            moved = [self._moved(x, draws) for _ in range(count)]
            if state is not None:
                inner.set_state(state)
            after = batches.attribute(moved, [None] * count)
            changes = [wide(unfolded(new, count)) - old for new, old in zip(after, before, strict=True)]
            columns = zip(*map(pytree.tree_leaves, moved), strict=True)
            ways = [wide(torch.stack(new) - old) for new, old in zip(columns, leaves, strict=True)]
            return [measured(self._norm(changes), self._norm(ways))]

        def take(values: list[Tensor]) -> None:
            for value in values[0]:
                found[:] = [merge(found[0], value) if found else value]

        target = canonical(options.get("target"), rows)
        work = Work(rows, leaves, target, folds=plan.folds, row_bytes=plan.row_bytes)
        sampled(evaluate, self._n, work, take, chunk_size=size, progress=self._progress)
        return found[0], self._norm([leaf[None] for leaf in before])[0]

    def _moved(self, x: Any, draws: Draws) -> Any:
        """A neighbour of each example."""
        leaves, spec = pytree.tree_flatten(x)
        if self._perturb is not None:
            given = self._perturb(x, self._generator)
            found, other = pytree.tree_flatten(given)
            shapes = [tuple(leaf.shape) for leaf in found if isinstance(leaf, Tensor)]
            if other != spec or shapes != [tuple(leaf.shape) for leaf in leaves]:
                fix = "Let it return one neighbour of each example."
                got = f"a callable that returns {describe(given)}"
                raise ArgumentError("perturb", got, f"the structure and shapes of x, {describe(x)}", fix)
            return given
        if not any(leaf.is_floating_point() for leaf in leaves):
            fix = "Make the embeddings the model's input."
            raise ArgumentError("x", "integers alone", "floating-point numbers, which have neighbours", fix)
        moved = [
            leaf + (2 * self._radius * (draws.uniforms(leaf) - 0.5)).to(leaf.dtype)
            if leaf.is_floating_point()
            else leaf
            for leaf in leaves
        ]
        return pytree.tree_unflatten(moved, spec)

    def _norm(self, parts: list[Tensor]) -> Tensor:
        """Norms `(K, B)` over all elements of tensors `(K, B, ...)`."""
        flat = [part.reshape(*part.shape[:2], part.shape[2:].numel()) for part in parts]
        return torch.linalg.vector_norm(torch.cat(flat, dim=2), ord=float(self._order), dim=2)


def _require_rows(parts: list[Tensor], rows: int) -> None:
    if any(part.dim() == 0 or part.shape[0] != rows for part in parts) or not parts:
        got = f"attributions of shapes {[tuple(part.shape) for part in parts]}"
        fix = "Take the mean over other dimensions in a method of your own."
        raise ArgumentError("method", got, f"the {rows} examples in dimension 0", fix)
    if not all(settled(part.isfinite()) for part in parts):
        raise ArgumentError("method", "attributions that are NaN or infinite", "finite numbers", "Mend the method.")
