"""Models that return futures: a thread waits for them."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.futures import Future

from attrfunc.captum.unbatched import with_forward
from attrfunc.core.errors import ArgumentError, describe

__all__ = ["later"]

Stub = TypeVar("Stub", bound=Callable[..., Any])


def later(stub: Stub) -> Stub:
    """`attribute_future` of the signature of `attribute`; heirs' `attribute` is given what it knows of."""
    signature = inspect.signature(stub)

    @functools.wraps(stub)
    def attribute_future(explainer: Any, *args: Any, **kwargs: Any) -> Future[Any]:
        given = signature.bind(explainer, *args, **kwargs).arguments
        waiting = with_forward(explainer, _awaited(explainer.forward_func))
        known = inspect.signature(waiting.attribute).parameters.keys() - {"kwargs"}
        named = {"layer_mask" if k == "feature_mask" and k not in known else k: v for k, v in given.items()}
        arguments = {name: value for name, value in named.items() if name in known}
        future: Any = torch._C.Future([])  # of Captum's own type

        def work() -> None:
            try:
                future.set_result(waiting.attribute(**arguments))
            except Exception as error:
                future._set_unwrap_func(_raise)  # as `torch.futures.Future.set_exception`
                future.set_result(error)

        threading.Thread(target=work, daemon=True).start()
        return future

    attribute_future.__name__ = "attribute_future"
    return attribute_future  # type: ignore[return-value]


def _raise(error: Exception) -> None:
    raise error


def _awaited(forward_func: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        future = forward_func(*args)
        if isinstance(future, torch._C.Future):
            return future.wait()
        got, fix = f"a model that returns {describe(future)}", "Call attribute."
        raise ArgumentError("forward_func", got, "one that returns a torch.futures.Future", fix)

    return call
