"""Feature ablation over a whole data set."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import RandomSampler

from attrfunc.core.baseline import Baseline, resolve_baseline
from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.method import method
from attrfunc.core.progress import Progress, reporter
from attrfunc.core.quadrature import positive
from attrfunc.core.stateless import Twin
from attrfunc.core.trees import batch_size
from attrfunc.core.views import Model, as_view
from attrfunc.perturbation.feature_groups import FeatureMask, Groups

__all__ = ["Role", "dataset_ablation", "losses"]

Role = Literal["attribute", "forward", "ignore"]

Reduce = Callable[[Any, Any, tuple[Any, ...]], Any]


@method
def dataset_ablation(
    model: Model,
    batches: Iterable[Any],
    *,
    input_roles: Sequence[Role] | None = None,
    baseline: Baseline = None,
    feature_mask: FeatureMask = None,
    reduce: Reduce | None = None,
    to_metric: Callable[[Any], Tensor] | None = None,
    perturbations_per_pass: int | None = None,
    progress: Progress = False,
) -> Any:
    """What a metric of a whole data set loses when one group of features is replaced in all of its examples.

    `metric(all outputs) - metric(all outputs with the group replaced)`, given to every element of the group.

    Args:
        model: A module or any callable.
        batches: The data set: an iterable of batches, such as a `DataLoader`. A batch is a tensor, or a tuple or list
            of which tensors are attributed; only the number of examples varies.
        input_roles: What each element of a batch is for: `"attribute"` (an argument of the model that is attributed),
            `"forward"` (any other argument), `"ignore"` (not for the model: labels, say). `None` attributes to all.
        baseline: What replaces features of the attributed elements, alike in all examples; see
            `attrfunc.core.baseline`.
        feature_mask: The groups of the attributed elements, alike in all examples; see
            `attrfunc.perturbation.feature_groups`.
        reduce: `(state, output, batch) -> state` collects the model's outputs, batch by batch; the state is `None` at
            first, and the batch has all its elements, perturbed. `None` concatenates the outputs.
        to_metric: Makes of the last state the metric, a tensor of any shape `M`; `None` takes the state itself.
        perturbations_per_pass: How many perturbations to evaluate, and states to hold, in one pass over the data.
            `None` takes all in one.
        progress: Whether and how to report; see `attrfunc.core.evaluate`.

    Returns:
        Attributions in units of the metric, `(*M, *S)` for an attributed element `(B, *S)`: a tuple of these, or a
        tensor if batches are. *Sensitivity*: a group that the metric does not depend on gets zero.

    Raises:
        ArgumentError: If an argument cannot be right, or the data cannot be passed over as often as it takes.

    Example:
        >>> model = torch.nn.Linear(4, 3)
        >>> data = [(torch.randn(8, 4), torch.randint(3, (8,))) for _ in range(5)]
        >>> def hits(state, output, batch):
        ...     return (0 if state is None else state) + (output.argmax(1) == batch[1]).sum()
        >>> (loss,) = af.dataset_ablation(model, data, input_roles=("attribute", "ignore"), reduce=hits)
        >>> loss.shape  # how many hits each feature is worth
        torch.Size([4])
    """
    return losses(
        model,
        batches,
        input_roles=input_roles,
        baseline=baseline,
        feature_mask=feature_mask,
        reduce=reduce,
        to_metric=to_metric,
        perturbations_per_pass=perturbations_per_pass,
        progress=progress,
    ).spread()


class Losses(NamedTuple):
    """What the metric loses.

    Attributes:
        of_groups: Without each group, `(*M, n)`.
        groups: The groups.
        point: The attributed elements of the first batch.
        alone: Whether batches are single tensors.
    """

    of_groups: Tensor
    groups: Groups
    point: tuple[Tensor, ...]
    alone: bool

    def spread(self) -> Any:
        """What the group of each element is worth, `(*M, *S)`."""
        before = self.of_groups.shape[:-1]
        parts = tuple(
            self.of_groups[..., ids[0]].expand(*before, *leaf.shape[1:])
            for ids, leaf in zip(self.groups.ids, self.point, strict=True)
        )
        return parts[0] if self.alone else parts


def losses(
    model: Model,
    batches: Iterable[Any],
    *,
    input_roles: Sequence[Role] | None,
    baseline: Baseline,
    feature_mask: FeatureMask,
    reduce: Reduce | None,
    to_metric: Callable[[Any], Tensor] | None,
    perturbations_per_pass: int | None,
    progress: Progress,
) -> Losses:
    """What the metric loses without each group; see `dataset_ablation`."""
    if as_view(model).sites or as_view(model).output:
        raise ArgumentError("model", "a view", "a model, all of whose output is reduced", "Pass the model itself.")
    iterator = iter(batches)
    first = next(iterator, None)
    if first is None:
        raise ArgumentError("batches", "no batch", "at least one", "A generator may have been used up: pass a list.")
    roles = _roles(input_roles, _elements(first))
    point = _attributed(_elements(first), roles)
    groups = _groups(feature_mask, point)
    _require_one_baseline(baseline, point)
    total = groups.count + 1
    at_once = total if perturbations_per_pass is None else positive("perturbations_per_pass", perturbations_per_pass)
    passes = [range(begin, min(begin + at_once, total)) for begin in range(0, total, at_once)]
    if len(passes) > 1:
        _require_repeatable(batches, iterator, per_example=reduce is None and to_metric is None)
    report = reporter(progress, total)
    ablation = _Ablation(model, roles, baseline, groups, reduce or _concatenated)
    metrics: list[Tensor] = []
    for number, chosen in enumerate(passes):
        data = itertools.chain([first], iterator) if number == 0 else batches
        metrics += [_metric(to_metric, state) for state in ablation.states(data, chosen)]
        report(len(chosen))
    stacked = torch.stack(metrics)
    return Losses((stacked[0] - stacked[1:]).movedim(0, -1), groups, point, isinstance(first, Tensor))


class _Ablation:
    """Passes over the data with groups replaced: none of them as number 0, then each."""

    def __init__(self, model: Model, roles: Sequence[str], baseline: Baseline, groups: Groups, reduce: Reduce) -> None:
        view = as_view(model)
        self._model = Twin(view.model, view.tensors)
        self._roles, self._baseline, self._groups, self._reduce = roles, baseline, groups, reduce

    def states(self, batches: Iterable[Any], chosen: range) -> list[Any]:
        """The last state of each of these."""
        states: list[Any] = [None] * len(chosen)
        for batch in batches:
            elements = _elements(batch)
            if len(elements) != len(self._roles):
                expected = f"{len(self._roles)} elements, as in the first batch"
                raise ArgumentError("batches", f"a batch of {len(elements)}", expected, "Give all the same structure.")
            end = _attributed(elements, self._roles)
            batch_size(end)
            start = resolve_baseline(self._baseline, end if len(end) > 1 else end[0])
            start = start if isinstance(start, tuple) else (start,)
            for place, number in enumerate(chosen):
                changed = self._changed(elements, end, start, number)
                arguments = [one for one, role in zip(changed, self._roles, strict=True) if role != "ignore"]
                states[place] = self._reduce(states[place], self._model(*arguments), changed)
        return states

    def _changed(
        self, elements: tuple[Any, ...], end: tuple[Tensor, ...], start: tuple[Tensor, ...], number: int
    ) -> tuple[Any, ...]:
        """A batch without group `number - 1`."""
        pairs = zip(self._groups.ids, end, start, strict=True)
        parts = iter([torch.where(ids == number - 1, low, high) for ids, high, low in pairs])
        return tuple(
            next(parts) if role == "attribute" else one for one, role in zip(elements, self._roles, strict=True)
        )


def _elements(batch: Any) -> tuple[Any, ...]:
    return tuple(batch) if isinstance(batch, list | tuple) else (batch,)


def _attributed(elements: tuple[Any, ...], roles: Sequence[str]) -> tuple[Tensor, ...]:
    return tuple(one for one, role in zip(elements, roles, strict=True) if role == "attribute")


def _roles(given: Sequence[Role] | None, elements: tuple[Any, ...]) -> Sequence[str]:
    roles: Sequence[str] = ("attribute",) * len(elements) if given is None else tuple(given)
    if len(roles) != len(elements) or "attribute" not in roles or not set(roles) <= {"attribute", "forward", "ignore"}:
        raise ArgumentError(
            "input_roles",
            describe(roles),
            f"'attribute', 'forward' or 'ignore' for each of the {len(elements)} elements of a batch, 'attribute' at "
            "least once",
            "Say what each element is for.",
        )
    batch_size(_attributed(elements, roles))
    return roles


def _groups(feature_mask: FeatureMask, point: tuple[Tensor, ...]) -> Groups:
    if feature_mask is None:
        return Groups.elements(point, alike=True)
    if len(point) == 1 and isinstance(feature_mask, tuple):
        (feature_mask,) = feature_mask
    return Groups.masked(feature_mask, point, tuple, alike=True)


def _require_one_baseline(baseline: Baseline, point: tuple[Tensor, ...]) -> None:
    values = baseline if isinstance(baseline, tuple) else (baseline,)
    for value, leaf in zip(values, point, strict=False):
        if isinstance(value, Tensor) and value.dim() == leaf.dim() and value.shape[0] != 1:
            raise ArgumentError(
                "baseline",
                describe(value),
                f"one baseline for all examples, (1, *{tuple(leaf.shape[1:])})",
                "Batches may have any number of examples.",
            )


def _require_repeatable(batches: Iterable[Any], iterator: Any, *, per_example: bool) -> None:
    if iterator is batches:
        raise ArgumentError(
            "batches",
            "an iterator, which can be passed over once",
            "something to be passed over several times",
            "Pass a list or DataLoader, or leave perturbations_per_pass=None.",
        )
    if per_example and isinstance(getattr(batches, "sampler", None), RandomSampler):
        raise ArgumentError(
            "batches",
            "a DataLoader that shuffles, whose outputs are compared one by one between several passes",
            "the same order in each pass",
            "Use shuffle=False, leave perturbations_per_pass=None, or give to_metric.",
        )


def _concatenated(state: Tensor | None, output: Tensor, batch: tuple[Any, ...]) -> Tensor:
    return output if state is None else torch.cat([state, output])


def _metric(to_metric: Callable[[Any], Tensor] | None, state: Any) -> Tensor:
    metric = state if to_metric is None else to_metric(state)
    if not isinstance(metric, Tensor):
        raise ArgumentError(
            "to_metric", f"a metric that is {describe(metric)}", "a tensor", "Convert it: torch.tensor(metric)."
        )
    return metric if metric.is_floating_point() else metric.to(torch.get_default_dtype())
