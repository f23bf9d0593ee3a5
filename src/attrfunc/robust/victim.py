"""A model under attack: its logits, and gradients of losses of them.

This is where `label`, `norm`, `radius`, `bounds`, `targeted`, `loss` and what attacks give are documented; every attack
refers here.

x: The inputs, one floating-point tensor `(B, *S)`; what else the model takes goes through `args` and `kwargs`.
label: The right class of each example: integers `(B,)`, or an int for all.
norm: `"linf"`, the largest change of an element, `"l2"`, the Euclidean norm over all of an example, or `"l1"`, the sum
    of the sizes of all changes.
radius: How far a perturbed input may be from `x` in this norm: a number of at least 0, or one for each example, `(B,)`.
    Attacks that look for the nearest input take `None`, for any distance.
bounds: The least and the largest value of an element, `(low, high)`: numbers, or tensors that broadcast to `x`. `None`
    sets none. `x` must be within.
targeted: Whether `label` is the class to reach, instead of the one to leave.
loss: What is maximised: `"cross_entropy"`, `"margin"` (the largest other logit less the label's), `"dlr"` (that margin,
    divided by the distance of the largest logit to the third one: it does not depend on the logits' scale; of three
    classes and more), or a callable `(logits, label) -> (B,)`. Targeted attacks maximise the negative.
chunk_size: Examples evaluated at once; see `attrfunc.core.loops.chunks`. All randomness is drawn for the whole batch,
    so that results do not depend on it.
generator: The source of randomness; `None` is torch's default generator.

An attack gives perturbed inputs with the shape and dtype of `x`, within the ball and the bounds up to rounding, and
without a graph. Whether they fool the model is for the caller to see: `model(found).argmax(1) != label`. The model must
be deterministic and treat its examples apart; it stays as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, Concatenate, ParamSpec

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, ModelError, describe, positive
from attrfunc.core.loops.chunks import Work
from attrfunc.core.loops.plan import planned
from attrfunc.core.model.engines import functional, require_finite
from attrfunc.core.score.method import method, open_problem
from attrfunc.core.score.problem import Problem
from attrfunc.core.score.target import Following
from attrfunc.core.score.views import Model, as_view
from attrfunc.core.trees import batch_size
from attrfunc.robust.half import in_single

__all__ = ["Loss", "Victim", "attack", "open_victim"]

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A function `(logits, labels, aims) -> (B,)` that an attack maximises."""

P = ParamSpec("P")


def attack(function: Callable[Concatenate[Model, P], Tensor]) -> Callable[Concatenate[Model, P], Tensor]:
    """Make a function of an opened view a public attack: its errors name it, and what it gives has no graph."""

    @functools.wraps(function)
    def ungraphed(model: Model, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        if functional():
            raise ModelError(
                "attacks do not run inside of transforms of torch.func or torch.compile: they branch on the model's "
                "predictions. Call the attack outside, on a batch of all examples."
            )
        with torch.no_grad():
            return in_single(function, as_view(model), args, kwargs)

    return method(ungraphed)


@dataclass(frozen=True)
class Victim:
    """A model under attack, with some examples.

    Attributes:
        problem: The model on these examples; its target is a loss.
        x: They themselves.
        labels: Their labels, `(B,)`.
        size: How many examples are evaluated at once.
        targeted: Whether the labels are the classes to reach.
        classes: How many classes there are.
    """

    problem: Problem
    x: Tensor
    labels: Tensor
    size: int
    targeted: bool
    classes: int

    def at(self, rows: Tensor) -> Victim:
        """The same for some of the examples, by their numbers."""
        return replace(self, problem=self.problem.at(rows), x=self.x[rows], labels=self.labels[rows])

    def logits(self, x: Tensor) -> Tensor:
        """Logits `(B, C)` at other inputs."""
        found = [_logits(self.problem.output(self._inputs(x, rows))) for rows in self._blocks()]
        logits = torch.cat(found) if len(found) > 1 else found[0]
        require_finite(logits)
        return logits

    def gradient(self, x: Tensor, loss: Loss, aims: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Logits `(B, C)`, losses `(B,)` and their gradients at other inputs.

        Args:
            x: The inputs.
            loss: The loss.
            aims: A class for each example, which it may speak of beside the label.
        """
        aims = self.labels if aims is None else aims
        parts = []
        for rows in self._blocks():
            seen: list[Tensor] = []
            target = Following(_Keeping(loss, seen), (), {"labels": self.labels[rows], "aims": aims[rows]})
            inputs = replace(self._inputs(x, rows), target=target)
            problem = replace(self.problem, inputs=inputs)
            point = problem.point()
            scores, slopes = problem.gradients(point.like([leaf[None] for leaf in point.leaves]))
            parts.append((seen[0], scores[0], slopes[0][0]))
        found = [leaf.detach() for leaf in parts[0]]
        if len(parts) > 1:
            found = [torch.cat(leaves).detach() for leaves in zip(*parts, strict=True)]
        return found[0], found[1], found[2]

    def fooled(self, logits: Tensor) -> Tensor:
        """Which examples the attack has succeeded with, `(B,)`."""
        hit = logits.argmax(1) == self.labels
        return hit if self.targeted else ~hit

    def _blocks(self) -> list[slice]:
        rows = len(self.x)
        return [slice(start, min(start + self.size, rows)) for start in range(0, rows, self.size)] or [slice(0, 0)]

    def _inputs(self, x: Tensor, rows: slice) -> Any:
        whole = rows.start == 0 and rows.stop == len(x)
        inputs = self.problem.inputs if whole else self.problem.inputs.at(rows)
        return inputs.moved(x[rows])


class _Keeping:
    """A loss that keeps the logits that it is called with."""

    def __init__(self, loss: Loss, seen: list[Tensor]) -> None:
        self._loss, self._seen = loss, seen

    def __call__(self, output: Any, *, labels: Tensor, aims: Tensor) -> Tensor:
        logits = _logits(output)
        self._seen.append(logits.detach())
        return self._loss(logits, labels, aims)


def _logits(output: Any) -> Tensor:
    logits = output if isinstance(output, Tensor) else getattr(output, "logits", output)
    if isinstance(logits, tuple | list) and logits and isinstance(logits[0], Tensor):
        logits = logits[0]
    if not isinstance(logits, Tensor) or logits.dim() != 2 or logits.shape[1] < 2 or not logits.is_floating_point():
        got = f"one with outputs that are {describe(logits)}"
        fix = "Wrap it so that it returns these; of one number z, torch.stack([-z, z], 1)."
        raise ArgumentError("model", got, "logits (B, C) of two classes and more", fix)
    return logits


def _largest(output: Any, *, labels: Tensor, aims: Tensor) -> Tensor:
    return _logits(output).amax(1)


def open_victim(
    model: Model,
    x: Any,
    label: Any,
    *,
    targeted: bool = False,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
) -> Victim:
    """Open a model for an attack.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If examples are not scored apart.
    """
    view = as_view(model)
    if view.sites or view.output is not None:
        fix = "Attack the model itself, or a function of the activation that goes on from there."
        raise ArgumentError("model", "a view of a layer or of a neuron", "a model of inputs", fix)
    if not isinstance(x, Tensor) or not x.is_floating_point():
        fix = "Pass what else the model takes through args and kwargs, and embeddings in place of identifiers."
        raise ArgumentError("x", describe(x), "one tensor (B, *S) of floating-point numbers", fix)
    rows = batch_size(x)
    if not x.shape[1:].numel():
        fix = "Leave examples without features out."
        raise ArgumentError("x", describe(x), "at least one number for each example", fix)
    labels = _labels(label, rows, x.device)
    target = functools.partial(_largest, labels=labels, aims=labels)
    problem = planned(open_problem(view, x.detach(), target, args, kwargs), chunk_size, share=False)
    if not problem.plan.apart:
        raise ModelError(
            "the logits of an example depend on the others of its batch, so examples cannot be attacked apart. Call "
            "model.eval(), or attack one example at a time."
        )
    plan = problem.plan
    size = positive("chunk_size", chunk_size) if chunk_size is not None else max(rows, 1)
    if chunk_size is None and plan.row_bytes and plan.folds:
        size = Work.of(problem).rows_at_once(plan.row_bytes * rows)
    logits = _logits(problem.output(problem.inputs.at(slice(0, min(rows, size)))))
    if plan.fixed:
        size = max(rows, 1)
    classes = logits.shape[1]
    if rows and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        fix = f"The model has {classes} classes."
        raise ArgumentError("label", str(int(wrong)), f"classes from 0 to {classes - 1}", fix)
    return Victim(problem, x.detach(), labels, size, targeted, classes)


def _labels(label: Any, rows: int, device: torch.device) -> Tensor:
    if isinstance(label, Integral) and not isinstance(label, bool):
        return torch.full((rows,), int(label), device=device)
    if isinstance(label, list):
        label = torch.tensor(label) if all(isinstance(one, int) for one in label) else label
    whole = isinstance(label, Tensor) and not (label.is_floating_point() or label.is_complex())
    if not whole or label.dtype == torch.bool or label.shape != (rows,):
        fix = "Pass label=labels, the classes as numbers."
        raise ArgumentError("label", describe(label), f"an int, or integers of shape ({rows},)", fix)
    return label.to(device, torch.long)
