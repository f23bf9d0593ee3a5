"""Models made of the user's model, whatever it is: input or output changed, runs combined, layers rewritten."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from attrfunc.core.model.parts import model_root
from attrfunc.core.score.views import Model, as_view
from attrfunc.core.trees import floats

__all__ = ["Around", "Runs", "derived", "on_floats", "rewritten"]

Call = Callable[..., Any]


def on_floats(change: Callable[[Tensor], Tensor]) -> Callable[[Any], Any]:
    """Apply a change to each floating-point tensor of a structure."""

    def apply(tree: Any) -> Any:
        leaves, restore = floats(tree)
        return restore([change(leaf) for leaf in leaves])

    return apply


class Runs(nn.Module):
    """Several models on the same input, and what `join` makes of their outputs.

    Each gets a copy of the input, since a model may begin with an operation in place.

    Args:
        models: Modules, bound methods of modules, or other callables.
        join: Maps the list of outputs to one.
    """

    def __init__(self, models: Sequence[Call], join: Callable[[list[Any]], Any]) -> None:
        super().__init__()
        self.training = False
        self.join = join
        self.count = len(models)
        for number, model in enumerate(models):
            root = model_root(model)
            if root is not None:
                self.add_module(f"model{number}", root)
            if root is not model:  # a bound method, whose owner is a part of this module, or a plain callable
                self.__dict__[f"call{number}"] = model

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """The joined output."""
        outputs = []
        for number in range(self.count):
            call = self.__dict__.get(f"call{number}") or self.get_submodule(f"model{number}")
            fresh, named = pytree.tree_map(_copied, (inputs, kwargs))
            outputs.append(call(*fresh, **named))
        return self.join(outputs)


class Around(Runs):
    """A model with its input or its output changed.

    Args:
        model: The model.
        x: The input that it is made for: how many of the positional arguments are the input.
        before: Changes the input.
        after: Changes the output.
    """

    def __init__(
        self,
        model: Call,
        x: Any,
        *,
        before: Callable[[Any], Any] = lambda x: x,
        after: Callable[[Any], Any] = lambda output: output,
    ) -> None:
        super().__init__([model], lambda outputs: outputs[0])
        self.width = len(x) if isinstance(x, tuple) else None
        self.before, self.after = before, after

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """The output."""
        if self.width is None:
            return self.after(super().forward(self.before(inputs[0]), *inputs[1:], **kwargs))
        return self.after(super().forward(*self.before(inputs[: self.width]), *inputs[self.width :], **kwargs))


def derived(model: Model, wrap: Callable[[Call], nn.Module]) -> Model:
    """Wrap a model; of a view, the model that it looks at."""
    view = as_view(model)
    if view is not model:
        return wrap(view.model)
    tensors = view.tensors and {f"model0.{name}": tensor for name, tensor in view.tensors.items()}
    return replace(view, model=wrap(view.model), tensors=tensors)


def rewritten(model: nn.Module) -> nn.Module:
    """The same function by other operations: a copy that shares the parameters.

    Linear layers become the sum of two, one for each half of their inputs; activation modules become functions.
    """
    tensors = itertools.chain(model.parameters(), model.buffers())
    twin: nn.Module = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    for parent in list(twin.modules()):
        for name, child in list(parent._modules.items()):  # a module may stand under several names
            function = _FUNCTIONS.get(type(child)) if child is not None else None
            if function is not None:
                setattr(parent, name, _Functional(function(child)))
            elif type(child) is nn.Linear:
                child.__class__ = _SplitLinear  # keeps what else a parent may read: weight, bias, in_features
    if type(twin) is nn.Linear:
        twin.__class__ = _SplitLinear
    return twin


class _SplitLinear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # nn.Linear calls it so
        half = self.in_features // 2
        first = F.linear(input[..., :half], self.weight[:, :half], self.bias)
        return first + F.linear(input[..., half:], self.weight[:, half:])


class _Functional(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.training = False
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _copied(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, Tensor) else leaf


# With torch's own slopes at kinks: another slope there would be another choice of gradient, not of implementation.
_FUNCTIONS: dict[type[nn.Module], Callable[[Any], Callable[[Tensor], Tensor]]] = {
    nn.ReLU: lambda module: F.relu,
    nn.Tanh: lambda module: lambda x: 2 * torch.sigmoid(2 * x) - 1,
    nn.Sigmoid: lambda module: lambda x: 0.5 * torch.tanh(0.5 * x) + 0.5,
    nn.SiLU: lambda module: lambda x: x * torch.sigmoid(x),
    nn.GELU: lambda module: functools.partial(F.gelu, approximate=module.approximate),
    nn.Softplus: lambda module: functools.partial(F.softplus, beta=module.beta, threshold=module.threshold),
    nn.LeakyReLU: lambda module: functools.partial(F.leaky_relu, negative_slope=module.negative_slope),
    nn.Hardtanh: lambda module: functools.partial(F.hardtanh, min_val=module.min_val, max_val=module.max_val),
}
