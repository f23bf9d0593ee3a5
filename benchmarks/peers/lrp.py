"""LRP by composites, beside zennit; Captum has none of them but epsilon for every layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import captum.attr as ca
import torch
from torch import Tensor, nn

import attrfunc as af
from benchmarks.task import Method, Task
from benchmarks.zennit_alone import zennit

__all__ = ["LRP_ALPHA_BETA", "LRP_BOX", "LRP_EPSILON", "LRP_PLUS"]

LOW, HIGH, EPSILON = -5.0, 5.0, 1e-9


class Folded(zennit.canonizers.SequentialMergeBatchNorm):
    """Folds batch norms, without leaving their eps behind, which would scale what they give by 1 - eps / 2."""

    def register(self, linears: Any, batch_norm: nn.Module) -> None:
        super().register(linears, batch_norm)
        self.eps, batch_norm.eps = batch_norm.eps, 0.0

    def remove(self) -> None:
        super().remove()
        self.batch_norm.eps = self.eps


def by_zennit(composite: Callable[[], Any]) -> Callable[[Task, int | None], Tensor]:
    def run(task: Task, rows: int | None) -> Tensor:
        x, target = task.x.clone().requires_grad_(), torch.as_tensor(task.target).expand(len(task.x))
        with composite().context(task.model) as model:
            out = model(x)
            score = out.gather(1, target[:, None])
            seed = torch.zeros_like(out).scatter(1, target[:, None], score.detach())
            (found,) = torch.autograd.grad(out, x, seed)
        return found

    return run


def by_rules(rules: af.rules.RuleBook) -> Callable[[Task], Tensor]:
    return lambda task: af.lrp(task.model, task.x, target=task.target, rules=rules)


def composite(name: str, book: Callable[..., af.rules.RuleBook], *arguments: float) -> Method:
    """A composite that both have."""
    make = getattr(zennit.composites, name)
    theirs = by_zennit(lambda: make(*arguments, canonizers=[Folded()]))
    return Method(by_rules(book(*arguments)), None, None, tunable=False, other=theirs, library="zennit")


def captum_epsilon(task: Task, rows: int | None) -> Tensor:
    found: Tensor = ca.LRP(task.model).attribute(task.x, target=task.target)
    return found


def zennit_epsilon() -> Any:
    layers = [(zennit.types.Activation, zennit.rules.Pass()), (nn.Linear, zennit.rules.Epsilon(EPSILON))]
    return zennit.composites.LayerMapComposite(layers)


LRP_EPSILON = Method(
    by_rules(af.rules.attn_lrp(EPSILON)),
    captum_epsilon,
    None,
    tunable=False,
    other=by_zennit(zennit_epsilon),
    library="zennit",
)
LRP_PLUS = composite("EpsilonPlus", af.rules.epsilon_plus)
LRP_BOX = composite("EpsilonGammaBox", af.rules.epsilon_gamma_box, LOW, HIGH)
LRP_ALPHA_BETA = composite("EpsilonAlpha2Beta1", af.rules.epsilon_alpha2_beta1)
