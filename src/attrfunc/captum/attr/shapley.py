"""The classes of Shapley values. Without a target a model may return numbers of any shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import attrfunc as af
from attrfunc.captum.attr.convert import Baselines, Inputs
from attrfunc.captum.attr.faces import face
from attrfunc.captum.attr.lime import Lime
from attrfunc.captum.attr.perturbation import Mask, PerturbationAttribution, WithFutures, later
from attrfunc.core.score.target import Target
from attrfunc.core.trees import batch_size

__all__ = ["KernelShap", "ShapleyValueSampling", "ShapleyValues"]


class _Shapley(PerturbationAttribution):
    """Base of the classes that give Shapley values."""

    _random = True
    _per_output = False


class ShapleyValueSampling(_Shapley, WithFutures):
    """Shapley values from sampled permutations; see `attrfunc.shapley_sampling`.

    Args:
        forward_func: The model.
    """

    _differs: tuple[str, ...] = (
        "Permutations are drawn in pairs of reverses, so standard errors are lower after as many evaluations, and"
        " numbers differ from Captum's for the same seed.",
    )

    @face(af.shapley_sampling)
    def attribute(
        self,
        inputs: Inputs,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: Mask = None,
        n_samples: int = 25,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
    ) -> Any:
        """Attribute to the inputs, a tensor or a tuple as `inputs` is; `n_samples` are permutations."""

    @later
    def attribute_future(
        self,
        inputs: Inputs,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: Mask = None,
        n_samples: int = 25,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
    ) -> Any:
        """The same for a model that returns a `torch.futures.Future`, as a future."""


class ShapleyValues(ShapleyValueSampling):
    """Shapley values, exactly; see `attrfunc.shapley_values`.

    Args:
        forward_func: The model.
    """

    _differs: tuple[str, ...] = (
        "Each of the 2^n coalitions of groups is evaluated once, not n! permutations; up to 20 groups.",
    )

    _random = False

    @face(af.shapley_values)
    def attribute(  # type: ignore[override]  # as in Captum
        self,
        inputs: Inputs,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: Mask = None,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
    ) -> Any:
        """Attribute to the inputs, a tensor or a tuple as `inputs` is."""

    @later
    def attribute_future(
        self,
        inputs: Inputs,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: Mask = None,
        n_samples: int = 25,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
    ) -> Any:
        """The same for a model that returns a `torch.futures.Future`, as a future; `n_samples` has no effect."""


class KernelShap(_Shapley, Lime):
    """Kernel SHAP; see `attrfunc.kernel_shap`. Of Captum's family a `Lime`, with nothing of it in use.

    Args:
        forward_func: The model.
    """

    _differs: tuple[str, ...] = (
        "Coalitions are drawn in pairs of complements, small and large ones enumerated as far as `n_samples` "
        "goes, and shared by all examples; the least squares problem is solved exactly, so attributions sum to "
        "the change of the score. With fewer than n + 2 samples for n groups it raises, where Captum returns one "
        "of many solutions.",
    )

    _multiply_by_inputs = False  # so says Captum's

    def __init__(self, forward_func: Callable[..., Any]) -> None:
        PerturbationAttribution.__init__(self, forward_func)

    @face(af.kernel_shap)
    def attribute(  # type: ignore[override]
        self,
        inputs: Inputs,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: Mask = None,
        n_samples: int = 25,
        perturbations_per_eval: int = 1,
        return_input_shape: bool = True,
        show_progress: bool = False,
    ) -> Any:
        """Attribute to the inputs, a tensor or a tuple as `inputs` is; `n_samples` are coalitions.

        Without `return_input_shape` attributions are those of the groups, in the order of their numbers: `(B, n)`, or
        `(n,)` for a score of the whole batch.
        """

    def _called(self, function: Callable[..., Any], at: str, inputs: Inputs, options: dict[str, Any]) -> Any:
        whole = options.pop("return_input_shape")
        found = PerturbationAttribution._called(self, function, at, inputs, options)
        if whole:
            return found
        groups = _of_groups(found, inputs, options["feature_mask"])
        return groups[0] if len(groups) == 1 < batch_size(inputs) else groups


def _of_groups(attributions: Any, inputs: Inputs, mask: Any) -> Tensor:
    """One number for each group, from attributions that repeat it at each of its elements."""
    leaves = pytree.tree_leaves(attributions)
    rows = leaves[0].shape[0]
    found = torch.cat([leaf.reshape(rows, -1) for leaf in leaves], 1)
    if mask is not None:
        groups = af.masks.number_groups(mask)
        pairs = zip(pytree.tree_leaves(groups.ids), pytree.tree_leaves(inputs), strict=True)
        ids = torch.cat([part.expand(leaf.shape)[:rows].reshape(rows, -1) for part, leaf in pairs], 1)
        found = found.new_zeros(rows, groups.count).scatter(1, ids.to(found.device), found)
    return found
