"""Sanity checks: explanations must depend on the weights and on what is explained (Adebayo et al. 2018; Sixt 2020)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.score.method import named
from attrfunc.core.score.target import canonical
from attrfunc.core.score.views import Model, View, as_view, bind
from attrfunc.core.trees import batch_size
from attrfunc.metrics.similarity import Similarity, compared, flat, similarity_of

__all__ = ["Randomised", "parameter_randomisation", "random_logit"]

KINDS = ("normal", "shuffled")


class Randomised(NamedTuple):
    """What `parameter_randomisation` gives.

    Attributes:
        layers: Names of the layers, in the order in which they were made random: the last of the model first.
        similarities: `(L, B)`, with the weights of all layers up to and with this one random.
    """

    layers: tuple[str, ...]
    similarities: Tensor


def parameter_randomisation(
    method: Callable[..., Any],
    *,
    similarity: Similarity = "spearman",
    layers: Sequence[str] | None = None,
    cascading: bool = True,
    kind: str = "normal",
    absolute: bool = False,
    generator: torch.Generator | None = None,
) -> Callable[..., Randomised]:
    """How alike a method's explanations remain as the model's weights are made random, layer by layer.

    An explanation that does not change tells nothing of what the model has learned. The user's model stays as it is.

    Args:
        method: Any function `(model, x, **options)` that gives attributions.
        similarity: How two explanations are compared; see `attrfunc.metrics.similarity`.
        layers: Names of the modules whose own parameters are made random, in this order; `None` takes all that have
            any, the last one first.
        cascading: Let the layers before stay random; `False` makes one layer random at a time.
        kind: `"normal"` draws with the mean and the standard deviation of each tensor, `"shuffled"` permutes it.
        absolute: Compare absolute attributions, as published beside signed ones.
        generator: The source of randomness; `None` is torch's default generator.

    Returns:
        A function `(model, x, **options)`, called as the method is, which gives `Randomised`: `layers` and
        `similarities` `(L, B)`. Low ones are good.

    Raises:
        ArgumentError: If an argument cannot be right.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> check = af.metrics.parameter_randomisation(af.saliency, generator=torch.Generator().manual_seed(0))
        >>> result = check(model, torch.randn(5, 6), target=1)
        >>> result.layers, result.similarities.shape
        (('2', '0'), torch.Size([2, 5]))

    Reference:
        Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim: Sanity Checks for Saliency Maps, NeurIPS 2018,
        https://arxiv.org/abs/1810.03292.
    """
    checked = named("parameter_randomisation", _checked)
    compare = checked(method, similarity, kind)

    def check(model: Model, x: Any, /, **options: Any) -> Randomised:
        view, rows = as_view(model), batch_size(x)
        owned = _owned(view)
        names = tuple(reversed(owned)) if layers is None else tuple(layers)
        for name in names:
            if name not in owned:
                expected = f"modules with parameters of their own, such as {list(owned)[:5]}"
                raise ArgumentError("layers", repr(name), expected, "Take a name of named_modules().")
        if not names:
            fix = "Leave layers out for all; a model without parameters has none to make random."
            raise ArgumentError("layers" if owned else "model", "no layer with parameters", "one at least", fix)
        size = _reader(rows, absolute)
        random: dict[str, Tensor] = {}
        before, found = size(method(model, x, **options)), []
        for name in names:
            drawn = {key: _drawn(value, kind, generator) for key, value in owned[name].items()}
            random = {**random, **drawn} if cascading else drawn
            found.append(compared(compare, before, size(method(bind(view, random), x, **options))))
        return Randomised(names, torch.stack(found))

    return named(f"parameter_randomisation({_name(method)})", check)


def random_logit(
    method: Callable[..., Any],
    *,
    similarity: Similarity = "spearman",
    absolute: bool = False,
    generator: torch.Generator | None = None,
) -> Callable[..., Tensor]:
    """How alike a method's explanations of the target and of another class are, drawn at random for each example.

    Args:
        method: Any function `(model, x, target=..., **options)` that gives attributions.
        similarity: How two explanations are compared; see `attrfunc.metrics.similarity`.
        absolute: Compare absolute attributions.
        generator: The source of randomness; `None` is torch's default generator.

    Returns:
        A metric `(model, x, *, target, **options)`, called as the method is, for a target that is an int or a tensor
        `(B,)` of them: similarities `(B,)`. 1 where the explanation does not depend on the class.

    Raises:
        ArgumentError: If an argument cannot be right.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        >>> check = af.metrics.random_logit(af.ig, generator=torch.Generator().manual_seed(0))
        >>> check(model, torch.randn(5, 6), target=1).shape
        torch.Size([5])

    Reference:
        Sixt, Granz, Landgraf: When Explanations Lie: Why Many Modified BP Attributions Fail, ICML 2020,
        https://arxiv.org/abs/1912.09818.
    """
    checked = named("random_logit", _checked)
    compare = checked(method, similarity, "normal")

    def check(model: Model, x: Any, /, *, target: Any, **options: Any) -> Tensor:
        rows = batch_size(x)
        index = canonical(target, rows)
        if callable(index) or index is None or len(index) != 1 or isinstance(index[0], slice):
            fix = "Pass target=labels."
            raise ArgumentError("target", describe(target), "an int, or integers (B,)", fix)
        labels = torch.as_tensor(index[0]).expand(rows)
        size = _reader(rows, absolute)
        before = size(method(model, x, target=target, **options))
        classes = _classes(model, x, options)
        if classes < 2:
            raise ArgumentError("model", "outputs of one class", "two classes and more", "There is no other class.")
        device = None if generator is None else generator.device
        # From 1 to classes - 1 further on, around the end.
        steps = torch.randint(1, classes, (rows,), generator=generator, device=device).to(labels.device)
        after = size(method(model, x, target=(labels % classes + steps) % classes, **options))
        return compared(compare, before, after)

    return named(f"random_logit({_name(method)})", check)


def _checked(method: Any, similarity: Similarity, kind: str) -> Callable[[Tensor, Tensor], Tensor]:
    if not callable(method):
        raise ArgumentError("method", describe(method), "a callable (model, x, **options)", "Pass af.ig, say.")
    if kind not in KINDS:
        raise ArgumentError("kind", repr(kind), f"one of {', '.join(KINDS)}", "Pass kind='normal', say.")
    return similarity_of(similarity)


def _reader(rows: int, absolute: bool) -> Callable[[Any], Tensor]:
    return lambda given: flat(given, rows).abs() if absolute else flat(given, rows)


def _name(method: Callable[..., Any]) -> str:
    return getattr(method, "__name__", type(method).__name__)


def _owned(view: View) -> dict[str, dict[str, Tensor]]:
    """The parameters of each module of its own, by name, in the model's order."""
    if not isinstance(view.model, nn.Module):
        got = describe(view.model)
        raise ArgumentError("model", got, "a module, or a view of one, whose parameters are known", "Pass the module.")
    owned: dict[str, dict[str, Tensor]] = {}
    for name, parameter in view.model.named_parameters():
        given = (view.tensors or {}).get(name, parameter)
        owned.setdefault(name.rpartition(".")[0], {})[name] = given.detach()
    return owned


def _drawn(tensor: Tensor, kind: str, generator: torch.Generator | None) -> Tensor:
    device = "cpu" if generator is None else generator.device
    if kind == "shuffled":
        order = torch.randperm(tensor.numel(), generator=generator, device=device).to(tensor.device)
        return tensor.reshape(-1)[order].view(tensor.shape)
    noise = torch.randn(tensor.shape, generator=generator, device=device, dtype=torch.float32).to(tensor)
    return tensor.mean() + tensor.std(correction=0) * noise


def _classes(model: Model, x: Any, options: dict[str, Any]) -> int:
    view = as_view(model)
    with torch.no_grad():
        inputs = x if isinstance(x, tuple) else (x,)
        output = view(*inputs, *options.get("args", ()), **(options.get("kwargs") or {}))
    output = getattr(output, "logits", output)
    if not isinstance(output, Tensor) or output.dim() != 2:
        fix = "Wrap the model so that it returns scores (B, C)."
        raise ArgumentError("model", f"one with outputs that are {describe(output)}", "outputs (B, C)", fix)
    return output.shape[1]
