"""Attacks beside torchattacks, foolbox and Captum: a network trained on digits, of pixels from 0 to 1."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import captum.robust as cr
import torch
import torchattacks
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import attrfunc as af
from benchmarks.peers.further.row import Row, seeded
from benchmarks.stand_ins import without

with without("git"):  # asked for by what downloads models
    import foolbox

RADIUS, STEPS, QUERIES, LARGEST, HALVINGS = 0.1, 10, 100, 0.5, 8


def _trained(count: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A network and examples on which it is right."""
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(labels)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(100):
        optimizer.zero_grad()
        cross_entropy(net(x), y).backward()
        optimizer.step()
    right = (net(x).argmax(1) == y).nonzero().flatten()[:count]
    return net.eval().requires_grad_(False), x[right], y[right]


def _fgsm(model: nn.Module, x: Tensor, label: Tensor, radius: float) -> Tensor:
    leaf = x.clone().requires_grad_()
    slope = torch.autograd.grad(cross_entropy(model(leaf), label, reduction="sum"), leaf)[0]
    return (x + radius * slope.sign()).clamp(0, 1)


def _deepfool(model: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    """One image after the other, onto the nearest boundary of all classes, until the class changes."""
    found = []
    for one, own in zip(x, label.tolist(), strict=True):
        way = torch.zeros_like(one)
        for _ in range(50):
            leaf = (one + 1.02 * way).clamp(0, 1)[None].requires_grad_()
            logits = model(leaf)[0]
            if int(logits.argmax()) != own:
                break
            slopes = [torch.autograd.grad(logit, leaf, retain_graph=True)[0][0] for logit in logits]
            steps = []
            for other in set(range(10)) - {own}:
                normal, gap = slopes[other] - slopes[own], (logits[own] - logits[other]).item()
                far = gap / float(normal.norm()) + 1e-4  # as foolbox does: without, some stop a rounding short
                steps.append((far, far * normal / normal.norm()))
            way = way + min(steps, key=lambda step: step[0])[1]
        found.append((one + 1.02 * way).clamp(0, 1))
    return torch.stack(found)


def _smallest(model: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    """Bisection, one image after the other."""
    radii = []
    for one, own in zip(x, label, strict=True):
        low, high = 0.0, LARGEST
        fooled = partial(_is_fooled, model, one[None], own[None])
        if not fooled(high):
            radii.append(torch.inf)
            continue
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if fooled(middle) else (middle, high)
        radii.append(high)
    return torch.tensor(radii)


def _is_fooled(model: nn.Module, x: Tensor, label: Tensor, radius: float) -> bool:
    return bool(model(_fgsm(model, x, label, radius)).argmax(1) != label)


def _captum_smallest(model: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    step = LARGEST / 2**HALVINGS
    loss = lambda logits, own: cross_entropy(logits, torch.tensor([own]), reduction="none")  # noqa: E731
    attack = cr.FGSM(model, loss, lower_bound=0.0, upper_bound=1.0)
    search = cr.MinParamPerturbation(model, attack.perturb, "epsilon", step, LARGEST + step, step, mode="binary")
    radii = []
    for one, own in zip(x, label.tolist(), strict=True):
        given: Any = {"target": own, "perturbations_per_eval": 1, "attack_kwargs": {"target": own}}
        radius = search.evaluate(one[None], **given)[1]
        radii.append(torch.inf if radius is None else radius)
    return torch.tensor(radii)


def _left(model: nn.Module, label: Tensor, x: Tensor) -> float:
    """The share on which the model is still right."""
    return float((model(x).argmax(1) == label).float().mean())


def _distance(model: nn.Module, x: Tensor, label: Tensor, norm: float, found: Tensor) -> float:
    """The mean distance, 1 where the model is not fooled."""
    far = (found - x).flatten(1).norm(norm, 1)
    return float(torch.where(model(found).argmax(1) != label, far, 1.0).mean())


def _foolbox(model: nn.Module, x: Tensor, label: Tensor, attack: Any) -> Callable[[], Tensor]:
    other = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    return lambda: attack(other, x, label, epsilons=None)[1]


def rows() -> list[Row]:
    model, x, label = _trained(16)
    given: Any = (model, x)
    ours: dict[str, Any] = {"label": label, "bounds": (0.0, 1.0)}
    theirs: dict[str, Any] = {"eps": RADIUS}
    left, near = partial(_left, model, label), partial(_distance, model, x, label)
    several = torchattacks.MultiAttack(
        [
            torchattacks.APGD(model, steps=STEPS, **theirs),
            torchattacks.APGDT(model, steps=STEPS, n_classes=10, **theirs),
            torchattacks.FAB(model, steps=STEPS, multi_targeted=True, n_classes=10, **theirs),
            torchattacks.Square(model, n_queries=QUERIES, **theirs),
        ]
    )
    apgd = torchattacks.APGD(model, steps=STEPS, **theirs)
    fab = torchattacks.FAB(model, steps=STEPS, eps=1.0, n_classes=10)
    carlini = foolbox.attacks.L2CarliniWagnerAttack(4, 30, 0.05, initial_const=0.1, abort_early=False)
    drawn = "Starts are drawn: what is told is the share on which the model is still right."
    searched = "Told is the mean distance of what is found. No loop was written."
    return [
        Row(
            "fgsm",
            lambda: af.robust.fgsm(*given, radius=RADIUS, **ours),
            lambda: _fgsm(*given, label, RADIUS),
            lambda: torchattacks.FGSM(model, **theirs)(x, label),
            "torchattacks",
        ),
        Row(
            f"apgd, {STEPS} steps",
            lambda: af.robust.apgd(*given, radius=RADIUS, n_steps=STEPS, generator=seeded(), **ours),
            theirs=lambda: apgd(x, label),
            peer="torchattacks",
            worth=left,
            meaning="accuracy left",
            note=drawn,
        ),
        Row(
            f"auto_attack, {STEPS} steps, {QUERIES} queries",
            lambda: af.robust.auto_attack(
                *given, radius=RADIUS, n_steps=STEPS, n_queries=QUERIES, generator=seeded(), **ours
            ),
            theirs=lambda: several(x, label),
            peer="torchattacks",
            worth=left,
            meaning="accuracy left",
            note=f"{drawn} torchattacks' four attacks with as many steps.",
        ),
        Row(
            "carlini_wagner, 4 searches of 30 steps",
            lambda: af.robust.carlini_wagner(*given, n_steps=30, n_searches=4, learning_rate=0.05, **ours),
            theirs=_foolbox(*given, label, carlini),
            peer="foolbox",
            worth=partial(near, 2.0),
            meaning="L2",
            note=searched,
        ),
        Row(
            "deepfool",
            lambda: af.robust.deepfool(*given, **ours),
            lambda: _deepfool(*given, label),
            _foolbox(*given, label, foolbox.attacks.L2DeepFoolAttack()),
            "foolbox",
            worth=partial(near, 2.0),
            meaning="L2",
            note="Told is the mean distance of what is found.",
        ),
        Row(
            f"fab, {STEPS} steps, 9 classes",
            lambda: af.robust.fab(*given, n_steps=STEPS, generator=seeded(), **ours),
            theirs=lambda: fab(x, label),
            peer="torchattacks",
            worth=partial(near, torch.inf),
            meaning="L∞",
            note=f"{searched} torchattacks takes the gradients of all classes in each step; with one class after the "
            "other it stops at the first in whose direction it succeeds.",
        ),
        Row(
            f"minimal_perturbation of fgsm, {HALVINGS} halvings",
            lambda: af.robust.minimal_perturbation(af.robust.fgsm, largest=LARGEST, n_bisections=HALVINGS)(
                *given, **ours
            ),
            lambda: _smallest(*given, label),
            lambda: _captum_smallest(*given, label),
            "captum",
            worth=lambda radii: float(radii[radii.isfinite()].mean()),
            meaning="mean radius",
            note="Captum's search looks at other radii.",
        ),
    ]
