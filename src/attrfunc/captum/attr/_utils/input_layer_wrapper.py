"""A model whose inputs are layers, so that layer classes attribute to inputs."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

__all__ = ["InputIdentity", "ModelInputWrapper"]


class InputIdentity(nn.Module):
    """Gives on what it is called with.

    Args:
        input_name: The argument's name.
    """

    def __init__(self, input_name: str) -> None:
        super().__init__()
        self.input_name = input_name

    def forward(self, x: Any) -> Any:
        """The argument."""
        return x


class ModelInputWrapper(nn.Module):
    """A model each of whose arguments goes through a layer of its own, `input_maps[name]`.

    Args:
        module_to_wrap: The model.
    """

    def __init__(self, module_to_wrap: nn.Module) -> None:
        super().__init__()
        self.module = module_to_wrap
        self.training = module_to_wrap.training
        self.arg_name_list = inspect.getfullargspec(module_to_wrap.forward).args[1:]
        self.input_maps = nn.ModuleDict({name: InputIdentity(name) for name in self.arg_name_list})

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's output; arguments beyond those that it names are passed on as they are."""
        named = zip(self.arg_name_list, args, strict=False)
        places = [self.input_maps[name](value) for name, value in named]
        words = {name: self.input_maps[name](v) if name in self.input_maps else v for name, v in kwargs.items()}
        return self.module(*places, *args[len(places) :], **words)
