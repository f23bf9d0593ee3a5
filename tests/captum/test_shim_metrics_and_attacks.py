"""captum.metrics and captum.robust: Captum's names, signatures and numbers, and where these differ on purpose."""

import inspect
import warnings
from typing import NamedTuple

import captum.metrics as captum_metrics
import captum.robust as captum_robust
import pytest
import torch
from captum.metrics._core.sensitivity import default_perturb_func
from test_signatures import parameters
from torch import nn

import attrfunc as af
import attrfunc.captum.attr as shim_attr
import attrfunc.captum.metrics as shim_metrics
import attrfunc.captum.robust as shim_robust
from attrfunc.captum.metrics import sensitivity
from small_nets import inputs, mlp

MODULES = ((shim_metrics, captum_metrics), (shim_robust, captum_robust))
METHODS = ("__init__", "perturb", "add_attack", "evaluate", "summary", "reset")


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Input Tensor .* did not already require gradients")
        yield


def named(function):
    """Names and defaults; a function, or its kind of infinity, by how it is written."""
    return [(name, kind, str(default)) for name, kind, default in parameters(function)]


@pytest.mark.parametrize(("ours", "theirs"), MODULES, ids=["metrics", "robust"])
def test_names_and_signatures(ours, theirs):
    assert sorted(ours.__all__) == sorted(theirs.__all__)
    for name in theirs.__all__:
        one, other = getattr(ours, name), getattr(theirs, name)
        if inspect.isclass(other):
            for method in METHODS:
                if method in vars(other):
                    assert named(getattr(one, method)) == named(getattr(other, method)), (name, method)
        else:
            assert named(one) == named(other), name
    assert named(sensitivity.default_perturb_func) == named(default_perturb_func)


def both(name, *args, **kwargs):
    """What a function gives here and in Captum; both with the same seed."""
    found = []
    for module in (shim_metrics, captum_metrics):
        torch.manual_seed(0)
        found.append(getattr(module, name)(*args, **kwargs))
    return found


def tanh_pair():
    net = mlp(features=5)
    return lambda a, b, factor=1.0: net(torch.cat([a, b], 1) * factor)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("multiply", [False, True])
def test_infidelity(multiply, normalize):
    model, x, attributions = mlp(), inputs(4, 6), inputs(4, 6, seed=3)
    step = inputs(4, 6, seed=5) * 0.3
    perturb = captum_metrics.infidelity_perturb_func_decorator(multiply)(lambda x: x - step)
    ours = shim_metrics.infidelity_perturb_func_decorator(multiply)(lambda x: x - step)
    options = {"target": torch.tensor([0, 1, 2, 1]), "n_perturb_samples": 1, "normalize": normalize}
    torch.testing.assert_close(
        shim_metrics.infidelity(model, ours, x, attributions, **options),
        captum_metrics.infidelity(model, perturb, x, attributions, **options),
    )
    start = inputs(4, 6, seed=8)
    perturb, ours = (
        module.infidelity_perturb_func_decorator(multiply)(lambda x, b: x - step * b)
        for module in (captum_metrics, shim_metrics)
    )
    torch.testing.assert_close(
        shim_metrics.infidelity(model, ours, x, attributions, start, **options),
        captum_metrics.infidelity(model, perturb, x, attributions, start, **options),
    )


def test_infidelity_of_several_inputs_and_samples():
    model, x = tanh_pair(), (inputs(3, 2), inputs(3, 3, seed=2))
    attributions = (inputs(3, 2, seed=3), inputs(3, 3, seed=4))
    fixed = lambda *x: (tuple(0.1 * leaf for leaf in x[0]), tuple(0.9 * leaf for leaf in x[0]))
    options = {"target": 1, "additional_forward_args": (2.0,), "n_perturb_samples": 4}
    torch.testing.assert_close(*both("infidelity", model, fixed, x, attributions, **options))
    options["max_examples_per_batch"] = 3
    torch.testing.assert_close(*both("infidelity", model, fixed, x, attributions, **options))


@pytest.mark.parametrize("norm", ["fro", 1, float("inf")])
def test_sensitivity(norm):
    model, x, labels = mlp(), inputs(4, 6), torch.tensor([0, 1, 2, 1])
    shift = lambda x, radius=0.02: x[0] + radius if isinstance(x, tuple) else x + radius
    for kind in ("Saliency", "IntegratedGradients"):
        explain = getattr(shim_attr, kind)(model).attribute
        options = {"target": labels, "norm_ord": norm, "n_perturb_samples": 3, "perturb_radius": 0.3}
        if kind == "IntegratedGradients":
            options["baselines"] = inputs(4, 6, seed=4)
        torch.testing.assert_close(*both("sensitivity_max", explain, x, shift, **options))


def test_sensitivity_of_several_inputs_and_draws():
    model, x = tanh_pair(), (inputs(3, 2), inputs(3, 3, seed=2))
    explain = shim_attr.InputXGradient(model).attribute
    shift = lambda x: tuple(leaf + 0.2 for leaf in x)
    options = {"target": torch.tensor([0, 1, 2]), "additional_forward_args": (2.0,)}
    torch.testing.assert_close(*both("sensitivity_max", explain, x, shift, **options))
    torch.testing.assert_close(*both("sensitivity_max", explain, x, shift, max_examples_per_batch=3, **options))
    many = both("sensitivity_max", explain, x, perturb_radius=0.1, n_perturb_samples=300, **options)
    torch.testing.assert_close(many[0], many[1], rtol=0.15, atol=0)
    zero = shim_metrics.sensitivity_max(lambda x: x[0] * 0, inputs(3, 2))
    assert zero.tolist() == [0, 0, 0]


def test_what_infidelity_refuses():
    model, x = mlp(), inputs(4, 6)
    with pytest.raises(af.ArgumentError, match=r"infidelity: argument `perturb_func`.*decorator"):
        shim_metrics.infidelity(model, lambda x: x, x, x, target=0)
    with pytest.raises(af.ArgumentError, match=r"infidelity: argument `attributions`.*\(4, 5\)"):
        shim_metrics.infidelity(model, lambda x: (x, x), x, x[:, :5], target=0)


def softmaxed(seed=0):
    net = mlp(seed=seed)
    return lambda x: net(x).softmax(1)


LABELS = torch.tensor([0, 1, 2, 1])
SUMMED = lambda outputs, target: nn.functional.cross_entropy(outputs, target, reduction="none")


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("loss", [None, SUMMED], ids=["default", "given"])
def test_fgsm_and_pgd_with_signs(loss, targeted):
    model, x, mask = softmaxed(), inputs(4, 6), torch.ones(4, 6)
    mask[:, 2] = 0
    for bounds in ((), (-0.9, 0.9)):
        ours, theirs = (module.FGSM(model, loss, *bounds) for module in (shim_robust, captum_robust))
        for options in ({}, {"mask": mask}, {"mask": mask[0]}):
            arguments = {"epsilon": 0.1, "target": LABELS, "targeted": targeted, **options}
            torch.testing.assert_close(ours.perturb(x, **arguments), theirs.perturb(x.clone(), **arguments))
            ours_pgd, theirs_pgd = (module.PGD(model, loss, *bounds) for module in (shim_robust, captum_robust))
            arguments = {"radius": 0.13, "step_size": 0.05, "step_num": 4, "target": LABELS, "targeted": targeted}
            found = ours_pgd.perturb(x, **arguments, **options)
            last = theirs_pgd.perturb(x.clone(), **arguments, **options)
            sign, value = (
                -1 if targeted else 1,
                SUMMED if loss else lambda out, y: -out.gather(1, y[:, None])[:, 0].log(),
            )
            gain = sign * (value(model(found), LABELS) - value(model(last), LABELS))
            same = (found - last).abs().amax(1) < 1e-6
            assert (same | (gain > 0)).all()  # where the last point is not the best
            assert same.double().mean() >= 0.5
    assert not ours(x, 0.1, LABELS).requires_grad


def test_several_inputs_of_attacks():
    net, x = tanh_pair(), (inputs(4, 2), inputs(4, 3, seed=2))
    model = lambda a, b, factor: net(a, b, factor).softmax(1)
    for name, options in (("FGSM", {"epsilon": 0.1}), ("PGD", {"radius": 0.1, "step_size": 0.04, "step_num": 3})):
        ours, theirs = (getattr(module, name)(model) for module in (shim_robust, captum_robust))
        options = {**options, "target": LABELS, "additional_forward_args": 2.0}
        for one, other in zip(ours.perturb(x, **options), theirs.perturb(x, **options), strict=True):
            torch.testing.assert_close(one, other)


def test_pgd_in_l2_is_better_than_captums():
    """Signs are no steps of equal length in L2, and the last point need not be the best."""
    model = mlp(features=20, classes=4, seed=1)
    x = inputs(80, 20)
    labels = model(x).argmax(1)
    options = {"radius": 1.0, "step_size": 0.3, "step_num": 20, "target": labels, "norm": "L2"}
    loss = lambda outputs, target: nn.functional.cross_entropy(outputs, target, reduction="none")
    ours, theirs = (module.PGD(model, loss).perturb(x.clone(), **options) for module in (shim_robust, captum_robust))
    assert ((ours - x).norm(dim=1) <= 1 + 1e-9).all()
    losses = [loss(model(found), labels) for found in (ours, theirs.detach())]
    assert (losses[0] >= losses[1] - 1e-6).double().mean() > 0.95
    assert losses[0].mean() > losses[1].mean() * 1.02
    slow = shim_robust.PGD(model, loss).perturb(x, **{**options, "step_size": 5.0, "norm": "Linf", "radius": 0.1})
    worse = captum_robust.PGD(model, loss).perturb(
        x.clone(), **{**options, "step_size": 5.0, "norm": "Linf", "radius": 0.1}
    )
    assert (loss(model(slow), labels) >= loss(model(worse.detach()), labels) - 1e-9).all()


def test_the_default_loss_is_that_of_probabilities_and_warns_of_logits():
    """It has the gradient of -log, which no logarithm of a negative number is needed for, and leads logits astray."""
    model, x = mlp(), inputs(4, 6)
    with pytest.warns(UserWarning, match=r"FGSM.perturb: the default loss.*CrossEntropyLoss"):
        found = shim_robust.FGSM(model).perturb(x, 0.1, LABELS)
    chosen = model(x).gather(1, LABELS[:, None])
    assert (chosen < 0).any()
    for row in range(4):
        leaf = x[row : row + 1].clone().requires_grad_()
        slope = torch.autograd.grad(model(leaf)[0, LABELS[row]], leaf)[0]
        torch.testing.assert_close(found[row : row + 1], x[row : row + 1] - 0.1 * (slope / chosen[row]).sign())
    torch.testing.assert_close(found, captum_robust.FGSM(model).perturb(x.clone(), 0.1, LABELS))
    with pytest.warns(UserWarning, match=r"PGD.perturb: the default loss"):
        assert (shim_robust.PGD(model).perturb(x, 0.1, 0.05, 2, LABELS) - x).abs().max() <= 0.1 + 1e-9
    # Of logits one asks for the cross-entropy, of the batch as well, which Captum does not take.
    found = shim_robust.FGSM(model, nn.CrossEntropyLoss()).perturb(x, 0.1, LABELS)
    torch.testing.assert_close(found, af.robust.fgsm(model, x, label=LABELS, radius=0.1))
    torch.testing.assert_close(found, captum_robust.FGSM(model, SUMMED).perturb(x.clone(), 0.1, LABELS))


def test_slopes_are_followed_however_small():
    """Captum takes gradients below 1e-6 for none: where a softmax is sure, its attacks stay where they are."""
    model, x = mlp(), inputs(4, 6)
    sure = lambda x: 1e3 * model(x)
    labels = sure(x).argmax(1)
    loss = nn.CrossEntropyLoss(reduction="none")
    found = shim_robust.FGSM(sure, loss).perturb(x, 0.1, labels)
    stayed = captum_robust.FGSM(sure, loss).perturb(x.clone(), 0.1, labels)
    kept = (stayed == x).all(1)
    assert kept.any()
    moved = (found != x).any(1)
    assert (moved & kept).any()


def test_perturbations_are_asked_for_copies_of_the_batch_at_once():
    """A function may perturb each copy of an example in a way of its own: here, each feature in turn."""
    model, x = mlp(), inputs(2, 6)
    asked = []

    def each_in_turn(x, *_):
        asked.append(len(x))
        step = torch.eye(6).double().repeat(len(x) // 6 + 1, 1)[: len(x)]
        return step, x - step

    attributions = inputs(2, 6, seed=4)
    expected = torch.zeros(2).double()
    for feature in range(6):
        step = torch.eye(6).double()[feature]
        lost = (model(x) - model(x - step))[:, 1]
        expected = expected + (attributions[:, feature] - lost).square() / 6
    options = {"target": 1, "n_perturb_samples": 6}
    found = shim_metrics.infidelity(model, each_in_turn, x, attributions, **options)
    assert asked == [12]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found, captum_metrics.infidelity(model, each_in_turn, x, attributions, **options))
    asked.clear()
    with pytest.raises(af.ArgumentError, match=r"infidelity: argument `perturb_func`.*every example"):
        shim_metrics.infidelity(model, lambda x: (x[:1], x[:1]), x, attributions, **options)


def test_a_distribution_of_baselines_does_not_follow_the_examples():
    x, seen = inputs(5, 6), []

    def explain(x, baselines=None):
        seen.append(tuple(baselines.shape))
        return tuple(leaf.detach() for leaf in x) if isinstance(x, tuple) else x

    found = shim_metrics.sensitivity_max(explain, x, baselines=inputs(3, 6), n_perturb_samples=4)
    assert set(seen) == {(3, 6)}
    assert (found > 0).all()


def test_no_steps_leave_the_start():
    model, x = softmaxed(), inputs(4, 6)
    assert torch.equal(shim_robust.PGD(model).perturb(x, 0.25, 0.1, 0, LABELS), x)
    found = shim_robust.PGD(model).perturb(x, 0.25, 0.1, 0, LABELS, random_start=True)
    assert 0 < (found - x).abs().max() <= 0.25
    with pytest.raises(af.ArgumentError, match=r"PGD.perturb: argument `step_num`.*at least 0"):
        shim_robust.PGD(model).perturb(x, 0.25, 0.1, -1, LABELS)


def test_random_starts_and_errors_of_attacks():
    model, x = softmaxed(), inputs(4, 6)
    options = {"radius": 0.1, "step_size": 0.02, "step_num": 2, "target": LABELS}
    for norm in ("Linf", "L2"):
        found = shim_robust.PGD(model).perturb(x, **options, random_start=True, norm=norm)
        size = (found - x).norm(dim=1) if norm == "L2" else (found - x).abs().amax(1)
        assert (size <= 0.1 + 1e-9).all()
    with pytest.raises(af.ArgumentError, match=r"PGD.perturb: argument `norm`"):
        shim_robust.PGD(model).perturb(x, **options, norm="L1")
    with pytest.raises(af.ArgumentError, match=r"PGD.perturb: argument `radius`"):
        shim_robust.PGD(model).perturb(x, **{**options, "radius": -1.0})
    with pytest.raises(af.ArgumentError, match=r"FGSM.perturb: argument `mask`"):
        shim_robust.FGSM(model).perturb(x, 0.1, LABELS, mask=torch.ones(7))
    with pytest.raises(af.ModelError, match="no gradient"):
        shim_robust.FGSM(lambda x: model(x.detach() * 1)).perturb(x, 0.1, LABELS)


class Result(NamedTuple):
    accuracy: torch.Tensor
    confidence: torch.Tensor


METRICS = {
    "tensor": lambda out, target: (out.argmax(1) == target).float(),
    "number": lambda out, target: float((out.argmax(1) == target).float().mean()),
    "tuple": lambda out, target: Result((out.argmax(1) == target).float(), out.amax(1)),
}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("at_once", [1, 2, 9])
def test_the_comparator(metric, at_once):
    net, results = mlp(), []
    for module in (shim_robust, captum_robust):
        steps = iter([0.1, 0.5, 0.9] * 10)
        comparator = module.AttackComparator(net, METRICS[metric], preproc_fn=lambda x: x * 2)
        fgsm = module.FGSM(net, SUMMED)
        comparator.add_attack(fgsm, "FGSM", 1, False, {"epsilon": 0.2}, ["target"])
        comparator.add_attack(lambda x, steps=steps: x + next(steps), "shift", num_attempts=3)
        found = [
            comparator.evaluate(inputs(4, 6, seed=s), target=LABELS, perturbations_per_eval=at_once) for s in (1, 2)
        ]
        results.append((found, comparator.summary()))
        comparator.reset()
        assert comparator.summary() == {}
    compare(*results)


def compare(ours, theirs):
    assert type(ours) is type(theirs) or isinstance(ours, tuple)
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key in ours:
            compare(ours[key], theirs[key])
    elif isinstance(ours, tuple | list):
        assert getattr(ours, "_fields", None) == getattr(theirs, "_fields", None)
        for one, other in zip(ours, theirs, strict=True):
            compare(one, other)
    else:
        one, other = (torch.as_tensor(part).double() for part in (ours, theirs))
        torch.testing.assert_close(one.squeeze(), other.squeeze(), rtol=1e-6, atol=1e-6)


def test_the_comparators_own_arguments():
    comparator = shim_robust.AttackComparator(mlp(), METRICS["tensor"])
    comparator.add_attack(lambda x: x, "none", additional_attack_arg_names=["mask"])
    with pytest.raises(af.ArgumentError, match=r"add_attack: argument `name`"):
        comparator.add_attack(lambda x: x, "none")
    with pytest.warns(UserWarning, match="mask not provided for none"):
        comparator.evaluate(inputs(4, 6), target=LABELS)


@pytest.mark.parametrize("mode", ["linear", "binary"])
@pytest.mark.parametrize("at_once", [1, 4])
def test_the_smallest_argument(mode, at_once):
    model = lambda x, shift=0.0: torch.stack([x[:, 0] + shift, torch.full((len(x),), 0.55)], 1)
    attack = lambda x, size, sign=1.0: x - sign * size
    x = torch.ones(1, 3)
    for step in (0.1, 0.05):
        results = []
        for module in (shim_robust, captum_robust):
            search = module.MinParamPerturbation(model, attack, "size", 0.0, 1.0, step, mode)
            results.append(search.evaluate(x, target=0, perturbations_per_eval=at_once))
        torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-5, atol=1e-5)
        assert abs(results[0][1] - results[1][1]) < 1e-9
    search = shim_robust.MinParamPerturbation(model, attack, "size", 0.0, 1.0, 0.1, mode)
    assert search.evaluate(x, target=0, attack_kwargs={"sign": -1.0}) == (None, None)
    assert abs(search.evaluate(x, (0.25,), target=0)[1] - 0.8) < 1e-9  # 1.25 - 0.7 is not below 0.55


@pytest.mark.parametrize("mode", ["linear", "binary"])
def test_the_largest_argument_is_tried(mode):
    """Captum's search ends before it."""
    model = lambda x: torch.stack([x[:, 0], x[:, 0] * 0 + 0.5], 1)
    found = shim_robust.MinParamPerturbation(model, lambda x, size: x - size, "size", 0, 10, 3, mode).evaluate(
        torch.full((1, 1), 10.2), target=0
    )
    assert found[1] == 10
    assert isinstance(found[1], int)
    theirs = captum_robust.MinParamPerturbation(model, lambda x, size: x - size, "size", 0, 10, 3, mode)
    assert theirs.evaluate(torch.full((1, 1), 10.2), target=0) == (None, None)


def test_other_ways_of_the_search():
    model = lambda x: torch.stack([x[:, 0], x[:, 0] * 0 + 0.5], 1)
    search = shim_robust.MinParamPerturbation(
        model,
        lambda x, size: x - size,
        "size",
        0,
        10,
        1,
        preproc_fn=lambda x: x / 10,
        apply_before_preproc=True,
        correct_fn=lambda out, limit: bool((out[:, 0] > limit).all()),
    )
    moved, value = search.evaluate(torch.full((1, 1), 9.0), correct_fn_kwargs={"limit": 0.35})
    assert value == 6
    assert moved.item() == 3  # the attacked inputs, before they are prepared
    tries = iter([0, 0, 5, 0])
    often = shim_robust.MinParamPerturbation(model, lambda x, size: x - next(tries), "size", 0, 2, 1, num_attempts=3)
    assert often.evaluate(torch.ones(1, 1), target=0)[1] == 0
    for options, message in (
        ({"mode": "fast"}, "`mode`"),
        ({"arg_min": 3, "arg_max": 2}, "`arg_max`"),
        ({"arg_step": 9}, "`arg_step`"),
    ):
        given = {"arg_min": 0, "arg_max": 2, "arg_step": 1, **options}
        with pytest.raises(af.ArgumentError, match="MinParamPerturbation: argument " + message):
            shim_robust.MinParamPerturbation(model, lambda x: x, "size", **given)
