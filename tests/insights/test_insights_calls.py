"""What a request computes, and that the exported Python computes the same."""

import copy
import io
import threading
import warnings
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from studio_nets import CHEAP, TASKS, Reader, pictures, rows, several, texts
from torch.utils import _pytree as pytree

import attrfunc as af
from attrfunc.insights.call import call_of
from attrfunc.insights.methods import fitting, methods
from attrfunc.insights.options import options_of
from attrfunc.insights.pictures import background
from attrfunc.insights.task import examples_of

CASES = [(kind, name) for kind, make in TASKS.items() for name in fitting(make().inputs)]
# Superpixels need scikit-image and a second; the search of a mask takes many steps.
CASES = [case for case in CASES if case[1] not in ("xrai", "extremal_perturbation")]


def cheap(task, name):
    """Options that cost little; windows of texts and rows are one long by themselves."""
    known = {one.name for one in options_of(methods()[name], task.inputs)}
    left = () if task.name == "pictures" else ("window", "stride")
    return {option: value for option, value in CHEAP.items() if option in known and option not in left}


def asked(task, name, examples, **options):
    where = {"layer": {"texts": "head", "rows": "0"}.get(task.name)} if methods()[name].names_layer else {}
    first = next(iter(task.models))
    return af.insights.Request(
        first, examples[0].x, name, options=cheap(task, name), **{**where, "patches": 2, **options}
    )


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_the_call_of_every_method_is_the_python_that_is_exported(kind, name):
    """The numbers alone; what is drawn is the same for all methods of a kind."""
    task = TASKS[kind]()
    examples = examples_of(task)
    request = replace(asked(task, name, examples), target=1)
    call = call_of(task, request, background(examples))
    expected = pytree.tree_leaves(call.run(lambda done, total: None))
    names = {"af": af, "torch": torch, "model": task.models[request.model], **call.data}
    names["x"] = request.x[0] if len(request.x) == 1 else request.x
    exec(compile(call.code, "call.py", "exec"), names)
    found = pytree.tree_leaves(names["attributions"])
    assert len(found) == len(expected) > 0
    assert all(map(torch.equal, found, expected))
    assert any(leaf.abs().sum() > 0 for leaf in expected)


@pytest.mark.parametrize(
    ("make", "name", "options"),
    [
        (pictures, "integrated_gradients", {"baseline": "white", "target": 2}),
        (pictures, "integrated_gradients", {"samples": 3, "stdev": 0.2, "seed": 5}),
        (pictures, "saliency", {"score": "log-probability", "layer": "0", "call": 0}),
        (pictures, "lrp", {"options": {"rules": "epsilon_plus"}}),
        (pictures, "grad_cam", {"options": {"weighting": "layer_cam"}}),
        (several, "gradient_shap", {}),
        (texts, "saliency", {"layer": "head"}),
        (texts, "deep_lift", {}),
        (rows, "saliency", {"layer": "1"}),
        (rows, "shapley_sampling", {"seed": 3}),
    ],
)
def test_the_exported_script_gives_the_same_numbers_and_files(make, name, options, tmp_path, monkeypatch):
    task = make()
    examples = examples_of(task)
    first = next(iter(task.models))
    picture = af.insights.explain(task, af.insights.Request(first, examples[0].x, name, **options), examples=examples)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.npz").write_bytes(picture.arrays())
    names = {"model": task.models[first]}
    exec(compile(picture.code, "explanation.py", "exec"), names)
    assert all(map(torch.equal, *map(pytree.tree_leaves, (names["attributions"], picture.attributions))))
    saved = ["picture.png"] if len(picture.drawn) == 1 else ["picture0.png", "picture1.png"]
    assert [(tmp_path / name).read_bytes() for name in saved] == [one.png for one in picture.drawn]


def test_a_request_is_what_the_library_computes():
    task = pictures()
    x = examples_of(task)[0].x[0]
    model = task.models["one"]
    picture = af.insights.explain(task, af.insights.Request("one", (x,), "saliency", target=1))
    assert torch.equal(picture.attributions, af.saliency(model, x, target=1))
    picture = af.insights.explain(task, af.insights.Request("one", (x,)))
    assert picture.target == model(x).argmax()
    assert torch.equal(picture.attributions, af.ig(model, x, target=picture.target))
    expected = af.ig(model, x, target=1, baseline=(1 - 0.25) / 0.5)
    found = af.insights.explain(task, af.insights.Request("one", (x,), target=1, baseline="white"))
    torch.testing.assert_close(found.attributions, expected)
    picture = af.insights.explain(task, af.insights.Request("one", (x,), "feature_ablation", target=1, patches=4))
    assert torch.equal(
        picture.attributions, af.feature_ablation(model, x, target=1, feature_mask=af.masks.grid_mask(x, (4, 4)))
    )


def test_texts_are_attributed_at_the_embedding_or_token_by_token():
    task = texts()
    ids = examples_of(task)[0].x[0]
    model, padded = task.models["reader"], torch.tensor([[0, 0, 0, 0, 0, 0, 0]])
    picture = af.insights.explain(task, af.insights.Request("reader", (ids,), target=1))
    assert torch.equal(picture.attributions, af.ig(af.layer(model, "embedding"), ids, baseline=padded, target=1))
    picture = af.insights.explain(task, af.insights.Request("reader", (ids,), "feature_ablation", target=1))
    assert torch.equal(picture.attributions, af.feature_ablation(model, ids, baseline=padded, target=1))


def test_a_model_of_one_output():
    task = rows(models={"one": torch.nn.Linear(3, 1)})
    x = examples_of(task)[0].x
    picture = af.insights.explain(task, af.insights.Request("one", x, "input_x_gradient", target=0))
    assert picture.target is None
    assert picture.prediction.single
    expected = x[0] * task.models["one"].weight.detach()
    torch.testing.assert_close(picture.attributions, expected)


def test_models_stay_as_they_are():
    class Counting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(3, 2)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return self.linear(x)

    task = rows(models={"counting": Counting()})
    before = copy.deepcopy(task.models["counting"].state_dict())
    af.insights.explain(task, af.insights.Request("counting", examples_of(task)[0].x))
    assert all(torch.equal(before[name], value) for name, value in task.models["counting"].state_dict().items())


def test_warnings_of_the_library_are_shown_in_the_thread_that_they_are_of():
    """At each call, though Python tells each place but once; and what stands in them is text."""

    class Hostile(torch.nn.Dropout):
        pass

    def told(seen, model, rounds):
        task = rows(models={"m": model})
        x = examples_of(task)[0].x
        seen += [af.insights.explain(task, af.insights.Request("m", x)) for _ in range(rounds)]

    shown = warnings.showwarning
    noisy = torch.nn.Sequential(torch.nn.Linear(3, 2), Hostile(0.5)).train()
    loud, quiet = [], []
    with warnings.catch_warnings(record=True):
        users = [threading.Thread(target=told, args=(loud, noisy, 3))]
        users += [threading.Thread(target=told, args=(quiet, torch.nn.Linear(3, 2).eval(), 3))]
        [one.start() for one in users]
        [one.join() for one in users]
    assert warnings.showwarning is shown
    assert [len(one.warned) for one in loud] == [1, 1, 1]
    assert all("the model is in training mode (Hostile" in one.warned[0] for one in loud)
    assert [one.warned for one in quiet] == [()] * 3
    assert 'class="af-warned" role="note">integrated_gradients: the model is in training mode' in loud[0].page()
    assert "&#x27;1&#x27;" in loud[0].html()


def test_what_is_saved_holds_no_pickle_and_loads_nothing():
    task = pictures(classes=["<script>alert(1)</script>", "b", "c"])
    x = examples_of(task)[0].x
    picture = af.insights.explain(task, af.insights.Request("one", x, "saliency", target=0))
    with zipfile.ZipFile(io.BytesIO(picture.arrays())) as members:
        assert members.namelist() == ["x.npy"]
    loaded = np.load(io.BytesIO(picture.arrays()), allow_pickle=False)
    assert torch.equal(torch.from_numpy(loaded["x"]), x[0])
    page = picture.page()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    assert picture.png()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model": "three"}, r"argument `model`: got 'three'.*'one'"),
        ({"method": "os.system"}, "argument `method`: got 'os.system'"),
        ({"method": "owen_values"}, "a method that fits the input"),
        ({"target": 7}, "argument `target`: got int 7; expected a class from 0 to 2"),
        ({"target": -1}, "argument `target`"),
        ({"target": True}, "argument `target`"),
        ({"target": "1"}, "argument `target`"),
        ({"options": {"n_steps": 0}}, "n_steps"),
        ({"options": {"n_steps": "many"}}, "argument `n_steps`: got str 'many'; expected a number"),
        ({"options": {"n_steps": 2.5}}, "a whole number"),
        ({"options": {"n_steps": float("inf")}}, "argument `n_steps`"),
        ({"options": {"n_steps": None}}, "Its default is 50"),
        ({"options": {"method": "gauss"}}, "one of 'gausslegendre', 'riemann_left'"),
        ({"options": {"multiply_by_inputs": 1}}, "true or false"),
        ({"options": {"progress": True}}, "argument `progress`: got True; expected an option of integrated_gradients"),
        ({"options": {"x": 1}}, "an option of integrated_gradients"),
        ({"layer": "5.bias"}, "the name of a layer"),
        ({"baseline": "pink"}, r"argument `baseline`: got 'pink'"),
        ({"score": "loss"}, "argument `score`"),
        ({"samples": -1}, "samples"),
        ({"samples": 10**9}, "argument `samples`: got 1000000000; expected at most 10,000"),
        ({"options": {"n_steps": 10**9}}, "argument `n_steps`: got 1000000000; expected at most 10,000"),
        ({"method": "kernel_shap", "patches": 1000}, "argument `patches`: got 1000; expected at most 64"),
        ({"seed": "a"}, "argument `seed`: got str 'a'"),
        ({"method": "kernel_shap", "patches": 0}, "patches"),
        ({"method": "lrp", "options": {"rules": "__class__"}}, "argument `rules`"),
    ],
)
def test_nothing_in_a_request_is_trusted(change, told):
    task = pictures()
    request = af.insights.Request(**{"model": "one", "x": examples_of(task)[0].x, **change})
    with pytest.raises(af.ArgumentError, match=told):
        af.insights.explain(task, request)


def test_errors_of_models_are_told():
    def broken(x):
        raise KeyError("no such thing")

    task = rows(models={"broken": broken, "nan": lambda x: x * torch.nan, "odd": lambda x: x[:, None, None]})
    x = examples_of(task)[0].x
    with pytest.raises(af.ModelError, match="the model 'broken' raised KeyError: 'no such thing'"):
        af.insights.explain(task, af.insights.Request("broken", x))
    with pytest.raises(af.ModelError, match=r"call=3 is not among 0 to 0"):
        af.insights.explain(pictures(), af.insights.Request("one", examples_of(pictures())[0].x, layer="0", call=3))
    with pytest.raises(af.ModelError, match="finite"):
        af.insights.explain(task, af.insights.Request("nan", x))
    with pytest.raises(af.ModelError, match=r"one for each class \(B, C\)"):
        af.insights.explain(task, af.insights.Request("odd", x))
    encode, decode = texts().inputs[0].encode, texts().inputs[0].decode
    task = af.insights.Task("free", {"reader": Reader()}, af.insights.Text(encode, decode))
    with pytest.raises(af.ArgumentError, match="numbers of tokens have no gradient"):
        af.insights.explain(task, af.insights.Request("reader", (torch.tensor([[1, 2]]),)))


def test_a_new_method_shows_by_itself(monkeypatch):
    def difference(model, x, *, target=None, scale: float = 2.0, mode: str = "up", progress=False):
        """What is new.

        Args:
            model: The model.
            x: The input.
            target: The class.
            scale: How much it counts.
            mode: `"up"` or `"down"`.
            progress: Whether to report.
        """
        return scale * x

    monkeypatch.setattr(af, "difference", difference, raising=False)
    monkeypatch.setattr(af, "__all__", [*af.__all__, "difference"])
    task = pictures()
    found = fitting(task.inputs)["difference"]
    assert found.summary == "What is new."
    first, second = options_of(found, task.inputs)
    assert (first.name, first.form, first.default, first.told) == ("scale", "real", 2.0, "How much it counts.")
    assert (second.form, second.choices) == ("choice", ("up", "down"))
    x = examples_of(task)[0].x
    picture = af.insights.explain(task, af.insights.Request("one", x, "difference", options={"scale": 3}))
    assert torch.equal(picture.attributions, 3 * x[0])


def test_which_methods_fit():
    assert {"grad_cam", "rise", "deep_lift", "shapley_values"} <= set(fitting(pictures().inputs))
    assert not {"grad_cam", "rise"} & set(fitting(rows().inputs))
    both = fitting((*pictures().inputs, *texts().inputs))
    assert "feature_ablation" in both
    assert not {"integrated_gradients", "grad_cam", "conductance"} & set(both)
    assert not {"ig", "score_change", "activation", "completeness_gap"} & set(methods())


def test_options_are_read_from_signatures_and_docstrings():
    known = fitting(pictures().inputs)
    found = {one.name: one for one in options_of(known["integrated_gradients"], pictures().inputs)}
    assert found["n_steps"].default == 50
    assert found["method"].choices[:2] == ("gausslegendre", "riemann_left")  # of the module it refers to
    assert found["tolerance"].optional
    assert not {"model", "x", "target", "chunk_size", "progress", "baseline"} & set(found)
    assert all(one.told for name in known for one in options_of(known[name], pictures().inputs))
    weighting = {one.name: one for one in options_of(known["grad_cam"], pictures().inputs)}["weighting"]
    assert "layer_cam" in weighting.choices
