"""The classes of Shapley values.

They differ from Captum's in this:

* `ShapleyValues` evaluates each of the 2^n coalitions of groups once, not n! permutations, and takes up to 20 groups.
* `ShapleyValueSampling` draws permutations in pairs of reverses, `KernelShap` coalitions in pairs of complements; small
  and large coalitions are enumerated as far as `n_samples` goes. So standard errors are lower after as many
  evaluations, and numbers differ from Captum's for the same seed. `torch.manual_seed` makes them reproducible.
* `KernelShap` solves its least squares problem exactly, so attributions sum to the change of the score. With fewer than
  n + 2 samples for n groups it raises, where Captum returns one of many solutions. All examples share the coalitions.
* Without a target a model may return `(B, *O)` numbers, also to `KernelShap`; attributions are `(B, *O, *S)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.futures import Future
from torch.utils import _pytree as pytree

import attrfunc as af
from attrfunc.captum.attr.convert import Baselines, Inputs, as_baseline, as_mask, captum_call
from attrfunc.captum.attr.lime import Lime
from attrfunc.captum.attr.perturbation import Mask, PerturbationAttribution, WithFutures
from attrfunc.core.score.target import Target
from attrfunc.core.trees import batch_size

__all__ = ["KernelShap", "ShapleyValueSampling", "ShapleyValues"]


class _Shapley(PerturbationAttribution):
    """Base of the classes that give Shapley values."""

    _random = True
    _options = PerturbationAttribution._options  # and not that of `Lime`


class ShapleyValueSampling(_Shapley, WithFutures):
    """Shapley values from sampled permutations; see `attrfunc.shapley_sampling`.

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
        n_samples: int = 25,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
    ) -> Any:
        """Attribute to the inputs, a tensor or a tuple as `inputs` is; `n_samples` are permutations."""
        options = self._options(inputs, target, additional_forward_args, perturbations_per_eval, show_progress)
        options |= {"baseline": as_baseline(baselines, inputs), "feature_mask": as_mask(feature_mask, inputs)}
        return self._attributed(af.shapley_sampling, inputs, options | {"n_samples": n_samples}, flat=False)

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
    ) -> Future[Any]:
        """The same for a model that returns a `torch.futures.Future`, as a future."""
        arguments = (target, additional_forward_args, feature_mask, n_samples, perturbations_per_eval, show_progress)
        return self._future(inputs, baselines, *arguments)


class ShapleyValues(ShapleyValueSampling):
    """Shapley values, exactly; see `attrfunc.shapley_values`.

    Args:
        forward_func: The model.
    """

    _random = False

    @captum_call
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
        options = self._options(inputs, target, additional_forward_args, perturbations_per_eval, show_progress)
        options |= {"baseline": as_baseline(baselines, inputs), "feature_mask": as_mask(feature_mask, inputs)}
        return self._attributed(af.shapley_values, inputs, options, flat=False)

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
    ) -> Future[Any]:
        """The same for a model that returns a `torch.futures.Future`, as a future; `n_samples` has no effect."""
        arguments = (target, additional_forward_args, feature_mask, perturbations_per_eval, show_progress)
        return self._future(inputs, baselines, *arguments)


class KernelShap(_Shapley, Lime):
    """Kernel SHAP; see `attrfunc.kernel_shap`. Of Captum's family a `Lime`, with nothing of it in use.

    Args:
        forward_func: The model.
    """

    _multiply_by_inputs = False  # so says Captum's

    def __init__(self, forward_func: Callable[..., Any]) -> None:
        PerturbationAttribution.__init__(self, forward_func)

    @captum_call
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
        options = self._options(inputs, target, additional_forward_args, perturbations_per_eval, show_progress)
        mask = as_mask(feature_mask, inputs)
        options |= {"baseline": as_baseline(baselines, inputs), "feature_mask": mask, "n_samples": n_samples}
        found = self._attributed(af.kernel_shap, inputs, options, flat=False)
        if return_input_shape:
            return found
        groups = _of_groups(found, inputs, mask)
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
