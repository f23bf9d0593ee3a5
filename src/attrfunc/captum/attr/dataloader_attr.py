"""Feature ablation over a whole data set; see `attrfunc.dataset_ablation`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

import attrfunc as af
from attrfunc.captum.attr.attribution import Attribution
from attrfunc.captum.attr.perturbation import FeatureAblation
from attrfunc.captum.explainers import NoFuture
from attrfunc.captum.faces import face
from attrfunc.captum.forms import Baselines, Mask
from attrfunc.core.errors import ArgumentError, describe
from attrfunc.data.batches import batches
from attrfunc.perturbation.dataset_ablation import losses

__all__ = ["DataLoaderAttribution", "InputRole"]


class InputRole:
    """What an element of a batch is for."""

    need_attr = 0
    need_forward = 1
    no_forward = 2


_ROLES = dict(enumerate(("attribute", "forward", "ignore")))  # by the numbers of InputRole


def _ablated(
    model: Any, dataloader: Any, *, input_roles: Any, feature_mask: Any, return_input_shape: bool, **options: Any
) -> Any:
    """Attributions `(M, *S)`, or of each group `(M, n)`, for a metric of M numbers."""
    roles = None if input_roles is None else [_ROLES.get(role, role) for role in input_roles]
    data = batches(dataloader) if isinstance(dataloader, str | Path | Dataset) else dataloader
    found = losses(model, data, input_roles=roles, feature_mask=feature_mask, **options)
    found = found._replace(of_groups=found.of_groups.reshape(-1, found.of_groups.shape[-1]))
    return found.spread() if return_input_shape else af.masks.per_group(found.spread(), feature_mask)


class DataLoaderAttribution(NoFuture, Attribution):
    """Feature ablation of a metric of a whole data set; see `attrfunc.dataset_ablation`.

    `attribute` takes a data set in any form that `attrfunc.data.batches` reads, and gives `(M, *S)` for a metric of M
    numbers, a tensor or a tuple as batches are; or `(M, n)`, where n is the largest number of a group plus 1.
    """

    _differs: tuple[str, ...] = (
        "Batches may be tuples or single tensors, of which Captum raises or takes single rows; it refuses to "
        "compare single outputs between passes of a loader that shuffles.",
    )

    def __init__(self, attr_method: Attribution) -> None:
        if type(attr_method) is not FeatureAblation:
            fix = "Pass FeatureAblation(model)."
            error = ArgumentError("attr_method", describe(attr_method), "a FeatureAblation", fix)
            raise error.within(type(self).__name__)
        super().__init__(attr_method.forward_func)
        self.attr_method = attr_method

    @face(_ablated)
    def attribute(
        self, dataloader: Any, input_roles: tuple[int, ...] | None = None, baselines: Baselines = None,
        feature_mask: Mask = None, reduce: Callable[..., Any] | None = None,
        to_metric: Callable[..., Any] | None = None, perturbations_per_pass: int = 1, show_progress: bool = False,
        return_input_shape: bool = True,
    ) -> Any: ...  # fmt: skip
