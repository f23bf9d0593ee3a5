"""Hypothesis strategies: networks, and inputs, baselines and targets that fit a network.

Everything drawn prints in a falsifying example as the call that makes it again. What is drawn follows from hypothesis
alone: a drawn seed feeds a generator, and no global random state is read or changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.testing.draws import Contrast, LogProbability, Scaled, Total, normal, uniform
from attrfunc.testing.networks import ACTIVATIONS, CNN, MLP, STYLES, Attention, Network, Recurrent, Residual

__all__ = ["baselines", "calls", "cases", "inputs", "networks", "targets"]

_SEEDS = st.integers(0, 10_000)
_OUTPUTS: SearchStrategy[tuple[int, ...]] = st.sampled_from([(3,), (), (1,), (2, 3), (2, 2, 2)])
_Kind = Callable[..., SearchStrategy[Network]]


def networks(
    *,
    smooth: bool = True,
    kinds: Iterable[type[Network]] | None = None,
    dtype: torch.dtype = torch.float64,
) -> SearchStrategy[Network]:
    """Small networks in evaluation mode: MLPs, CNNs, residual, recurrent and attention networks.

    Their activations are modules, functions, or operations in place; their outputs have up to three dimensions behind
    the batch.

    Args:
        smooth: Analytic networks, on which quadrature converges fast; or else piecewise linear ones (no attention,
            whose softmax is not).
        kinds: Only these classes.
        dtype: The dtype of parameters and inputs.

    Returns:
        The strategy. `network.shape` and `network.outputs` are the shapes of one input and one output.

    Example:
        >>> from attrfunc import testing
        >>> from hypothesis import find
        >>> find(testing.networks(), lambda network: network.outputs == ())
        MLP((1,), (), hidden=(), activation='tanh', style='module', seed=0)
    """
    usual: list[type[Network]] = [MLP, CNN, Residual, Recurrent, *([Attention] if smooth else [])]
    chosen = usual if kinds is None else list(kinds)
    strange = [kind.__name__ for kind in chosen if kind not in usual]
    if strange or not chosen:
        names = ", ".join(kind.__name__ for kind in usual)
        raise ValueError(f"networks(smooth={smooth}) draws from {names}; got kinds {strange}")
    common = (
        {"outputs": _OUTPUTS, "seed": _SEEDS, "dtype": st.just(dtype)}
        if dtype != torch.float64
        else {
            "outputs": _OUTPUTS,
            "seed": _SEEDS,
        }
    )
    return st.one_of([_of_kind(kind, smooth, common) for kind in chosen])


def _of_kind(kind: type[Network], smooth: bool, common: dict[str, SearchStrategy[Any]]) -> SearchStrategy[Network]:
    activated = {"activation": st.sampled_from(ACTIVATIONS[smooth]), "style": st.sampled_from(STYLES), **common}
    images = st.tuples(st.integers(1, 2), st.integers(2, 4), st.integers(2, 4))
    sequences = st.tuples(st.integers(1, 3), st.integers(1, 3))
    if kind is MLP:
        hidden = st.lists(st.integers(1, 6), max_size=3).map(tuple)
        return st.builds(MLP, shape=st.tuples(st.integers(1, 5)), hidden=hidden, **activated)
    if kind is Recurrent:
        cells = ("lstm", "gru", "tanh") if smooth else ("relu",)
        return st.builds(Recurrent, shape=sequences, cell=st.sampled_from(cells), hidden=st.integers(1, 4), **common)
    if kind is Attention:
        kinds = st.sampled_from(("plain", "fused", "module", "encoder"))
        return st.builds(Attention, shape=sequences, kind=kinds, width=st.sampled_from((2, 4)), **common)
    return st.builds(kind, shape=images, channels=st.integers(1, 3), **activated)


def inputs(
    shape: Any,
    *,
    batch: int | SearchStrategy[int] | None = None,
    dtype: torch.dtype = torch.float64,
    bounds: tuple[float, float] | None = None,
) -> SearchStrategy[Any]:
    """Inputs of a model.

    Args:
        shape: The shape of one input; for a model of several inputs, a tuple or dict of shapes.
        batch: The number of examples, or a strategy of it; one to three by default.
        dtype: The dtype.
        bounds: Draw uniform numbers between these; by default they are normal, some of them zero.

    Returns:
        A strategy of tensors `(B, *shape)`, or a structure of them.
    """
    if not isinstance(batch, int):
        return (st.integers(1, 3) if batch is None else batch).flatmap(
            lambda rows: inputs(shape, batch=rows, dtype=dtype, bounds=bounds)
        )
    rows = batch

    def tree(part: Any) -> SearchStrategy[Any]:
        if isinstance(part, dict):
            return st.fixed_dictionaries({key: tree(value) for key, value in part.items()})
        if not all(isinstance(size, int) for size in part):
            return st.tuples(*map(tree, part))
        return _tensors((rows, *part), dtype, bounds)

    return tree(shape)


def _tensors(
    shape: tuple[int, ...], dtype: torch.dtype, bounds: tuple[float, float] | None = None
) -> SearchStrategy[Tensor]:
    precision = {} if dtype == torch.float64 else {"dtype": st.just(dtype)}
    if bounds is not None:
        low, high = map(st.just, bounds)
        return st.builds(uniform, st.just(shape), low, high, seed=_SEEDS, **precision)
    return st.builds(normal, st.just(shape), seed=_SEEDS, sparse=st.booleans(), **precision)


def baselines(x: Any) -> SearchStrategy[Any]:
    """Baselines of an input, in every form that the library takes.

    Args:
        x: The input, a tensor or a structure of them.

    Returns:
        A strategy of None, numbers, tensors that broadcast or have one entry per example, and callables; for a
        structure, of structures of these.
    """
    whole = st.one_of(st.none(), st.sampled_from([0.5, -1.0, 1]))
    if not isinstance(x, Tensor):
        leaves, spec = pytree.tree_flatten(x)
        each = st.tuples(
            *(st.one_of(whole.filter(lambda b: b is not None), _baseline_tensors(leaf)) for leaf in leaves)
        )
        return st.one_of(whole, each.map(lambda values: pytree.tree_unflatten(list(values), spec)))
    return st.one_of(whole, _baseline_tensors(x), st.builds(Scaled, st.sampled_from([0.0, 0.5])))


def _baseline_tensors(x: Tensor) -> SearchStrategy[Tensor]:
    shapes = [(), (1, *x.shape[1:]), tuple(x.shape[1:]), tuple(x.shape)]
    return st.sampled_from(shapes).flatmap(lambda shape: _tensors(shape, x.dtype))


def targets(outputs: tuple[int, ...], batch: int) -> SearchStrategy[Any]:
    """Targets of an output, in every form that the library takes.

    Args:
        outputs: The shape of one output; `()` if the model gives one number per example.
        batch: The number of examples.

    Returns:
        A strategy of None (for one number per example), ints, scalar and per-example tensors, lists, tuples (with
        slices too) and callables.
    """
    size = math.prod(outputs)
    indices = st.integers(0, size - 1)
    callables: list[SearchStrategy[Any]] = [st.builds(Total)]
    if size > 1:
        callables += [st.builds(LogProbability, indices), st.builds(Contrast, indices, indices)]
    if not outputs:
        return st.one_of(st.none(), *callables)
    dimensions = [st.integers(0, length - 1) for length in outputs]
    whole = st.tuples(*dimensions)

    def one_each(entry: SearchStrategy[Any]) -> SearchStrategy[list[Any]]:
        return st.lists(entry, min_size=batch, max_size=batch)

    if len(outputs) == 1:
        one = dimensions[0]
        scalars = st.builds(torch.tensor, one)
        several = one_each(one)
        forms = [one, scalars, st.builds(torch.tensor, several), several, whole]
    else:
        slices = [st.one_of(one, st.just(slice(None))) for one in dimensions]
        tensors = [st.builds(torch.tensor, one_each(one)) for one in dimensions]
        forms = [whole, st.tuples(*slices), st.tuples(*tensors), one_each(whole)]
    return st.one_of([*forms, *callables])


@st.composite
def calls(
    draw: DrawFn,
    shape: Any,
    outputs: tuple[int, ...],
    *,
    batch: int | SearchStrategy[int] | None = None,
    dtype: torch.dtype = torch.float32,
    bounds: tuple[float, float] | None = None,
    baseline: bool = True,
) -> dict[str, Any]:
    """The arguments of an attribution: `method(model, **call)`.

    Args:
        draw: Given by hypothesis.
        shape: The shape of one input, as for `inputs`.
        outputs: The shape of one output.
        batch: The number of examples, or a strategy of it; one to three by default.
        dtype: The dtype of the inputs; here single precision, which is what a model usually has.
        bounds: Draw inputs uniformly between these.
        baseline: Whether to draw a baseline: leave it out for a method that takes none.

    Returns:
        A strategy of dicts with `x`, `target` and `baseline`.
    """
    x = draw(inputs(shape, batch=batch, dtype=dtype, bounds=bounds))
    call = {"x": x, "target": draw(targets(outputs, pytree.tree_leaves(x)[0].shape[0]))}
    return {**call, "baseline": draw(baselines(x))} if baseline else call


@st.composite
def cases(
    draw: DrawFn,
    *,
    smooth: bool = True,
    kinds: Iterable[type[Network]] | None = None,
    dtype: torch.dtype = torch.float64,
    baseline: bool = True,
) -> dict[str, Any]:
    """A network and the arguments of an attribution of it: `check(method, **case)`, to test a method of your own.

    Args:
        draw: Given by hypothesis.
        smooth: As for `networks`.
        kinds: As for `networks`.
        dtype: The dtype of the network and its inputs.
        baseline: Whether to draw a baseline.

    Returns:
        A strategy of dicts with `model`, `x`, `target` and `baseline`.
    """
    model = draw(networks(smooth=smooth, kinds=kinds, dtype=dtype))
    return {"model": model, **draw(calls(model.shape, model.outputs, dtype=dtype, baseline=baseline))}
