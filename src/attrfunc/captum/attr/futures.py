"""Models that return futures: a thread waits for them."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.futures import Future

from attrfunc.captum.attr.attribution import Attribution
from attrfunc.captum.attr.unbatched import with_forward
from attrfunc.core.errors import ArgumentError, describe

__all__ = ["WithFutures", "later"]

Stub = TypeVar("Stub", bound=Callable[..., Any])


class WithFutures(Attribution):
    """Base of the classes whose `attribute` can wait for a model that returns futures."""

    def _future(self, arguments: dict[str, Any]) -> Future[Any]:
        waiting = with_forward(self, _awaited(self.forward_func))
        future: Any = torch._C.Future([])  # of Captum's own type

        def work() -> None:
            try:
                future.set_result(waiting.attribute(**arguments))
            except Exception as error:
                future._set_unwrap_func(_raise)  # as `torch.futures.Future.set_exception`
                future.set_result(error)

        threading.Thread(target=work, daemon=True).start()
        return future


def _raise(error: Exception) -> None:
    raise error


def later(stub: Stub) -> Stub:
    """Make `attribute_future` of its signature: what `attribute` gives, which is given what it knows of."""
    signature = inspect.signature(stub)

    @functools.wraps(stub)
    def attribute_future(self: WithFutures, *args: Any, **kwargs: Any) -> Future[Any]:
        given = signature.bind(self, *args, **kwargs).arguments
        known = inspect.signature(self.attribute).parameters.keys() - {"kwargs"}
        named = {"layer_mask" if k == "feature_mask" and k not in known else k: v for k, v in given.items()}
        return self._future({name: value for name, value in named.items() if name in known})

    return attribute_future  # type: ignore[return-value]


def _awaited(forward_func: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        future = forward_func(*args)
        if isinstance(future, torch._C.Future):
            return future.wait()
        got, fix = f"a model that returns {describe(future)}", "Call attribute."
        raise ArgumentError("forward_func", got, "one that returns a torch.futures.Future", fix)

    return call
