"""The smallest value of an argument at which an attack succeeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from attrfunc.captum.convert import as_args, captum_call
from attrfunc.captum.robust.perturbation import Perturbation
from attrfunc.core.errors import ArgumentError, describe, positive
from attrfunc.core.score.target import Target
from attrfunc.core.trees import join_rows, map_rows, repeat_rows

__all__ = ["MinParamPerturbation", "MinParamPerturbationMode", "default_correct_fn", "drange"]


def drange(min_val: float, max_val: float, step_val: float) -> Iterator[float]:
    """Numbers from one to another, the last one included, whatever rounding does to their steps."""
    count = math.floor((max_val - min_val) / step_val + 1e-9)
    for number in range(count + 1):
        yield min(min_val + number * step_val, max_val)
    if count * step_val + min_val < max_val - 1e-9 * step_val:
        yield max_val


def default_correct_fn(model_out: Tensor, target: Target) -> bool:
    """Whether the class with the largest output is the target, for all examples."""
    if not isinstance(model_out, Tensor) or model_out.dim() != 2:
        fix = "Pass correct_fn= to MinParamPerturbation."
        raise ArgumentError("forward_func", describe(model_out), "outputs (B, C)", fix)
    labels = torch.as_tensor(target, device=model_out.device)
    return bool((model_out.argmax(1) == labels).all())


class MinParamPerturbationMode(Enum):
    """How values are searched."""

    LINEAR = 0
    BINARY = 1


class MinParamPerturbation:
    """Searches the smallest value of an attack's argument that makes a model wrong; see `minimal_perturbation`.

    `attrfunc.robust.minimal_perturbation` finds the smallest radius of each example.

    Args:
        forward_func: The model.
        attack: An attack, or any function of inputs.
        arg_name: The name of its argument.
        arg_min: The least value.
        arg_max: The largest, which is tried, too.
        arg_step: The step between values.
        mode: `"linear"` tries all values, `"binary"` halves the range.
        num_attempts: How often each value is tried: more than once, if the attack is random.
        preproc_fn: Makes of inputs what the model takes.
        apply_before_preproc: Whether the attack takes inputs as they come, or as `preproc_fn` makes them.
        correct_fn: `(outputs, target, **kwargs)`, or without a target, says whether the model is right.
    """

    @captum_call
    def __init__(
        self,
        forward_func: Callable[..., Any],
        attack: Callable[..., Any] | Perturbation,
        arg_name: str,
        arg_min: int | float,
        arg_max: int | float,
        arg_step: int | float,
        mode: str = "linear",
        num_attempts: int = 1,
        preproc_fn: Callable[..., Any] | None = None,
        apply_before_preproc: bool = False,
        correct_fn: Callable[..., Any] | None = None,
    ) -> None:
        if mode.upper() not in MinParamPerturbationMode.__members__:
            raise ArgumentError("mode", repr(mode), "'linear' or 'binary'", "Pass mode='linear'.")
        if not arg_min < arg_max:
            fix = "Exchange the two."
            raise ArgumentError("arg_max", describe(arg_max), f"more than arg_min, {arg_min}", fix)
        if not 0 < arg_step <= arg_max - arg_min:
            fix = "Pass a part of the range."
            raise ArgumentError("arg_step", describe(arg_step), f"a step up to {arg_max - arg_min}", fix)
        positive("num_attempts", num_attempts)
        self.forward_func = forward_func
        self.attack = attack
        self.arg_name = arg_name
        self.arg_min, self.arg_max, self.arg_step = arg_min, arg_max, arg_step
        self.mode = MinParamPerturbationMode[mode.upper()]
        self.num_attempts = num_attempts
        self.preproc_fn = preproc_fn
        self.apply_before_preproc = apply_before_preproc
        self.correct_fn = default_correct_fn if correct_fn is None else correct_fn

    def evaluate(
        self,
        inputs: Any,
        additional_forward_args: Any = None,
        target: Target = None,
        perturbations_per_eval: int = 1,
        attack_kwargs: dict[str, Any] | None = None,
        correct_fn_kwargs: dict[str, Any] | None = None,
    ) -> tuple[Any, int | float | None]:
        """Search for a batch, best of one example: a value succeeds if any example is wrong.

        Args:
            inputs: What the attack or `preproc_fn` takes.
            additional_forward_args: Further arguments of the model.
            target: What `correct_fn` gets.
            perturbations_per_eval: How many perturbed batches are evaluated at once.
            attack_kwargs: Further arguments of the attack.
            correct_fn_kwargs: Further arguments of `correct_fn`.

        Returns:
            The attacked inputs and the value; None and None where no value succeeds.
        """
        size = positive("perturbations_per_eval", perturbations_per_eval)
        plain = inputs if self.preproc_fn is None else self.preproc_fn(inputs)
        options = dict(correct_fn_kwargs or {})
        if target is not None:
            options["target"] = target
        args = as_args(additional_forward_args)
        values = [self._typed(value) for value in drange(self.arg_min, self.arg_max, self.arg_step)]

        def attempt(value: int | float) -> tuple[Any, Any]:
            before = self.apply_before_preproc
            moved = self.attack(inputs if before else plain, **(attack_kwargs or {}), **{self.arg_name: value})
            return moved, self.preproc_fn(moved) if before and self.preproc_fn is not None else moved

        def first_success(some: list[int | float]) -> tuple[Any, int | float | None]:
            tries = [value for value in some for _ in range(self.num_attempts)]
            for start in range(0, len(tries), size):
                chosen = tries[start : start + size]
                made = [attempt(value) for value in chosen]
                outputs = self._outputs([point for _, point in made], args)
                for (moved, _), value, output in zip(made, chosen, outputs, strict=True):
                    if not self.correct_fn(output, **options):
                        return moved, value
            return None, None

        if self.mode is MinParamPerturbationMode.LINEAR:
            return first_success(values)
        low, high, best = 0, len(values), (None, None)
        while low < high:
            middle = (low + high) // 2
            found = first_success([values[middle]])
            if found[1] is None:
                low = middle + 1
            else:
                high, best = middle, found  # type: ignore[assignment]
        return best

    def _outputs(self, points: list[Any], args: tuple[Any, ...]) -> list[Any]:
        if len(points) == 1:
            return [self.forward_func(points[0], *args)]
        counts = [len(one if isinstance(one, Tensor) else one[0]) for one in points]
        repeated = map_rows(lambda leaf: repeat_rows(leaf, len(points)), args, counts[0])
        return list(self.forward_func(join_rows(points), *repeated).split(counts))

    def _typed(self, value: float) -> int | float:
        whole = all(isinstance(one, int) for one in (self.arg_min, self.arg_max, self.arg_step))
        return int(value) if whole else value
