"""The classes that replace features and look at the score.

This is where the arguments that they share are documented.

feature_mask: The groups of features, a tensor or a tuple as `inputs` is; see `attrfunc.perturbation.feature_groups`.
layer_mask: The same for a layer's activation.
perturbations_per_eval: How many perturbations of the batch are evaluated at once. With the default of 1 the library
    chooses.
show_progress: Show a bar (needs tqdm).

Of an output that is not one number for each example, each number has attributions of its own, in dimension 0: one for a
loss of the whole batch.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn, TypeVar

import torch
from torch import Tensor
from torch.futures import Future
from torch.utils import _pytree as pytree

import attrfunc as af
from attrfunc.captum.attr.attribution import Attribution
from attrfunc.captum.attr.convert import Baselines, Inputs
from attrfunc.captum.attr.faces import face
from attrfunc.captum.attr.outputs import Outputs, bar
from attrfunc.captum.attr.unbatched import with_forward
from attrfunc.core.errors import ArgumentError, describe, positive
from attrfunc.core.score.target import Target
from attrfunc.core.trees import batch_size

__all__ = [
    "FeatureAblation",
    "FeaturePermutation",
    "Occlusion",
    "PerturbationAttribution",
    "WithFutures",
    "later",
]

Mask = None | Tensor | tuple[Tensor, ...]
Stub = TypeVar("Stub", bound=Callable[..., Any])
PermFunc = Callable[[Tensor, Tensor], Tensor]


class PerturbationAttribution(Attribution):
    """Base of the classes that replace features."""

    _differs: tuple[str, ...] = (
        "`perturbations_per_eval=1`, the default, lets the library choose how many perturbations to evaluate as "
        "one batch; the score of an example must not depend on the others. Where an output is not one number for "
        "each example, each of its numbers has attributions, as in Captum, also to `KernelShap`.",
        "Of integers that are replaced by fractions all become fractions. Captum cuts off the digits, or raises.",
        "A floating-point mask makes a group of each number, also for `KernelShap` and `Lime`.",
        "`attribute_future` evaluates in a thread, and several perturbations as one batch.",
    )

    _multiply_by_inputs = True
    _names: ClassVar[dict[str, str]] = {
        "chunk_size": "perturbations_per_eval",
        "progress": "show_progress",
        "window": "sliding_window_shapes",
        "stride": "strides",
    }

    _per_output = True  # attributions of an output have it in one dimension, and not in its own

    def _called(self, function: Callable[..., Any], at: str, inputs: Inputs, options: dict[str, Any]) -> Any:
        options = self._options(inputs, **options)
        return Outputs(function, self.forward_func, inputs, options, self._per_output).attributed(
            self._explained_at(at, options)
        )

    def _options(self, inputs: Inputs, **given: Any) -> dict[str, Any]:
        """What all functions of this kind take."""
        at_once, rows = positive("chunk_size", given["chunk_size"]), _rows(inputs)
        progress = bar(f"{self.get_name()} attribution", rows) if given.get("progress") else False
        return {"target": None, **given, "chunk_size": None if at_once == 1 else at_once * rows, "progress": progress}


def _rows(inputs: Any) -> int:
    """The number of examples, or of rows of the first of several batches."""
    leaf = pytree.tree_leaves(inputs)[0]
    return leaf.shape[0] if leaf.dim() else batch_size(inputs)  # which raises


class WithFutures(PerturbationAttribution):
    """Base of the classes whose `attribute` can wait for a model that returns futures."""

    def _future(self, arguments: dict[str, Any]) -> Future[Any]:
        """What `attribute` gives with a model that returns futures, as a future; a thread waits for the model."""
        waiting = with_forward(self, _awaited(self.forward_func))
        future: Future[Any] = Future()

        def work() -> None:
            try:
                future.set_result(waiting.attribute(**arguments))
            except Exception as error:
                future.set_exception(error)

        threading.Thread(target=work, daemon=True).start()
        return future


def later(stub: Stub) -> Stub:
    """Make `attribute_future` of its signature: what `attribute` gives, which is given what it knows of."""
    signature = inspect.signature(stub)

    @functools.wraps(stub)
    def attribute_future(self: WithFutures, *args: Any, **kwargs: Any) -> Future[Any]:
        given = signature.bind(self, *args, **kwargs).arguments
        known = inspect.signature(self.attribute).parameters
        renamed = {"layer_mask" if "layer_mask" in known and k == "feature_mask" else k: v for k, v in given.items()}
        return self._future({name: value for name, value in renamed.items() if name in known and name != "kwargs"})

    return attribute_future  # type: ignore[return-value]


def _awaited(forward_func: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        future = forward_func(*args)
        if not isinstance(future, torch._C.Future):
            raise ArgumentError(
                "forward_func",
                f"a model that returns {describe(future)}",
                "one that returns a torch.futures.Future",
                "Call attribute.",
            )
        return future.wait()

    return call


class FeatureAblation(WithFutures):
    """Feature ablation; see `attrfunc.feature_ablation`.

    Args:
        forward_func: The model.
    """

    @face(af.feature_ablation)
    def attribute(
        self,
        inputs: Inputs,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: Mask = None,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Attribute to the inputs, a tensor or a tuple as `inputs` is; further arguments are ignored, as in Captum."""

    @later
    def attribute_future(
        self,
        inputs: Inputs,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: Mask = None,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
        **kwargs: Any,
    ) -> Any:
        """The same for a model that returns a `torch.futures.Future`, as a future."""


class Occlusion(FeatureAblation):
    """Occlusion; see `attrfunc.occlusion`.

    Args:
        forward_func: The model.
    """

    _differs: tuple[str, ...] = (
        "Of more than two inputs each window is put where it belongs; Captum mixes their numbers up.",
    )

    @face(af.occlusion)
    def attribute(  # type: ignore[override]  # as in Captum
        self,
        inputs: Inputs,
        sliding_window_shapes: tuple[Any, ...],
        strides: int | tuple[Any, ...] | None = None,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
    ) -> Any:
        """Attribute to the inputs, a tensor or a tuple as `inputs` is.

        Args:
            inputs: The inputs.
            sliding_window_shapes: The extent of the window along each dimension of an example; a tuple of these for
                several inputs.
            strides: Its steps, likewise, or one number for all dimensions.
            baselines: What stands in the window.
            target: The target.
            additional_forward_args: Further arguments of the model.
            perturbations_per_eval: How many windows are evaluated at once.
            show_progress: Show a bar.
        """

    def _called(self, function: Callable[..., Any], at: str, inputs: Inputs, options: dict[str, Any]) -> Any:
        window, stride = options["window"], options["stride"]
        if len(pytree.tree_leaves(inputs)) == 1:
            options["window"] = window[0] if isinstance(window[0], tuple) else window
            options["stride"] = stride[0] if isinstance(stride, tuple) and len(stride) == 1 else stride
        return super()._called(function, at, inputs, options)

    def attribute_future(self) -> NoReturn:  # type: ignore[override]
        """Not offered, as in Captum."""
        raise NotImplementedError(f"{type(self).__name__} has no attribute_future; call attribute.")


def _permute_feature(x: Tensor, feature_mask: Tensor) -> Tensor:
    """What stands for a random permutation; the library draws its own."""
    return torch.where(feature_mask, x[torch.randperm(len(x))], x)


class FeaturePermutation(FeatureAblation):
    """Feature permutation; see `attrfunc.feature_permutation`.

    Args:
        forward_func: The model.
        perm_func: A function of the inputs and a mask that permutes what is under the mask.
    """

    _differs: tuple[str, ...] = (
        "What a group has in several inputs moves together; Captum permutes each input by itself.",
    )

    def __init__(self, forward_func: Callable[..., Any], perm_func: PermFunc = _permute_feature) -> None:
        super().__init__(forward_func)
        self.perm_func = perm_func

    def _called(self, function: Callable[..., Any], at: str, inputs: Inputs, options: dict[str, Any]) -> Any:
        options["perm_func"] = None if self.perm_func is _permute_feature else self.perm_func
        return super()._called(function, at, inputs, options)

    @face(af.feature_permutation)
    def attribute(  # type: ignore[override]  # as in Captum
        self,
        inputs: Inputs,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: Mask = None,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Attribute to the inputs, a tensor or a tuple as `inputs` is; further arguments are ignored, as in Captum."""

    @later
    def attribute_future(  # type: ignore[override]  # as in Captum
        self,
        inputs: Inputs,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: Mask = None,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
        **kwargs: Any,
    ) -> Any:
        """The same for a model that returns a `torch.futures.Future`, as a future."""
