"""Attacks against closed forms of linear classifiers and against their algorithms, written out."""

import functools
import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import nn

import attrfunc as af
from attrfunc.robust.ball import Ball
from attrfunc.robust.hyperplane import step_to_plane
from small_nets import generator, inputs, mlp

A = af.robust


def classifier(features=6, classes=3, seed=0):
    torch.manual_seed(seed)
    return nn.Linear(features, classes).double().requires_grad_(False)


def exact(model, x, labels, norm):
    """The distance of each example to the nearest other class of a linear classifier."""
    found = []
    for point, label in zip(x, labels, strict=True):
        logits, distances = model(point[None])[0], []
        for other in range(len(logits)):
            if other != label:
                slope = model.weight[other] - model.weight[label]
                dual = slope.norm(p={"linf": 1, "l2": 2, "l1": torch.inf}[norm])
                distances.append((logits[label] - logits[other]) / dual)
        found.append(torch.stack(distances).min())
    return torch.stack(found)


def size(change, norm):
    return change.flatten(1).norm(dim=1, p={"linf": torch.inf, "l2": 2, "l1": 1}[norm])


NEAREST = {
    "deepfool": (A.deepfool, {}, 1e-3),
    "fab": (A.fab, {"n_steps": 20}, 1e-3),
    "carlini_wagner": (
        A.carlini_wagner,
        {"learning_rate": 0.03, "n_steps": 100, "n_searches": 9, "n_target_classes": 2},
        0.01,
    ),
}


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("name", NEAREST)
def test_the_distances_of_linear_classifiers(name, norm):
    if name == "carlini_wagner" and norm != "l2":
        with pytest.raises(af.ArgumentError, match="fab or deepfool"):
            A.carlini_wagner(classifier(), inputs(2, 6), label=0, norm=norm)
        return
    attack, options, tolerance = NEAREST[name]
    for classes, seed in ((2, 0), (5, 1)) if name != "carlini_wagner" else ((3, 0),):
        model, x = classifier(classes=classes, seed=seed), inputs(12, 6, seed=seed)
        labels = model(x).argmax(1)
        found = attack(model, x, label=labels, norm=norm, **options)
        distance, least = size(found - x, norm), exact(model, x, labels, norm)
        assert (model(found).argmax(1) != labels).all()
        assert (distance >= least * (1 - 1e-9)).all()
        torch.testing.assert_close(distance, least, rtol=tolerance, atol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd"])
def test_the_smallest_radius_of_two_classes(name, norm):
    model, x = classifier(classes=2), inputs(10, 6)
    labels = model(x).argmax(1)
    options = {
        "fgsm": {},
        "pgd": {"n_steps": 5, "random_start": False},
        "apgd": {"n_steps": 30, "generator": generator()},
    }[name]
    found = A.minimal_perturbation(getattr(A, name), largest=4.0, n_bisections=12)(
        model, x, label=labels, norm=norm, **options
    )
    least = exact(model, x, labels, norm)
    assert (found >= least * (1 - 1e-9)).all()
    assert (found <= least + 4.0 / 2**12 + 1e-9).all()
    # Where the model is wrong by itself, 0; where the attack fails, infinity.
    measure = A.minimal_perturbation(getattr(A, name), largest=1e-6, n_bisections=3)
    assert measure(model, x, label=1 - labels, norm=norm, **options).tolist() == [0.0] * 10
    assert measure(model, x, label=labels, norm=norm, **options).isinf().all()


def moved(speed, low, high, time):
    return torch.minimum(torch.maximum(time * speed, low), high)


def test_steps_to_a_plane_are_the_shortest():
    """Among points on the plane and within the bounds, found by bisection of the multiplier, in loops."""
    for norm, bounded, seed in itertools.product(("linf", "l2"), (False, True), range(8)):
        x, slope = inputs(1, 7, seed=seed), inputs(1, 7, seed=seed + 100)
        slope[0, 2] = 0
        low, high = (x - 0.3, x + 0.5) if bounded else (x * 0 - torch.inf, x * 0 + torch.inf)
        ball = Ball(x, norm, torch.tensor([torch.inf]), low, high)
        for rise in (0.8, -0.6, 1e-9):
            step = step_to_plane(ball, x, slope, torch.tensor([rise]).double())[0]
            sign, speed = (1 if rise > 0 else -1), slope[0].sign() if norm == "linf" else slope[0]
            inside = functools.partial(moved, sign * speed, (low - x)[0], (high - x)[0])
            least, most = 0.0, 100.0
            for _ in range(200):
                middle = (least + most) / 2
                least, most = (middle, most) if sign * inside(middle) @ slope[0] < abs(rise) else (least, middle)
            torch.testing.assert_close(step, inside(most), rtol=1e-7, atol=1e-9)
            torch.testing.assert_close(float(step @ slope[0]), rise, rtol=1e-7, atol=1e-12)
    # Farther than the bounds allow, all goes as far as it can.
    ball = Ball(x, "l2", torch.tensor([torch.inf]), x - 0.3, x + 0.5)
    step = step_to_plane(ball, x, slope, torch.tensor([1e6]).double())[0]
    torch.testing.assert_close(step, torch.where(slope[0] > 0, 0.5, -0.3).double() * (slope[0] != 0))


def test_steps_and_projections_in_l1_are_those_of_linear_and_quadratic_programs():
    """Beside scipy's solvers, with and without bounds, from inside the ball and from outside."""
    for bounded, seed in itertools.product((False, True), range(6)):
        x, slope, point = (inputs(1, 7, seed=seed + 100 * part) for part in range(3))
        slope[0, 2] = 0
        low, high = (x - 0.3, x + 0.5) if bounded else (x * 0 - torch.inf, x * 0 + torch.inf)
        for radius in (0.2, 0.9, 50.0):
            ball = Ball(x, "l1", torch.tensor([radius], dtype=torch.float64), low, high)
            ends = [(float(a), float(b)) for a, b in zip((low - x)[0], (high - x)[0], strict=True)]
            # Changes are differences of two parts of at least 0 that together are the radius at most.
            parts = [(0, max(0.0, b)) for _, b in ends] + [(0, max(0.0, -a)) for a, _ in ends]
            weights = torch.cat([slope[0], -slope[0]]).numpy()
            best = linprog(-weights, A_ub=np.ones((1, 14)), b_ub=[radius], bounds=parts)
            found = (ball.ahead(x, slope, ball.radius) - x)[0]
            torch.testing.assert_close(float(found @ slope[0]), -best.fun, rtol=1e-9, atol=1e-12)
            # The nearest point: its multiplier by bisection.
            change, least, most = (point - x)[0], 0.0, 10.0
            shrunk = lambda by, d=change, low=low, high=high, x=x: ((d.abs() - by).clamp(min=0) * d.sign()).clamp(
                (low - x)[0], (high - x)[0]
            )
            for _ in range(100):
                middle = (least + most) / 2
                least, most = (middle, most) if shrunk(middle).abs().sum() > radius else (least, middle)
            expected = shrunk(most) if shrunk(0.0).abs().sum() > radius else shrunk(0.0)
            torch.testing.assert_close((ball.project(point) - x)[0], expected, rtol=1e-9, atol=1e-12)
        step = step_to_plane(ball, x, slope, torch.tensor([0.4], dtype=torch.float64))[0]
        sizes = linprog(np.ones(14), A_eq=weights[None], b_eq=[0.4], bounds=parts).fun
        torch.testing.assert_close(float(step.abs().sum()), sizes, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(float(step @ slope[0]), 0.4, rtol=1e-9, atol=1e-12)


def test_random_inputs_are_uniform_in_the_ball():
    """Moments of the sizes of elements: n = 3 numbers of a uniform point of the L1 ball have E |z| = 1 / (n + 1)."""
    ball = Ball(
        torch.zeros(40_000, 3).double(), "l1", torch.ones(40_000).double(), torch.tensor(-9.0), torch.tensor(9.0)
    )
    drawn = ball.random(generator())
    torch.testing.assert_close(drawn.abs().mean(0), torch.full((3,), 1 / 4).double(), rtol=0.02, atol=0)
    torch.testing.assert_close(drawn.square().mean(0), torch.full((3,), 2 / 20).double(), rtol=0.03, atol=0)
    # A share r^n of all is within r.
    torch.testing.assert_close(float((drawn.abs().sum(1) < 0.5).double().mean()), 1 / 8, rtol=0.05, atol=0)


def cross_entropy_gradient(model, x, labels):
    x = x.clone().requires_grad_()
    nn.functional.cross_entropy(model(x), labels, reduction="sum").backward()
    return x.grad


@pytest.mark.parametrize("targeted", [False, True])
def test_fgsm_is_the_formula(targeted):
    model, x, labels = mlp(), inputs(5, 6), torch.tensor([0, 1, 2, 0, 1])
    slope = cross_entropy_gradient(model, x, labels) * (-1 if targeted else 1)
    options = {"label": labels, "radius": 0.1, "targeted": targeted}
    torch.testing.assert_close(A.fgsm(model, x, **options), x + 0.1 * slope.sign())
    expected = x + 0.1 * slope / slope.norm(dim=1, keepdim=True)
    torch.testing.assert_close(A.fgsm(model, x, norm="l2", **options), expected)
    bounds = (float(x.min()), float(x.max()))
    torch.testing.assert_close(A.fgsm(model, x, bounds=bounds, **options), (x + 0.1 * slope.sign()).clamp(*bounds))
    own = torch.rand(5, generator=generator()).double()
    expected = x + own[:, None] * slope.sign()
    torch.testing.assert_close(A.fgsm(model, x, label=labels, radius=own, targeted=targeted), expected)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_pgd_is_the_algorithm_and_keeps_the_best(norm):
    model, x = mlp(seed=3), inputs(8, 6)
    labels = model(x).argmax(1)
    found = A.pgd(model, x, label=labels, radius=0.5, norm=norm, n_steps=7, step_size=0.3, random_start=False)
    for row in range(8):
        point, best = x[row : row + 1], None
        for step in range(8):
            loss = float(nn.functional.cross_entropy(model(point), labels[row : row + 1]))
            fooled = bool(model(point).argmax() != labels[row])
            if best is None or (fooled, loss) > best[:2]:
                best = (fooled, loss, point)
            if step < 7:
                slope = cross_entropy_gradient(model, point, labels[row : row + 1])
                largest = (slope.abs() == slope.abs().max()) * slope.sign()
                point = point + 0.3 * {"linf": slope.sign(), "l2": slope / slope.norm(), "l1": largest}[norm]
                change = point - x[row : row + 1]
                if norm == "l1":  # less by the least amount, by bisection, that leaves a sum of half
                    least, most = 0.0, 1.0
                    for _ in range(80):
                        middle = (least + most) / 2
                        over = (change.abs() - middle).clamp(min=0).sum() > 0.5
                        least, most = (middle, most) if over else (least, middle)
                    if change.abs().sum() > 0.5:
                        change = change.sign() * (change.abs() - most).clamp(min=0)
                elif norm == "l2":
                    change = change * min(1.0, float(0.5 / change.norm()))
                else:
                    change = change.clamp(-0.5, 0.5)
                point = x[row : row + 1] + change
        torch.testing.assert_close(found[row : row + 1], best[2])


def test_apgd_reaches_the_largest_loss_of_a_linear_classifier():
    model, x = classifier(classes=2), inputs(6, 6)
    labels = model(x).argmax(1)
    for norm in ("linf", "l2", "l1"):
        best = A.fgsm(model, x, label=labels, radius=0.2, norm=norm)
        found = A.apgd(model, x, label=labels, radius=0.2, norm=norm, n_steps=30, generator=generator())
        torch.testing.assert_close(model(found), model(best), rtol=1e-4, atol=1e-5)


def test_apgd_is_at_least_as_good_as_pgd():
    model, x = mlp(features=20, classes=5, seed=2), inputs(40, 20)
    labels = model(x).argmax(1)
    left = {}
    for norm, radius in (("linf", 0.3), ("l2", 0.9), ("l1", 2.5)):
        options = {"label": labels, "radius": radius, "norm": norm}
        for name, more in (
            ("fgsm", {}),
            ("pgd", {"n_steps": 30}),
            ("apgd", {"n_steps": 30}),
            ("square", {"n_queries": 200}),
        ):
            found = getattr(A, name)(model, x, generator=generator(), **options, **more)
            left[name] = (model(found).argmax(1) == labels).double().mean()
        aimed = A.apgd(model, x, generator=generator(), n_target_classes=4, n_steps=30, **options)
        left["aimed"] = (model(aimed).argmax(1) == labels).double().mean()
        near = A.fab(model, x, generator=generator(), n_steps=30, **options)
        left["fab"] = (model(near).argmax(1) == labels).double().mean()
        every = A.auto_attack(model, x, generator=generator(), n_steps=30, n_queries=100, **options)
        left["auto"] = (model(every).argmax(1) == labels).double().mean()
        assert 0.05 < left["auto"] < 0.9
        assert left["auto"] <= min(left.values())
        assert left["apgd"] <= left["pgd"] + 0.02
        assert left["pgd"] <= left["fgsm"]
        assert max(left["fab"], left["aimed"]) <= left["auto"] + 0.03
        assert left["square"] <= left["auto"] + 0.25


@pytest.mark.parametrize("shape", [(12,), (3, 9), (2, 6, 6)])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_square_attack_raises_the_margin_and_keeps_its_budget(norm, shape):
    torch.manual_seed(0)
    count = torch.Size(shape).numel()
    model = nn.Sequential(nn.Flatten(), nn.Linear(count, 10), nn.ReLU(), nn.Linear(10, 4)).double()
    x = inputs(9, *shape)
    labels = model(x).argmax(1)
    margin = lambda x: (
        model(x).scatter(1, labels[:, None], -torch.inf).amax(1) - model(x).gather(1, labels[:, None])[:, 0]
    )
    before = margin(x).mean()
    means = []
    for queries in (1, 20, 200):
        found = A.square(model, x, label=labels, radius=0.1, norm=norm, n_queries=queries, generator=generator())
        torch.testing.assert_close(size(found - x, norm), torch.full((9,), 0.1).double())
        means.append(margin(found).mean())
    assert before < means[1] < means[2]
    # Not far from what gradients find.
    best = margin(A.pgd(model, x, label=labels, radius=0.1, norm=norm, loss="margin", generator=generator())).mean()
    assert means[2] > before + 0.3 * (best - before)
