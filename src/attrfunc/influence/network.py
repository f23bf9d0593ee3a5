"""A model as a function of some of its parameters, and losses of each example."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from attrfunc.core.errors import ArgumentError, ModelError, describe, suggestions
from attrfunc.core.model.attention import TraceableAttention
from attrfunc.core.model.engines import functional
from attrfunc.core.model.parts import model_root, named_modules, unsettled
from attrfunc.core.model.twin import Twin
from attrfunc.core.score.views import Model, View, as_view

__all__ = ["Checkpoints", "Network", "checkpointed", "open_network", "plain"]

Checkpoints = Iterable[Mapping[str, Tensor] | tuple[Mapping[str, Tensor], float]]
"""State dicts, each by itself or with a weight: the learning rate there, times the steps that it stands for."""


class _Call:
    """What a loss is given as its model: it is called as the model is."""

    def __init__(self, twin: Twin, plain: bool) -> None:
        self._twin, self._plain = twin, plain

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with TraceableAttention(self._plain):
            return self._twin(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"the model that a loss gets is a function and has no attribute {name!r}. Call it as you call the model; "
            "for a part or another method of it, pass a bound method (model.encode) as the model."
        )


@dataclass(frozen=True)
class Network:
    """A model, and those of its parameters that influence is taken through.

    Attributes:
        view: The model.
        values: These parameters, by name, without a graph. A tied one stands under one of its names.
        others: What else a checkpoint puts in place of the model's own.
        known: What has been found out of how the model uses them, by loss; shared by all checkpoints.
    """

    view: View
    values: dict[str, Tensor]
    others: dict[str, Tensor]
    known: dict[Any, Any] = field(default_factory=dict, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters, in the order in which a flat vector holds them."""
        return tuple(self.values)

    @property
    def size(self) -> int:
        """How many numbers they have."""
        return sum(value.numel() for value in self.values.values())

    @property
    def dtype(self) -> torch.dtype:
        """Of scores: single precision at least."""
        kind = torch.float32
        for value in self.values.values():
            kind = torch.promote_types(kind, value.dtype)
        return kind

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(iter(self.values.values())).device

    def call(self, parameters: Mapping[str, Tensor], *, plain: bool = False) -> Any:
        """The model with these parameters; `plain` where a transform maps it or differentiates it forward."""
        return _Call(Twin(self.view.model, {**self.others, **self.values, **parameters}), plain)

    def at(self, state: Mapping[str, Tensor]) -> Network:
        """The network at a checkpoint."""
        return replace(self, values={n: plain(state[n]) for n in self.values}, others=_rest(state, self.values))

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """Vectors `(..., P)` as `(..., *shape)` by name."""
        parts = flat.split([value.numel() for value in self.values.values()], -1)
        return {
            name: part.reshape(*flat.shape[:-1], *value.shape)
            for (name, value), part in zip(self.values.items(), parts, strict=True)
        }


def _rest(state: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: plain(tensor) for name, tensor in state.items() if name not in values}


def plain(tensor: Tensor) -> Tensor:
    """A tensor without a graph that may take part in one: what inference mode has made is copied."""
    if not tensor.is_inference():
        return tensor.detach()
    with torch.inference_mode(False):
        return tensor.clone()


def open_network(model: Model, parameters: Any = None) -> Network:
    """Open a model at some of its parameters.

    Args:
        model: A module, or what `bind` makes of one.
        parameters: Names of parameters or of modules, for all that they hold; `None` takes all that require a gradient.

    Raises:
        ArgumentError: If the model is no module, or has no such parameters.
        ModelError: If it is in training mode, and would not give the same loss twice, or a transform is active.
    """
    if functional():
        raise ModelError(
            "influence is not taken inside transforms of torch.func or a compiler. Call it outside, or "
            "differentiate through training itself: attrfunc.influence.training_influence."
        )
    view = as_view(model)
    if view.sites or view.output:
        fix = "Pass the model itself, and choose layers by parameters=."
        raise ArgumentError("model", "a view of a layer or neuron", "a model", fix)
    root = model_root(view.model)
    if root is None:
        raise ArgumentError("model", describe(model), "an nn.Module, whose parameters have names", "Pass the module.")
    noisy = unsettled(root.modules())
    if noisy:
        names = {part: name for name, part in named_modules(root).items()}
        shown = ", ".join(f"{type(part).__name__} {names.get(part, '')!r}" for part in noisy[:3])
        raise ModelError(
            f"the model is in training mode ({shown}): its losses are random or depend on the other examples of a "
            "batch, and so would influence. Call model.eval() first."
        )
    bound = dict(view.tensors or {})
    chosen = _chosen(root, parameters)
    values = {name: plain(bound.get(name, tensor)) for name, tensor in chosen.items()}
    return Network(replace(view, tensors=None), values, _rest(bound, values))


def _chosen(root: nn.Module, parameters: Any) -> dict[str, Tensor]:
    """The parameters, each once."""
    own: dict[str, Tensor] = dict(root.named_parameters())
    if parameters is None:
        found = {name: tensor for name, tensor in own.items() if tensor.requires_grad}
        if not found:
            fix = "Pass parameters=[...], names of parameters or modules, or call model.requires_grad_()."
            raise ArgumentError("model", "a model of which no parameter requires a gradient", "some that do", fix)
    else:
        wanted = [parameters] if isinstance(parameters, str) else parameters
        if not isinstance(wanted, Iterable) or isinstance(wanted, Mapping):
            expected = "names of parameters or of modules"
            raise ArgumentError("parameters", describe(parameters), expected, 'Pass parameters=["head"], say.')
        found = _named(root, list(wanted))
    wrong = [name for name, tensor in found.items() if not tensor.is_floating_point()]
    if wrong:
        expected = "floating-point numbers"
        raise ArgumentError("parameters", f"{wrong[0]!r} of dtype {found[wrong[0]].dtype}", expected, "Leave it out.")
    return found


def _named(root: nn.Module, wanted: Sequence[Any]) -> dict[str, Tensor]:
    every: dict[str, Tensor] = dict(root.named_parameters(remove_duplicate=False))
    found: dict[str, Tensor] = {}
    for name in wanted:
        inside = [one for one in every if isinstance(name, str) and (one == name or one.startswith(f"{name}."))]
        if not inside:
            expected = "names of parameters, or of modules that have some"
            modules = [part for part, _ in root.named_modules()]
            raise ArgumentError("parameters", repr(name), expected, suggestions(str(name), [*every, *modules]))
        for one in inside:
            if all(every[one] is not tensor for tensor in found.values()):
                found[one] = every[one]
    if not found:
        raise ArgumentError("parameters", "an empty list", "at least one name", "None takes all of them.")
    return found


def checkpointed(network: Network, checkpoints: Checkpoints | None) -> list[tuple[Network, float]]:
    """The network at each checkpoint, with its weight.

    Args:
        network: The network.
        checkpoints: State dicts, each by itself (its weight is 1) or with a weight; `None` takes the model as it is.
            They come to the model's device and precision, as `load_state_dict` would bring them.

    Raises:
        ArgumentError: If a state dict does not fit the model.
    """
    if checkpoints is None:
        return [(network, 1.0)]
    if isinstance(checkpoints, Mapping | str) or not isinstance(checkpoints, Iterable):
        fix = "Pass a list: checkpoints=[model.state_dict()], or [(state_dict, learning_rate), ...]."
        raise ArgumentError("checkpoints", describe(checkpoints), "several state dicts", fix)
    root = model_root(network.view.model)
    assert root is not None
    found = []
    for number, entry in enumerate(checkpoints):
        pair = entry if isinstance(entry, tuple) else (entry, 1.0)
        if len(pair) != 2 or not isinstance(pair[0], Mapping):
            expected = "a state dict, or a pair of one and its weight"
            fix = "Load files first: torch.load(path, weights_only=True)."
            raise ArgumentError("checkpoints", f"{describe(entry)} as number {number}", expected, fix)
        state, weight = pair
        slots = _require_fit(root, state, number)
        loaded = {name: plain(tensor).to(slots[name].device, slots[name].dtype) for name, tensor in state.items()}
        found.append((network.at(loaded), _weight(weight, number)))
    if not found:
        raise ArgumentError("checkpoints", "an empty list", "at least one", "None takes the model as it is.")
    return found


def _weight(weight: Any, number: int) -> float:
    try:
        value = float(weight)
    except (TypeError, ValueError):
        value = float("nan")
    if not abs(value) < float("inf"):
        got = f"{describe(weight)} as the weight of number {number}"
        raise ArgumentError("checkpoints", got, "a finite number", "Pass the learning rate at that checkpoint.")
    return value


def _require_fit(root: nn.Module, state: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    """The model's own tensors; raise if a state dict is not one of this model."""
    slots: dict[str, Tensor] = dict(root.named_parameters(remove_duplicate=False))
    slots |= dict(root.named_buffers(remove_duplicate=False))
    fix = "Pass state dicts of this very model: model.state_dict(), without a prefix such as 'module.'."
    for name, tensor in state.items():
        if name not in slots:
            got = f"the name {name!r} in number {number}"
            raise ArgumentError("checkpoints", got, "the model's own names", f"{suggestions(name, slots)} {fix}")
        if not isinstance(tensor, Tensor) or tensor.shape != slots[name].shape:
            got = f"{describe(tensor)} for {name!r} in number {number}"
            raise ArgumentError("checkpoints", got, f"the model's shape {tuple(slots[name].shape)}", fix)
    missing = [name for name in dict(root.named_parameters()) if name not in state]
    if missing:
        raise ArgumentError("checkpoints", f"number {number} without {missing[0]!r}", "all of the parameters", fix)
    first: dict[int, str] = {}
    for name, slot in slots.items():
        known = first.setdefault(id(slot), name)
        if name != known and name in state and known in state and not torch.equal(state[name], state[known]):
            got = f"different values for {known!r} and {name!r}, which the model ties, in number {number}"
            raise ArgumentError("checkpoints", got, "one value for a tied parameter", fix)
    return slots
