"""Plans: what a run of the batch, and one of some of its examples, tell about how points may be evaluated.

Folding points into the batch and splitting batches take it that examples do not depend on each other. That is known of
models that are made of torch's own layers for single examples; of all others it is checked: some examples by
themselves, in another order, have the scores that they have in the batch. Where they have not, points are evaluated one
by one on the whole batch, with a warning, and the gradient is that of the sum of the scores, as autograd's is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ModelError, warn
from attrfunc.core.loops.meter import Meter
from attrfunc.core.model.engines import mapped, settled, wrapped
from attrfunc.core.model.folding import Folding, Pair, may_fold
from attrfunc.core.model.parts import unsettled
from attrfunc.core.model.sites import Edit, Site
from attrfunc.core.score.places import AtLayers, Reading
from attrfunc.core.score.point import Point
from attrfunc.core.score.problem import Problem

__all__ = ["CoupledError", "coupling", "planned"]

_ROWWISE = (
    nn.Sequential, nn.ModuleList, nn.Identity, nn.Linear, nn.Embedding, nn.LayerNorm, nn.GroupNorm,
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid,
    nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.LogSigmoid, nn.Tanhshrink, nn.PReLU,
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout,
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d,
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool2d, nn.Flatten,
)  # fmt: skip
# So many examples, at most, are evaluated once more.
MOST_EXAMPLES = 8
_SPATIAL: dict[Any, int] = {nn.Conv1d: 3, nn.Conv2d: 4, nn.Conv3d: 5}


def planned(
    problem: Problem, chunk_size: int | None = None, *, sites: Sequence[Site] = (), share: bool = True
) -> Problem:
    """The problem with a plan for several points.

    Args:
        problem: The problem.
        chunk_size: Rows evaluated at once. With 1 no more than one is tried, either.
        sites: Further layers that are looked at, whose activations must have the examples first, too.
        share: Whether what lies before the attributed layers may run once for several points.
    """
    if problem.whole:
        return problem
    if problem.inputs.rows == 0:
        return replace(problem, plan=replace(problem.plan, apart=True))
    place = problem.view.place
    if torch.compiler.is_compiling():
        first = len(place.sites) == 0 or _examples_first(problem.point(), problem.inputs.rows)
        return replace(problem, plan=replace(problem.plan, apart=first))
    looked_at = (*place.sites, *sites)
    known = _is_rowwise(problem)
    images = chunk_size != 1 and _are_convolved(problem)
    free = chunk_size != 1 and not problem.edits and not problem.view.tensors
    folds = free and may_fold(problem.twin.parts)
    if known and not looked_at and not folds:
        return replace(problem, plan=replace(problem.plan, apart=True, channels_last=images))
    with torch.no_grad():
        trial = _Trial(problem, looked_at)
        verdict = trial.one_by_one() if chunk_size == 1 else trial.verdict(images, folds)
        problem = replace(problem, twin=problem.twin.folded(trial.folds))
        plan = replace(
            problem.plan, **verdict, one_by_one=chunk_size == 1, row_bytes=trial.meter.weight // problem.inputs.rows
        )
        if share and chunk_size != 1 and isinstance(place, AtLayers) and trial.meter.prefix_is_worth_sharing():
            plan = _shared(replace(problem, plan=plan), trial.meter)
    if not plan.apart and trial.is_coupled:
        _warn_of_coupling(problem)
    return replace(problem, plan=plan)


class _Trial:
    """The batch, and some of its examples by themselves.

    Attributes:
        meter: What the batch takes.
        is_coupled: Whether the score of an example depends on others.
    """

    def __init__(self, problem: Problem, sites: tuple[Site, ...]) -> None:
        self._problem, self._sites = problem, sites
        self.meter, self.is_coupled, self._first = Meter(), False, False
        self.folds: tuple[Pair, ...] = ()

    def verdict(self, images: bool, folds: bool) -> dict[str, bool]:
        """Whether examples are `apart`, the batch is `fixed`, and images may have their `channels_last`.

        Args:
            images: Whether to try images with their channels last.
            folds: Whether to look for batch norms to fold.
        """
        problem, rows = self._problem, self._problem.inputs.rows
        problem.twin.restore()
        folding = Folding(problem.twin.modules if folds else {})
        with self.meter, folding if folds else nullcontext():
            scores, point = self._seen(problem, self.meter)  # raises, where the model does not run at all
        numbers = torch.arange(rows - 1, -1, -max(2 if rows > 2 else 1, rows // MOST_EXAMPLES))
        # One of them twice: without the others, what they have in common may by chance be what all have.
        # And another number than there are: a model may take no other.
        numbers = torch.cat([numbers[:1]] * (2 if len(numbers) + 1 == rows else 1) + [numbers])
        some = problem.at(numbers) if rows > 1 else self._company()
        if rows == 1:
            numbers = torch.tensor([-1, -2, 0])  # changed copies, which nobody compares, and the example
        pairs = folding.pairs()
        fast = replace(some, twin=some.twin.folded(pairs), plan=replace(some.plan, channels_last=images))
        if (images or pairs) and self._agree(scores, point, fast, numbers):
            self.folds = pairs
            return {"apart": self._first, "channels_last": images}
        agree = self._agree(scores, point, some, numbers)
        return {"apart": self._first} if agree else self._as_it_is(scores, point)

    def one_by_one(self) -> dict[str, bool]:
        """The same where a model need not take more than one example."""
        rows = self._problem.inputs.rows
        try:
            with self.meter:
                _, point = self._seen(self._problem.at(slice(rows - 1, rows)), self.meter)
        except Exception:  # whatever a model makes of one example; the whole batch raises what is the caller's
            return self._as_it_is(*self._seen(self._problem))
        try:
            scores, points = self._seen(self._problem)
        except Exception:  # it does not take more
            return {"apart": _examples_first(point, 1)}
        alone = [(torch.tensor([row]), self._problem.at(slice(row, row + 1))) for row in {0, rows - 1}]
        agree = all(self._agree(scores, points, one, number) for number, one in alone)
        return {"apart": self._first} if agree else self._as_it_is(scores, points)

    def _agree(self, scores: Tensor, point: Point, some: Problem, numbers: Tensor) -> bool:
        """Whether some examples have the scores, and the shapes, that they have in the batch."""
        try:
            found, part = self._seen(some)
        except Exception:  # whatever a model makes of them
            return False
        pairs = zip(point.leaves, part.leaves, strict=False)
        first = all(a.shape[:1] == scores.shape and b.shape == (len(found), *a.shape[1:]) for a, b in pairs)
        self._first = first and len(point.leaves) == len(part.leaves)
        known, ordinary = numbers >= 0, numbers > -2
        spread = torch.cat([scores, found[ordinary.to(found.device)]])
        return _close(found[known.to(found.device)], scores[numbers[known].to(scores.device)], spread)

    def _as_it_is(self, scores: Tensor, point: Point) -> dict[str, bool]:
        """The same for a model that takes no other batch: some of it is changed, and the scores of the others seen."""
        problem, rows = self._problem, self._problem.inputs.rows
        numbers = torch.arange(rows, device=scores.device)
        odd, late = numbers % 2 == 1, numbers >= rows // 2
        try:
            for changed in (odd, ~odd, late, ~late):
                x = pytree.tree_map(lambda leaf, changed=changed: _changed(leaf, changed), problem.inputs.x)
                moved, _ = self._seen(replace(problem, inputs=replace(problem.inputs, x=x)))
                self.is_coupled = self.is_coupled or not _close(scores[~changed], moved[~changed], scores)
        except Exception:  # what it makes of a changed example is not the caller's error, and tells nothing
            self._seen(problem)  # but what it makes of the caller's batch is
            return {"apart": False, "fixed": True}
        return {"apart": _examples_first(point, rows) and not self.is_coupled, "fixed": True}

    def _company(self) -> Problem:
        """The only example behind changed copies of itself.

        The second has a larger range, by which quantised layers scale the whole batch; what they make of it themselves
        is out of the range in which scores are compared.
        """
        company, numbers = self._problem.repeated(3), torch.arange(3)
        x = pytree.tree_map(lambda leaf: _changed(leaf, numbers == 0), company.inputs.x)
        x = pytree.tree_map(lambda leaf: _changed(leaf, numbers == 1, -3.0), x)
        return replace(company, inputs=replace(company.inputs, x=x))

    def _seen(self, problem: Problem, meter: Meter | None = None) -> tuple[Tensor, Point]:
        """The scores, and the activations at the sites."""
        reading = Reading(AtLayers(self._sites))
        edits = reading.edits()
        if meter is not None:
            edits = tuple((site, _marking(meter, edit)) for site, edit in edits)
        return problem.scored(edits), reading.point() if self._sites else Point([], ())


def _changed(leaf: Tensor, rows: Tensor, factor: float = 0.5) -> Tensor:
    """A batch with some of its examples changed; identifiers are taken from others, so that they exist."""
    moved = leaf * factor + 0.25 if leaf.is_floating_point() else leaf.flip(0)
    return torch.where(rows.to(leaf.device).view(-1, *[1] * (leaf.dim() - 1)), moved, leaf)


def _marking(meter: Meter, edit: Edit) -> Edit:
    def read(value: Any) -> Any:
        meter.mark()
        return edit(value)

    return read


def _examples_first(point: Point, rows: int) -> bool:
    return all(leaf.dim() > 0 and leaf.shape[0] == rows for leaf in point.leaves)


def _close(one: Tensor, other: Tensor, scores: Tensor) -> bool:
    """Whether scores are the same, up to what another batch size changes in their rounding."""
    differences, sizes = {torch.float64: (1e-6, 1e-10), torch.float32: (1e-3, 3e-5)}.get(scores.dtype, (5e-2, 5e-2))
    allowed = differences * (scores.amax() - scores.amin()) + sizes * one.abs()
    return settled(((one - other).abs() <= allowed) | (one == other) | (one.isnan() & other.isnan()))


def _are_convolved(problem: Problem) -> bool:
    """Whether the input is a batch of images that convolutions read.

    On processors these are up to 1.7 times as fast with the channels last, from a few rows on, whichever way the
    weights lie; below that, and for one channel, nothing is gained. It is a rule and no measurement: what the clock
    says would differ from call to call, and with it the last digits of the result. What `vmap` maps has its channels
    where it had them, and either way would be copied to meet the other.
    """
    x = problem.inputs.x
    image = isinstance(x, Tensor) and x.dim() == 4 and x.shape[1] > 1 and x.device.type == "cpu"
    layers = (isinstance(module, nn.Conv2d | nn.ConvTranspose2d) for module in problem.twin.parts)
    return image and not (wrapped(x) or mapped() or problem.edits or problem.view.sites) and any(layers)


def _is_rowwise(problem: Problem) -> bool:
    """Whether the model is made of layers that treat each example by itself."""
    x, modules = problem.inputs.x, problem.twin.parts
    plain = isinstance(x, Tensor) and not callable(problem.inputs.target) and not problem.edits
    if not plain or problem.inputs.args or problem.inputs.kwargs or problem.view.output is not None or not modules:
        return False
    least = max([2, *(_SPATIAL.get(type(module), 0) for module in modules)])
    return x.dim() >= least and problem.twin.simple and all(_is_rowwise_layer(module) for module in modules)


def _is_rowwise_layer(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return not module.training and module.running_mean is not None
    if isinstance(module, nn.Flatten):
        return module.start_dim >= 1
    if isinstance(module, nn.LayerNorm):
        return len(module.normalized_shape) == 1
    return type(module) in _ROWWISE


def _shared(problem: Problem, meter: Meter) -> Any:
    """The plan with a shared prefix, if that gives the same scores as the plain way."""
    attention = problem.plan.plain_attention or meter.fused_attention()
    plan = replace(problem.plan, shares_prefix=True, plain_attention=attention, shared_bytes=meter.before or 0)
    try:
        with torch.no_grad():
            one = problem.at(slice(0, 1)) if problem.plan.folds else problem
            point = one.point()
            points = point.like([torch.stack([leaf, leaf * 0.5]) for leaf in point.leaves])
            plain = replace(one, plan=replace(one.plan, fixed=True)).scores(points)
            mapped = replace(one, plan=plan).scores(points)
    except Exception:  # what vmap, or a model under it, raises; the plain way is taken then
        return problem.plan
    return plan if _close(mapped, plain, plain) else problem.plan


class CoupledError(ModelError):
    """The score of an example depends on the batch that it is evaluated in, which was not asked for."""


_COUPLING: ContextVar[Literal["new", "refused", "known"]] = ContextVar("coupling", default="new")


@contextmanager
def coupling(how: Literal["refused", "known"]) -> Iterator[None]:
    """Where scores of examples depend on each other, raise `CoupledError`, or say nothing, in place of a warning."""
    token = _COUPLING.set(how)
    try:
        yield
    finally:
        _COUPLING.reset(token)


def _warn_of_coupling(problem: Problem) -> None:
    if _COUPLING.get() == "refused":
        raise CoupledError("the score of an example depends on the batch that it is evaluated in.")
    if _COUPLING.get() == "known" or unsettled(problem.twin.parts):
        return  # which has been warned of
    warn(
        "the score of an example depends on the batch that it is evaluated in (a graph whose "
        "nodes are rows, batch statistics, an argument that does not go along with the examples). Points are therefore "
        "evaluated one by one on the whole batch, and what is attributed is the sum of its scores. Where examples are "
        "independent, let further arguments and what a callable target reads follow them: functools.partial(target, "
        "mask=masks)."
    )
