"""Captum as the shim's peer: the same call to both, and how close the answers must be."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import captum.attr as captum_attr
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import attrfunc.captum.attr as shim_attr
from zoo import ROWS, Case

TOLERANCE = 1e-5
_CAPTUM_WARNS = (
    "You are providing multiple inputs for Lime",
    "Input Tensor .* did not already require gradients",
    "Multiple layers provided",
    "The neuron_selector provided is a callable",
    r"\s*Internal batch size cannot be less than",
)


@contextlib.contextmanager
def captum_warnings() -> Iterator[None]:
    """Ignore what Captum says of its own doings."""
    with warnings.catch_warnings():
        for message in _CAPTUM_WARNS:
            warnings.filterwarnings("ignore", message=message)
        yield


def shim_call(case: Case, model: Any) -> tuple[Callable[..., Any], Any, Any]:
    """Forward function, inputs and additional arguments as the shim takes them: as they are."""
    return captum_call(case, model) if case.kwargs else (model, case.inputs, case.args)


def captum_call(case: Case, model: Any) -> tuple[Callable[..., Any], Any, Any]:
    """The same as Captum takes them: tensors with a batch dimension as arguments, everything else in a closure."""
    # Captum leaves requires_grad set on the input, when that is the input of the layer.
    inputs = pytree.tree_map(Tensor.clone, case.inputs)
    inputs = inputs if isinstance(inputs, Tensor | tuple) else tuple(pytree.tree_leaves(inputs))
    count = len(pytree.tree_leaves(case.inputs))
    leaves, spec = pytree.tree_flatten((case.inputs, case.args, dict(case.kwargs)))
    batched = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.shape[:1] == (ROWS,)]

    def forward(*tensors: Tensor) -> Any:
        filled = list(leaves)
        for place, tensor in zip(batched, tensors, strict=True):
            filled[place] = tensor
        x, args, kwargs = pytree.tree_unflatten(filled, spec)
        return model(*(x if isinstance(x, tuple) else (x,)), *args, **kwargs)

    return forward, inputs, tuple(leaves[i] for i in batched[count:])


def both(
    name: str,
    case: Case,
    *where: str | list[str],
    init: dict[str, Any] | None = None,
    tunnel: bool = False,
    **arguments: Any,
) -> tuple[Any, Any]:
    """What the class `name` of the shim and of Captum give for a case.

    Args:
        name: The class.
        case: The case; its model is made anew for each.
        where: Name of the layer, or a list of names, for the classes that take one.
        init: Further arguments of the class.
        tunnel: Whether the object goes into a noise tunnel.
        arguments: Further arguments of `attribute`.
    """
    results = []
    for classes, calls in ((shim_attr, shim_call), (captum_attr, captum_call)):
        model = case.make()
        if classes is captum_attr:
            for module in model.modules():
                if isinstance(module, torch.nn.ReLU):
                    module.inplace = False  # Captum cannot replace an activation that is then changed in place.
        forward, inputs, additional = calls(case, model)
        modules = dict(model.named_modules())
        layers = [[modules[one] for one in names] if isinstance(names, list) else modules[names] for names in where]
        with captum_warnings():
            explainer = getattr(classes, name)(forward, *layers, **(init or {}))
            explainer = classes.NoiseTunnel(explainer) if tunnel else explainer
            results.append(explainer.attribute(inputs, additional_forward_args=additional, **arguments))
    return results[0], results[1]


def difference(ours: Any, theirs: Any) -> float:
    """The largest difference between two results, relative to the largest number of the peer's."""
    ours, theirs = pytree.tree_leaves(ours), [leaf.detach() for leaf in pytree.tree_leaves(theirs)]
    assert [leaf.shape for leaf in ours] == [leaf.shape for leaf in theirs]
    assert [leaf.dtype for leaf in ours] == [leaf.dtype for leaf in theirs]
    assert not any(leaf.requires_grad for leaf in ours)
    differences = [(a - b).abs().max() / b.abs().max() for a, b in zip(ours, theirs, strict=True)]
    assert all(torch.isfinite(part) and leaf.any() for part, leaf in zip(differences, theirs, strict=True))
    return float(max(differences))


def kinds(result: Any) -> Any:
    """The nesting of a result: types of its containers, without its tensors."""
    return (type(result), [kinds(part) for part in result]) if isinstance(result, tuple | list) else type(result)


def agree(ours: Any, theirs: Any) -> None:
    """Check that a result agrees with the peer's in shapes, dtypes and numbers, and carries no graph."""
    assert difference(ours, theirs) < TOLERANCE
