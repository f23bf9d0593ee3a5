"""The doctor says of hostile models what the tests of the ground say, and finds a method that is wrong."""

import functools
import json
import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn

import attrfunc as af
from attrfunc.diagnosis import recipes
from attrfunc.diagnosis.case import Case
from attrfunc.diagnosis.hand import Hand
from attrfunc.diagnosis.memory import peak
from attrfunc.diagnosis.state import State
from zoo_wild import WILD

GENERATOR = torch.Generator().manual_seed(0)
# What every kind of method is tried by, and what is cheap.
FEW = ["saliency", "ig", "deep_lift", "lrp", "guided_backprop", "feature_ablation", "shapley_values", "grad_cam"]


def randn(*shape):
    return torch.randn(shape, generator=GENERATOR)


@pytest.fixture(autouse=True)
def _same_weights():
    torch.manual_seed(0)


class Written(nn.Module):
    """A model whose forward is a function."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *args):
        return self.function(self, *args)


def mlp():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)).eval()


def linear(function):
    return Written(function, head=nn.Linear(6, 3)).eval()


def counting():
    def forward(self, x):
        self.count.add_(1)
        return self.head(x) * self.count

    model = Written(forward, head=nn.Linear(6, 3))
    model.register_buffer("count", torch.zeros(()))
    return model.eval()


def verdicts(found):
    return {one.method: one.verdict for one in found.findings}


def test_every_method_on_a_convolutional_network():
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)]
    norm = nn.BatchNorm2d(6)
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), norm, nn.ReLU(inplace=True), nn.Conv2d(6, 6, 3), nn.ReLU(), *head
    )
    model(randn(8, 2, 8, 8))
    found = af.doctor(model.eval(), randn(2, 2, 8, 8))
    assert list(verdicts(found)) == list(recipes.RECIPES)
    assert found.healthy
    assert found.by_verdict("refused") == ("integrated_hessians",)
    assert set(found.by_verdict("consistent")) == {
        *("guided_ig", "blur_ig", "sequential_ig", "temporal_ig", "fullgrad", "lime", "rise", "xrai"),
        *("extremal_perturbation", "score_cam"),
    }
    assert len(found.by_verdict("right")) == len(recipes.RECIPES) - 11
    assert found["saliency"].memory > 0
    assert found["saliency"].seconds > 0


@pytest.mark.parametrize(
    ("build", "x", "few"),
    [
        (counting, randn(3, 6), FEW),
        (
            lambda: Written(lambda self, x: {"logits": self.head(x), "x": x}, head=nn.Linear(6, 3)).eval(),
            randn(3, 6),
            FEW,
        ),
        (lambda: Written(lambda self, x: (self.head(x).sigmoid(), x), head=nn.Linear(6, 3)).eval(), randn(3, 6), FEW),
        (lambda: mlp().bfloat16(), randn(3, 6).bfloat16(), FEW),
        (lambda: lambda x: torch.sin(x).prod(1), randn(3, 4), FEW[:-1]),
        (lambda: linear(lambda self, x: self.head(x.mul_(2))), randn(3, 6), FEW[:-1]),
    ],
    ids=["counter", "dict", "tuple", "bfloat16", "function", "writes its input"],
)
def test_models_on_which_all_is_well(build, x, few):
    kept = x.clone()
    found = af.doctor(build(), x, methods=few)
    assert found.healthy, str(found)
    assert set(verdicts(found).values()) <= {"right", "consistent"}, str(found)
    assert torch.equal(x, kept)


def test_what_forward_writes_is_told():
    model = counting()
    assert "forward writes count" in af.doctor(model, randn(3, 6), methods=["saliency"]).notes
    assert model.count == 0


@pytest.mark.parametrize(
    "case", [case for case in WILD if str(case) in ("exported program", "mixture of experts")], ids=str
)
def test_wild_models_are_refused_what_the_table_of_the_zoo_refuses(case):
    found = af.doctor(case.make(), case.x, args=case.args, target=case.target, methods=["ig", "deep_lift", "grad_cam"])
    told = verdicts(found)
    assert told["ig"] == "right"
    assert told["deep_lift"] == ("refused" if str(case) == "mixture of experts" else "right")
    assert told["grad_cam"] == ("refused" if str(case) == "exported program" else "right")


@pytest.mark.parametrize("case", [case for case in WILD if case.joined], ids=str)
def test_examples_that_depend_on_each_other(case):
    methods = [*FEW, "occlusion", "guided_ig"]
    found = af.doctor(case.make().eval(), case.x, args=case.args, target=case.target, methods=methods)
    assert any("depend on each other" in note for note in found.notes)
    assert found.healthy, str(found)
    assert verdicts(found)["shapley_values"] == verdicts(found)["ig"] == "right"
    assert "one by one on the whole batch" in found["ig"].said
    assert set(found.by_verdict("refused")) >= {"occlusion", "guided_ig"}
    assert "examples are not apart" in found["guided_ig"].said


def test_batch_norm_in_training_mode():
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
    found = af.doctor(model, randn(3, 6), methods=["saliency", "lrp"])
    assert verdicts(found) == {"saliency": "right", "lrp": "refused"}
    assert "training mode (BatchNorm1d '1')" in found["saliency"].said
    assert "batch_norm_in_training" in found["lrp"].said
    assert any("training mode (BatchNorm1d)" in note for note in found.notes)


def test_random_models_are_not_judged():
    dropping = nn.Sequential(nn.Linear(6, 8), nn.Dropout(), nn.Linear(8, 3))
    found = af.doctor(dropping, randn(3, 6), methods=["saliency", "feature_ablation"])
    assert set(verdicts(found).values()) == {"warned"}
    noisy = Written(lambda self, x: self.head(x + torch.randn_like(x)), head=nn.Linear(6, 3)).eval()
    found = af.doctor(noisy, randn(3, 6), methods=["saliency"])
    assert verdicts(found) == {"saliency": "unjudged"}
    assert any("random" in note for note in found.notes)


def test_models_without_a_gradient():
    cut = Written(lambda self, x: self.head(x.detach()), head=nn.Linear(6, 3)).eval()
    found = verdicts(af.doctor(cut, randn(3, 6), methods=["saliency", "shapley_values"]))
    assert found == {"saliency": "refused", "shapley_values": "right"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = torch.ao.quantization.quantize_dynamic(mlp(), {nn.Linear}, torch.qint8)
    found = af.doctor(quantised, randn(3, 6), methods=["saliency", "feature_ablation"])
    assert verdicts(found) == {"saliency": "refused", "feature_ablation": "right"}


def test_a_model_that_sets_the_seed_is_judged_by_its_numbers():
    class Seeded(nn.Linear):
        def forward(self, x):
            torch.manual_seed(0)
            return super().forward(x) + torch.randn(3)

    found = af.doctor(Seeded(4, 3), randn(3, 4), methods=["saliency", "ig", "shapley_values"], memory=False)
    assert set(verdicts(found).values()) == {"right"}
    assert any("torch's global source of randomness" in note for note in found.notes)


def test_what_autocast_rounds_is_no_fault():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = af.doctor(mlp(), randn(3, 6), methods=["ig", "deep_lift", "shapley_values"], memory=False)
    assert "wrong" not in verdicts(found).values()
    assert any("autocast" in note for note in found.notes)


def test_what_the_model_raises_in_smaller_chunks_is_its_own_failure():
    def strict(x):
        if not x.any():
            raise ValueError("nothing to see")
        return x @ torch.ones(4, 3)

    found = af.doctor(strict, randn(2, 4), methods=["shapley_values", "deep_lift"], memory=False)
    assert set(verdicts(found).values()) == {"failed"}


def test_words_are_attributed_at_their_embeddings():
    forward = lambda self, x: self.head(torch.tanh(self.table(x)).mean(1))
    model = Written(forward, table=nn.Embedding(11, 6), head=nn.Linear(6, 3)).eval()
    found = af.doctor(
        model, torch.randint(1, 11, (3, 5), generator=GENERATOR), methods=["ig", "feature_ablation", "rise"]
    )
    assert verdicts(found) == {"ig": "right", "feature_ablation": "right", "rise": "refused"}
    assert any("layer 'table'" in note for note in found.notes)


@functools.wraps(af.saliency)
def wrong_saliency(model, x, **options):
    """Right for the first example alone."""
    gradient = af.saliency(model, x, **options)
    return torch.cat([gradient[:1], 1.01 * gradient[1:]])


@functools.wraps(af.saliency)
def meddling(model, x, **options):
    model[0].weight.data[0, 0] += 1
    return af.saliency(model, x, **options)


@functools.wraps(af.saliency)
def drawing(model, x, **options):
    torch.rand(())
    return af.saliency(model, x, **options)


@functools.wraps(af.saliency)
def failing(model, x, **options):
    raise ZeroDivisionError("by zero")


@pytest.mark.parametrize(
    ("method", "verdict", "said"),
    [
        (wrong_saliency, "wrong", "it is not what it should be"),
        (meddling, "wrong", "the model was changed: 0.weight has other numbers"),
        (drawing, "wrong", "global source of randomness"),
        (failing, "failed", "ZeroDivisionError: by zero"),
    ],
)
def test_a_method_that_is_wrong_is_found(monkeypatch, method, verdict, said):
    monkeypatch.setitem(recipes.RECIPES, "saliency", replace(recipes.RECIPES["saliency"], method=method))
    found = af.doctor(mlp(), randn(3, 6), methods=["saliency"])
    assert not found.healthy
    assert found.findings[0].verdict == verdict
    assert said in found.findings[0].said
    assert ("report it" in str(found)) == (verdict == "wrong")


def test_what_a_method_needs_for_itself_is_found_too(monkeypatch):
    """Another chunk size may not give other numbers."""

    @functools.wraps(af.guided_ig)
    def by_chunks(model, x, *, chunk_size=None, **options):
        return af.guided_ig(model, x, **options) * (2 if chunk_size else 1)

    monkeypatch.setitem(recipes.RECIPES, "guided_ig", replace(recipes.RECIPES["guided_ig"], method=by_chunks))
    (found,) = af.doctor(mlp(), randn(3, 6), methods=["guided_ig"]).findings
    assert found.verdict == "wrong"
    assert "called again with {'chunk_size': 3} it gives other numbers" in found.said


def test_by_hand_is_by_hand():
    """The literal forms against formulas in closed form: of a product of three numbers."""
    x = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    hand = Hand(lambda x: x.prod(1), x, (), {}, 1)
    hand.start = [torch.zeros_like(x)]
    torch.testing.assert_close(hand.integrated(4)[0], torch.full_like(x, 2.0))  # 6 / 3 each
    game = hand.game([torch.arange(3)[None]])
    torch.testing.assert_close(game.shapley()[0].double(), torch.full_like(x, 2.0))
    torch.testing.assert_close(game.banzhaf()[0].double(), torch.full_like(x, 1.5))  # 6 in one of four coalitions
    torch.testing.assert_close(game.ablation()[0].double(), torch.full_like(x, 6.0))
    torch.testing.assert_close(game.owen([[0], [1, 2]])[0].double(), torch.tensor([[3.0, 1.5, 1.5]]).double())


def test_memory_is_the_most_at_a_time():
    def work():
        a = torch.empty(1000)
        b = a + 1
        del a
        return (b * 2).sum()

    assert peak(work, torch.device("cpu"))[1] == 8004  # two at a time; the sum is made when only they are there


def test_state_notices_what_changes():
    model = mlp()
    for change in (
        lambda: model[0].register_forward_hook(lambda *a: None),
        lambda: model[0].weight.requires_grad_(False),
        lambda: model.train(),
        lambda: setattr(model, "cache", 1),
        lambda: setattr(model[2].weight, "grad", torch.zeros_like(model[2].weight)),
    ):
        state = State(model)
        assert state.change() == ""
        change()
        assert "the model was changed" in state.change()


def test_tables():
    found = af.doctor(mlp(), randn(3, 6), methods=["ig", "rise"], target=1)
    text, page, markdown = str(found), found._repr_html_(), found.to_markdown()
    for shown in (text, page, markdown):
        assert "ig(n_steps=10)" in shown
        assert "target: 1" in shown
    held = json.loads(found.to_json())
    assert [one["verdict"] for one in held["findings"]] == ["right", "refused"]
    assert held["findings"][1]["said"].startswith("argument `x`")
    odd = replace(found, findings=(replace(found.findings[0], said="<script>|"),))
    assert "<script>" not in odd._repr_html_()
    assert "<script>\\|" in odd.to_markdown()
    assert af.doctor(mlp(), randn(3, 6), time_limit=0.0).notes[-1].endswith("were not tried within 0 s")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"methods": ["igg"]},
            "doctor: argument `methods`: got str 'igg'; .* Near matches: 'ig'",
        ),
        ({"methods": "ig"}, "expected a list of names"),
        ({"model": 3}, "argument `model`: got int 3"),
        ({"model": af.layer(mlp(), "0")}, "`layer` says where methods look"),
        ({"x": torch.zeros(3, 7)}, "doctor: the model does not run on `x`: RuntimeError: mat1 and mat2"),
        ({"target": 9}, "argument `target`: got 9"),
        ({"model": lambda x: {"a": 1}}, "expected a callable, since no number"),
        ({"x": torch.zeros(())}, "argument `x`"),
        ({"x": torch.zeros(0, 6)}, "argument `x`: got a batch of no example"),
    ],
)
def test_bad_input(change, message):
    given = {"model": mlp(), "x": randn(3, 6), "methods": ["ig"], **change}
    with pytest.raises(af.AttributionError, match=message):
        af.doctor(given.pop("model"), given.pop("x"), **given)


def test_a_case_is_what_recipes_take():
    """Every recipe names a method of the library, which takes the options that it gives."""
    assert {name for name in recipes.RECIPES if getattr(af, name) is not recipes.RECIPES[name].method} == set()
    assert Case.__dataclass_fields__.keys() >= {"x", "rows", "hand", "ids", "groups", "baseline", "cam", "units"}
