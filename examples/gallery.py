"""Draws attributions over the photographs they explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle
from PIL import Image
from scipy.ndimage import distance_transform_edt
from skimage.filters import gaussian
from skimage.segmentation import mark_boundaries
from torch import Tensor

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # the backend has to be chosen first

SIGMA = 4
PERCENTILE = 99.5


@dataclass(frozen=True)
class Panel:
    """One picture of attributions.

    Attributes:
        title: The method.
        note: How it is shown.
        attributions: Tensor `(1, C, H, W)`; channels are summed.
        unit: Unit of the colour bar.
        signed: Show what speaks for (red) and against (blue); otherwise how much each place matters.
        cell: A position `(row, column)` on a 7 x 7 grid to be framed.
        patches: Values of whole patches, drawn as they are.
    """

    title: str
    note: str
    attributions: Tensor
    unit: str
    signed: bool = False
    cell: tuple[int, int] | None = None
    patches: bool = False


@dataclass(frozen=True)
class Superpixels:
    """What the patches of a photograph are worth.

    Attributes:
        mask: The number of each pixel's patch `(H, W)`.
        shapley: The Shapley value of each patch.
        error: Its standard error.
        lime: The coefficient of LIME.
    """

    mask: Tensor
    shapley: Tensor
    error: Tensor
    lime: Tensor


@dataclass(frozen=True)
class Page:
    """All pictures of one photograph.

    Attributes:
        name: File name, without the ending.
        title: Title of the figure.
        photo: The photograph.
        baseline: The baseline.
        panels: The attributions.
        superpixels: What its patches are worth.
    """

    name: str
    title: str
    photo: Image.Image
    baseline: Image.Image
    panels: Sequence[Panel]
    superpixels: Superpixels


def heat_map(panel: Panel, size: int) -> np.ndarray:
    """One number for each pixel: the sum over channels, smoothed at the input and interpolated at a layer."""
    values = panel.attributions if panel.signed else panel.attributions.abs()
    values = values.sum(1, keepdim=True)
    if panel.patches:
        return values[0, 0].numpy()
    if values.shape[-1] == size:
        # A network's gradient is noise at the scale of single pixels; a person can read its average over some.
        return gaussian(values[0, 0].numpy(), SIGMA)
    return torch.nn.functional.interpolate(values, (size, size), mode="bicubic")[0, 0].numpy()


def draw_panel(axes: Axes, panel: Panel, photo: Image.Image, *, bar: bool) -> None:
    """Draw a heat map over the grey photograph, opaque where the values are large."""
    heat = heat_map(panel, photo.width)
    top = float(np.percentile(np.abs(heat), PERCENTILE)) or 1.0
    scale, colours = Normalize(-top if panel.signed else 0, top), "RdBu_r" if panel.signed else "inferno"
    grey = np.asarray(photo.convert("L")) / 255
    # Red and blue read best over a pale photograph, the glow of inferno over a dark one.
    axes.imshow(0.55 + 0.45 * grey if panel.signed else 0.6 * grey, cmap="gray", vmin=0, vmax=1)
    opacity = np.clip(np.abs(heat) / top, 0, 1) ** 0.75
    axes.imshow(heat, cmap=colours, norm=scale, alpha=0.9 * opacity)
    if panel.cell:
        row, column = panel.cell
        side = photo.width / 7
        axes.add_patch(
            Rectangle((column * side, row * side), side, side, fill=False, edgecolor="deepskyblue", linewidth=1.2)
        )
    if bar:
        # Made from the scale, not from the image, whose opacity varies.
        colour_bar = axes.figure.colorbar(ScalarMappable(scale, colours), ax=axes, fraction=0.046, pad=0.03)
        colour_bar.set_label(panel.unit, fontsize=7)
        colour_bar.ax.tick_params(labelsize=6)
        colour_bar.formatter.set_powerlimits((-2, 2))
        colour_bar.ax.yaxis.get_offset_text().set_fontsize(6)


def draw_page(page: Page, folder: Path) -> Path:
    """Write the figure of one photograph: the photograph and its baseline at the left, the attributions beside them."""
    columns = 1 + (len(page.panels) + 1) // 2
    figure, grid = plt.subplots(2, columns, figsize=(3.1 * columns, 6.3), layout="constrained")
    figure.suptitle(f"{page.title}\n(maps at the input are smoothed, sigma {SIGMA} px)", fontsize=12)
    for axes in grid.flat:
        axes.axis("off")
    grid[0, 0].imshow(page.photo)
    grid[0, 0].set_title("photograph", fontsize=9)
    grid[1, 0].imshow(page.baseline)
    grid[1, 0].set_title("baseline", fontsize=9)
    for axes, panel in zip(grid[:, 1:].flat, page.panels, strict=False):
        draw_panel(axes, panel, page.photo, bar=True)
        axes.set_title(f"{panel.title}\n{panel.note}", fontsize=9)
    path = folder / f"{page.name}.png"
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def draw_superpixels(page: Page, folder: Path) -> Path:
    """Write what the patches of one photograph are worth: where they are, and how sure that is."""
    found, shown = page.superpixels, 12
    order = found.shapley.abs().argsort(descending=True)[:shown]
    order = order[found.shapley[order].argsort(descending=True)]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 5.2), layout="constrained", width_ratios=[1, 1.1])
    figure.suptitle(page.title, fontsize=12)
    left.imshow(mark_boundaries(np.asarray(page.photo), found.mask.numpy(), color=(1, 1, 0)))
    left.axis("off")
    for name in order.tolist():
        depth = distance_transform_edt(np.pad(found.mask.numpy() == name, 1))[1:-1, 1:-1]
        row, column = np.unravel_index(depth.argmax(), depth.shape)  # well inside the patch
        box = {"boxstyle": "round,pad=0.2", "facecolor": "black", "alpha": 0.6, "linewidth": 0}
        left.text(column, row, str(name), color="white", fontsize=9, ha="center", va="center", bbox=box)
    places, values = np.arange(len(order)), found.shapley[order].numpy()
    colours = ["#b2182b" if value > 0 else "#2166ac" for value in values]
    bars = right.barh(places, values, color=colours, alpha=0.75)
    errors = right.errorbar(values, places, xerr=2 * found.error[order].numpy(), fmt="none", ecolor="black", capsize=3)
    dots = right.scatter(found.lime[order].numpy(), places, marker="D", s=24, color="black", facecolor="gold", zorder=3)
    right.axvline(0, color="black", linewidth=0.8)
    right.set_yticks(places, [f"patch {name}" for name in order.tolist()])
    right.invert_yaxis()
    right.set_xlabel("nats: how much sharpening the patch raises the log-probability")
    labels = ["Shapley value", "two standard errors", "LIME"]
    right.legend([bars, errors, dots], labels, loc="lower right", fontsize=9)
    right.set_title(f"the {len(order)} patches of {len(found.shapley)} that matter most", fontsize=10)
    path = folder / f"{page.name}-superpixels.png"
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def draw_overview(pages: Sequence[Page], folder: Path) -> Path:
    """Write a contact sheet: a row for each photograph, a column for each method."""
    columns = 1 + len(pages[0].panels)
    figure, grid = plt.subplots(
        len(pages), columns, figsize=(1.9 * columns, 2.05 * len(pages)), layout="constrained", squeeze=False
    )
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.set_frame_on(False)
    for page, row in zip(pages, grid, strict=True):
        row[0].imshow(page.photo)
        row[0].set_ylabel(page.name, fontsize=10)
        for axes, panel in zip(row[1:], page.panels, strict=True):
            draw_panel(axes, panel, page.photo, bar=False)
    for axes, panel in zip(grid[0, 1:], pages[0].panels, strict=True):
        axes.set_title(panel.title, fontsize=9)
    path = folder / "overview.png"
    figure.savefig(path, dpi=90)
    plt.close(figure)
    return path
