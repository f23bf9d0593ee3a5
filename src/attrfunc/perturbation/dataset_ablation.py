"""Feature ablation over a whole data set."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import RandomSampler

from attrfunc.core.errors import ArgumentError, ModelError, describe, positive, warn
from attrfunc.core.loops.progress import Progress, reporter
from attrfunc.core.model.engines import known
from attrfunc.core.model.parts import unsettled
from attrfunc.core.model.twin import Twin
from attrfunc.core.score.baseline import Baseline, resolve_baseline
from attrfunc.core.score.method import method
from attrfunc.core.score.views import Model, as_view
from attrfunc.core.trees import batch_size
from attrfunc.perturbation.batches import Batch, Role, read_roles
from attrfunc.perturbation.feature_groups import FeatureMask, Groups
from attrfunc.perturbation.outputs import promoted
from attrfunc.perturbation.precision import wide

__all__ = ["Role", "dataset_ablation", "losses"]

Reduce = Callable[[Any, Any, Any], Any]


@method
def dataset_ablation(
    model: Model,
    batches: Iterable[Any],
    *,
    input_roles: Sequence[Role] | Mapping[Any, Role] | None = None,
    baseline: Baseline = None,
    feature_mask: FeatureMask = None,
    reduce: Reduce | None = None,
    to_metric: Callable[[Any], Any] | None = None,
    perturbations_per_pass: int | None = None,
    progress: Progress = False,
) -> Any:
    """What a metric of a whole data set loses when one group of features is replaced in all of its examples.

    `metric(all outputs) - metric(all outputs with the group replaced)`, given to every element of the group.

    Args:
        model: A module or any callable.
        batches: The data set: an iterable of batches, such as a `DataLoader`. A batch is a tensor, a tuple or list, or
            a dict, whose elements are then keyword arguments of the model; only the number of examples varies.
        input_roles: What each element of a batch is for: `"attribute"` (an argument of the model that is attributed),
            `"forward"` (any other argument), `"ignore"` (not for the model: labels, say); a dict for dicts. `None`
            attributes to all.
        baseline: What replaces features of the attributed elements, alike in all examples; see
            `attrfunc.core.score.baseline`. Fractions make integers fractions, too.
        feature_mask: The groups of the attributed elements, alike in all examples; see
            `attrfunc.perturbation.feature_groups`.
        reduce: `(state, output, batch) -> state` collects the model's outputs, batch by batch; the state is `None` at
            first, and the batch, a tuple or dict, has all its elements, perturbed. `None` concatenates the outputs.
        to_metric: Makes of the last state the metric, a number or a tensor of any shape `M`; `None` takes the state
            itself.
        perturbations_per_pass: How many perturbations to evaluate, and states to hold, in one pass over the data.
            `None` takes all in one.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Attributions in units of the metric, `(*M, *S)` for an attributed element `(B, *S)`: a tuple or dict of these,
        or a tensor if batches are. *Sensitivity*: a group that the metric does not depend on gets zero.

    Raises:
        ArgumentError: If an argument cannot be right, or the data cannot be passed over as often as it takes.
        ModelError: If the metric is not finite.

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
        first: The first batch.
        roles: What its elements are for.
    """

    of_groups: Tensor
    groups: Groups
    first: Batch
    roles: tuple[str, ...]

    def spread(self) -> Any:
        """What the group of each element is worth, `(*M, *S)`."""
        before = self.of_groups.shape[:-1]
        pairs = zip(self.groups.ids, self.first.attributed(self.roles), strict=True)
        parts = [self.of_groups[..., ids[0]].expand(*before, *leaf.shape[1:]) for ids, leaf in pairs]
        return self.first.result(self.roles, parts)


def losses(
    model: Model,
    batches: Iterable[Any],
    *,
    input_roles: Sequence[Role] | Mapping[Any, Role] | None,
    baseline: Baseline,
    feature_mask: FeatureMask,
    reduce: Reduce | None,
    to_metric: Callable[[Any], Any] | None,
    perturbations_per_pass: int | None,
    progress: Progress,
) -> Losses:
    """What the metric loses without each group; see `dataset_ablation`."""
    if as_view(model).sites or as_view(model).output:
        raise ArgumentError("model", "a view", "a model, all of whose output is reduced", "Pass the model itself.")
    iterator = iter(batches)
    given = next(iterator, None)
    if given is None:
        raise ArgumentError("batches", "no batch", "at least one", "A generator may have been used up: pass a list.")
    first = Batch.of(given)
    roles = read_roles(input_roles, first)
    point = first.attributed(roles)
    groups = _groups(first.flat("feature_mask", feature_mask, roles), point)
    baseline = first.flat("baseline", baseline, roles)
    _require_one_baseline(baseline, point)
    total = groups.count + 1
    at_once = total if perturbations_per_pass is None else positive("perturbations_per_pass", perturbations_per_pass)
    passes = [range(begin, min(begin + at_once, total)) for begin in range(0, total, at_once)]
    if len(passes) > 1:
        _require_repeatable(batches, iterator, per_example=reduce is None and to_metric is None)
    report = reporter(progress, total)
    ablation = _Ablation(model, first, roles, baseline, groups, reduce or _concatenated)
    metrics: list[Tensor] = []
    for number, chosen in enumerate(passes):
        data = itertools.chain([given], iterator) if number == 0 else batches
        metrics += [_metric(to_metric, state) for state in ablation.states(data, chosen)]
        report(len(chosen))
    stacked = torch.stack(metrics)
    return Losses(_floating(wide(stacked[0]) - wide(stacked[1:])).movedim(0, -1), groups, first, roles)


class _Ablation:
    """Passes over the data with groups replaced: none of them as number 0, then each."""

    def __init__(
        self, model: Model, first: Batch, roles: Sequence[str], baseline: Baseline, groups: Groups, reduce: Reduce
    ) -> None:
        view = as_view(model)
        self._model, self._first = Twin(view.model, view.tensors), first
        _warn_of_training(self._model)
        self._roles, self._baseline, self._groups, self._reduce = roles, baseline, groups, reduce

    def states(self, batches: Iterable[Any], chosen: range) -> list[Any]:
        """The last state of each of these."""
        states: list[Any] = [None] * len(chosen)
        for given in batches:
            batch = Batch.of(given, self._first)
            end = promoted(batch.attributed(self._roles), self._baseline)
            batch_size(end)
            start = resolve_baseline(self._baseline, end if len(end) > 1 else end[0])
            start = start if isinstance(start, tuple) else (start,)
            for place, number in enumerate(chosen):
                pairs = zip(self._groups.ids, end, start, strict=True)
                parts = [torch.where(ids == number - 1, low, high) for ids, high, low in pairs]
                changed = batch.replaced(self._roles, parts)
                output = changed.output(self._model, self._roles)
                states[place] = self._reduce(states[place], output, changed.restored())
        return states


def _warn_of_training(twin: Twin) -> None:
    names = sorted({type(module).__name__ for module in unsettled(twin.modules)})
    if names:
        warn(
            f"the model is in training mode ({', '.join(names)}), so its outputs are random or depend on the "
            "batch. Call model.eval() first."
        )


def _groups(feature_mask: FeatureMask, point: tuple[Tensor, ...]) -> Groups:
    if feature_mask is None:
        return Groups.elements(point, alike=True)
    if len(point) == 1 and isinstance(feature_mask, tuple):  # of a batch that is a tuple or dict
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


def _metric(to_metric: Callable[[Any], Any] | None, state: Any) -> Tensor:
    metric = state if to_metric is None else to_metric(state)
    if isinstance(metric, float | int):
        metric = torch.tensor(metric, dtype=torch.float64 if isinstance(metric, float) else torch.long)
    if not isinstance(metric, Tensor):
        raise ArgumentError(
            "to_metric", f"a metric that is {describe(metric)}", "a number or a tensor", "Return one of these."
        )
    if known(torch.isfinite(metric).all()) is False:
        raise ModelError(
            f"the metric is not finite (its sum is {float(metric.sum())}), so no attribution of it means anything. "
            "Look for overflow, log(0) or 0/0 in the model or metric on the data, or with a group at the baseline."
        )
    return metric.long() if metric.dtype == torch.bool else metric


def _floating(metric: Tensor) -> Tensor:
    return metric if metric.is_floating_point() else metric.to(torch.get_default_dtype())
