"""FullGrad (Srinivas and Fleuret 2019): the gradient of the input, and those of all biases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError
from attrfunc.core.loops.examples import by_examples
from attrfunc.core.loops.progress import Progress
from attrfunc.core.model.sites import Layers, Site, find_sites
from attrfunc.core.score.method import method, open_problem
from attrfunc.core.score.places import AtLayers
from attrfunc.core.score.problem import Problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model, View, as_view
from attrfunc.core.trees import batch_size
from attrfunc.viz.interpolate import interpolate

__all__ = ["FullGradients", "full_gradients", "fullgrad"]

_CONVOLUTIONS = (nn.modules.conv._ConvNd,)
_NORMS = (nn.modules.batchnorm._BatchNorm,)
_SMOOTH = {1: "linear", 2: "bilinear", 3: "trilinear"}


class FullGradients(NamedTuple):
    """What the input and the biases of a network add to its score.

    Attributes:
        input: The input times its gradient, in the structure and shapes of `x`.
        biases: For each layer with biases, by name, the bias times the gradient at each element of its output.
    """

    input: Any
    biases: dict[str, Tensor]


@method
def full_gradients(
    model: Model,
    x: Any,
    *,
    layers: Layers | None = None,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> FullGradients:
    """The score, split among the input and the biases of all layers.

    The input times its gradient, and each bias times the gradient where it is added. A batch norm in evaluation mode
    adds `beta - gamma * mean / sqrt(var + eps)`.

    Args:
        model: A module, or a view of one by `af.bind` or `af.neuron`.
        x: The input, a tensor `(B, *S)` or a structure of them.
        layers: The layers whose biases count, as for `af.layer`: linear layers, convolutions and batch norms. `None`
            takes all that the model has; each has to run once.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        `(input, biases)` in units of the score: the first with the structure and shapes of `x`, the second a dict of
        tensors with the shapes of the layers' outputs. *Completeness*: where the network is made of these layers and of
        ReLUs, poolings, sums and others that are homogeneous, all of them together sum to the score, exactly. Every
        other function f (tanh, softmax, a layer norm, with its bias) leaves out its remainder of first order, `f(z) -
        f'(z) z` times the gradient behind it.

    Raises:
        ArgumentError: If an argument cannot be right, or a layer has no bias of these kinds.
        ModelError: If a layer does not run once, the score is not finite, or torch.func cannot trace the model.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> x = torch.randn(5, 3)
        >>> full = af.full_gradients(model, x, target=1)
        >>> total = full.input.sum(1) + full.biases["0"].sum(1) + full.biases["2"].sum(1)
        >>> torch.allclose(total, model(x)[:, 1], atol=1e-6)
        True

    Reference:
        Srinivas, Fleuret: Full-Gradient Representation for Neural Network Visualization, NeurIPS 2019.
        https://arxiv.org/abs/1905.00780
    """
    view = as_view(model)
    _require_input(view)
    sites = _sites(view, layers)

    def attribute(part: Problem, rows: slice) -> tuple[Any, dict[str, Tensor]]:
        point, _, gradient = part.gradient()
        own = point.restored([leaf * slope for leaf, slope in zip(point.leaves, gradient, strict=True)])
        if not sites:
            return own, {}
        inner = replace(part, view=replace(view, place=AtLayers(sites, several=True)))
        _, _, slopes = inner.gradient()
        part.twin.restore()
        added = [_bias(part.twin.modules[site.module], slope) for site, slope in zip(sites, slopes, strict=True)]
        return own, {site.name: bias * slope for site, bias, slope in zip(sites, added, slopes, strict=True)}

    problem = open_problem(view, x, target, args, kwargs)
    return FullGradients(*by_examples(problem, attribute, chunk_size, progress))


@method
def fullgrad(
    model: Model,
    x: Any,
    *,
    layers: Layers | None = None,
    target: Target = None,
    rescale: bool = True,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """A picture of `af.full_gradients`: what the input, and the biases of all layers with positions, add to the score.

    `sum over channels of |input * gradient| + sum over layers and channels of |bias * gradient|`, each layer's in the
    resolution of the input, and, with `rescale`, shifted and scaled to [0, 1] before.

    Args:
        model: A module, or a view of one by `af.bind` or `af.neuron`.
        x: The input, a tensor `(B, C, *S)` with 1 to 3 dimensions of positions.
        layers: The layers whose biases count; see `af.full_gradients`. Those without positions have no part.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        rescale: Scale each layer to [0, 1], by its least and largest element in each example, as the paper does for
            display; otherwise the map is in units of the score, and layers with small parts stay small.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Maps `(B, 1, *S)`, not negative. *Completeness* is that of `af.full_gradients`; absolute values have none.

    Raises:
        ArgumentError: If an argument cannot be right, or the input has no positions.
        ModelError: If a layer does not run once, the score is not finite, or torch.func cannot trace the model.

    Example:
        >>> head = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 5))
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU(), *head)
        >>> af.fullgrad(model, torch.rand(2, 3, 17, 17), target=4).shape
        torch.Size([2, 1, 17, 17])

    Reference:
        Srinivas, Fleuret: Full-Gradient Representation for Neural Network Visualization, NeurIPS 2019.
        https://arxiv.org/abs/1905.00780
    """
    batch_size(x)
    if not isinstance(x, Tensor) or not 3 <= x.dim() <= 5:
        shapes = [tuple(leaf.shape) for leaf in pytree.tree_leaves(x) if isinstance(leaf, Tensor)]
        raise ArgumentError(
            "x",
            f"an input of shape {', '.join(map(str, shapes))}" if shapes else type(x).__name__,
            "one tensor (B, C, *S) with 1 to 3 dimensions of positions",
            "Use af.full_gradients, which takes any input.",
        )
    options: dict[str, Any] = {"chunk_size": chunk_size, "progress": progress}
    full = full_gradients(model, x, layers=layers, target=target, args=args, kwargs=kwargs, **options)
    size = x.shape[2:]
    heat = _shown(full.input, rescale)
    for part in full.biases.values():
        if part.dim() == x.dim():
            shown = _shown(part, rescale)
            heat = heat + (interpolate(shown, size, _SMOOTH[len(size)]) if shown.shape[2:] != size else shown)
    return heat


def _shown(part: Tensor, rescale: bool) -> Tensor:
    """`(B, C, *S)` to a map `(B, 1, *S)`."""
    size = part.abs()
    if rescale and size.numel():
        dims = tuple(range(1, size.dim()))
        low = size.amin(dims, keepdim=True)
        span = size.amax(dims, keepdim=True) - low
        size = (size - low) / span.masked_fill(span == 0, 1)
    return size.sum(1, keepdim=True)


def _require_input(view: View) -> None:
    if view.sites:
        raise ArgumentError(
            "model",
            f"a view of layer {view.sites[0].name!r}",
            "a module, or a view by af.bind or af.neuron",
            "Pass the model itself: layers= chooses the layers whose biases count.",
        )


def _sites(view: View, layers: Layers | None) -> tuple[Site, ...]:
    """The layers whose biases count."""
    if layers is not None:
        sites = find_sites(view.model, layers, "output", None, "layers")
        for site in sites:
            if not _has_bias(site.module):
                raise ArgumentError(
                    "layers",
                    f"{site.name!r}, a {type(site.module).__name__}",
                    "linear layers and convolutions with a bias, and batch norms",
                    "Leave it out.",
                )
        return sites
    if not isinstance(view.model, nn.Module):
        raise ArgumentError(
            "model",
            f"a {type(view.model).__name__}",
            "a module, whose biases are known",
            "Pass layers=[...] with them.",
        )
    modules = dict.fromkeys(module for module in view.model.modules() if _has_bias(module))
    return find_sites(view.model, list(modules), "output", None, "layers") if modules else ()


def _has_bias(module: nn.Module) -> bool:
    if isinstance(module, _NORMS):
        return module.running_mean is not None or module.bias is not None
    return isinstance(module, (nn.Linear, *_CONVOLUTIONS)) and module.bias is not None


def _bias(module: Any, output: Tensor) -> Tensor:
    """What a layer adds to each element of its output, whatever comes in."""
    bias, layer = module.bias, module  # whose type is not narrowed
    if isinstance(module, _NORMS) and not module.training and module.running_mean is not None:
        shift = -layer.running_mean / (layer.running_var + layer.eps).sqrt()
        shift = shift if layer.weight is None else shift * layer.weight
        bias = shift if bias is None else bias + shift
    if isinstance(module, nn.Linear):
        return module.bias
    channels: Tensor = bias.view(1, -1, *[1] * (output.dim() - 2))
    return channels
