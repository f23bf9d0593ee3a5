"""What holds for all attacks: budgets, purity, chunks, odd tensors, and what they refuse."""

import copy

import pytest
import torch
from torch import nn
from torch.func import vmap

import attrfunc as af
from small_nets import generator, inputs, mlp

A = af.robust

ATTACKS = {
    "fgsm": (A.fgsm, {}),
    "pgd": (A.pgd, {"n_steps": 4, "n_restarts": 2}),
    "apgd": (A.apgd, {"n_steps": 6}),
    "apgd_t": (A.apgd, {"n_steps": 6, "n_target_classes": 2}),
    "fab": (A.fab, {"n_steps": 5, "n_restarts": 2}),
    "square": (A.square, {"n_queries": 8}),
    "deepfool": (A.deepfool, {"n_steps": 5}),
    "carlini_wagner": (A.carlini_wagner, {"n_steps": 8, "n_searches": 2, "learning_rate": 0.1}),
    "auto_attack": (A.auto_attack, {"n_steps": 4, "n_queries": 4}),
}
NORMS = ("linf", "l2", "l1")
CELLS = [(name, norm) for name in ATTACKS for norm in NORMS if name != "carlini_wagner" or norm == "l2"]
UNGRADED = ("square",)


def run(name, model, x, **options):
    attack, more = ATTACKS[name]
    return attack(model, x, generator=generator(), **{**more, **options})


def size(change, norm):
    return change.flatten(1).norm(dim=1, p={"linf": torch.inf, "l2": 2, "l1": 1}[norm])


@pytest.mark.parametrize(("name", "norm"), CELLS)
def test_within_the_ball_and_the_bounds_and_pure(name, norm):
    model, x = mlp(classes=4), inputs(7, 6).clamp(-1, 1.5)
    labels, radius = model(x).argmax(1), torch.tensor([0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6]).double()
    state, kept = copy.deepcopy(model.state_dict()), x.clone()
    low = torch.full((1, 6), -1.0).double()
    found = run(name, model, x, label=labels, radius=radius, norm=norm, bounds=(low, 1.5))
    assert found.shape == x.shape
    assert found.dtype == x.dtype
    assert not found.requires_grad
    assert (size(found - x, norm) <= radius + 1e-9).all()
    assert (found >= -1).all()
    assert (found <= 1.5).all()
    assert torch.equal(found[0], x[0])
    assert not torch.equal(found, x)
    assert torch.equal(x, kept)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert not any(parameter.grad is not None for parameter in model.parameters())
    for size_ in (1, 3):
        again = run(name, model, x, label=labels, radius=radius, norm=norm, bounds=(low, 1.5), chunk_size=size_)
        torch.testing.assert_close(again, found)
    other = x.t().contiguous().t()
    again = run(name, model, other.requires_grad_(), label=labels, radius=radius, norm=norm, bounds=(low, 1.5))
    torch.testing.assert_close(again, found)
    assert not again.requires_grad


@pytest.mark.parametrize("name", ATTACKS)
def test_single_precision_half_precision_and_images(name):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 4)).eval()
    for dtype in (torch.float32, torch.bfloat16):
        model, x = copy.deepcopy(net).to(dtype), torch.rand(3, 3, 6, 6, generator=generator()).to(dtype)
        norm = "l2" if name == "carlini_wagner" else "linf"
        found = run(name, model, x, label=[0, 3, 2], radius=0.1, norm=norm, bounds=(0, 1))
        assert found.dtype == dtype
        assert found.isfinite().all()
        assert (size((found - x).float(), norm) <= 0.1 * (1 + 2 * torch.finfo(dtype).eps) + 4e-3).all()
        assert ((found >= 0) & (found <= 1)).all()
    assert run(name, net, torch.zeros(0, 3, 6, 6), label=torch.zeros(0).long(), radius=0.1, norm=norm).shape[0] == 0


@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd", "square", "carlini_wagner"])
def test_targeted_attacks_go_for_the_label(name):
    net, x = mlp(classes=3, seed=2), inputs(10, 6)
    model = lambda x: 4 * net(3 * x)
    aims = (model(x).argmax(1) + 1) % 3
    more = {"n_steps": 100, "n_searches": 3} if name == "carlini_wagner" else {}
    more = {"n_queries": 200} if name == "square" else {"n_steps": 40} if name == "pgd" else more
    found = run(name, model, x, label=aims, radius=5.0, targeted=True, norm="l2", **more)
    assert (model(x).argmax(1) != aims).all()
    reached = (model(found).argmax(1) == aims).double().mean()
    assert reached >= (0.4 if name in ("fgsm", "square") else 0.7), reached


def test_what_follows_the_examples():
    model, x, scale = mlp(), inputs(5, 6), inputs(5, 6, seed=7)
    labels = torch.tensor([0, 1, 2, 0, 1])
    scaled = lambda x, factor, shift=0.0: model(x * factor + shift)
    for name in ("pgd", "auto_attack", "square"):
        whole = run(name, scaled, x, label=labels, radius=0.3, args=(scale,), kwargs={"shift": 0.1}, chunk_size=2)
        again = run(name, scaled, x, label=labels, radius=0.3, args=(scale,), kwargs={"shift": 0.1})
        torch.testing.assert_close(whole, again)
        bound = lambda x: model(x * scale + 0.1)
        if name == "pgd":
            torch.testing.assert_close(whole, A.pgd(bound, x, label=labels, radius=0.3, n_steps=4, n_restarts=2,
                                                    generator=generator()))  # fmt: skip


def test_bound_parameters_are_attacked():
    model, x, labels = mlp(), inputs(4, 6), torch.tensor([0, 1, 2, 0])
    other = mlp(seed=5)
    found = A.fgsm(af.bind(model, dict(other.named_parameters())), x, label=labels, radius=0.1)
    assert torch.equal(found, A.fgsm(other, x, label=labels, radius=0.1))
    assert not torch.equal(found, A.fgsm(model, x, label=labels, radius=0.1))


def test_what_is_wrong_by_itself_is_left_by_the_nearest():
    model, x = mlp(), inputs(6, 6)
    wrong = (model(x).argmax(1) + 1) % 3
    for name in ("fab", "deepfool", "carlini_wagner", "auto_attack", "square"):
        norm = {} if name in ("auto_attack", "square") else {"norm": "l2"}
        found = run(name, model, x, label=wrong, radius=0.3, **norm)
        torch.testing.assert_close(found, x)


def test_the_table():
    model, x = mlp(features=12), inputs(40, 12)
    labels = model(x).argmax(1)
    labels[:4] = (labels[:4] + 1) % 3
    attacks = {"FGSM": A.fgsm, "PGD": lambda *a, **k: A.pgd(*a, generator=generator(), **k)}
    table = A.compare_attacks(attacks, model, [(x[:25], labels[:25]), (x[25:], labels[25:])], radius=0.3)
    assert table.attacks == ("none", "FGSM", "PGD", "any")
    assert table.accuracy[0] == 0.9
    left = (model(A.fgsm(model, x, label=labels, radius=0.3)).argmax(1) == labels).double().mean()
    assert table.accuracy[1] == left
    assert table.accuracy[3] <= table.accuracy.min()
    assert torch.equal(table.fooled[3], table.fooled[:3].any(0))
    # Wilson's interval of 36 of 40, from tables.
    torch.testing.assert_close(table.low[0], torch.tensor(0.7695).double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(table.high[0], torch.tensor(0.9604).double(), atol=1e-4, rtol=0)
    assert "| none | 0.900 (0.769 to 0.960) | 0 |" in str(table)


MODEL, X = mlp(), inputs(4, 6)
PLAIN = {"label": 1, "radius": 0.1}
CUT = lambda x: MODEL(x.detach() * 1.0)


@pytest.mark.parametrize(("name", "norm"), [cell for cell in CELLS if cell[0] != "auto_attack"])
def test_half_precision_is_the_models_alone(name, norm):
    """Steps are computed in single precision: as those of a model that rounds its input itself."""
    model, x = mlp(classes=4).half(), inputs(5, 6).clamp(-1, 1).half()
    x[0] = x[1] = 0.0  # where differences are 0
    options = {"label": model(x).argmax(1), "radius": 0.3, "norm": norm}
    found = run(name, model, x, bounds=(-1, 1), **options)
    assert found.dtype == torch.half
    assert found.isfinite().all()
    expected = run(name, lambda x: model(x.half()), x.float(), bounds=(-1, 1), **options)
    assert torch.equal(found, expected.half())


@pytest.mark.parametrize("name", ["fgsm", "pgd"])
def test_saturated_losses_are_told(name):
    """Where the softmax is 1 to the last digit, the cross-entropy has no gradient: that is no robustness."""
    model, x = mlp(), inputs(4, 6).float()
    steep = lambda x: (1e6 * model(x.double())).float()
    labels = steep(x).argmax(1)
    with pytest.warns(UserWarning, match="4 of 4 examples have no gradient.*loss='margin'"):
        found = run(name, steep, x, label=labels, radius=1e-4, norm="linf")
    again = run(name, steep, x, label=labels, radius=1e-4, norm="linf", loss="margin")
    right = lambda x: model(x.double()).gather(1, labels[:, None])
    assert (right(again) < right(found)).all()


REFUSED = {
    "label": (lambda: A.fgsm(MODEL, X, label=3, radius=0.1), "fgsm: argument `label`: got 3.*0 to 2"),
    "labels": (lambda: A.pgd(MODEL, X, label=torch.ones(4), radius=0.1), r"pgd: argument `label`.*\(4,\)"),
    "too few": (lambda: A.pgd(MODEL, X, label=torch.tensor([1, 2]), radius=0.1), "`label`"),
    "radius": (lambda: A.apgd(MODEL, X, label=1, radius=-0.1), "apgd: argument `radius`.*at least 0"),
    "radii": (lambda: A.fgsm(MODEL, X, label=1, radius=torch.tensor([0.1, -1, 1, 1])), "`radius`.*-1.0 for an example"),
    "nan radius": (lambda: A.fgsm(MODEL, X, label=1, radius=float("nan")), "`radius`"),
    "no radius": (lambda: A.square(MODEL, X, label=1, radius=None), "square: argument `radius`.*finite"),
    "bounds": (lambda: A.fgsm(MODEL, X, bounds=(0, 1), **PLAIN), "`bounds`.*exclude.*after normalisation"),
    "one bound": (lambda: A.fgsm(MODEL, X, bounds=1, **PLAIN), "`bounds`.*pair"),
    "bounds' shape": (lambda: A.fgsm(MODEL, X, bounds=(inputs(5) - 9, 9), **PLAIN), "`bounds`.*broadcasts"),
    "half bounds": (lambda: A.carlini_wagner(MODEL, X, label=1, bounds=(-9, None)), "`bounds`"),
    "infinite bounds": (
        lambda: A.carlini_wagner(MODEL, X, label=1, bounds=(-9, float("inf"))),
        "carlini_wagner: argument `bounds`.*one finite",
    ),
    "norm": (lambda: A.fgsm(MODEL, X, norm="Linf", **PLAIN), "`norm`.*linf"),
    "loss": (lambda: A.pgd(MODEL, X, loss="hinge", **PLAIN), "`loss`.*cross_entropy"),
    "loss's shape": (
        lambda: A.pgd(MODEL, X, loss=lambda z, y: z.sum(), **PLAIN),
        "`loss`.*4 numbers.*reduction='none'",
    ),
    "dlr": (lambda: A.apgd(lambda x: MODEL(x)[:, :2], X, loss="dlr", **PLAIN), "`loss`.*three classes"),
    "steps": (lambda: A.pgd(MODEL, X, n_steps=0, **PLAIN), "`n_steps`"),
    "step size": (lambda: A.pgd(MODEL, X, step_size=0, **PLAIN), "`step_size`"),
    "targeted": (lambda: A.auto_attack(MODEL, X, targeted=True, **PLAIN), "auto_attack: argument `targeted`"),
    "targets": (lambda: A.apgd(MODEL, X, targeted=True, n_target_classes=2, **PLAIN), "`n_target_classes`"),
    "generator": (lambda: A.pgd(MODEL, X, generator=1, **PLAIN), "`generator`.*torch.Generator"),
    "integers": (lambda: A.fgsm(MODEL, X.long(), **PLAIN), "`x`.*embeddings"),
    "a pair": (lambda: A.fgsm(MODEL, (X, X), **PLAIN), "`x`.*args and kwargs"),
    "nan": (lambda: A.fgsm(lambda x: MODEL(x.nan_to_num()), X / 0 * 0, **PLAIN), "`x`.*finite"),
    "no features": (lambda: A.fgsm(lambda x: x.new_zeros(4, 2), X[:, :0], **PLAIN), "`x`.*one number"),
    "scores": (lambda: A.fgsm(lambda x: x.sum(1), X, **PLAIN), r"`model`.*logits \(B, C\)"),
    "a view": (lambda: A.fgsm(af.layer(MODEL, "1"), X, **PLAIN), "`model`.*inputs"),
    "no attack": (lambda: A.minimal_perturbation(3, largest=1), "minimal_perturbation: argument `attack`"),
    "largest": (lambda: A.minimal_perturbation(A.fgsm, largest=float("inf")), "`largest`"),
    "radius of a search": (lambda: A.minimal_perturbation(A.fgsm, largest=1)(MODEL, X, **PLAIN), "`radius`.*largest"),
    "no attacks": (lambda: A.compare_attacks({}, MODEL, [(X, 1)]), "compare_attacks: argument `attacks`"),
    "no data": (lambda: A.compare_attacks({"a": A.fgsm}, MODEL, []), "`data`"),
    "no pairs": (lambda: A.compare_attacks({"a": A.fgsm}, MODEL, X), "`data`.*pairs"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(af.ArgumentError, match="(?s)" + message):
        call()


@pytest.mark.parametrize("name", [name for name in ATTACKS if name not in UNGRADED])
def test_a_gradient_that_is_cut_is_refused(name):
    with pytest.raises(af.ModelError, match="no gradient with respect to it"):
        run(name, CUT, X, label=MODEL(X).argmax(1), radius=0.1, norm="l2")


def test_the_square_attack_needs_no_gradient():
    labels = MODEL(X).argmax(1)
    cut, plain = (A.square(m, X, label=labels, radius=0.3, generator=generator(), n_queries=30) for m in (CUT, MODEL))
    assert torch.equal(cut, plain)


@pytest.mark.filterwarnings("ignore:.*score of an example depends")
def test_coupled_examples_and_transforms_are_refused():
    with pytest.raises(af.ModelError, match=r"logits of an example depend.*eval"):
        A.fgsm(lambda x: MODEL(x - x.mean(0)), X, **PLAIN)
    with pytest.raises(af.ModelError, match=r"transforms of torch.func"):
        vmap(lambda x: A.fgsm(MODEL, x[None], **PLAIN))(X)
    with pytest.raises(af.ModelError, match="not finite"):
        A.pgd(lambda x: MODEL(x) * float("inf"), X, **PLAIN)
