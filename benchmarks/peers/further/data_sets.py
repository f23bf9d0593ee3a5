"""Whole data sets, and gates: beside Captum."""

from __future__ import annotations

from typing import Any

import captum.attr as ca
import captum.module as cm
import torch
from captum.attr._core.dataloader_attr import DataLoaderAttribution
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import attrfunc as af
from benchmarks.peers.further.row import Row, mlp, seeded

FEATURES = 10


def _ablated(model: nn.Module, loader: Any) -> Tensor:
    """The mean score of a class, without each feature."""
    with torch.no_grad():
        sums, count = torch.zeros(FEATURES + 1), 0
        for (x,) in loader:
            count += len(x)
            sums[FEATURES] += model(x)[:, 1].sum()
            for feature in range(FEATURES):
                other = x.clone()
                other[:, feature] = 0
                sums[feature] += model(other)[:, 1].sum()
    return (sums[FEATURES] - sums[:FEATURES]) / count


def _mean(outputs: Tensor) -> Tensor:
    return outputs[:, 1].mean()


def _hard_concrete(x: Tensor, log_alpha: Tensor) -> Tensor:
    u = torch.rand(len(x), len(log_alpha), generator=seeded())
    gate = ((u.logit() + log_alpha) / (2 / 3)).sigmoid()
    return x * (-0.1 + 1.2 * gate).clamp(0, 1)


def _gaussian(x: Tensor, mean: Tensor) -> Tensor:
    noise = torch.randn(len(x), len(mean), generator=seeded())
    return x * (mean + 0.5 * noise).clamp(0, 1)


def _opened(gates: Any, values: Tensor) -> Any:
    """What is compared is what gates are without noise; what is timed draws, and differentiates."""
    with torch.no_grad():
        next(gates.parameters()).copy_(values)
    return gates


def _step(gates: Any, x: Tensor) -> Tensor:
    """A forward pass in training, and the gradients of gates."""
    found = gates.train()(x)
    found = found[0] if isinstance(found, tuple) else found
    return torch.autograd.grad(found.sum(), list(gates.parameters()))[0]


def _spread(slopes: Any) -> float:
    return float(torch.as_tensor(slopes).mean())


def _by_hand(function: Any, x: Tensor, values: Tensor) -> Tensor:
    leaf = values.clone().requires_grad_()
    return torch.autograd.grad(function(x, leaf).sum(), leaf)[0]


def rows() -> list[Row]:
    model, data = mlp(FEATURES), torch.randn(400, FEATURES, generator=seeded())
    loader = DataLoader(TensorDataset(data), batch_size=100)
    captum = DataLoaderAttribution(ca.FeatureAblation(model))
    given: Any = {"to_metric": _mean, "perturbations_per_pass": FEATURES + 1}
    x = torch.rand(512, 64, generator=seeded())
    values = torch.linspace(-2, 2, 64)
    kinds = [
        ("hard concrete", af.gates.HardConcreteGates, cm.BinaryConcreteStochasticGates, _hard_concrete),
        ("Gaussian", af.gates.GaussianGates, cm.GaussianStochasticGates, _gaussian),
    ]
    found = [
        Row(
            "dataset_ablation, 10 features of 400 rows",
            lambda: af.dataset_ablation(model, loader, to_metric=_mean),
            lambda: _ablated(model, loader),
            lambda: captum.attribute(loader, **given)[0].flatten(),
            "captum",
        )
    ]
    for name, ours, theirs, hand in kinds:
        one, other = _opened(ours(64), values), _opened(theirs(64), values)
        found.append(
            Row(
                f"gates, {name}, forward and backward",
                lambda one=one: _step(one, x),  # type: ignore[misc]
                lambda hand=hand: _by_hand(hand, x, values),  # type: ignore[misc]
                lambda other=other: _step(other, x),  # type: ignore[misc]
                "captum",
                worth=_spread,
                meaning="mean slope",
                note="512 rows of 64 gates, all drawn anew: the mean slope of what they let through.",
            )
        )
    return found
