"""Two engines behind one gradient, and what is asked of tensors that a transform may have wrapped.

Where no transform of torch.func is active and nothing compiles, plain autograd gives the same numbers without
dispatching each operation twice, and takes models that torch.func cannot trace. Elsewhere `torch.func.vjp` does it. No
method knows which of them ran.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._C import _functorch
from torch._C._functorch import TransformType
from torch.autograd import forward_ad
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ModelError
from attrfunc.core.model.culprits import CHECKPOINT_FIX
from attrfunc.core.model.visible import shifted
from attrfunc.core.trees import leaves_of

__all__ = [
    "Tape",
    "differentiated",
    "functional",
    "inside",
    "known",
    "level",
    "mapped",
    "no_saved_tensor_hooks",
    "numbers",
    "on_tape",
    "require_finite",
    "settled",
    "transformed",
    "value_and_gradient",
    "worst",
    "wrapped",
]

R = TypeVar("R")
Trained = Callable[[], Iterable[Tensor]] | None


def functional() -> bool:
    """Whether a transform is active or a compiler traces, so that gradients have to be taken by `torch.func`."""
    if torch.compiler.is_compiling():
        return True
    return _functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0


def mapped() -> bool:
    """Whether `vmap` is active, by which tensors may have more rows than they show."""
    return any(one.key() == TransformType.Vmap for one in _functorch.get_interpreter_stack() or ())


def level() -> int:
    """The current level of torch.func; 0 where no transform is active, and to a compiler."""
    return 0 if torch.compiler.is_compiling() else _functorch.maybe_current_level() or 0


def value_and_gradient(
    function: Callable[[list[Tensor]], Tensor],
    point: Sequence[Tensor],
    *,
    levels: bool = False,
    closed: bool = False,
    trained: Trained = tuple,
) -> tuple[Tensor, list[Tensor | None]]:
    """Value and gradient of a function, which may have several values: the gradient is that of their sum.

    The backward pass records a graph of its own only where someone outside differentiates the result: `torch.func.grad`
    always records it, at 1.1 to 1.7 times the time. Under the caller's `torch.no_grad()` nothing that is returned has a
    graph. Nothing is summed, so scores in half precision do not overflow.

    Args:
        function: Maps a list of tensors to a tensor of floating-point numbers.
        point: Where to differentiate.
        levels: Take the gradient by torch.func in any case.
        closed: Whether nothing but the point is differentiated through, as is known.
        trained: Gives the tensors besides the point that may require a gradient, which are to stay without; None where
            parts of the model may not run again in the backward pass.

    Returns:
        The values, and a gradient for each tensor of `point`: None where there is no way to it from the values.
    """
    if not levels and not functional():
        wanted = torch.is_grad_enabled() and not closed
        with torch.inference_mode(False), torch.enable_grad():
            leaves, tape = _plain_tape(point, None, wanted, trained)
            values = function(leaves)
            try:
                found = tape.slopes([values], leaves, [torch.ones_like(values)])
            except _ReentrantError:  # which has freed a part of what was recorded
                assert trained is not None
                trained()
                leaves, tape = _plain_tape(point, None, wanted, trained)
                values = function(leaves)
                found = tape.accumulated(values, leaves)
        return tape.kept(values), [None if leaf is None else tape.kept(leaf) for leaf in found]
    wanted, tracked = torch.is_grad_enabled(), []

    def noted(leaves: list[Tensor]) -> Tensor:
        values = function(leaves)
        tracked.append(values.requires_grad)
        return values

    with torch.enable_grad():  # Some kernels (oneDNN's LSTM) keep what their backward needs only in this mode.
        values, pull = torch.func.vjp(noted, list(point))  # type: ignore[misc]  # three values only with has_aux
    if not tracked[0]:
        return values if wanted else values.detach(), [None] * len(point)
    with torch.set_grad_enabled(wanted and differentiated(values)):
        (gradient,) = pull(torch.ones_like(values), retain_graph=False)
    return (values, gradient) if wanted else (values.detach(), [leaf.detach() for leaf in gradient])


class _ReentrantError(Exception):
    """A model checkpoints in the reentrant way."""


class Tape:
    """What is recorded while a function runs.

    Args:
        wanted: Whether what is returned may have a graph.
        zero: A zero that is recorded, or the device of one.
        own: The leaves of plain autograd that are the library's own; None where torch.func records.
        trained: As for `value_and_gradient`.
    """

    def __init__(
        self,
        wanted: bool,
        zero: Tensor | torch.device | None,
        own: Sequence[Tensor] | None = None,
        trained: Trained = tuple,
    ) -> None:
        self._wanted, self._zero, self._trained = wanted, zero, trained
        self._own = None if own is None else {id(leaf): leaf for leaf in own}

    def watch(self, value: Tensor) -> Tensor:
        """The value, so that gradients with respect to it can be taken, without those of what goes around it."""
        if not torch.is_grad_enabled():
            raise ModelError(
                "the layer runs where the model has switched gradients off: under torch.no_grad, or in reentrant "
                f"gradient checkpointing (use_reentrant=True). Attribute at a layer outside of it. {CHECKPOINT_FIX}"
            )
        if not isinstance(self._zero, Tensor):
            self._zero = torch.zeros((), device=self._zero, requires_grad=True)
            assert self._own is not None
            self._own[id(self._zero)] = self._zero
        return shifted(value, self._zero.to(value))

    def gradient(self, values: Tensor, wrt: Sequence[Tensor], *, again: bool = False) -> list[Tensor]:
        """The gradient of the sum of values, zeros where there is none; `again` if more will be taken of the same."""
        found = self.slopes([values], wrt, [torch.ones_like(values)], again=again)
        return [torch.zeros_like(leaf) if slope is None else slope for slope, leaf in zip(found, wrt, strict=True)]

    def slopes(
        self, outputs: Sequence[Tensor], wrt: Sequence[Tensor], weights: Sequence[Tensor], *, again: bool = False
    ) -> list[Tensor | None]:
        """The gradients of what several outputs add up to with weights; None where there is no way to them."""
        pairs = [pair for pair in zip(outputs, weights, strict=True) if pair[0].requires_grad]
        if not pairs:
            return [None] * len(wrt)
        graph = self._wanted and any(self.is_seen_outside(output) for output, _ in pairs)
        given: Any = tuple(zip(*pairs, strict=True))
        options: Any = {"create_graph": graph, "retain_graph": graph or again}
        try:
            return list(torch.autograd.grad(given[0], list(wrt), given[1], allow_unused=True, **options))
        except RuntimeError as error:
            if "incompatible with .grad()" not in str(error):
                raise
            if self._trained is None or graph or again or any(not leaf.is_leaf for leaf in wrt):
                raise ModelError(
                    "reentrant gradient checkpointing has gradients at the input only, and none of these gradients: it "
                    f"runs layers again, without what was put there. {CHECKPOINT_FIX}"
                ) from error
            raise _ReentrantError from error

    def accumulated(self, values: Tensor, leaves: Sequence[Tensor]) -> list[Tensor | None]:
        """The gradient for reentrant checkpointing, which only knows gradients that add up in their leaves."""
        assert self._trained is not None
        others = [(tensor, tensor.grad) for tensor in self._trained() if tensor.requires_grad and tensor.is_leaf]
        torch.autograd.backward([values], [torch.ones_like(values)])
        for tensor, gradient in others:
            tensor.grad = gradient
        return [leaf.grad for leaf in leaves]

    def kept(self, value: Tensor) -> Tensor:
        """A result of plain autograd, without the tape's own graph."""
        return value if self._wanted and value.requires_grad and self.is_seen_outside(value) else value.detach()

    def is_seen_outside(self, value: Tensor) -> bool:
        """Whether anyone but this tape differentiates through a value."""
        if self._own is None:
            return differentiated(inside(value))
        seen, nodes = set(), [value.grad_fn]
        while nodes:
            node = nodes.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            variable = getattr(node, "variable", None)
            if variable is not None and id(variable) not in self._own:
                return True
            nodes += [following for following, _ in node.next_functions]
        return False


def on_tape(
    function: Callable[[list[Tensor], Tape], R],
    point: Sequence[Tensor],
    *,
    device: torch.device | None = None,
    levels: bool = False,
    closed: bool = False,
    trained: Trained = tuple,
) -> R:
    """Run a function that takes gradients of what it computes on the way. Not for a compiler.

    Args:
        function: Gets the point and the tape, and gives any structure.
        point: Tensors that gradients may be taken with respect to.
        device: Where they are, if there are none.
        levels: Record by torch.func in any case.
        closed: As for `value_and_gradient`.
        trained: As for `value_and_gradient`.

    Returns:
        What the function gave, without the graph to the point.
    """
    wanted = torch.is_grad_enabled()
    device = point[0].device if point else device
    if levels or functional():
        start = [*point, torch.zeros((), device=device)]
        run = lambda *leaves: (leaves[-1], function(list(leaves[:-1]), Tape(wanted, leaves[-1])))  # noqa: E731
        with torch.enable_grad():
            _, _, result = torch.func.vjp(run, *start, has_aux=True)  # type: ignore[misc]
        return result if wanted else pytree.tree_map_only(Tensor, Tensor.detach, result)
    with torch.inference_mode(False), torch.enable_grad():
        leaves, tape = _plain_tape(point, device, wanted and not closed, trained)
        result = function(leaves, tape)
    return pytree.tree_map_only(Tensor, tape.kept, result)


def _plain_tape(
    point: Sequence[Tensor], device: torch.device | None, wanted: bool, trained: Trained
) -> tuple[list[Tensor], Tape]:
    """The leaves of plain autograd, and what records there."""
    leaves = [leaf.view_as(leaf) if leaf.requires_grad else _leaf(leaf) for leaf in point]
    device = point[0].device if point else device
    return leaves, Tape(wanted, device, [leaf for leaf in leaves if leaf.is_leaf], trained)


def _leaf(value: Tensor) -> Tensor:
    plain = value.clone() if value.is_inference() else value.detach()
    return plain.requires_grad_()


def differentiated(value: Tensor) -> bool:
    """Whether anyone outside differentiates through `value`: plain autograd, or an outer grad, vjp or jacrev.

    A batched or dual tensor answers `requires_grad` for its own level only, so every level is asked.
    """
    if torch.compiler.is_compiling():
        return True  # A compiler drops what is not used; it cannot trace the question.
    while not value.requires_grad:
        if not _functorch.is_functorch_wrapped_tensor(value):
            return False
        value = _functorch.get_unwrapped(value)
    return True


def no_saved_tensor_hooks() -> AbstractContextManager[None]:
    """Refuse gradient checkpointing where layers may not run again in the backward pass."""
    if functional():
        return nullcontext()  # torch.func refuses them by itself
    return torch.autograd.graph.disable_saved_tensors_hooks("saved tensor hooks")


def known(condition: Tensor) -> bool | None:
    """The truth of a scalar tensor, or None where a transform hides it (vmap, compilation)."""
    if torch.compiler.is_compiling():
        return None
    while _functorch.is_functorch_wrapped_tensor(condition):
        if _functorch.is_batchedtensor(condition):
            return None
        condition = _functorch.get_unwrapped(condition)
    return None if condition.is_meta else bool(condition)


def settled(condition: Tensor) -> bool:
    """Whether a condition holds everywhere, for all that is mapped together."""
    while _functorch.is_functorch_wrapped_tensor(condition):
        condition = _functorch.get_unwrapped(condition)
    return bool(condition.all())


def worst(values: Tensor) -> list[float]:
    """The numbers in a vector; under vmap, the largest of all entries that are mapped together."""
    while _functorch.is_functorch_wrapped_tensor(values):
        mapped = _functorch.maybe_get_bdim(values) if _functorch.is_batchedtensor(values) else None
        values = _functorch.get_unwrapped(values)
        values = values if mapped is None else values.amax(mapped)
    return numbers(values)


def numbers(values: Tensor) -> list[Any]:
    """The numbers in a vector, also inside a transform that takes gradients: not every torch's `tolist` works there."""
    return [value.item() for value in values] if functional() else values.tolist()


def wrapped(value: Tensor) -> bool:
    """Whether a transform of torch.func has wrapped this tensor."""
    return _functorch.is_functorch_wrapped_tensor(value)


def transformed(tree: Any) -> bool:
    """Whether a transform or plain autograd works through any tensor of a structure.

    Fused kernels have no second derivative, no forward-mode and no batching rule.
    """
    leaves = [leaf for leaf in leaves_of(tree) if isinstance(leaf, Tensor)]
    return any(leaf.requires_grad or (not torch.compiler.is_compiling() and wrapped(leaf)) for leaf in leaves)


def inside(value: Tensor) -> Tensor:
    """What the innermost transform wraps."""
    return value if torch.compiler.is_compiling() or not wrapped(value) else _functorch.get_unwrapped(value)


def require_finite(scores: Tensor) -> None:
    """Raise if a score is infinite or not a number, where that can be seen."""
    if known(torch.isfinite(scores).all()) is False:
        worst_one = next(number for number in numbers(scores.flatten()) if not abs(number) < float("inf"))
        raise ModelError(
            f"the score is not finite (it is {worst_one}), so no attribution of it means anything. Look for "
            "overflow, log(0) or 0/0 in the model at the input, the baseline, or between them."
        )
