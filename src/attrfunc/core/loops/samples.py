"""Averages over random samples: draws, and running moments whose memory does not grow with their number.

This is where `n_samples`, `stdev`, `baselines` and `generator` are documented; every method refers here.

n_samples: How many samples are drawn for each example.
stdev: Standard deviation of the normal noise that is added to the input: one number for all tensors of the input, or
    the input's structure of numbers. 0 adds none.
baselines: The distribution that baselines are drawn from, one for each example and sample, with replacement: a tensor
    of samples `(N, *S)`, for an input that is a structure the same structure of these (drawn together), or a callable
    `x -> baselines`.
generator: Where all randomness comes from; `None` is torch's default generator. Everything is drawn sample by sample,
    for the whole batch, so that the result does not depend on `chunk_size`; a batch is never split. Under `vmap` all
    mapped entries see the same draws. `torch.compile` traces no generator: seed the default one there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe, positive
from attrfunc.core.loops.chunks import Work, in_chunks
from attrfunc.core.loops.moments import Moment, with_samples
from attrfunc.core.loops.progress import Progress
from attrfunc.core.score.baseline import fitted

__all__ = ["Draws", "Moments", "distribution", "sampled", "unfolded"]


class Draws:
    """Draws noise, baselines and numbers, sample by sample.

    Args:
        x: The input.
        stdev: In the forms of this module.
        generator: The source of randomness.

    Raises:
        ArgumentError: If `stdev` or `generator` cannot be right.
    """

    def __init__(self, x: Any, stdev: Any, generator: torch.Generator | None) -> None:
        if generator is not None and not isinstance(generator, torch.Generator):
            raise ArgumentError(
                "generator", describe(generator), "a torch.Generator or None", "Pass torch.Generator().manual_seed(0)."
            )
        self._x, self._generator = x, generator
        self._stdev = _stdevs(stdev, x)

    def noisy(self) -> Any:
        """The input with noise."""
        leaves, spec = pytree.tree_flatten(self._x)
        pairs = zip(leaves, self._stdev, strict=True)
        noisy = [
            leaf + scale * self._random(torch.randn, leaf).to(leaf.dtype) if scale else leaf for leaf, scale in pairs
        ]
        return pytree.tree_unflatten(noisy, spec)

    def one_of(self, samples: list[Tensor]) -> Any:
        """A baseline for each example, from what `distribution` gave."""
        _, spec = pytree.tree_flatten(self._x)
        picked = (self.uniform() * len(samples[0])).long()
        return pytree.tree_unflatten([leaf[picked.to(leaf.device)] for leaf in samples], spec)

    def uniform(self) -> Tensor:
        """A number from 0 on and below 1 for each example, in double precision: products with counts stay below."""
        like = pytree.tree_leaves(self._x)[0]
        return self._random(torch.rand, like.flatten(1)[:, :1].squeeze(1) if like.dim() > 1 else like, torch.float64)

    def uniforms(self, like: Tensor) -> Tensor:
        """A number from 0 on and below 1 for each element of a tensor."""
        return self._random(torch.rand, like)

    def shared(self, draw: Callable[..., Tensor], *shape: int) -> Tensor:
        """Numbers that are the same for all examples, in double precision; `draw` is `torch.rand`, say."""
        return self._drawn(draw, shape, torch.float64, "cpu")

    def _random(self, draw: Callable[..., Tensor], like: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        # In one precision: the same generator gives the same noise to a model in any.
        return self._drawn(draw, like.shape, dtype, like.device)

    def _drawn(
        self, draw: Callable[..., Tensor], shape: Sequence[int], dtype: torch.dtype, device: torch.device | str
    ) -> Tensor:
        # Below all transforms: vmap would refuse to draw, although what is drawn is the same for all entries.
        outside = nullcontext() if torch.compiler.is_compiling() else torch._C._DisableFuncTorch()
        source = self._generator.device if self._generator is not None else device
        with outside:
            return draw(shape, generator=self._generator, dtype=dtype, device=source).to(device)


def sampled(
    evaluate: Callable[[int], list[Tensor]],
    n_samples: int,
    work: Work,
    take: Callable[[list[Tensor]], None],
    *,
    chunk_size: int | None,
    progress: Progress,
) -> None:
    """Evaluate samples in chunks; a batch is not split.

    Args:
        evaluate: Draws and evaluates so many samples; gives tensors `(K, B, ...)`.
        n_samples: Number of samples.
        work: What is evaluated.
        take: Gets what each chunk gave.
        chunk_size: Rows evaluated at once.
        progress: Whether and how to report.

    Raises:
        ArgumentError: If `n_samples` or `chunk_size` is below 1.
    """
    n = positive("n_samples", n_samples)

    def visit(rows: slice, samples: slice) -> None:
        take(evaluate(samples.stop - samples.start))

    whole = replace(work, split=False)
    in_chunks(whole, n, visit, lambda *_: None, chunk_size=chunk_size, progress=progress)


def unfolded(leaf: Tensor, count: int) -> Tensor:
    """`(K * B, *S)` to `(K, B, *S)`; one sample or point alone may have the examples anywhere."""
    return leaf[None] if count == 1 else leaf.unflatten(0, (count, leaf.shape[0] // count))


class Moments:
    """Running moments of several quantities, whose samples are in dimension 0.

    Args:
        second: Whether the squares are wanted.
    """

    def __init__(self, *, second: bool) -> None:
        self._second = second
        self._known: list[Moment] = []
        self._dtypes: list[torch.dtype] = []

    def take(self, samples: list[Tensor]) -> None:
        """Add samples `(K, *S)`, one tensor for each quantity."""
        known: Sequence[Moment | None] = self._known or [None] * len(samples)
        self._known = [with_samples(old, leaf, second=self._second) for old, leaf in zip(known, samples, strict=True)]
        self._dtypes = [leaf.dtype for leaf in samples]

    def result(self, kind: str) -> list[Tensor]:
        """The mean (`smoothgrad`), the mean of the squares (`smoothgrad_sq`) or the variance (`vargrad`)."""
        return [_result(moment, kind).to(dtype) for moment, dtype in zip(self._known, self._dtypes, strict=True)]

    @property
    def count(self) -> int:
        """Number of samples so far."""
        return self._known[0].count if self._known else 0

    @property
    def mean(self) -> list[Tensor]:
        """The means so far."""
        return [moment.mean for moment in self._known]

    def standard_errors(self) -> list[Tensor]:
        """Those of the means, if there are two samples and more."""
        return [moment.standard_error() for moment in self._known]


def _result(moment: Moment, kind: str) -> Tensor:
    if kind == "smoothgrad":
        return moment.mean
    assert moment.squares is not None
    variance = moment.squares / moment.count
    return variance + moment.mean.square() if kind == "smoothgrad_sq" else variance


def _stdevs(stdev: Any, x: Any) -> list[float]:
    leaves, spec = pytree.tree_flatten(x)
    values, given = ([stdev] * len(leaves), spec) if isinstance(stdev, Real) else pytree.tree_flatten(stdev)
    right = given == spec and all(isinstance(value, Real) and 0 <= float(value) < math.inf for value in values)
    if not right:
        raise ArgumentError(
            "stdev",
            describe(stdev),
            f"a finite number of at least 0, or one for each of the {len(leaves)} input tensor(s), nested as they are",
            "Pass stdev=0.1, say.",
        )
    for value, leaf in zip(values, leaves, strict=True):
        if value and not leaf.is_floating_point():
            raise ArgumentError(
                "stdev",
                f"{describe(value)} for {describe(leaf)}",
                "0 for inputs that are not floating-point: noise would change what they mean",
                "Attribute to the embeddings as the model's input.",
            )
    return [float(value) for value in values]


def distribution(baselines: Any, x: Any) -> list[Tensor]:
    """The samples that baselines are drawn from, one tensor for each of the input's.

    Args:
        baselines: In the forms of this module.
        x: The input.

    Raises:
        ArgumentError: If they are not samples of inputs.
    """
    given = baselines(x) if callable(baselines) else baselines
    leaves, spec = pytree.tree_flatten(x)
    samples, nesting = pytree.tree_flatten(given)
    counts = {len(leaf) for leaf in samples if isinstance(leaf, Tensor) and leaf.dim() > 0}
    right = nesting == spec and len(counts) == 1 and 0 not in counts
    if not right or not all(_is_sample(sample, leaf) for sample, leaf in zip(samples, leaves, strict=True)):
        raise ArgumentError(
            "baselines",
            describe(given),
            f"samples (N, *S) for inputs of shapes {', '.join(str(tuple(leaf.shape)) for leaf in leaves)}",
            "Give the samples a dimension of their own in front: baseline[None] for a single one.",
        )
    return [fitted("baselines", sample, leaf) for sample, leaf in zip(samples, leaves, strict=True)]


def _is_sample(samples: Any, x: Tensor) -> bool:
    return isinstance(samples, Tensor) and samples.dim() == x.dim() and samples.shape[1:] == x.shape[1:]
