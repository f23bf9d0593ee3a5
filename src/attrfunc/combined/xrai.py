"""XRAI (Kapishnikov et al. 2019): integrated gradients of regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, ModelError, describe
from attrfunc.core.loops.progress import Progress
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import method
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model, as_view
from attrfunc.core.trees import batch_size
from attrfunc.gradient.integrated_gradients import integrated_gradients
from attrfunc.perturbation.feature_masks import superpixels

__all__ = ["xrai"]

SCALES = (10, 20, 50, 100, 200)


@method
def xrai(
    model: Model,
    x: Any,
    *,
    regions: Tensor | Sequence[Tensor] | None = None,
    baselines: Sequence[Baseline] | None = None,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    n_steps: int = 50,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Tensor:
    """Regions of an image in the order of their density of integrated gradients.

    Starting from nothing, the region is taken that has the largest mean attribution over what it adds to those that
    have been taken, until all of the image is. Every pixel gets the mean with which its region was taken, so that
    `heat >= heat.flatten(1).quantile(0.9, 1)` shows the most important tenth, in pieces of the image.

    Args:
        model: A module, any callable, or a view of one by `af.bind` or `af.neuron`.
        x: Images, a tensor `(B, C, *S)`.
        regions: The regions, a feature mask of integers `(1 or B, 1, *S)` or several of them, whose regions may overlap
            and differ in size. `None` takes `af.masks.superpixels` of 10, 20, 50, 100 and 200 patches (needs
            scikit-image). Numbers are small: one for each region.
        baselines: Baselines whose integrated gradients are averaged; see `attrfunc.core.score.baseline`. `None` takes
            two for each image: the least and the largest value of each channel, where the paper takes black and white.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        n_steps: Number of points on the path of `af.ig`.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Maps `(B, 1, *S)` in units of the score for each pixel. *Completeness*: they sum to what the integrated
        gradients sum to, the mean over baselines of `score(x) - score(baseline)`, since each region shares out its own.

    Raises:
        ArgumentError: If an argument cannot be right, or scikit-image is missing.
        ModelError: If the score is not finite, or torch.func cannot trace the model.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh(), torch.nn.Flatten())
        >>> images = torch.rand(2, 3, 16, 16)
        >>> regions = [af.masks.grid_mask(images, (3, 4, 4)), af.masks.grid_mask(images, (3, 8, 8))]
        >>> af.xrai(model, images, target=7, regions=regions).shape
        torch.Size([2, 1, 16, 16])

    Reference:
        Kapishnikov, Bolukbasi, Viegas, Terry: XRAI: Better Attributions Through Regions, ICCV 2019.
        https://arxiv.org/abs/1906.02825
    """
    view = as_view(model)
    batch_size(x)
    if torch.compiler.is_compiling():
        raise ModelError("a compiler does not see how many regions there are. Call xrai outside of torch.compile.")
    if view.sites or not isinstance(x, Tensor) or x.dim() < 3 or not x.is_floating_point() or 0 in x.shape[2:]:
        raise ArgumentError(
            "model" if view.sites else "x",
            f"a view of layer {view.sites[0].name!r}" if view.sites else describe(x),
            "images (B, C, *S) at the input, one floating-point tensor",
            "Pass the model itself, or a neuron of it." if view.sites else "Give other inputs in args=.",
        )
    if not len(x):
        return x.sum(1, keepdim=True)
    if regions is None:
        regions = [superpixels(x, n_segments=count) for count in SCALES]
    masks = [_checked(mask, x) for mask in ([regions] if isinstance(regions, Tensor) else regions)]
    if not masks:
        raise ArgumentError("regions", "an empty list", "at least one mask of regions", "Leave it out for superpixels.")
    starts = _extremes(x) if baselines is None else list(baselines)
    if not starts or isinstance(baselines, Tensor):
        raise ArgumentError(
            "baselines", describe(baselines), "a list of at least one baseline", "Pass [0.0], or [baseline]."
        )
    options: dict[str, Any] = {"target": target, "args": args, "kwargs": kwargs, "n_steps": n_steps}
    options |= {"chunk_size": chunk_size, "progress": progress}
    found = [integrated_gradients(view, x, baseline=start, **options) for start in starts]
    pixels = torch.stack(found).mean(0).sum(1).flatten(1)
    pixels = pixels.float() if pixels.dtype.itemsize < 4 else pixels
    shown = _by_density(pixels, *_numbered(masks, len(x)))
    return shown.view(len(x), 1, *x.shape[2:]).to(x.dtype)


def _by_density(pixels: Tensor, ids: Tensor, count: int) -> Tensor:
    """The mean attribution of each pixel's region when it was taken.

    Args:
        pixels: Attributions `(B, P)`.
        ids: The region of each pixel in each of M masks, `(B, M, P)`, numbered through.
        count: Number of regions.
    """
    free, shown = torch.ones_like(pixels), torch.zeros_like(pixels)

    def sums(values: Tensor) -> Tensor:
        each = values[:, None].expand(ids.shape).flatten(1)
        return torch.zeros(len(pixels), count, dtype=values.dtype, device=values.device).scatter_add(
            1, ids.flatten(1), each
        )

    for _ in range(count):
        sizes = sums(free)
        density = (sums(free * pixels) / sizes.masked_fill(sizes == 0, 1)).masked_fill(sizes == 0, -torch.inf)
        best = density.argmax(1, keepdim=True)
        # By products, so that transforms, for which places must not depend on values, take it.
        taken = (ids == best[:, :, None]).any(1).to(free.dtype) * free
        shown = shown + torch.where(taken > 0, density.gather(1, best), 0)  # where nothing is left, nothing is taken
        free = free - taken
    return shown


def _numbered(masks: Sequence[Tensor], rows: int) -> tuple[Tensor, int]:
    """The region of each pixel in each mask `(B, M, P)`, numbered through, and how many there are."""
    parts, count = [], 0
    for mask in masks:
        parts.append((mask.flatten(1) + count).expand(rows, -1))
        count += int(mask.max()) + 1
    return torch.stack(parts, 1).long(), count


def _checked(mask: Any, x: Tensor) -> Tensor:
    right = isinstance(mask, Tensor) and not (mask.is_floating_point() or mask.is_complex() or mask.dtype == torch.bool)
    right = right and mask.dim() == x.dim() and mask.shape[0] in (1, len(x)) and mask.shape[1] == 1
    if not right or mask.shape[2:] != x.shape[2:] or bool((mask < 0).any()):
        raise ArgumentError(
            "regions",
            describe(mask),
            f"integers from 0 on, of shape (1, 1, {', '.join(map(str, x.shape[2:]))}) or with {len(x)} in front",
            "af.masks.superpixels and af.masks.grid_mask, with cells that take all channels, make such masks.",
        )
    return mask.to(x.device)


def _extremes(x: Tensor) -> list[Tensor]:
    """The least and the largest value of each channel of each image."""
    dims = tuple(range(2, x.dim()))
    return [edge.expand(x.shape) for edge in (x.amin(dims, keepdim=True), x.amax(dims, keepdim=True))]
