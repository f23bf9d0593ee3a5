"""Paths: guided and blurred integrated gradients and XRAI beside saliency, paths in time beside time-interpret, and
interactions beside path_explain."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import attrfunc as af
from benchmarks.peers.further.row import Row, classes, cnn, images, mlp, seeded
from benchmarks.stand_ins import without

with without("pytorch_lightning"):  # asked for by networks of the package's own
    from tint.attr import TemporalIntegratedGradients
with without("tensorflow"):  # asked for by its other half
    from path_explain.explainers.path_explainer_torch import PathExplainerTorch
import saliency.core as saliency
from saliency.core import guided_ig as _guided_ig

# NumPy has dropped the name by which saliency asks for a rule of quantiles.
_guided_ig.np = SimpleNamespace(
    **{**vars(np), "quantile": lambda a, q, interpolation: np.quantile(a, q, method=interpolation)}
)

STEPS, SIGMA = 50, 8.0


def _caller(model: nn.Module, target: int, last: bool) -> Callable[..., Any]:
    """The model as saliency asks for it: arrays in and out, with channels last if so."""

    def call(x: Any, call_model_args: Any = None, expected_keys: Any = None) -> dict[str, Any]:
        leaf = torch.as_tensor(np.asarray(x), dtype=torch.float32)
        leaf = (leaf.permute(0, 3, 1, 2) if last else leaf).requires_grad_()
        slope = torch.autograd.grad(model(leaf)[:, target].sum(), leaf)[0]
        return {saliency.INPUT_OUTPUT_GRADIENTS: (slope.permute(0, 2, 3, 1) if last else slope).numpy()}

    return call


def _slopes(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(model(leaf).gather(1, target[:, None]).sum(), leaf)[0]


def _guided(model: nn.Module, x: Tensor, target: Tensor) -> Any:
    method = saliency.GuidedIG()
    calls = [_caller(model, int(label), last=False) for label in target]
    given = {"x_steps": STEPS, "fraction": 0.25, "max_dist": 0.1}
    return np.stack([method.GetMask(one.numpy(), call, **given) for one, call in zip(x, calls, strict=True)])


def _blurred(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """The blur with mirrored edges, and its derivative by sigma: cosines, each with its own factor."""
    size = x.shape[-1]
    places = torch.arange(size, dtype=x.dtype)
    cosines = torch.cos(math.pi * (places[:, None] + 0.5) * places / size) * (2 / size) ** 0.5
    cosines[:, 0] /= 2**0.5
    speed = (math.pi * places / size).square() / 2
    speeds = speed[:, None] + speed
    spectrum = cosines.T @ x @ cosines * torch.exp(-(sigma**2) * speeds)
    return cosines @ spectrum @ cosines.T, cosines @ (-2 * sigma * speeds * spectrum) @ cosines.T


def _blur(model: nn.Module, x: Tensor, target: Tensor, steps: int) -> Tensor:
    """`steps` points, one after the other."""
    points, weights = np.polynomial.legendre.leggauss(steps)
    total = torch.zeros_like(x)
    for point, weight in zip(points, weights, strict=True):
        image, change = _blurred(x, torch.tensor((point + 1) / 2 * SIGMA, dtype=x.dtype))
        total -= weight / 2 * SIGMA * change * _slopes(model, image, target)
    return total


def _peer_blur(model: nn.Module, x: Tensor, target: Tensor) -> Any:
    method, found = saliency.BlurIG(), []
    for one, label in zip(x, target, strict=True):
        given = {"max_sigma": SIGMA, "steps": STEPS, "batch_size": 10}
        found.append(method.GetMask(one.permute(1, 2, 0).numpy(), _caller(model, int(label), last=True), **given))
    return np.stack(found).transpose(0, 3, 1, 2)


def _xrai(model: nn.Module, x: Tensor, target: Tensor, regions: list[Tensor]) -> Tensor:
    """The greedy choice, one image and region at a time."""
    ends = [x.amin((1, 2, 3), keepdim=True).expand(x.shape), x.amax((1, 2, 3), keepdim=True).expand(x.shape)]
    slopes: Any = 0
    for start in ends:
        for point, weight in zip(*np.polynomial.legendre.leggauss(STEPS), strict=True):
            slope = _slopes(model, (start + (point + 1) / 2 * (x - start)).float(), target)
            slopes = slopes + weight / 4 * (x - start) * slope
    heat = torch.zeros(len(x), *x.shape[2:])
    for number, pixels in enumerate(slopes.sum(1)):
        masks = [mask[0, 0] == label for mask in regions for label in mask.unique()]
        taken = torch.zeros(pixels.shape, dtype=torch.bool)
        while not taken.all():
            gains = [pixels[mask & ~taken].mean() if (mask & ~taken).any() else -torch.inf for mask in masks]
            best = int(torch.tensor(gains).argmax())
            heat[number][masks[best] & ~taken] = gains[best]
            taken |= masks[best]
    return heat[:, None]


def _peer_xrai(model: nn.Module, x: Tensor, target: Tensor, regions: list[Tensor]) -> Any:
    method, found = saliency.XRAI(), []
    masks = [(mask[0, 0] == label).numpy() for mask in regions for label in mask.unique()]
    parameters = saliency.XRAIParameters(steps=STEPS)
    for one, label in zip(x, target, strict=True):
        given = {"segments": masks, "batch_size": 10, "extra_parameters": parameters}
        found.append(method.GetMask(one.permute(1, 2, 0).numpy(), _caller(model, int(label), last=True), **given))
    return np.stack(found)[:, None]


class Memory(nn.Module):
    """What times add up to, each with weights of its own: it does not see times that are not there."""

    def __init__(self, times: int, features: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(times, features, 64, generator=seeded()) / features, False)
        self.head = nn.Linear(64, 3).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.einsum("btf,tfh->bh", x, self.weights[: x.shape[1]]).tanh())


def _temporal(model: nn.Module, x: Tensor, steps: int) -> Tensor:
    """One point after the other."""
    points, weights = np.polynomial.legendre.leggauss(steps)
    total = torch.zeros_like(x)
    for time in range(x.shape[1]):
        for point, weight in zip(points, weights, strict=True):
            leaf = x.clone()
            leaf[:, time + 1 :] = 0
            leaf[:, time] *= (point + 1) / 2
            slope = _slopes(model, leaf, torch.ones(len(x), dtype=torch.long))
            total[:, time] += weight / 2 * x[:, time] * slope[:, time]
    return total


def _hessians(model: nn.Module, x: Tensor, steps: int) -> Tensor:
    """Both integrals, over `steps` times `steps` points."""
    points, weights = np.polynomial.legendre.leggauss(steps)
    total = torch.zeros(len(x), x.shape[1], x.shape[1], dtype=x.dtype)
    for s, first in zip((points + 1) / 2, weights / 2, strict=True):
        for t, second in zip((points + 1) / 2, weights / 2, strict=True):
            leaf = (s * t * x).requires_grad_()
            slope = torch.autograd.grad(model(leaf)[:, 1].sum(), leaf, create_graph=True)[0]
            rows = [torch.autograd.grad(part.sum(), leaf, retain_graph=True)[0] for part in slope.unbind(1)]
            curved = s * t * x[:, :, None] * x[:, None] * torch.stack(rows, 1)
            total += first * second * (curved + torch.diag_embed(x * slope)).detach()
    return total


def _peer_hessians(model: nn.Module, x: Tensor, steps: int) -> Tensor:
    options = {"num_samples": steps**2, "use_expectation": False, "verbose": False}
    label = torch.ones(len(x), dtype=torch.long)
    leaf = x.clone().requires_grad_()
    start = torch.zeros(1, x.shape[1])
    return PathExplainerTorch(model).interactions(leaf, start, output_indices=label, **options).detach()


def rows() -> list[Row]:
    model, x = cnn(), images(2)
    target = classes(model, x)
    given: Any = (model, x)
    regions = [af.masks.grid_mask(x, (3, 8, 8)), af.masks.grid_mask(x, (3, 6, 6))]
    times = 0.5 + torch.rand(8, 12, 6, generator=seeded())
    memory, tabular, points = Memory(12, 6), mlp(8), torch.randn(4, 8, generator=seeded())
    precise = [copied.double() for copied in (cnn(), Memory(12, 6), mlp(8))]
    labelled: dict[str, Any] = {"target": target}
    return [
        Row(
            f"guided_ig, {STEPS} steps",
            lambda: af.guided_ig(*given, **labelled, n_steps=STEPS, max_distance=0.1),
            theirs=lambda: _guided(*given, target),
            peer="saliency",
            tolerance=0.02,
            note="saliency is the authors' own code, so there is no loop beside it: what is told is the difference "
            "between the two.",
        ),
        Row(
            f"blur_ig, {STEPS} points",
            lambda: af.blur_ig(*given, **labelled, n_steps=STEPS, max_sigma=SIGMA),
            lambda: _blur(*given, target, STEPS),
            lambda: _peer_blur(*given, target),
            "saliency",
            oracle=lambda: _blur(precise[0], x.double(), target, 1000),
            tolerance=0.1,
            note="The literal numbers are those of 1,000 points in double precision, with edges mirrored. saliency's "
            "edges are black, its rule that of left rectangles, and the change of the blur a difference. Ours come to "
            "the literal ones as points are added: 0.07 at 50, 0.018 at 200, 0.006 at 800.",
        ),
        Row(
            "xrai, 2 grids of regions",
            lambda: af.xrai(*given, **labelled, regions=regions, baselines=_ends(x), n_steps=STEPS),
            lambda: _xrai(*given, target, regions),
            lambda: _peer_xrai(*given, target, regions),
            "saliency",
            tolerance=0.01,
            note="saliency takes the largest channel of the attributions, not their sum, and leaves out regions that "
            "add less than 50 pixels. Given the sums, and with 1 pixel, it gives our numbers to 2e-7.",
        ),
        Row(
            "temporal_ig, 12 times of 20 points",
            lambda: af.temporal_ig(memory, times, target=1),
            lambda: _temporal(memory, times, 20),
            lambda: TemporalIntegratedGradients(memory).attribute(times, target=1, n_steps=20).detach(),
            "time-interpret",
            oracle=lambda: _temporal(precise[1], times.double(), 40),
            note="time-interpret cuts off later times, which are at the baseline here: the same for a network that "
            "does not see times that are not there.",
        ),
        Row(
            "integrated_hessians, 8 features, 10 points",
            lambda: af.integrated_hessians(tabular, points, target=1, n_steps=10),
            lambda: _hessians(tabular, points, 10),
            lambda: _peer_hessians(tabular, points, 10),
            "path-explain",
            oracle=lambda: _hessians(precise[2], points.double(), 25),
            note="path_explain takes 10 times 10 points, ends included, all with the same weight.",
        ),
    ]


def _ends(x: Tensor) -> list[Tensor]:
    return [x.amin((1, 2, 3), keepdim=True).expand(x.shape), x.amax((1, 2, 3), keepdim=True).expand(x.shape)]
