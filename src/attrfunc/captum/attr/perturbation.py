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

import threading
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor
from torch.futures import Future
from torch.utils import _pytree as pytree

import attrfunc as af
from attrfunc.captum.attr.attribution import Attribution
from attrfunc.captum.attr.convert import Baselines, Inputs, as_args, as_baseline, as_mask, captum_call
from attrfunc.captum.attr.outputs import Outputs, bar
from attrfunc.core.errors import ArgumentError, describe, positive
from attrfunc.core.score.target import Target
from attrfunc.core.trees import batch_size

__all__ = [
    "FeatureAblation",
    "FeaturePermutation",
    "Occlusion",
    "PerturbationAttribution",
    "WithFutures",
]

Mask = None | Tensor | tuple[Tensor, ...]
PermFunc = Callable[[Tensor, Tensor], Tensor]


class PerturbationAttribution(Attribution):
    """Base of the classes that replace features."""

    _multiply_by_inputs = True
    _names: ClassVar[dict[str, str]] = {
        "chunk_size": "perturbations_per_eval",
        "progress": "show_progress",
        "window": "sliding_window_shapes",
        "stride": "strides",
    }

    def _options(
        self,
        inputs: Inputs,
        target: Target,
        additional_forward_args: Any,
        perturbations_per_eval: int,
        show_progress: bool = False,
    ) -> dict[str, Any]:
        """What all functions of this kind take."""
        at_once, rows = positive("chunk_size", perturbations_per_eval), _rows(inputs)
        return {
            "target": target,
            "args": as_args(additional_forward_args),
            "chunk_size": None if at_once == 1 else at_once * rows,
            "progress": bar(f"{self.get_name()} attribution", rows) if show_progress else False,
        }

    def _attributed(
        self, function: Callable[..., Any], inputs: Inputs, options: dict[str, Any], *, model: Any = None, flat: bool
    ) -> Any:
        """What a function of attrfunc gives for the model, or a view of it, and outputs of any shape."""
        calls = Outputs(function, self.forward_func, inputs, options, flat)
        return calls.attributed(self.forward_func if model is None else model)


def _rows(inputs: Any) -> int:
    """The number of examples, or of rows of the first of several batches."""
    leaf = pytree.tree_leaves(inputs)[0]
    return leaf.shape[0] if leaf.dim() else batch_size(inputs)  # which raises


class WithFutures(PerturbationAttribution):
    """Base of the classes whose `attribute` can wait for a model that returns futures."""

    def _future(self, *args: Any, **kwargs: Any) -> Future[Any]:
        """What `attribute` gives with a model that returns futures, as a future; a thread waits for the model."""
        waiting = object.__new__(type(self))
        waiting.__dict__.update(self.__dict__)
        waiting.forward_func = _awaited(self.forward_func)
        future: Future[Any] = Future()

        def work() -> None:
            try:
                future.set_result(waiting.attribute(*args, **kwargs))
            except Exception as error:
                future.set_exception(error)

        threading.Thread(target=work, daemon=True).start()
        return future


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

    @captum_call
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
        options = self._options(inputs, target, additional_forward_args, perturbations_per_eval, show_progress)
        options |= {"baseline": as_baseline(baselines, inputs), "feature_mask": as_mask(feature_mask, inputs)}
        return self._attributed(af.feature_ablation, inputs, options, flat=True)

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
    ) -> Future[Any]:
        """The same for a model that returns a `torch.futures.Future`, as a future."""
        arguments = (target, additional_forward_args, feature_mask, perturbations_per_eval, show_progress)
        return self._future(inputs, baselines, *arguments)


class Occlusion(FeatureAblation):
    """Occlusion; see `attrfunc.occlusion`.

    Args:
        forward_func: The model.
    """

    @captum_call
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
        options = self._options(inputs, target, additional_forward_args, perturbations_per_eval, show_progress)
        window, stride = sliding_window_shapes, strides
        if len(pytree.tree_leaves(inputs)) == 1:
            window = window[0] if isinstance(window[0], tuple) else window
            stride = stride[0] if isinstance(stride, tuple) and len(stride) == 1 else stride
        options |= {"baseline": as_baseline(baselines, inputs), "window": window, "stride": stride}
        return self._attributed(af.occlusion, inputs, options, flat=True)

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

    def __init__(self, forward_func: Callable[..., Any], perm_func: PermFunc = _permute_feature) -> None:
        super().__init__(forward_func)
        self.perm_func = perm_func

    @captum_call
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
        options = self._options(inputs, target, additional_forward_args, perturbations_per_eval, show_progress)
        return self._permuted(None, inputs, as_mask(feature_mask, inputs), options)

    def attribute_future(  # type: ignore[override]  # as in Captum
        self,
        inputs: Inputs,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: Mask = None,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
        **kwargs: Any,
    ) -> Future[Any]:
        """The same for a model that returns a `torch.futures.Future`, as a future."""
        return self._future(inputs, target, additional_forward_args, feature_mask, perturbations_per_eval)

    def _permuted(self, model: Any, inputs: Inputs, mask: Any, options: dict[str, Any]) -> Any:
        options |= {"feature_mask": mask, "perm_func": None if self.perm_func is _permute_feature else self.perm_func}
        return self._attributed(af.feature_permutation, inputs, options, model=model, flat=True)
