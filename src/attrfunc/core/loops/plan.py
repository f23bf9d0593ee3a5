"""Plans: what a run of the batch, and one of some of its examples, tell about how points may be evaluated.

Folding points into the batch and splitting batches take it that examples do not depend on each other. That is known of
models that are made of torch's own layers for single examples; of all others it is checked: some examples by
themselves, in another order, have the scores that they have in the batch. Where they have not, points are evaluated one
by one on the whole batch, with a warning, and the gradient is that of the sum of the scores, as autograd's is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from attrfunc.core.errors import ModelError, warn
from attrfunc.core.loops.meter import Meter
from attrfunc.core.loops.trial import Trial, close, examples_first
from attrfunc.core.model.engines import mapped, wrapped
from attrfunc.core.model.folding import may_fold
from attrfunc.core.model.parts import unsettled
from attrfunc.core.model.sites import Site
from attrfunc.core.score.places import AtLayers
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
        first = len(place.sites) == 0 or examples_first(problem.point(), problem.inputs.rows)
        return replace(problem, plan=replace(problem.plan, apart=first))
    looked_at = (*place.sites, *sites)
    known = _is_rowwise(problem)
    images = chunk_size != 1 and _are_convolved(problem)
    free = chunk_size != 1 and not problem.edits and not problem.view.tensors
    folds = free and may_fold(problem.twin.parts)
    if known and not looked_at and not folds:
        return replace(problem, plan=replace(problem.plan, apart=True, channels_last=images))
    with torch.no_grad():
        trial = Trial(problem, looked_at)
        verdict = trial.one_by_one() if chunk_size == 1 else trial.verdict(images, folds)
        problem = replace(problem, twin=problem.twin.folded(trial.folds))
        plan = replace(
            problem.plan, **verdict, one_by_one=chunk_size == 1, row_bytes=trial.meter.weight // problem.inputs.rows
        )
        if share and chunk_size != 1 and isinstance(place, AtLayers) and trial.meter.prefix_is_worth_sharing():
            plan = _shared(replace(problem, plan=plan), trial.meter)
    if trial.is_random or (not plan.apart and trial.is_coupled):
        _warn_of_coupling(problem, trial.is_random)
    return replace(problem, plan=plan)


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
    return plan if close(mapped, plain, plain) else problem.plan


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


def _warn_of_coupling(problem: Problem, is_random: bool) -> None:
    if _COUPLING.get() == "refused":
        raise CoupledError("the score of an example depends on the batch that it is evaluated in.")
    if _COUPLING.get() == "known" or unsettled(problem.twin.parts):
        return  # which has been warned of
    if is_random:
        warn(
            "the model gives the same input other scores each time: it draws random numbers, and attributions mix what "
            "the input does with what they do. Leave the noise out (F.dropout(..., training=self.training), say), or "
            "draw it from a torch.Generator that forward seeds."
        )
        return
    warn(
        "the score of an example depends on the batch that it is evaluated in (a graph whose "
        "nodes are rows, batch statistics, an argument that does not go along with the examples). Points are therefore "
        "evaluated one by one on the whole batch, and what is attributed is the sum of its scores. Where examples are "
        "independent, let further arguments and what a callable target reads follow them: functools.partial(target, "
        "mask=masks)."
    )
