"""Feature ablation over a whole data set; see `attrfunc.dataset_ablation`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import Dataset

from attrfunc.captum.attr.attribution import Attribution, NoFuture
from attrfunc.captum.attr.perturbation import FeatureAblation, Mask
from attrfunc.captum.convert import Baselines, captum_call, only
from attrfunc.core.errors import ArgumentError, describe
from attrfunc.data.batches import batches
from attrfunc.perturbation.dataset_ablation import losses
from attrfunc.perturbation.outputs import promoted

__all__ = ["DataLoaderAttribution", "InputRole"]


class InputRole:
    """What an element of a batch is for."""

    need_attr = 0
    need_forward = 1
    no_forward = 2


_ROLES = {InputRole.need_attr: "attribute", InputRole.need_forward: "forward", InputRole.no_forward: "ignore"}


class DataLoaderAttribution(NoFuture):
    """Feature ablation of a metric of a whole data set; see `attrfunc.dataset_ablation`.

    Args:
        attr_method: A `FeatureAblation`.
    """

    _differs: tuple[str, ...] = (
        "Batches may be tuples or single tensors, of which Captum raises or takes single rows; it refuses to "
        "compare single outputs between passes of a loader that shuffles.",
    )

    _names: ClassVar[dict[str, str]] = {"batches": "dataloader", "progress": "show_progress"}

    def __init__(self, attr_method: Attribution) -> None:
        if type(attr_method) is not FeatureAblation:
            fix = "Pass FeatureAblation(model)."
            error = ArgumentError("attr_method", describe(attr_method), "a FeatureAblation", fix)
            raise error.within(type(self).__name__)
        super().__init__(attr_method.forward_func)
        self.attr_method = attr_method

    @captum_call
    def attribute(
        self,
        dataloader: Any,
        input_roles: tuple[int, ...] | None = None,
        baselines: Baselines = None,
        feature_mask: Mask = None,
        reduce: Callable[..., Any] | None = None,
        to_metric: Callable[..., Any] | None = None,
        perturbations_per_pass: int = 1,
        show_progress: bool = False,
        return_input_shape: bool = True,
    ) -> Any:
        """Attribute to the elements of batches that need it; for the arguments see `attrfunc.dataset_ablation`.

        Args:
            dataloader: The batches, or a data set in any form that `attrfunc.data.batches` reads.
            input_roles: What each element of a batch is for, a number of `InputRole`.
            baselines: What replaces features.
            feature_mask: The groups of features.
            reduce: Collects outputs: `(state, output, batch) -> state`.
            to_metric: Makes a metric of the last state.
            perturbations_per_pass: How many groups to replace in one pass over the data.
            show_progress: Show a bar.
            return_input_shape: `False` gives what each group is worth.

        Returns:
            Attributions `(M, *S)` for a metric of M numbers, a tensor or a tuple as batches are; or `(M, n)`, where n
            is the largest number of a group plus 1.
        """
        options: dict[str, Any] = {
            "input_roles": None if input_roles is None else [_ROLES.get(role, role) for role in input_roles],
            "baseline": only(baselines),
            "feature_mask": only(feature_mask),
            "reduce": reduce,
            "to_metric": to_metric,
            "perturbations_per_pass": perturbations_per_pass,
            "progress": show_progress,
        }
        chosen = None if input_roles is None else [role == InputRole.need_attr for role in input_roles]
        if isinstance(dataloader, str | Path | Dataset):
            dataloader = batches(dataloader)
        data = _Promoted(dataloader, chosen, only(baselines))
        found = losses(self.forward_func, iter(data) if iter(dataloader) is dataloader else data, **options)
        of_groups = found.of_groups.reshape(-1, found.of_groups.shape[-1])
        if return_input_shape:
            return found._replace(of_groups=of_groups).spread()
        return of_groups if feature_mask is None else _spaced(of_groups, feature_mask)


class _Promoted:
    """Batches whose integers hold what replaces them, fractions too.

    Args:
        batches: The batches.
        chosen: Which elements of a batch are attributed; `None` is all.
        baselines: What replaces them.
    """

    def __init__(self, batches: Any, chosen: list[bool] | None, baselines: Any) -> None:
        self._batches, self._chosen, self._baselines = batches, chosen, baselines
        self.sampler = getattr(batches, "sampler", None)

    def __iter__(self) -> Iterator[Any]:
        for batch in self._batches:
            parts = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
            chosen = self._chosen or [True] * len(parts)
            replaced = [part for part, is_chosen in zip(parts, chosen, strict=False) if is_chosen]
            if not all(isinstance(part, Tensor) for part in replaced):
                yield batch  # which is refused, in words
                continue
            new = promoted(tuple(replaced), self._baselines)
            filled = iter(new)
            both = zip(parts, [*chosen, *[False] * len(parts)], strict=False)
            changed = [next(filled) if is_chosen else part for part, is_chosen in both]
            yield changed[0] if not isinstance(batch, tuple | list) else type(batch)(changed)


def _spaced(per_group: Tensor, feature_mask: Any) -> Tensor:
    """Numbers `(M, n)` of groups, zero where no group has that number."""
    used = torch.cat([mask.flatten() for mask in pytree.tree_leaves(feature_mask)]).unique()
    spaced = per_group.new_zeros(*per_group.shape[:-1], int(used[-1]) + 1)
    spaced[..., used] = per_group
    return spaced
