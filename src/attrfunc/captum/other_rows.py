"""Models that give other rows than they take: bags of tokens with offsets, graphs of nodes, documents of sentences.

As in Captum, the score is then the sum of what `target` selects in all rows of the output, a warning says so, and
attributions have the shapes of the inputs, or of the layer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from attrfunc.captum.unbatched import OfRows, lifted, with_forward
from attrfunc.core.errors import ArgumentError, warn
from attrfunc.core.score.target import canonical, select
from attrfunc.perturbation.outputs import output_of

__all__ = ["of_fractions", "of_other_rows"]


def of_other_rows(attribute: Callable[..., Any], arguments: dict[str, Any], args: tuple[Any, ...]) -> Any:
    """What `attribute` gives for such a model; `None` if it is none.

    Args:
        attribute: The method of a class.
        arguments: All its arguments by name, `self` too.
        args: The model's further arguments.
    """
    explainer, inputs, target = arguments["self"], arguments.get("inputs"), arguments.get("target")
    leaves = pytree.tree_leaves(inputs)
    if not leaves or not all(isinstance(leaf, Tensor) and leaf.dim() for leaf in leaves) or callable(target):
        return None
    output = output_of(explainer.forward_func, inputs, args)
    if not isinstance(output, Tensor) or not output.dim() or not len(output):
        return None
    rows = len(output)
    if all(len(leaf) == rows for leaf in leaves):
        return None
    inside = hasattr(explainer, "layer")
    if "target" in arguments or not inside:
        select(output, canonical(target, rows), rows)
    found = (_inside if inside else _whole)(attribute, arguments, args, output)
    if any(len(leaf) != rows for leaf in pytree.tree_leaves(found)):  # else each row of a layer has a score
        taken = " and ".join(map(str, sorted({len(leaf) for leaf in leaves})))
        warn(f"the score is the sum of all {rows} rows of the output, which are not those of the inputs, {taken}.")
    return found


def _whole(attribute: Callable[..., Any], arguments: dict[str, Any], args: tuple[Any, ...], output: Tensor) -> Any:
    """All inputs as a single example, whose score is the sum."""
    target, leaves = arguments.get("target"), pytree.tree_leaves(arguments["inputs"])

    def run(model: Callable[..., Any], *rows: Any) -> Tensor:
        count = pytree.tree_leaves(rows)[0].shape[0]
        outputs = [model(*pytree.tree_map(lambda leaf, row=row: leaf[row], rows), *args) for row in range(count)]
        return torch.stack([select(one, canonical(target, len(one)), len(one)).sum() for one in outputs])

    given = _given(arguments, run)
    given["inputs"] = pytree.tree_map(lambda leaf: leaf[None], arguments["inputs"])
    if "baselines" in given:
        given["baselines"] = lifted(given["baselines"], leaves)
    found = attribute(**given)
    first = functools.partial(pytree.tree_map, lambda leaf: leaf[0])
    return (first(found[0]), found[1]) if arguments.get("return_convergence_delta") else first(found)


def _inside(attribute: Callable[..., Any], arguments: dict[str, Any], args: tuple[Any, ...], output: Tensor) -> Any:
    """As many examples as the output has rows, each of which is a flag: 1 for the inputs, 0 for the baselines."""
    inputs, baselines = arguments["inputs"], arguments.get("baselines")
    at_inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    shared = baselines if isinstance(baselines, tuple) else (baselines,) * len(at_inputs)
    at_baselines = tuple(map(_like, shared, at_inputs))

    def run(model: Callable[..., Any], flags: Tensor, *rest: Any) -> Any:
        here, there = rest[: len(at_inputs)], rest[len(at_inputs) : 2 * len(at_inputs)]
        where = flags.detach()
        if not bool((where == where[0]).all()) or float(where[0]) not in (0.0, 1.0):
            fix = "Take a class whose path begins at the layer."
            raise ArgumentError("inputs", "inputs of other rows than the output", "those of the output", fix)
        return model(*(here if bool(where[0]) else there), *rest[2 * len(at_inputs) :])

    given = _given(arguments, run)
    given["inputs"] = torch.ones(len(output), 1, device=output.device)
    given["additional_forward_args"] = (*at_inputs, *at_baselines, *args)
    if "target" in arguments:
        given["target"] = arguments["target"]
    if "baselines" in given:
        given["baselines"] = 0.0
    return attribute(**given)


def _given(arguments: dict[str, Any], run: Callable[..., Any]) -> dict[str, Any]:
    """The arguments for another model."""
    forward = arguments["self"].forward_func
    model = OfRows(forward, run) if isinstance(forward, nn.Module) else functools.partial(run, forward)
    gone = ("target", "additional_forward_args")
    given = {name: value for name, value in arguments.items() if name not in gone}
    return given | {"self": with_forward(arguments["self"], model)}


def _like(baseline: Any, leaf: Tensor) -> Tensor:
    """A baseline of the shape of an input."""
    if isinstance(baseline, Tensor):
        return baseline.expand_as(leaf)
    return torch.full_like(leaf, 0 if baseline is None else baseline)


def of_fractions(attribute: Callable[..., Any], arguments: dict[str, Any], args: tuple[Any, ...]) -> Any:
    """What a path method gives for integers: as in Captum, the points between them and the baselines are fractions.

    Args:
        attribute: The method of a class.
        arguments: All its arguments by name, `self` too.
        args: The model's further arguments.
    """
    leaves = pytree.tree_leaves(arguments["inputs"])
    whole = {str(leaf.dtype) for leaf in leaves if isinstance(leaf, Tensor) and not leaf.is_floating_point()}
    if not whole:
        return None
    changed = {name: pytree.tree_map_only(Tensor, _fractions, arguments.get(name)) for name in ("inputs", "baselines")}
    found = attribute(**arguments | {name: value for name, value in changed.items() if name in arguments})
    warn(
        f"inputs of {', '.join(sorted(whole))} are taken for quantities, and the model is run at fractions between "
        "them and the baselines. Attribute to an embedding layer if they are identifiers."
    )
    return found


def _fractions(leaf: Tensor) -> Tensor:
    return leaf if leaf.is_floating_point() or leaf.is_complex() else leaf.to(torch.get_default_dtype())
