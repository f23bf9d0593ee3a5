"""Concept activation vectors (Kim et al. 2018)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from attrfunc.concepts.fits import Fit, ridge
from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.loops.samples import Draws
from attrfunc.core.score.activation import activation
from attrfunc.core.score.method import named
from attrfunc.core.score.views import Model, View, as_view

__all__ = ["Concepts", "activations_of", "at_one_layer", "batches", "concept_vectors", "fingerprint", "fitted"]


@dataclass(frozen=True)
class Concepts:
    """Directions in a layer's activations, made by `concept_vectors`.

    Attributes:
        names: The concepts, C.
        vectors: `(C, *point)`, of length 1: the concept grows along them.
        biases: `(C,)`; the concept is taken to be present where `(activation * vector).sum() + bias > 0`.
        accuracy: `(C,)`, the share of held out examples that this boundary tells apart; NaN if none were.
        layer: The layer's name.
        made_from: Hashes of the model and of the data, by `"model"` and `"data"`.
    """

    names: tuple[str, ...]
    vectors: Tensor
    biases: Tensor
    accuracy: Tensor
    layer: str
    made_from: dict[str, str]

    def __getitem__(self, name: str) -> Tensor:
        """The vector of a concept."""
        return self.vectors[self.names.index(name)]


def concept_vectors(
    view: Model,
    concepts: Mapping[str, Any],
    *,
    against: Any = None,
    fit: Fit | None = None,
    held_out: float = 0.0,
    generator: torch.Generator | None = None,
) -> Concepts:
    """The directions in which a layer's activations with some concepts differ from others.

    Args:
        view: A view of a model at a layer, with one tensor as its activation: `af.layer(model, "layer4")`.
        concepts: Examples of each concept by its name: a tensor `(N, *S)`, or batches of these. A batch that is not a
            tensor is whatever the model takes as `x`.
        against: Examples without the concepts, random ones, in the same form. `None` makes *relative* concepts: each
            against all others together.
        fit: How a direction is found; see `attrfunc.concepts.fits`. `None` is `ridge()`.
        held_out: The share of the examples that accuracy is measured on; the vectors are fitted to the others.
        generator: The source of randomness for that split.

    Returns:
        `Concepts`, with vectors of length 1.

    Raises:
        ArgumentError: If an argument cannot be right: a concept without examples, say, or with nothing against it.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> examples = {"large": torch.rand(20, 3) + 1, "small": torch.rand(20, 3) - 1}
        >>> af.concepts.concept_vectors(af.layer(model, "0"), examples).vectors.shape
        torch.Size([2, 4])

    Reference:
        Kim et al.: Interpretability Beyond Feature Attribution: Quantitative Testing with Concept Activation Vectors,
        ICML 2018, https://arxiv.org/abs/1711.11279.
    """
    return named("concept_vectors", _vectors)(view, concepts, against, fit, held_out, generator)


def _vectors(
    model: Model,
    concepts: Mapping[str, Any],
    against: Any,
    fit: Fit | None,
    held_out: float,
    generator: torch.Generator | None,
) -> Concepts:
    view = at_one_layer(model)
    if not isinstance(concepts, Mapping) or not concepts or not all(isinstance(name, str) for name in concepts):
        fix = "Pass {'striped': images}, say."
        raise ArgumentError("concepts", describe(concepts), "a dict of examples by name", fix)
    if against is None and len(concepts) < 2:
        fix = "Pass against=, random examples, or a second concept."
        raise ArgumentError("concepts", "one concept, and nothing against it", "two classes", fix)
    if not isinstance(held_out, Real) or not 0 <= float(held_out) < 1:
        raise ArgumentError("held_out", describe(held_out), "a share from 0 on and below 1", "Pass 0.25, say.")
    digest = hashlib.sha256()
    found = {name: activations_of(view, data, f"concepts[{name!r}]", digest) for name, data in concepts.items()}
    others = None if against is None else activations_of(view, against, "against", digest)
    directions, biases, accuracies = [], [], []
    for name, own in found.items():
        rest = [part for other, part in found.items() if other != name] if others is None else [others]
        direction, bias, accuracy = fitted(fit or ridge(), own, torch.cat(rest), name, float(held_out), generator)
        directions.append(direction)
        biases.append(bias)
        accuracies.append(accuracy)
    shape = next(iter(found.values())).shape[1:]
    made_from = {"model": fingerprint(view), "data": digest.hexdigest()}
    return Concepts(
        tuple(found),
        torch.stack(directions).view(-1, *shape),
        torch.stack(biases),
        torch.stack(accuracies),
        view.sites[0].name,
        made_from,
    )


def at_one_layer(model: Model) -> View:
    """The view, which must be of one layer."""
    view = as_view(model)
    if len(view.sites) != 1:
        got = "a view of the input" if not view.sites else f"a view of {len(view.sites)} layers"
        raise ArgumentError("view", got, "a view of one layer", "Pass af.layer(model, name).")
    return view


def batches(data: Any, name: str) -> Iterator[Any]:
    """The batches of examples: one tensor, or several."""
    if isinstance(data, Tensor):
        yield data
    elif isinstance(data, Iterable) and not isinstance(data, str | Mapping):
        yield from data
    else:
        fix = "Pass a tensor (N, *S), or a list or a data loader of batches."
        raise ArgumentError(name, describe(data), "examples, or batches of them", fix)


def activations_of(view: View, data: Any, name: str, digest: Any = None) -> Tensor:
    """Activations `(N, *point)` of all examples, on the CPU in double precision."""
    found: list[Tensor] = []
    for batch in batches(data, name):
        leaves = pytree.tree_leaves(batch)
        if not any(isinstance(leaf, Tensor) for leaf in leaves):
            raise ArgumentError(name, f"a batch that is {describe(batch)}", "tensors", "Let the loader give x alone.")
        if leaves[0].dim() and not len(leaves[0]):
            continue
        if digest is not None:
            for leaf in leaves:
                _digested(digest, leaf)
        with torch.no_grad():
            value = activation(view, batch)
        tensor = value[0] if isinstance(value, tuple | list) and len(value) == 1 else value
        tensor = tensor[0] if isinstance(tensor, tuple | list) and len(tensor) == 1 else tensor
        if not isinstance(tensor, Tensor) or tensor.dim() < 2:
            fix = "Choose a layer with one tensor."
            raise ArgumentError("view", f"a layer whose activation is {describe(value)}", "one tensor (B, *point)", fix)
        if not bool(tensor.isfinite().all()):
            got = "examples whose activations are NaN or infinite"
            raise ArgumentError(name, got, "finite activations", "Leave such examples out, or choose another layer.")
        if found and tensor.shape[1:] != found[0].shape[1:]:
            got = f"batches with activations of {tuple(found[0].shape[1:])} and of {tuple(tensor.shape[1:])}"
            fix = "Bring all examples to one size (texts to one length), or choose a layer behind the pooling."
            raise ArgumentError(name, got, "activations of one shape", fix)
        found.append(tensor.detach().double().cpu())
    if not found:
        raise ArgumentError(name, "no example", "at least one", "Check that the loader was not read to its end before.")
    return torch.cat(found)


def fitted(
    fit: Fit, own: Tensor, others: Tensor, name: str, held_out: float, generator: torch.Generator | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The direction of length 1, its bias, and the accuracy on what was held out."""
    features = torch.cat([own.flatten(1), others.flatten(1)])
    labels = torch.arange(len(features)) < len(own)
    kept = torch.ones_like(labels)
    if held_out:
        order = Draws(torch.zeros(1), 0.0, generator).shared(torch.rand, len(features))
        for part in (labels, ~labels):
            places = part.nonzero().squeeze(1)
            count = min(round(held_out * len(places)), len(places) - 1)
            kept[places[order[places].argsort()[:count]]] = False
    given = fit(features[kept], labels[kept])
    right = isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], Tensor)
    if not right or given[0].shape != features.shape[1:] or not bool(given[0].isfinite().all()):
        fix = "Return (weight, bias): a tensor (F,) of finite numbers, and a number."
        raise ArgumentError("fit", f"a callable that returns {describe(given)}", "a direction and a bias", fix)
    weight, bias = given[0].to(features), torch.as_tensor(given[1]).to(features).reshape(())
    size, along = weight.norm(), features[kept] @ weight
    # What is left of equal means is rounding: a direction that tells nothing.
    apart = (along[labels[kept]].mean() - along[~labels[kept]].mean()).abs()
    if not bool(size > 0) or not bool(apart > 1e-12 * size * features[kept].abs().amax()):
        fix = "Choose another layer, or other examples: these do not differ there."
        raise ArgumentError("concepts", f"{name!r}, whose activations tell nothing", "activations that differ", fix)
    correct = (features @ weight + bias > 0) == labels
    tested = correct[~kept]
    accuracy = tested.double().mean() if len(tested) else torch.tensor(torch.nan, dtype=torch.float64)
    return weight / size, bias / size, accuracy


def fingerprint(view: View) -> str:
    """A hash of a model's parameters and buffers, and of the place in it."""
    digest = hashlib.sha256()
    for site in view.sites:
        digest.update(f"{site.name} {site.side} {site.call}".encode())
    if isinstance(view.model, nn.Module):
        tensors = {**view.model.state_dict(), **(view.tensors or {})}
        for name in sorted(tensors):
            digest.update(name.encode())
            if isinstance(tensors[name], Tensor):
                _digested(digest, tensors[name])
    return digest.hexdigest()


def _digested(digest: Any, leaf: Any) -> None:
    if isinstance(leaf, Tensor):
        digest.update(f"{tuple(leaf.shape)} {leaf.dtype}".encode())
        digest.update(leaf.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
