"""Attacks beside each other, by any metric."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from attrfunc.captum.convert import as_args, captum_call
from attrfunc.captum.robust.perturbation import Perturbation
from attrfunc.core.errors import ArgumentError, positive
from attrfunc.core.trees import join_rows, map_rows, repeat_rows

__all__ = ["AttackComparator", "AttackInfo"]

ORIGINAL = "Original"

MetricResultType = TypeVar("MetricResultType")


class AttackInfo(NamedTuple):
    """An attack that was added."""

    attack_fn: Perturbation | Callable[..., Any]
    name: str
    num_attempts: int
    apply_before_preproc: bool
    attack_kwargs: dict[str, Any]
    additional_args: list[str]


class AttackComparator(Generic[MetricResultType]):
    """Measures a model on original and attacked inputs; see `attrfunc.robust.compare_attacks`.

    Args:
        forward_func: The model.
        metric: `(outputs, **kwargs)` gives a number, a tensor, or a tuple of these.
        preproc_fn: Makes of inputs what the model takes.
    """

    def __init__(
        self, forward_func: Callable[..., Any], metric: Callable[..., Any], preproc_fn: Callable[..., Any] | None = None
    ) -> None:
        self.forward_func = forward_func
        self.metric = metric
        self.preproc_fn = preproc_fn
        self.attacks: dict[str, AttackInfo] = {}
        self.summary_results: dict[str, list[Any]] = {}

    @captum_call
    def add_attack(
        self,
        attack: Perturbation | Callable[..., Any],
        name: str | None = None,
        num_attempts: int = 1,
        apply_before_preproc: bool = True,
        attack_kwargs: dict[str, Any] | None = None,
        additional_attack_arg_names: list[str] | None = None,
    ) -> None:
        """Add an attack.

        Args:
            attack: An attack, or any function of inputs.
            name: Its name; else that of its class.
            num_attempts: How often it is run: more than once, if it is random.
            apply_before_preproc: Whether it takes inputs as they come, or as `preproc_fn` makes them.
            attack_kwargs: Its arguments.
            additional_attack_arg_names: Which further arguments of `evaluate` it gets.
        """
        name = type(attack).__name__ if name is None else name
        if name in self.attacks:
            raise ArgumentError("name", repr(name), "a name that no other attack has", "Pass name=.")
        positive("num_attempts", num_attempts)
        names = list(additional_attack_arg_names or [])
        self.attacks[name] = AttackInfo(
            attack, name, num_attempts, apply_before_preproc, dict(attack_kwargs or {}), names
        )

    def evaluate(
        self, inputs: Any, additional_forward_args: Any = None, perturbations_per_eval: int = 1, **kwargs: Any
    ) -> dict[str, Any]:
        """Measure the model on a batch.

        Args:
            inputs: What the attacks and `preproc_fn` take.
            additional_forward_args: Further arguments of the model.
            perturbations_per_eval: How many perturbed batches are evaluated at once.
            kwargs: Arguments of the metric, and of attacks that name them.

        Returns:
            The metric of the inputs as they are by `"Original"`; for each attack a dict of `"mean"`, and of `"max"` and
            `"min"` where there are several attempts.
        """
        plain = inputs if self.preproc_fn is None else self.preproc_fn(inputs)
        points, names = [plain], [ORIGINAL]
        for name, info in self.attacks.items():
            for attacked in self._attacked(info, inputs, plain, kwargs):
                points.append(attacked)
                names.append(name)
        values = self._measured(points, as_args(additional_forward_args), perturbations_per_eval, kwargs)
        found: dict[str, Any] = {ORIGINAL: _map(lambda part: part, values[0])}
        self._summed(ORIGINAL, values[0])
        for name, info in self.attacks.items():
            own = [value for value, one in zip(values, names, strict=True) if one == name]
            if info.num_attempts == 1:
                found[name] = {"mean": _map(lambda part: part, own[0])}
                self._summed(name, own[0])
                continue
            found[name] = {
                "mean": _over(own, lambda part: part.mean(0)),
                "min": _over(own, lambda part: part.amin(0)),
                "max": _over(own, lambda part: part.amax(0)),
            }
            for key, value in found[name].items():
                self._summed(f"{name} {key.title()} Attempt", value)
        return found

    def summary(self) -> dict[str, dict[str, Any]]:
        """Means over all batches since the last `reset`; tensors are averaged over dimension 0 of each batch."""
        return {
            name: {"mean": _over(values, lambda part: part.mean(0))} for name, values in self.summary_results.items()
        }

    def reset(self) -> None:
        """Forget the batches so far."""
        self.summary_results = {}

    def _attacked(self, info: AttackInfo, inputs: Any, plain: Any, kwargs: dict[str, Any]) -> list[Any]:
        given = {}
        for name in info.additional_args:
            if name in kwargs:
                given[name] = kwargs[name]
            else:
                warnings.warn(f"Additional sample arg {name} not provided for {info.name}", stacklevel=3)
        found = []
        for _ in range(info.num_attempts):
            before = info.apply_before_preproc
            moved = info.attack_fn(inputs if before else plain, **given, **info.attack_kwargs)
            found.append(self.preproc_fn(moved) if before and self.preproc_fn is not None else moved)
        return found

    def _measured(self, points: list[Any], args: tuple[Any, ...], at_once: int, kwargs: dict[str, Any]) -> list[Any]:
        size, values = positive("perturbations_per_eval", at_once), []
        for start in range(0, len(points), size):
            some = points[start : start + size]
            if len(some) == 1:
                outputs = [self.forward_func(some[0], *args)]
            else:
                rows = _rows(some[0])
                repeated = map_rows(functools.partial(repeat_rows, times=len(some)), args, rows)
                outputs = list(self.forward_func(join_rows(some), *repeated).split([_rows(one) for one in some]))
            values += [self.metric(output, **kwargs) for output in outputs]
        return values

    def _summed(self, name: str, value: Any) -> None:
        mean = _map(lambda part: part.mean(0) if part.dim() else part, value)
        self.summary_results.setdefault(name, []).append(mean)


def _rows(inputs: Any) -> int:
    return len(inputs if isinstance(inputs, Tensor) else inputs[0])


def _over(values: list[Any], reduce: Callable[[Tensor], Tensor]) -> Any:
    """One value of several: tuples part by part."""
    if isinstance(values[0], tuple):
        parts = [_over(list(column), reduce) for column in zip(*values, strict=True)]
        return _rebuilt(values[0], parts)
    return reduce(torch.stack([_tensor(value) for value in values]))


def _map(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    if isinstance(value, tuple):
        return _rebuilt(value, [_map(function, part) for part in value])
    return function(_tensor(value))


def _tensor(value: Any) -> Tensor:
    tensor = value.detach() if isinstance(value, Tensor) else torch.tensor(value)
    return tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())


def _rebuilt(value: tuple[Any, ...], parts: list[Any]) -> tuple[Any, ...]:
    return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
