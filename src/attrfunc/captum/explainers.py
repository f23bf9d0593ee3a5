"""What the objects of all classes are: what they hold, and how a call of one becomes a call of a function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from attrfunc.captum.forms import Forward, Inputs, describe_all
from attrfunc.captum.places import explained, shared
from attrfunc.core.errors import ArgumentError
from attrfunc.core.loops.plan import coupling

__all__ = ["Explainer", "Inside", "NoFuture", "Scaled", "ScaledInside", "Selecting", "holding"]

Stub = TypeVar("Stub", bound=Callable[..., None])

_HELD = {"multiply_by_inputs": "_multiply_by_inputs", "memory_efficient": "_memory_efficient"}


def holding(stub: Stub) -> Stub:
    """Make an `__init__` that keeps its arguments, by their names, and checks them; a `model` is a `forward_func`."""
    signature = inspect.signature(stub)

    @functools.wraps(stub)
    def init(explainer: Any, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(explainer, *args, **kwargs)
        bound.apply_defaults()
        for name, value in list(bound.arguments.items())[1:]:
            setattr(explainer, _HELD.get(name, name), value)
            if name == "model":
                explainer.forward_func = value
        explainer._checked()

    return init  # type: ignore[return-value]


class Explainer:
    """Base of the classes whose methods `attrfunc.captum.faces.face` makes."""

    attribute: Callable[..., Any]
    attribute_future: Callable[..., Any]
    compute_convergence_delta: Callable[..., Any]
    forward_func: Forward
    layer: Any
    device_ids: list[int] | None = None
    _multiply_by_inputs = False
    _complete = False  # attributions add up to a change of the score
    _random = False  # `attribute` draws at random
    _draws_baselines = False  # `baselines` are samples, of which `attribute` draws some

    def __init_subclass__(cls) -> None:
        describe_all(cls)

    @holding
    def __init__(self, forward_func: Forward) -> None: ...

    def _checked(self) -> None:
        """Raise where what is held cannot be right."""

    def _mirrored(self, result: Any) -> Any:
        """A result nested as Captum's."""
        return result

    def _called(self, function: Callable[..., Any], at: str, inputs: Inputs, options: dict[str, Any]) -> Any:
        """What a function of attrfunc gives; see `attrfunc.captum.faces`."""
        return function(explained(self, at, options), inputs, **options)


class Scaled(Explainer):
    """Base of the classes that may leave out a factor."""

    @holding
    def __init__(self, forward_func: Forward, multiply_by_inputs: bool = True) -> None: ...


class Inside(Explainer):
    """Base of the classes that look at a layer."""

    @holding
    def __init__(self, forward_func: Forward, layer: Any, device_ids: list[int] | None = None) -> None: ...


class ScaledInside(Inside):
    """Base of the classes of layers and neurons that may leave out a factor."""

    @holding
    def __init__(
        self, forward_func: Forward, layer: Any, device_ids: list[int] | None = None, multiply_by_inputs: bool = True
    ) -> None: ...


class Selecting(Inside):
    """Base of the classes that explain a neuron, by a selector that may give one number for the batch."""

    _of_batch: Callable[[Any], Any] = staticmethod(shared)

    def _called(self, function: Callable[..., Any], at: str, inputs: Inputs, options: dict[str, Any]) -> Any:
        selector = options["neuron"]
        try:
            return super()._called(function, at, inputs, dict(options))
        except ArgumentError as error:
            if error.argument not in ("selector", "neuron") or not callable(selector):
                raise
            with coupling("known"):  # that number depends on all of the batch, as was asked for
                return super()._called(function, at, inputs, options | {"neuron": self._of_batch(selector)})


class NoFuture(Explainer):
    """Base of the classes that say that they have no futures."""

    def attribute_future(self) -> NoReturn:
        """Not offered, as in Captum."""
        raise NotImplementedError(f"{type(self).__name__} has no attribute_future; call attribute.")
