"""Concepts beside Captum's TCAV, with the same ridge classifier."""

from __future__ import annotations

import contextlib
import io
import tempfile
from typing import Any

import captum.concept as cc
import torch
from torch import Tensor, nn

import attrfunc as af
from benchmarks.peers.further.row import Row, cnn, frozen, images, seeded

LAYER, EXAMPLES, SETS = "9", 40, 4


def _direction(one: Tensor, other: Tensor) -> Tensor:
    """Ridge regression of signs, both sides with half of the weight; the penalty is the mean variance."""
    features = torch.cat([one, other]).double()
    signs = torch.cat([torch.ones(len(one)), -torch.ones(len(other))]).double()
    shares = torch.cat([torch.full((len(part),), 0.5 / len(part)) for part in (one, other)]).double()
    centred = features - shares @ features
    penalty = (shares @ centred.square()).mean()
    weighted = centred * shares[:, None]
    # As many unknowns as examples: `w = centred' a`.
    system = weighted @ centred.T + penalty * torch.eye(len(features), dtype=torch.float64)
    weight = centred.T @ torch.linalg.solve(system, shares * signs)
    return weight / weight.norm()


class _Ridge(cc.Classifier):
    def __init__(self) -> None:
        pass

    def train_and_eval(self, dataloader: Any, **_: Any) -> dict[str, Tensor]:
        batches = list(dataloader)
        x, y = (torch.cat([batch[place] for batch in batches]) for place in (0, 1))
        self.found = y.unique()
        self.weight = _direction(x[y == self.found[0]], x[y == self.found[1]]).float()
        return {"accs": torch.tensor(1.0)}

    def weights(self) -> Tensor:
        return torch.stack([self.weight, -self.weight])

    def classes(self) -> list[int]:
        return self.found.tolist()


def _activations(model: nn.Sequential, x: Tensor) -> Tensor:
    return model[: int(LAYER) + 1](x).flatten(1)


def _sensitivities(model: nn.Sequential, x: Tensor) -> Tensor:
    leaf = _activations(model, x).requires_grad_()
    return torch.autograd.grad(model[int(LAYER) + 1 :](leaf)[:, 1].sum(), leaf)[0]


def _share(model: nn.Sequential, x: Tensor, vector: Tensor) -> float:
    return float((_sensitivities(model, x) @ vector.float() > 0).float().mean())


def _by_hand(model: nn.Sequential, x: Tensor, concepts: list[Tensor], random: list[Tensor]) -> Tensor:
    """Each concept against each random set."""
    scores = [
        [_share(model, x, _direction(_activations(model, one), _activations(model, other))) for other in random]
        for one in concepts
    ]
    return torch.tensor(scores)


def _net() -> nn.Sequential:
    """A head that is not linear, so that shares differ."""
    torch.manual_seed(1)
    body = list(cnn())[:9]
    head = [nn.Linear(2048, 32), nn.Tanh(), nn.Linear(32, 10)]
    return nn.Sequential(*body, *head).eval().requires_grad_(False)


def _captum(model: nn.Module, concepts: list[Tensor], random: list[Tensor]) -> tuple[Any, Any]:
    sets = [*concepts, *random]
    made = [cc.Concept(number, f"c{number}", [data]) for number, data in enumerate(sets)]
    pairs = [[one, other] for one in made[: len(concepts)] for other in made[len(concepts) :]]

    def fresh() -> Any:
        return cc.TCAV(frozen(model), LAYER, classifier=_Ridge(), save_path=tempfile.mkdtemp(dir=_FOLDER.name))

    return fresh, pairs


_FOLDER = tempfile.TemporaryDirectory()


def rows() -> list[Row]:
    model, x = _net(), images(32)
    stripes = torch.arange(32).remainder(4).lt(2).float()
    draw = lambda seed: torch.rand(EXAMPLES, 3, 32, 32, generator=seeded(seed))  # noqa: E731
    concepts = {"rows": draw(1) * stripes[:, None], "columns": draw(2) * stripes}
    random = [draw(10 + number) for number in range(SETS)]
    one, other, view = concepts["rows"], random[0], af.layer(model, LAYER)
    vectors = af.concepts.concept_vectors(view, {"rows": one}, against=other)
    fresh, pairs = _captum(model, [one], [other])
    fitted = fresh()
    with contextlib.redirect_stderr(io.StringIO()):
        fitted.compute_cavs(pairs)
    fresh_all, all_pairs = _captum(model, list(concepts.values()), random)

    def cavs() -> Tensor:
        found = fresh().compute_cavs(pairs, force_train=True)
        return next(iter(found.values()))[LAYER].stats["weights"][0]

    def shares(tcav: Any, sets: Any) -> Tensor:
        found = tcav.interpret(x, sets, target=1)
        return torch.stack([found["-".join(str(c.id) for c in pair)][LAYER]["sign_count"][0] for pair in sets])

    return [
        Row(
            f"concept_vectors, 2 sets of {EXAMPLES}",
            lambda: af.concepts.concept_vectors(view, {"rows": one}, against=other).vectors[0].flatten(),
            lambda: _direction(_activations(model, one), _activations(model, other)).float(),
            cavs,
            "captum",
            note="Captum writes activations into files.",
        ),
        Row(
            "tcav, 32 examples",
            lambda: af.concepts.tcav(view, x, vectors=vectors, target=1).sign,
            lambda: [_share(model, x, vectors.vectors[0].flatten())],
            lambda: shares(fitted, pairs),
            "captum",
            note="The vectors are there already.",
        ),
        Row(
            f"tcav_test, 2 concepts, {SETS} random sets",
            lambda: af.concepts.tcav_test(view, x, concepts=concepts, random=random, target=1).scores,
            lambda: _by_hand(model, x, list(concepts.values()), random),
            lambda: shares(fresh_all(), all_pairs).view(2, SETS),
            "captum",
            note="Ours also fits each random set against the others, which the test needs; the loop and Captum do not.",
        ),
    ]
