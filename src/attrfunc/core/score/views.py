"""Views: where to attribute. A view makes of an input a point, and of the rest of the network a score of that point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor, nn

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.model.folding import Pair
from attrfunc.core.model.parts import replaced
from attrfunc.core.model.sites import Calls, Layers, Side, Site, find_site, find_sites
from attrfunc.core.model.twin import Twin
from attrfunc.core.score.places import AT_INPUT, AtInput, AtLayers

__all__ = ["Model", "View", "as_view", "bind", "layer", "neuron"]


@dataclass(frozen=True)
class View:
    """A model, and the place in it that is attributed. Made by `layer`, `neuron` and `bind`, which compose.

    A view is itself callable, as the model is.

    Attributes:
        model: The model.
        place: Where the point stands: at the input or at layers.
        tensors: Parameters and buffers in place of the model's own.
        output: The layer and selector of the neuron that is explained; None for the model's output.
        differentiated: Whether that method takes gradients.
        folds: Convolutions and batch norms that may be computed as one.
    """

    model: Callable[..., Any]
    place: AtInput | AtLayers
    tensors: Mapping[str, Tensor] | None = None
    output: tuple[Site, Any] | None = None
    differentiated: bool = True
    folds: tuple[Pair, ...] = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model."""
        return Twin(self.model, self.tensors)(*args, **kwargs) if self.tensors else self.model(*args, **kwargs)

    @property
    def sites(self) -> tuple[Site, ...]:
        """The layers that are attributed to; none for the input."""
        return self.place.sites

    def each(self) -> list[View]:
        """One view for each layer of a list."""
        return [replace(self, place=AtLayers((site,))) for site in self.sites]


Model = nn.Module | Callable[..., Any] | View


def as_view(model: Model) -> View:
    """The model as a view of itself."""
    if isinstance(model, View):
        return model
    if isinstance(model, type):
        raise ArgumentError(
            "model",
            f"the class {model.__name__}",
            "a model, an instance of it",
            f"Pass {model.__name__}(...), trained.",
        )
    if not callable(model):
        raise ArgumentError("model", describe(model), "an nn.Module, a callable or a view", "Pass the model first.")
    return View(model, AT_INPUT)


def bind(model: Model, tensors: Mapping[str, Tensor]) -> View:
    """The model with these parameters and buffers in place of its own.

    Attributions are differentiable with respect to tensors that are bound; they build no graph to the model's own
    parameters. With `torch.func.stack_module_state` and `vmap`, one call attributes an ensemble.

    Args:
        model: A module or a view of one.
        tensors: Replacements by name, as in `named_parameters()` and `named_buffers()`; the others stay the model's
            own.

    Returns:
        A view, to be passed to any method in place of the model, and callable as the model is.

    Raises:
        ArgumentError: If the model is no module, or has no tensor of that name and shape.

    Example:
        >>> model = torch.nn.Linear(3, 2)
        >>> parameters = dict(model.named_parameters())
        >>> x = torch.ones(1, 3)
        >>> loss = lambda p: af.ig(af.bind(model, p), x, target=0).square().sum()
        >>> torch.func.grad(loss)(parameters)["weight"].shape
        torch.Size([2, 3])
    """
    view = as_view(model)
    try:
        replaced(view.model, tensors)
    except ArgumentError as error:
        raise error.within("bind")  # noqa: B904  # the same error, now with its name
    return replace(view, tensors={**(view.tensors or {}), **tensors})


def layer(
    model: Model,
    where: Layers,
    *,
    side: Side = "output",
    call: Calls = None,
    joint: bool | Literal["cut"] = False,
) -> View:
    """A view of the model at a layer: the point is the layer's activation, the score the rest of the network.

    Args:
        model: A module, a callable that runs one (not under `torch.compile`), or a view (of a neuron, say).
        where: The layer, by dotted name or as a module. A list gives the list of the results that its layers give one
            by one.
        side: Attribute to the layer's `"output"` or `"input"` (its positional inputs, or its keyword inputs if it has
            no others).
        call: Which call, counted from 0, of a layer that runs several times in one forward pass. A list of numbers
            stands for that many layers.
        joint: Treat the layers of a list as one point, moved together from the baseline: for parallel layers such as
            word and position embeddings. Completeness then holds for their sum. With `"cut"` one may feed another: all
            are replaced, so that the first has what reaches the score around the second.

    Returns:
        A view, to be passed to any method in place of the model.

    Raises:
        ArgumentError: If the model has no such layer.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> af.ig(af.layer(model, "1"), torch.ones(5, 3), target=0).shape
        torch.Size([5, 4])
    """
    view = as_view(model)
    try:
        sites = find_sites(view.model, where, side, call)
    except ArgumentError as error:
        raise error.within("layer")  # noqa: B904  # the same error, now with its name
    several = not isinstance(where, str | nn.Module) or not (call is None or isinstance(call, int))
    return replace(view, place=AtLayers(sites, several, several and joint))


def neuron(
    model: Model, where: str | nn.Module, selector: Any, *, side: Side = "output", call: int | None = None
) -> View:
    """A view of the network cut off at one neuron: the score is the neuron's activation.

    Args:
        model: A module, a callable that runs one, or a view.
        where: The neuron's layer, by dotted name or as a module.
        selector: Which neuron: an int for a `(B, N)` activation, a tuple of indices behind the batch dimension (a slice
            in it sums over its range), an integer tensor, or a callable `activation -> (rows,)`.
        side: The neuron stands in the layer's `"output"` or `"input"`.
        call: Which call, counted from 0, of a layer that runs several times.

    Returns:
        A view, to be passed to any method in place of the model, with no target.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> af.saliency(af.neuron(model, "0", 2), torch.ones(5, 3)).shape
        torch.Size([5, 3])
    """
    view = as_view(model)
    if selector is None:
        raise ArgumentError(
            "selector", "None", "an int, a tuple, a tensor or a callable", "Say which neuron of the layer."
        ).within("neuron")
    try:
        site = find_site(view.model, where, side, call)
    except ArgumentError as error:
        raise error.within("neuron")  # noqa: B904  # as above
    return replace(view, output=(site, selector))
