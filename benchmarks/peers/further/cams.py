"""Class activation maps and full gradients, beside pytorch-grad-cam."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import attrfunc as af
from benchmarks.peers.further.row import Row, classes, cnn, correlation, frozen, images
from benchmarks.stand_ins import without

with without("torchvision"):  # asked for by what draws and by what finds objects
    import pytorch_grad_cam as peers
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

LAYER = 7


def _peer(kind: str, model: nn.Module, x: Tensor, target: Tensor) -> Callable[[], Tensor]:
    """Its public call, maps in the input's size included; the numbers are those before it scales them to [0, 1]."""

    class Raw(getattr(peers, kind)):  # type: ignore[misc]
        def get_cam_image(self, *args: Any, **options: Any) -> Any:
            self.raw = super().get_cam_image(*args, **options)
            return self.raw

    other = frozen(model)
    cam = Raw(other, [other[LAYER]])
    targets = [ClassifierOutputTarget(int(label)) for label in target]

    def run() -> Tensor:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
            shown = cam(x, targets)
        return torch.as_tensor(getattr(cam, "raw", shown))[:, None]

    return run


def _score_cam(model: nn.Sequential, x: Tensor, target: Tensor) -> Tensor:
    with torch.no_grad():
        activation, found = model[: LAYER + 1](x), []
        for channel in activation.split(1, 1):
            mask = F.interpolate(channel, x.shape[2:], mode="bilinear")
            low, high = mask.amin((2, 3), keepdim=True), mask.amax((2, 3), keepdim=True)
            mask = (mask - low) / (high - low).masked_fill(high == low, 1)
            found.append(model(mask * x).gather(1, target[:, None]))
        return (torch.cat(found, 1).softmax(1)[:, :, None, None] * activation).sum(1, keepdim=True)


def _ablation_cam(model: nn.Sequential, x: Tensor, target: Tensor) -> Tensor:
    with torch.no_grad():
        activation = model[: LAYER + 1](x)
        whole, found = model[LAYER + 1 :](activation).gather(1, target[:, None]), []
        for channel in range(activation.shape[1]):
            without_it = activation.clone()
            without_it[:, channel] = 0
            found.append(whole - model[LAYER + 1 :](without_it).gather(1, target[:, None]))
        return (torch.cat(found, 1)[:, :, None, None] * activation).sum(1, keepdim=True)


def _eigen_cam(model: nn.Sequential, x: Tensor) -> Tensor:
    with torch.no_grad():
        maps = []
        for one in model[: LAYER + 1](x):
            direction = torch.linalg.svd(one.flatten(1).T, full_matrices=False)[2][0]
            heat = (direction[:, None, None] * one).sum(0, keepdim=True)
            maps.append(heat * heat.sum().sign())
        return torch.stack(maps)


def _parts(model: nn.Sequential, x: Tensor, target: Tensor) -> list[Tensor]:
    """Input times gradient, and biases times gradients."""
    points = [x.clone().requires_grad_()]
    for layer in model:
        points.append(layer(points[-1]))
    biased = [number for number, layer in enumerate(model) if isinstance(layer, nn.Conv2d | nn.Linear)]
    score = points[-1].gather(1, target[:, None]).sum()
    first, *others = torch.autograd.grad(score, [points[0], *[points[number + 1] for number in biased]])
    found = [x * first]
    for number, slope in zip(biased, others, strict=True):
        bias: Any = model[number].bias
        found.append(bias.view(-1, *[1] * (slope.dim() - 2)) * slope)
    return found


def _fullgrad(model: nn.Sequential, x: Tensor, target: Tensor) -> Tensor:
    """As the authors' own code scales: each example's part by its least and largest element, over all channels."""
    total: Any = 0
    for part in _parts(model, x, target):
        if part.dim() == 4:
            size = part.detach().abs()
            low, high = size.amin((1, 2, 3), keepdim=True), size.amax((1, 2, 3), keepdim=True)
            size = F.interpolate((size - low) / (high - low), x.shape[2:], mode="bilinear")
            total = total + size.sum(1, keepdim=True)
    return total


def _shown(maps: Tensor) -> Tensor:
    low, high = maps.amin((1, 2, 3), keepdim=True), maps.amax((1, 2, 3), keepdim=True)
    return (maps - low) / (high - low)


def _flat(parts: list[Tensor]) -> np.ndarray[Any, Any]:
    return torch.cat([part.flatten() for part in parts]).numpy()


def rows() -> list[Row]:
    model, x = cnn(), images(4)
    target = classes(model, x)
    given: Any = (model, x)
    ours: dict[str, Any] = {"layer": str(LAYER), "target": target}
    peer = partial(_peer, model=model, x=x, target=target)
    with torch.no_grad():
        whole = model(x).gather(1, target[:, None])[:, :, None, None]
    ablated = peer("AblationCAM")

    def full() -> Any:
        found = af.full_gradients(*given, target=target)
        return _flat([found.input, *found.biases.values()])

    return [
        Row(
            "score_cam, 32 channels",
            lambda: af.score_cam(*given, **ours),
            lambda: _score_cam(*given, target),
            peer("ScoreCAM"),
            "grad-cam",
            note="grad-cam resizes activations with corners aligned; the paper's own code does not.",
        ),
        Row(
            "ablation_cam, 32 channels",
            lambda: af.ablation_cam(*given, **ours),
            lambda: _ablation_cam(*given, target),
            ablated,
            "grad-cam",
            same=lambda: ablated() * whole,
            note="The numbers are those before it divides by the score.",
        ),
        Row(
            "eigen_cam",
            lambda: af.eigen_cam(*given, layer=str(LAYER)),
            lambda: _eigen_cam(*given),
            peer("EigenCAM"),
            "grad-cam",
            judge=correlation,
            note="One less the correlation. grad-cam centres the activations, which the paper does not.",
        ),
        Row(
            "fullgrad, 3 layers",
            lambda: _shown(af.fullgrad(*given, target=target)),
            lambda: _shown(_fullgrad(*given, target)),
            peer("FullGrad"),
            "grad-cam",
            note="grad-cam scales each channel to [0, 1]; the authors' own code each layer, as here. It "
            "resizes layers with corners aligned, which neither the loop nor ours does.",
        ),
        Row("full_gradients, 4 layers", full, lambda: _flat([p.detach() for p in _parts(*given, target)])),
    ]
