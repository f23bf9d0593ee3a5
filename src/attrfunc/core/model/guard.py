"""What one run of a model may not do: write into the user's tensors, or read what was replaced."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence, Set
from typing import Any, Self

import torch
from torch import Tensor
from torch._C import _functorch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from attrfunc.core.errors import ModelError

__all__ = ["Below", "Guard", "Written", "address"]


class Written(BaseException):
    """A model is about to write where it may not; not an Exception, so that a model's own handlers let it pass.

    Attributes:
        address: Where.
    """

    def __init__(self, address: int) -> None:
        super().__init__(address)
        self.address = address


class Below(TorchDispatchMode):
    """A mode that looks at operations below all wrappers, and that no compiler looks into."""

    def __new__(cls, *_: Any) -> Self:
        """A mode of the class as it is, or, where a compiler is loaded, of one that is closed to it."""
        kind: Any = cls
        return object.__new__(_closed(kind) if "torch._dynamo" in sys.modules else kind)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to close a class imports the compiler, which takes seconds, and slows each call


@functools.cache
def _closed(kind: Any) -> Any:
    closed = {"__torch_dispatch__": kind.__torch_dispatch__, "_should_skip_dynamo": classmethod(lambda cls: True)}
    return type(kind.__name__, (kind,), closed)


class Guard(Below):
    """Looks at every operation before it runs, below all wrappers.

    Args:
        protected: Where the tensors lie that may only be read.
        replaced: The names of tensors that may not be read, since others were given in their place, by where they lie.

    Attributes:
        reads_numbers: Whether a number was read, by which the model may choose what it does.
    """

    def __init__(self, protected: Set[int], replaced: Mapping[int, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._protected, self._replaced, self.reads_numbers = protected, replaced, False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, if it may."""
        kwargs = kwargs or {}
        # Nothing here is a call of the model's: a mode that sees its calls may be on, where scripted code runs.
        with torch._C.DisableTorchFunction():
            self._look(func, args, kwargs)
            return func(*args, **kwargs)

    def _look(self, func: Any, args: Any, kwargs: dict[str, Any]) -> None:
        for place, name in _written(func):
            value = args[place] if place < len(args) else kwargs.get(name)
            for tensor in value if isinstance(value, list | tuple) else (value,):
                if isinstance(tensor, Tensor) and address(tensor) in self._protected:
                    if func in _BATCH_NORMS and not args[5]:
                        continue  # it only reads them
                    raise Written(address(tensor))
        if self._replaced:
            self._require_own(args, kwargs)
        self.reads_numbers = self.reads_numbers or torch.Tag.data_dependent_output in func.tags

    def _require_own(self, args: Any, kwargs: dict[str, Any]) -> None:
        """Raise where an operation reads what was replaced."""
        for leaf in pytree.tree_leaves((args, kwargs)):
            name = self._replaced.get(address(leaf)) if isinstance(leaf, Tensor) else None
            if name is not None:
                raise ModelError(
                    f"the model reads its own {name!r}, although another tensor was bound in its place: what it "
                    "calls refers to it in a way that no copy of the model reaches (a global variable, say). Let "
                    "it reach the parameter through the module itself."
                )


@functools.cache
def _written(func: Any) -> tuple[tuple[int, str], ...]:
    """The arguments that an operation writes: their places and names."""
    schema = func._schema
    if func in _BATCH_NORMS:
        return (3, "running_mean"), (4, "running_var")
    if not schema.is_mutable:
        return ()
    written = [spec.alias_info is not None and spec.alias_info.is_write for spec in schema.arguments]
    return tuple((i, spec.name) for i, spec in enumerate(schema.arguments) if written[i])


# Their schemas do not say that they write running statistics.
_BATCH_NORMS = {torch.ops.aten.native_batch_norm.default, torch.ops.aten.cudnn_batch_norm.default}


def address(tensor: Tensor) -> int:
    """Where in memory a tensor's numbers lie, below all wrappers; 0 for none."""
    while _functorch.is_functorch_wrapped_tensor(tensor):
        tensor = _functorch.get_unwrapped(tensor)
    try:
        return tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):
        return 0  # sparse tensors, and others that lie nowhere
