"""Methods moved to a layer or a neuron, so that every axiom can be checked there with any model."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from attrfunc.core.score.views import layer, neuron
from attrfunc.testing.trial import Method
from attrfunc.testing.wrappers import Around

__all__ = ["at_layer", "at_neuron"]


def at_layer(method: Method) -> Method:
    """The method at a layer in front of the model, whose activation is the model's input.

    What it gives are the attributions of the rest of a network, which is the model, at a layer's activation, which is
    `x`: the axioms hold there as they do at the input.

    Args:
        method: A method that takes views.

    Returns:
        A method of the same arguments.

    Example:
        >>> from attrfunc import testing
        >>> testing.check_symmetry(testing.at_layer(af.ig), testing.MLP((3,), (2,)), testing.normal((4, 3)), target=0)
    """

    def moved(model: Any, x: Any, **options: Any) -> Any:
        point = nn.Identity()
        return method(layer(Around(model, x, before=point), point), x, **options)

    moved.__name__ = f"{getattr(method, '__name__', 'the method')} at a layer"
    return moved


def at_neuron(method: Method) -> Method:
    """The method for a neuron behind the model: the target becomes the neuron's selector.

    Args:
        method: A method that takes views.

    Returns:
        A method of the same arguments.

    Example:
        >>> from attrfunc import testing
        >>> testing.check_linearity(testing.at_neuron(af.ig), testing.MLP((3,), (2,)), testing.normal((4, 3)), target=0)
    """

    def moved(model: Any, x: Any, *, target: Any = None, **options: Any) -> Any:
        units = nn.Identity()
        return method(neuron(Around(model, x, after=units), units, _only if target is None else target), x, **options)

    moved.__name__ = f"{getattr(method, '__name__', 'the method')} at a neuron"
    return moved


def _only(activation: Tensor) -> Tensor:
    return activation.flatten()
