"""Blur integrated gradients (Xu et al. 2020)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, ModelError, describe
from attrfunc.core.loops.chunks import Work, added, in_chunks, joined
from attrfunc.core.loops.plan import planned
from attrfunc.core.loops.progress import Progress
from attrfunc.core.loops.quadrature import quadrature
from attrfunc.core.score.method import each_layer, method, open_problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model

__all__ = ["blur_ig"]


@method
@each_layer
def blur_ig(
    model: Model,
    x: Any,
    *,
    max_sigma: float = 50.0,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    n_steps: int = 50,
    method: str = "gausslegendre",
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """The gradient integrated along the path on which a blur fades: no baseline has to be chosen.

    `- integral over sigma in [0, max_sigma] of gradient(blurred by sigma) * d(blurred by sigma) / d(sigma)`.

    The blur is a Gaussian one in all dimensions of positions, with edges mirrored, made in frequencies: at `sigma` 0 it
    is the input itself, and its derivative is exact.

    Args:
        model: A module, any callable, or a view of one.
        x: Images, spectrograms or signals: a tensor `(B, C, *S)`, or a structure of them.
        max_sigma: The width of the blur where the path starts, in elements. What is left there is hardly more than the
            mean of each channel if it is as large as the image.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        n_steps: Number of points on the path.
        method: The rule that places and weighs them; see `attrfunc.core.loops.quadrature`.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Attributions in units of the score, with the structure and shapes of `x` (or of the layer's activation; for a
        list of layers, a list). *Completeness*: they sum to `score(x) - score(x blurred by max_sigma)`, up to the error
        of the rule.

    Raises:
        ArgumentError: If an argument cannot be right, or a tensor has no positions.
        ModelError: If the score is not finite, examples are not scored apart, or torch.func cannot trace the model.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Tanh(), torch.nn.Flatten())
        >>> image = torch.rand(2, 1, 16, 16)
        >>> af.blur_ig(model, image, target=7, max_sigma=8).shape
        torch.Size([2, 1, 16, 16])

    Reference:
        Xu, Venugopalan, Sundararajan: Attribution in Scale and Space, CVPR 2020.
        https://arxiv.org/abs/2004.03383
    """
    nodes, weights = quadrature(method, n_steps)
    widest = _positive("max_sigma", max_sigma)
    problem = planned(open_problem(model, x, target, args, kwargs), chunk_size, share=False)
    end = problem.point()
    _require_positions(problem.plan.apart, problem.inputs.rows, end.leaves)
    spectra = [_rotated(_wide(leaf), inverse=False) for leaf in end.leaves]

    def visit(rows: slice, chosen: slice) -> list[Tensor]:
        sigmas = [widest * node for node in nodes[chosen]]
        blurred, changes = zip(*(_blurred(leaf[rows], sigmas) for leaf in spectra), strict=True)
        pairs = zip(blurred, end.leaves, strict=True)
        _, slopes = problem.at(rows).gradients(end.like([point.to(leaf.dtype) for point, leaf in pairs]))
        sums = []
        for slope, change in zip(slopes, changes, strict=True):
            factors = change.new_tensor(weights[chosen]).view(-1, *[1] * (change.dim() - 1))
            sums.append(-widest * (factors * slope * change).sum(0)[None])
        return sums

    chunks = in_chunks(Work.of(problem), n_steps, visit, added, chunk_size=chunk_size, progress=progress)
    return end.restored([mean[0].to(leaf.dtype) for mean, leaf in zip(joined(chunks, dim=1), end.leaves, strict=True)])


def _blurred(spectrum: Tensor, sigmas: Sequence[float]) -> tuple[Tensor, Tensor]:
    """A tensor blurred by several widths `(K, B, C, *S)`, and the derivatives by these.

    Args:
        spectrum: Its cosine transform.
        sigmas: The widths.
    """
    squares = spectrum.new_zeros(spectrum.shape[2:])
    for dim, length in enumerate(spectrum.shape[2:]):
        frequency = math.pi * torch.arange(length, dtype=squares.dtype, device=squares.device) / length
        squares = squares + frequency.square().view(-1, *[1] * (squares.dim() - dim - 1))
    widths = squares.new_tensor(sigmas).view(-1, *[1] * (spectrum.dim()))
    faded = spectrum * (-0.5 * widths.square() * squares).exp()
    return _rotated(faded, inverse=True), _rotated(-widths * squares * faded, inverse=True)


def _rotated(values: Tensor, *, inverse: bool) -> Tensor:
    """The orthonormal cosine transform over the positions of `(..., B, C, *S)`, all but three or two of its dimensions.

    That of a tensor `(B, C, *S)` itself, or, backwards, of several `(K, B, C, *S)`.
    """
    for dim in range(3 if inverse else 2, values.dim()):
        length = values.shape[dim]
        place = torch.arange(length, dtype=torch.float64)
        waves = (math.pi * (place[None, :] + 0.5) * place[:, None] / length).cos() * math.sqrt(2 / length)
        waves[0] /= math.sqrt(2)
        matrix = (waves.T if inverse else waves).to(values.device, values.dtype)
        values = (values.movedim(dim, -1) @ matrix.T).movedim(-1, dim)
    return values


def _require_positions(apart: bool, rows: int, leaves: Sequence[Tensor]) -> None:
    for leaf in leaves:
        if leaf.dim() < 3:
            raise ArgumentError(
                "x",
                f"a tensor of shape {tuple(leaf.shape)}",
                "tensors (B, C, *S), whose positions are blurred",
                "Give a signal (B, T) a dimension of channels, x[:, None], and what has no positions in args=.",
            )
    if not apart or any(leaf.shape[0] != rows for leaf in leaves):
        raise ModelError(
            "positions are blurred in each example, but examples are not apart: their scores depend on each other, or "
            "the layer's activation does not have them in dimension 0. Choose another layer."
        )


def _positive(name: str, value: float) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value < math.inf:
        raise ArgumentError(name, describe(value), "a finite number above 0", f"Leave out {name} for the paper's.")
    return float(value)


def _wide(values: Tensor) -> Tensor:
    return values.float() if values.dtype.itemsize < 4 else values
