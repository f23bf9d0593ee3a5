"""Small random networks that print as the call that rebuilds them.

Each is made from a seed, in evaluation mode, and touches no random state but its own. `shape` is the shape of one
input, `outputs` that of one output: `()` for one number, `(C,)` for C of them, and so on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ACTIVATIONS", "CNN", "MLP", "STYLES", "Attention", "Network", "Recurrent", "Residual"]

# Analytic functions for the smooth networks: quadrature converges geometrically on them. ELU and its like have a kink
# in a derivative and would not.
ACTIVATIONS: dict[bool, tuple[str, ...]] = {
    True: ("tanh", "sigmoid", "silu", "gelu", "softplus"),
    False: ("relu", "leaky_relu", "hardtanh"),
}
STYLES = ("module", "functional", "inplace")

_MODULES: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "softplus": nn.Softplus,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "hardtanh": nn.Hardtanh,
}
_INPLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh_,
    "sigmoid": torch.sigmoid_,
    "silu": nn.SiLU(inplace=True),
    "relu": F.relu_,
    "leaky_relu": nn.LeakyReLU(inplace=True),
    "hardtanh": nn.Hardtanh(inplace=True),
}


def _activation(name: str, style: str) -> Callable[[Tensor], Tensor]:
    """The activation as a module, a function, or an operation in place (a function where there is none in place)."""
    if name not in _MODULES or style not in STYLES:
        raise ValueError(f"no activation {name!r} in style {style!r}: choose of {tuple(_MODULES)} and {STYLES}")
    if style == "module":
        return _MODULES[name]()
    function: Callable[[Tensor], Tensor] = getattr(torch, name, None) or getattr(F, name)
    return function if style == "functional" else _INPLACE.get(name, function)


class Network(nn.Module):
    """Base of the drawn networks: a body, then a linear head that gives the outputs their shape.

    Attributes:
        shape: The shape of one input.
        outputs: The shape of one output.
    """

    def __init__(self, shape: tuple[int, ...], outputs: tuple[int, ...], **recipe: Any) -> None:
        super().__init__()
        self.shape, self.outputs = tuple(shape), tuple(outputs)
        self._recipe = recipe

    def __repr__(self) -> str:
        """The call that builds this network again."""
        arguments = [repr(self.shape), repr(self.outputs), *(f"{key}={value!r}" for key, value in self._recipe.items())]
        return f"{type(self).__name__}({', '.join(arguments)})"

    def _finish(self, features: int, seed: int, dtype: torch.dtype) -> None:
        """Add the head and draw all parameters and buffers; what is made on the meta device has no values yet."""
        self.head = nn.Linear(features, math.prod(self.outputs), device="meta")
        self.to_empty(device="cpu").to(dtype).eval()
        generator = torch.Generator().manual_seed(seed)

        def normal(tensor: Tensor) -> Tensor:
            return torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(dtype)

        with torch.no_grad():
            for name, tensor in (*self.named_parameters(), *self.named_buffers()):
                if tensor.dim() > 1:  # keeps the size of the activations
                    tensor.copy_(1.2 * normal(tensor) / math.sqrt(tensor[0].numel()))
                elif name.endswith(("weight", "running_var")):  # of a normalisation
                    tensor.copy_(1 + 0.1 * normal(tensor).clamp(-3, 3))
                elif tensor.is_floating_point():
                    tensor.copy_(0.3 * normal(tensor))
                else:  # the number of batches that batch norm saw
                    tensor.zero_()

    def _out(self, features: Tensor) -> Tensor:
        return self.head(features).reshape(features.shape[0], *self.outputs)


class MLP(Network):
    """Linear layers with activations between them.

    Example:
        >>> from attrfunc import testing
        >>> testing.MLP((3,), (2,), hidden=(4,), seed=7)
        MLP((3,), (2,), hidden=(4,), activation='tanh', style='module', seed=7)
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: tuple[int, ...],
        *,
        hidden: tuple[int, ...] = (6,),
        activation: str = "tanh",
        style: str = "module",
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        recipe = {"hidden": hidden, "activation": activation, "style": style, "seed": seed}
        super().__init__(shape, outputs, **recipe, **_unless_double(dtype))
        sizes = [math.prod(shape), *hidden]
        self.layers = nn.ModuleList(
            nn.Linear(size, after, device="meta") for size, after in zip(sizes, hidden, strict=False)
        )
        self.activation = _activation(activation, style)
        self._finish(sizes[-1], seed, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs `(B, *outputs)` of inputs `(B, *shape)`."""
        x = x.flatten(1)
        for layer in self.layers:
            x = self.activation(layer(x))
        return self._out(x)


class CNN(Network):
    """Convolution, activation, pooling (the mean in smooth networks, else the maximum), linear head."""

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: tuple[int, ...],
        *,
        channels: int = 3,
        activation: str = "tanh",
        style: str = "module",
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        recipe = {"channels": channels, "activation": activation, "style": style, "seed": seed}
        super().__init__(shape, outputs, **recipe, **_unless_double(dtype))
        self.conv = nn.Conv2d(shape[0], channels, 3, padding=1, device="meta")
        self.activation = _activation(activation, style)
        self.pool = nn.AvgPool2d(2) if activation in ACTIVATIONS[True] else nn.MaxPool2d(2)
        self._finish(channels * (shape[1] // 2) * (shape[2] // 2), seed, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs `(B, *outputs)` of inputs `(B, *shape)`."""
        return self._out(self.pool(self.activation(self.conv(x))).flatten(1))


class Residual(Network):
    """A residual block with batch norm and one activation used twice, as in ResNet."""

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: tuple[int, ...],
        *,
        channels: int = 3,
        activation: str = "tanh",
        style: str = "module",
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        recipe = {"channels": channels, "activation": activation, "style": style, "seed": seed}
        super().__init__(shape, outputs, **recipe, **_unless_double(dtype))
        self.stem = nn.Conv2d(shape[0], channels, 1, device="meta")
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False, device="meta")
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False, device="meta")
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels, device="meta") for _ in range(2))
        self.activation = _activation(activation, style)
        self._finish(channels, seed, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs `(B, *outputs)` of inputs `(B, *shape)`."""
        x = self.stem(x)
        inner = self.activation(self.norms[0](self.first(x)))
        inner = self.norms[1](self.second(inner))
        inner += x
        return self._out(self.activation(inner).mean((2, 3)))


class Recurrent(Network):
    """A recurrent layer over `(steps, features)`; the head reads the last step.

    `cell` is `"lstm"`, `"gru"`, `"tanh"` or `"relu"` (both plain; the last is piecewise linear).
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: tuple[int, ...],
        *,
        cell: str = "lstm",
        hidden: int = 4,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__(shape, outputs, cell=cell, hidden=hidden, seed=seed, **_unless_double(dtype))
        kinds: dict[str, Callable[..., nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU}
        options = {"batch_first": True, "device": "meta"} | ({} if cell in kinds else {"nonlinearity": cell})
        self.recurrent = kinds.get(cell, nn.RNN)(shape[1], hidden, **options)
        self._finish(hidden, seed, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs `(B, *outputs)` of inputs `(B, *shape)`."""
        return self._out(self.recurrent(x)[0][:, -1])


class Attention(Network):
    """Self-attention over `(steps, features)`, with a residual; the head reads the mean over the steps.

    `kind` is `"module"` (`nn.MultiheadAttention`), `"fused"` (`scaled_dot_product_attention`), `"plain"` (matrix
    products and a softmax) or `"encoder"` (`nn.TransformerEncoderLayer`).
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: tuple[int, ...],
        *,
        kind: str = "module",
        width: int = 4,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__(shape, outputs, kind=kind, width=width, seed=seed, **_unless_double(dtype))
        self.kind = kind
        self.embed = nn.Linear(shape[1], width, device="meta")
        if kind == "module":
            self.attention: nn.Module = nn.MultiheadAttention(width, 2, batch_first=True, device="meta")
        elif kind == "encoder":
            # With torch's epsilon of 1e-5 the norm all but jumps where the variance vanishes: no smooth network.
            settings: dict[str, Any] = {"layer_norm_eps": 0.5, "activation": "gelu", "dropout": 0.0}
            self.attention = nn.TransformerEncoderLayer(width, 2, 6, batch_first=True, device="meta", **settings)
        else:
            self.attention = nn.Linear(width, 3 * width, device="meta")
        self._finish(width, seed, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs `(B, *outputs)` of inputs `(B, *shape)`."""
        x = self.embed(x)
        if self.kind == "encoder":
            return self._out(self.attention(x).mean(1))
        if self.kind == "module":
            return self._out((x + self.attention(x, x, x, need_weights=False)[0]).mean(1))
        query, key, value = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in self.attention(x).chunk(3, -1))
        if self.kind == "fused":
            mixed = F.scaled_dot_product_attention(query, key, value)
        else:
            mixed = (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-1) @ value
        return self._out((x + mixed.transpose(1, 2).flatten(2)).mean(1))


def _unless_double(dtype: torch.dtype) -> dict[str, Any]:
    return {} if dtype == torch.float64 else {"dtype": dtype}
