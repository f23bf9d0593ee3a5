"""How class activation maps weigh the channels of a layer: the one thing in which they differ.

`A` is the activation `(B, C, *S)`, `G` the gradient of the score there. A map is `sum over channels of weight * A`.

| name | weight | what the map adds up to |
|---|---|---|
| `grad_cam` | mean of `G` over positions | as `hires_cam`, where a global average pooling stands behind the layer |
| `grad_cam_plus_plus` | sum over positions of `relu(G) / (2 + G * sum(A))` | |
| `xgrad_cam` | sum over positions of `G * A / sum(A)` | as `hires_cam` |
| `hires_cam` | `G` | `sum(A * G)`: the score less the bias, where the network behind the layer is affine |
| `layer_cam` | `relu(G)` | |

* `grad_cam`: Selvaraju et al., Grad-CAM, ICCV 2017, https://arxiv.org/abs/1610.02391.
* `grad_cam_plus_plus`: Chattopadhay et al., Grad-CAM++, WACV 2018, https://arxiv.org/abs/1710.11063. The paper's
  `G^2 / (2 G^2 + sum(A) G^3) * relu(G)`, with `G^2` cancelled, which leaves no 0/0. Its factor `exp(score)`, one
  positive number for each example, is left out: it would overflow, and the map would not be in units of the score. It
  is meant for activations that are not negative; where `2 + G * sum(A)` is zero, a position gets no weight, and near it
  the formula itself is large.
* `xgrad_cam`: Fu et al., Axiom-based Grad-CAM, BMVC 2020, https://arxiv.org/abs/2008.02312. It is meant for activations
  that are not negative; where those of a channel sum to zero, as in a dead channel, all positions count alike, as in
  `grad_cam`.
* `hires_cam`: Draelos and Carin, Use HiResCAM instead of Grad-CAM, 2020, https://arxiv.org/abs/2011.08891.
* `layer_cam`: Jiang et al., LayerCAM, IEEE Transactions on Image Processing 2021,
  https://doi.org/10.1109/TIP.2021.3089943.

A weighting of your own is a callable `(activation, gradient) -> weights`, of as many dimensions as the activation and
broadcastable to it: `(B, C, 1, 1)` for a weight for each channel.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe, suggestions

__all__ = ["WEIGHTINGS", "Weigh", "Weighting", "checked_weights", "weighting_function"]

Weigh = Callable[[Tensor, Tensor], Tensor]
Weighting = str | Weigh


def _grad_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    return _sum(gradient) / _positions(activation)


def _grad_cam_plus_plus(activation: Tensor, gradient: Tensor) -> Tensor:
    denominator = 2 + gradient * _sum(activation)
    pole = denominator == 0
    # The pole is replaced before the division: behind it, its infinite derivative would be multiplied by zero.
    return _sum((gradient.relu() / denominator.masked_fill(pole, 1)).masked_fill(pole, 0))


def _xgrad_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    total = _sum(activation)
    vanished = total == 0
    share = activation / total.masked_fill(vanished, 1)
    return _sum(gradient * torch.where(vanished, 1 / _positions(activation), share))


def _hires_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    return gradient


def _layer_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    return gradient.relu()


WEIGHTINGS: dict[str, Weigh] = {
    "grad_cam": _grad_cam,
    "grad_cam_plus_plus": _grad_cam_plus_plus,
    "xgrad_cam": _xgrad_cam,
    "hires_cam": _hires_cam,
    "layer_cam": _layer_cam,
}


def weighting_function(weighting: Weighting) -> Weigh:
    """The weighting of this name, or the callable itself.

    Args:
        weighting: A name or a callable.

    Returns:
        The function `(activation, gradient) -> weights`.

    Raises:
        ArgumentError: If there is none of this name.
    """
    if callable(weighting):
        return weighting
    if not isinstance(weighting, str) or weighting not in WEIGHTINGS:
        names = ", ".join(map(repr, WEIGHTINGS))
        raise ArgumentError(
            "weighting",
            describe(weighting),
            f"{names}, or a callable (activation, gradient) -> weights",
            suggestions(str(weighting), WEIGHTINGS),
        )
    return WEIGHTINGS[weighting]


def checked_weights(weigh: Weigh, activation: Tensor, gradient: Tensor) -> Tensor:
    """The weights of an activation.

    Args:
        weigh: The weighting.
        activation: The activation `(B, C, *S)`.
        gradient: The gradient there.

    Returns:
        Weights that broadcast to the activation.

    Raises:
        ArgumentError: If they do not.
    """
    weights = weigh(activation, gradient)
    # Fewer dimensions are refused even where they broadcast: (B, C) would be taken for the last two positions.
    fits = (
        isinstance(weights, Tensor)
        and weights.dim() == activation.dim()
        and all(own in (1, size) for own, size in zip(weights.shape, activation.shape, strict=True))
    )
    if not fits:
        raise ArgumentError(
            "weighting",
            f"weights that are {describe(weights)}",
            f"{activation.dim()} dimensions that broadcast to the activation's {tuple(activation.shape)}",
            "Reduce over positions with keepdim=True: gradient.mean((2, 3), keepdim=True).",
        )
    return weights


def _sum(tensor: Tensor) -> Tensor:
    """The sum over positions, kept as dimensions of size one; a dense layer `(B, C)` has a single position."""
    return tensor.sum(tuple(range(2, tensor.dim())), keepdim=True) if tensor.dim() > 2 else tensor


def _positions(tensor: Tensor) -> int:
    return tensor.shape[2:].numel()
