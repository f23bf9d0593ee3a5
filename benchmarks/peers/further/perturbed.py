"""Methods that replace parts of the input: beside torchray, tangermeme and Captum."""

from __future__ import annotations

from functools import partial
from typing import Any

import captum.attr as ca
import torch
from captum._utils.models.linear_model import SkLearnRidge
from sklearn.linear_model import Ridge
from tangermeme.saturation_mutagenesis import saturation_mutagenesis
from torch import Tensor, nn
from torch.nn import functional as F
from torchray.attribution.extremal_perturbation import FADE_PERTURBATION
from torchray.attribution.extremal_perturbation import extremal_perturbation as torchray_perturbation
from torchray.attribution.rise import rise as torchray_rise

import attrfunc as af
from benchmarks.peers.further.row import Row, classes, cnn, frozen, images, mlp, seeded

MASKS, CELLS = 250, 7
AREA, STEPS, PENALTY = 0.2, 50, 10.0


def _masks(size: int) -> Tensor:
    """A grid of one more cell than are seen, resized, and shifted by a part of a cell."""
    generator = seeded()
    draw = partial(torch.rand, generator=generator, dtype=torch.float64)
    grids, shifts = (draw(MASKS, CELLS + 1, CELLS + 1) < 0.5).float(), draw(MASKS, 2)
    cell = -(-size // CELLS)
    found = []
    for grid, shift in zip(grids, shifts, strict=True):
        whole = F.interpolate(grid[None, None], [(CELLS + 1) * cell] * 2, mode="bilinear")[0]
        down, right = (shift * cell).long().tolist()
        found.append(whole[:, down : down + size, right : right + size])
    return torch.stack(found)


def _rise(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    total = torch.zeros(len(x), 1, *x.shape[2:])
    with torch.no_grad():
        for mask in _masks(x.shape[-1]):
            scores = model(x * mask).gather(1, target[:, None]).sigmoid()
            total += scores[:, :, None, None] * mask / (0.5 * MASKS)
    return total


def _peer_rise(model: nn.Module, x: Tensor, target: Tensor, masks: Tensor | None = None) -> Tensor:
    found = torchray_rise(model, x, num_masks=MASKS, num_cells=CELLS, filter_masks=masks)
    return found[torch.arange(len(x)), target][:, None] / 0.5


def _extremal(model: nn.Module, x: Tensor, target: Tensor, cell: int) -> Tensor:
    """The search with torch's own optimiser, all images at once."""
    cells = x.shape[-1] // cell
    places = torch.cartesian_prod(torch.arange(cells), torch.arange(cells)).float()
    bumps = torch.exp(-2 * (torch.cdist(places, places) * cell / (3 * cell) - 0.5).clamp(min=0).square())
    numbers = torch.ones(len(x), len(places), requires_grad=True)
    optimizer = torch.optim.SGD([numbers], lr=3 / PENALTY, momentum=0.9, dampening=0.9)
    wanted = torch.zeros(x.shape[2:].numel())
    wanted[int(len(wanted) * (1 - AREA)) :] = 1

    def shown() -> Tensor:
        heights = bumps * numbers[:, None]
        grid = (heights * (20 * heights).softmax(2)).sum(2).view(-1, 1, cells, cells)
        return F.interpolate(grid, x.shape[2:], mode="bilinear")

    for step in range(STEPS):
        optimizer.zero_grad()
        mask = shown()
        distance = (mask.flatten(1).sort()[0] - wanted).square().mean(1)
        loss = PENALTY * 1.0035**step * distance - model(mask * x).gather(1, target[:, None]).squeeze(1)
        loss.sum().backward()
        optimizer.step()
        with torch.no_grad():
            numbers.clamp_(0, 1)
    return shown().detach()


def _peer_extremal(model: nn.Module, x: Tensor, target: Tensor, cell: int) -> Tensor:
    """Its penalty is fixed at 300, so the model's scores are multiplied instead."""
    model = nn.Sequential(model, _Scaled(300 / PENALTY))
    given = {
        "areas": [AREA], "perturbation": FADE_PERTURBATION, "max_iter": STEPS, "step": cell, "sigma": 3 * cell,
        "jitter": False,
    }  # fmt: skip
    pairs = zip(x, target.tolist(), strict=True)
    return torch.cat([torchray_perturbation(model, one[None], label, **given)[0] for one, label in pairs])


class _Scaled(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def _kept(model: nn.Module, x: Tensor, target: Tensor, masks: Tensor) -> float:
    """The score of what is shown, with no more than the area that was asked for."""
    size = masks.flatten(1)
    floor = size.topk(int(AREA * size.shape[1]), 1)[0][:, -1]
    with torch.no_grad():
        seen = model(x * (masks >= floor.view(-1, 1, 1, 1)))
        return float(seen.gather(1, target[:, None]).mean())


def _genome() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv1d(4, 16, 7, padding=3), nn.ReLU(), nn.Conv1d(16, 16, 7, padding=3), nn.ReLU(), nn.AdaptiveAvgPool1d(1),
        nn.Flatten(), nn.Linear(16, 1),
    )  # fmt: skip
    letters = torch.randint(4, (4, 60), generator=seeded())
    return net.eval().requires_grad_(False), F.one_hot(letters, 4).mT.float()


def _mutations(model: nn.Module, x: Tensor) -> Tensor:
    changes = torch.zeros_like(x)
    with torch.no_grad():
        before = model(x).squeeze(1)
        for letter in range(4):
            for place in range(x.shape[2]):
                other = x.clone()
                other[:, :, place] = 0
                other[:, letter, place] = 1
                changes[:, letter, place] = model(other).squeeze(1) - before
    return changes


def _peer_mutations(model: nn.Module, x: Tensor, fast: bool) -> Tensor:
    given = {"raw_outputs": True, "batch_size": 240, "device": "cpu", "fast": fast}
    before, after = saturation_mutagenesis(model, x, **given)[:2]
    return (after.reshape(len(x), 4, x.shape[2]) - before[:, :, None]).reshape(x.shape)


def _rolled(x: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask.bool(), x.roll(1, 0), x)


def _permuted(model: nn.Module, x: Tensor) -> Tensor:
    found = torch.zeros_like(x)
    with torch.no_grad():
        before = model(x)[:, 1]
        for feature in range(x.shape[1]):
            other = x.clone()
            other[:, feature] = x[:, feature].roll(1, 0)
            found[:, feature] = before - model(other)[:, 1]
    return found


SAMPLES, ALPHA = 200, 1.0


def _drawn(x: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    features = (torch.rand(x.shape[1], generator=generator) < 0.5).float()
    return x * features, features


def _surrogate(model: nn.Module, x: Tensor) -> Tensor:
    """One sample after the other, and scikit-learn's ridge regression."""
    generator, scores, features = seeded(), [], []
    with torch.no_grad():
        for _ in range(SAMPLES):
            point, shown = _drawn(x, generator)
            scores.append(model(point)[:, 1])
            features.append(shown)
    table, values = torch.stack(features).double().numpy(), torch.stack(scores).double().numpy()
    return torch.tensor(Ridge(alpha=ALPHA).fit(table, values).coef_)


def _peer_surrogate(model: nn.Module, x: Tensor) -> Tensor:
    """Captum's takes one example."""
    lime = ca.LimeBase(
        lambda rows: model(rows)[:, 1],
        SkLearnRidge(alpha=ALPHA),
        similarity_func=lambda *_, **__: 1.0,
        perturb_func=lambda original, **given: _drawn(torch.ones_like(original), given["generator"])[1][None],
        perturb_interpretable_space=True,
        from_interp_rep_transform=lambda shown, original, **_: original * shown,
        to_interp_rep_transform=None,
    )
    found = []
    for one in x:
        given = {"n_samples": SAMPLES, "perturbations_per_eval": 50, "generator": seeded()}
        found.append(lime.attribute(one[None], **given).flatten())
    return torch.stack(found)


def rows() -> list[Row]:
    model, x, cell = cnn(), images(2), 4
    target = classes(model, x)
    genome, letters = _genome()
    tabular, table = mlp(10), torch.randn(64, 10, generator=seeded())
    permute = ca.FeaturePermutation(tabular, lambda x, mask: _rolled(x, mask))
    few, other = table[:4], frozen(model)
    ours: dict[str, Any] = {"similarity": lambda *_: 1.0, "linear_model": af.surrogates.ridge(ALPHA)}
    return [
        Row(
            f"rise, {MASKS} masks",
            lambda: af.rise(lambda x: model(x).sigmoid(), x, n_samples=MASKS, generator=seeded(), target=target),
            lambda: _rise(model, x, target),
            lambda: _peer_rise(model, x, target),
            "torchray",
            same=lambda: _peer_rise(model, x, target, _masks(32)),
            note="The numbers of torchray are those with the loop's masks. It gives the maps of all classes.",
        ),
        Row(
            f"extremal_perturbation, {STEPS} steps",
            lambda: af.extremal_perturbation(
                model,
                x,
                target=target,
                area=AREA,
                cell=cell,
                n_steps=STEPS,
                penalty=PENALTY,
                learning_rate=48 / PENALTY,
            ),
            lambda: _extremal(model, x, target, cell),
            lambda: _peer_extremal(other, x, target, cell),
            "torchray",
            worth=partial(_kept, model, x, target),
            meaning="score of the area shown",
            note="A search: told is the mean score of the fifth of each image with the most of the mask. Ours and the "
            "loop's masks show 0.19 of these images. torchray counts the margin around an image in its area, "
            "and shows 0.47: scores of another task.",
        ),
        Row(
            "in_silico_mutagenesis, 60 places",
            lambda: af.in_silico_mutagenesis(genome, letters, target=0),
            lambda: _mutations(genome, letters),
            lambda: _peer_mutations(genome, letters, True),
            "tangermeme",
        ),
        Row(
            "in_silico_mutagenesis, 60 places, whole runs",
            lambda: af.in_silico_mutagenesis(genome, letters, target=0),
            theirs=lambda: _peer_mutations(genome, letters, False),
            peer="tangermeme",
            note="tangermeme with `fast=False`, which runs the whole network for each mutation, as we do.",
        ),
        Row(
            "feature_permutation, 10 features of 64 rows",
            lambda: af.feature_permutation(tabular, table, target=1, perm_func=_rolled),
            lambda: _permuted(tabular, table),
            lambda: permute.attribute(table, target=1, perturbations_per_eval=10),
            "captum",
            note="Columns are rolled by one row, so that all shuffle alike.",
        ),
        Row(
            f"local_surrogate, {SAMPLES} samples",
            lambda: af.local_surrogate(
                tabular, few, perturb=_drawn, n_samples=SAMPLES, target=1, generator=seeded(), **ours
            ),
            lambda: _surrogate(tabular, few),
            lambda: _peer_surrogate(tabular, few),
            "captum",
        ),
    ]
