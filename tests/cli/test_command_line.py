"""The command `attrfunc`: what it writes, what it prints, and how it refuses."""

import json
import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import attrfunc as af
import language_models
from attrfunc.cli.app import app
from attrfunc.cli.options import METHODS, parsed, taken

NET = """
import torch
from torch import nn

WORDS = ["a", "b"]

def net():
    torch.manual_seed(0)
    conv = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 6, 3), nn.ReLU()]
    return nn.Sequential(*conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))

def broken():
    class Broken(nn.Module):
        def forward(self, x):
            raise ZeroDivisionError("inside")
    return Broken()
"""
SIZE = ["--size", "16", "--mean", "0.5", "--std", "0.25"]


@pytest.fixture(scope="module")
def net():
    names = {}
    exec(NET, names)
    return names["net"]().eval()


@pytest.fixture(scope="module")
def place(tmp_path_factory, net):
    """A folder with a model in all forms, and a picture."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "made.py").write_text(NET)
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    (folder / "labels.txt").write_text("tench\nshark\nhammerhead shark\ncock\n")
    torch.save(net.state_dict(), folder / "weights.pt")
    torch.save(net, folder / "whole.pt")
    torch.export.save(torch.export.export(net, (torch.zeros(1, 3, 16, 16),)), folder / "model.pt2")
    return folder


@pytest.fixture
def call(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def run(*words):
        return CliRunner().invoke(app, list(map(str, words)))

    return run


def prepared(place):
    """What the picture is to the model: the middle, resized, shifted and scaled."""
    picture = Image.open(place / "photo.png").resize((16, 16), Image.Resampling.BILINEAR, box=(5, 0, 25, 20))
    return ((torch.tensor(np.asarray(picture)).float() / 255 - 0.5) / 0.25).permute(2, 0, 1)[None]


@pytest.mark.parametrize("model", ["model.pt2", "made.py:net", "made:net"])
def test_numbers_are_those_of_the_library(call, place, net, model):
    done = call("explain", "photo.png", "--model", model, *SIZE, "--target", "3", "-O", "n_steps=7", "-o", "heat.npy")
    assert done.exit_code == 0, done.output
    expected = af.ig(net, prepared(place), target=3, n_steps=7)
    torch.testing.assert_close(torch.tensor(np.load(place / "heat.npy")), expected, atol=1e-5, rtol=1e-3)
    probabilities = net(prepared(place)).detach().softmax(1)[0]
    best = int(probabilities.argmax())
    assert f"{float(probabilities[best]):.2%}  class {best}" in done.output


@pytest.mark.parametrize(
    ("words", "starts"),
    [
        (["--method", "saliency", "-o", "heat.png"], b"\x89PNG"),
        (["--method", "grad_cam", "--layer", "4", "-o", "heat.svg", "--style", "heat"], b"<?xml"),
        (["--method", "feature_ablation", "--cells", "8", "-o", "heat.html"], b"<!doctype html>"),
        (["--method", "ig", "--layer", "0", "-o", "layer.png"], b"\x89PNG"),
        (["--method", "saliency", "--smooth", "2", "-o", "smooth.png"], b"\x89PNG"),
        (["--method", "shapley-sampling".replace("-", "_"), "--cells", "8", "-O", "n_samples=2"], b"\x89PNG"),
        (["--method", "deep_lift_shap", "-O", "baselines=-1,1"], b"\x89PNG"),
        (["--method", "occlusion", "-O", "window=8,8", "-O", "stride=8", "-O", "baseline=0,0.5,1"], b"\x89PNG"),
    ],
    ids=lambda value: value[1] if isinstance(value, list) else "",
)
def test_pictures(call, place, words, starts):
    done = call("explain", "photo.png", "--model", "made.py:net", "--weights", "weights.pt", *SIZE, *words)
    assert done.exit_code == 0, done.output
    written = place / done.output.rpartition("written: ")[2].strip()
    assert written.read_bytes().startswith(starts)


def test_what_groups_add_up_to_counts_each_once(call, net, place):
    words = ["--method", "feature_ablation", "--cells", "8", "--target", "1", "-o", "heat.npy"]
    done = call("explain", "photo.png", "--model", "made.py:net", "--weights", "weights.pt", *SIZE, *words)
    x = prepared(place)
    mask = af.masks.grid_mask(x, (8, 8))
    found = af.feature_ablation(net, x, target=1, feature_mask=mask)
    first = [int((mask.expand_as(x).flatten() == group).nonzero()[0]) for group in mask.unique()]
    assert f"sum to {float(found.flatten()[first].sum()):+.3g}"[:12] in done.output


def test_classes_by_name(call):
    words = [
        "explain",
        "photo.png",
        "-m",
        "made.py:net",
        *SIZE,
        "--labels",
        "labels.txt",
        "-o",
        "heat.png",
        "--top",
        "2",
    ]
    done = call(*words, "--target", "tench")
    assert "of class 0 tench" in done.output
    assert done.output.count("class") == 3
    assert "of class 1 shark" in call(*words, "--target", "Shark").output
    assert "may be 1 (shark), 2 (hammerhead shark)" in call(*words, "--target", "ark").stderr


REFUSED = [
    (["photo.png", "-m", "whole.pt"], "run code when they are opened"),
    (["photo.png", "-m", "made.py:net", "--weights", "whole.pt"], "not a state dict of tensors alone"),
    (["photo.png", "-m", "model.pt2", "--weights", "weights.pt"], "has weights of its own"),
    (["photo.png", "-m", "none.pt2"], "there is no file 'none.pt2'"),
    (["photo.png", "-m", "labels.txt"], "is no model that is there"),
    (["photo.png", "-m", "fake.pt2"], "is not an exported program"),
    (["photo.png", "-m", "made.py:nothing"], "has no 'nothing'. It has: torch, nn, WORDS, net"),
    (["photo.png", "-m", "made.py:WORDS"], "is or returns list; expected a model"),
    (["photo.png", "-m", "nowhere:net"], "no module 'nowhere'"),
    (["none.png", "-m", "made.py:net"], "there is no file 'none.png'"),
    (["broken.png", "-m", "made.py:net"], "is not a picture that Pillow reads"),
    (["a text", "-m", "made.py:net"], "a text needs a model of transformers"),
    (["  ", "-m", "made.py:net"], "the text is empty"),
    (["photo.png", "-m", "made.py:net", "--method", "gig"], "--method 'gig' is no method. Near matches: 'ig'"),
    (["photo.png", "-m", "made.py:net", "-O", "steps=3"], "no such option. Near matches: 'n_steps'"),
    (["photo.png", "-m", "made.py:net", "-O", "n_steps"], "expected name=value"),
    (["photo.png", "-m", "made.py:net", "-O", "n_steps=few"], "expected a number, as its default 50 is"),
    (["photo.png", "-m", "made.py:net", "-O", "n_steps=0"], "argument `n_steps`"),
    (["photo.png", "-m", "made.py:net", "--method", "deep_lift_shap", "-O", "baselines=no"], "expected grey values"),
    (["photo.png", "-m", "made.py:net", "-O", "target=1"], "it is given by --target"),
    (["photo.png", "-m", "made.py:net", "--method", "occlusion"], "needs window: --option window=16,16"),
    (["photo.png", "-m", "made.py:net", "--target", "9"], "argument `target`: got 9"),
    (["photo.png", "-m", "made.py:net", "--target", "dog"], "no class has this name"),
    (["photo.png", "-m", "made.py:net", "--layer", "conv9"], "Near matches"),
    (["photo.png", "-m", "made.py:net", "--size", "big"], "expected one side or height,width"),
    (["photo.png", "-m", "made.py:net", "--std", "0"], "not zero"),
    (["photo.png", "-m", "made.py:net", "--mean", "1,2"], "expected one number, or 3"),
    (["photo.png", "-m", "made.py:net", "-o", "heat.doc"], "expected a name that ends in one of .png"),
    (["photo.png", "-m", "made.py:net", "-o", "none/heat.png"], "there is no folder 'none'"),
    (["photo.png", "-m", "model.pt2", "--method", "grad_cam"], "an exported program has none left"),
    (["photo.png", "-m", "made.py:net", "--style", "neon"], "argument `style`"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_asked_wrongly(call, place, words, message):
    (place / "fake.pt2").write_text("nothing")
    (place / "broken.png").write_text("nothing")
    size = [] if "--size" in words else ["--size", "16"]
    done = call("explain", *words, *size)
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert "Traceback" not in done.output


def test_what_fails(call):
    done = call("explain", "photo.png", "-m", "made.py:broken")
    assert done.exit_code == 1
    assert "attrfunc: error: ZeroDivisionError: inside (--debug shows where)" in done.stderr
    assert isinstance(call("explain", "photo.png", "-m", "made.py:broken", "--debug").exception, ZeroDivisionError)


class Evil:
    """A pickle that would run code."""

    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('pwned').touch()",)


@pytest.mark.parametrize("part", ["sample_inputs", "constants"])
def test_an_exported_program_runs_no_pickle(call, place, part):
    """The parts of an archive that torch itself would open as a pickle of anything."""
    import io
    import zipfile

    evil = io.BytesIO()
    torch.save(Evil(), evil)
    with zipfile.ZipFile(place / "model.pt2") as good, zipfile.ZipFile(place / "evil.pt2", "w") as bad:
        for name in good.namelist():
            inputs = "sample_inputs" in name and part == "sample_inputs"
            bad.writestr(name, evil.getvalue() if inputs else good.read(name))
            root = name.split("/")[0]
        if part == "constants":
            bad.writestr(f"{root}/data/constants/custom_obj_0", evil.getvalue())
    done = call("explain", "photo.png", "-m", "evil.pt2")
    assert done.exit_code == 2, done.output
    assert not (place / "pwned").exists()
    done = call("explain", "photo.png", "-m", "made.py:net", "--weights", "evil.pt2")
    assert done.exit_code == 2
    assert not (place / "pwned").exists()


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    """Models of transformers in folders, with their tokenizers."""
    import transformers

    folder = tmp_path_factory.mktemp("language")
    tokenizer = language_models.byte_level()
    sizes = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
    torch.manual_seed(0)
    bert = transformers.BertConfig(**sizes, vocab_size=len(tokenizer), num_labels=2, id2label={0: "bad", 1: "good"})
    vit = transformers.ViTConfig(**sizes, image_size=16, patch_size=4, id2label={0: "cat", 1: "dog"})
    for name, model in {
        "bert": transformers.BertForSequenceClassification(bert),
        "llama": language_models.llama(),
        "vit": transformers.ViTForImageClassification(vit),
    }.items():
        model.save_pretrained(folder / name)
        if name != "vit":
            tokenizer.save_pretrained(folder / name)
    return folder


def test_texts(call, language, place):
    done = call("explain", "nice film", "-m", language / "bert", "--target", "good", "-o", "text.html")
    assert done.exit_code == 0, done.output
    assert "feature_ablation of class 1 good" in done.output
    assert "nice (" in done.output
    assert "film (" in done.output
    assert "nice" in (place / "text.html").read_text()
    done = call("explain", "nice film", "-m", language / "bert", "--method", "ig")
    assert done.exit_code == 0, done.output
    done = call("explain", "Paris is", "-m", language / "llama", "--target", " old", "--tokens", "-o", "text.json")
    assert done.exit_code == 0, done.output
    assert json.loads((place / "text.json").read_text())["outputs"]
    done = call("explain", "nice film", "-m", language / "bert", "--method", "grad_cam")
    assert done.exit_code == 2
    assert "are for pictures" in done.stderr


def test_pictures_of_transformers(call, language):
    done = call(
        "explain", "photo.png", "-m", language / "vit", "--target", "dog", "--method", "saliency", "-o", "vit.png"
    )
    assert done.exit_code == 0, done.output
    assert "saliency of class 1 dog" in done.output


def test_the_doctor(call):
    done = call("doctor", "--model", "model.pt2", "--method", "ig", "--method", "grad_cam", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["findings"]
    assert [(one["method"], one["verdict"]) for one in found] == [("ig", "right"), ("grad_cam", "refused")]
    done = call("doctor", "photo.png", "photo.png", "-m", "made.py:net", *SIZE, "--method", "grad_cam", "--markdown")
    assert "| grad_cam(layer=4) | right |" in done.output
    done = call("doctor", "-m", "made.py:net", "--shape", "2,3,8,8", "--method", "saliency", "--target", "1")
    assert "target: 1" in done.output


def test_the_doctor_of_texts(call, language):
    done = call(
        "doctor", "a nice film", "-m", language / "bert", "--method", "saliency", "--method", "feature_ablation"
    )
    assert done.exit_code == 0, done.output
    assert done.output.count(" right ") == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-m", "made.py:net"], "what is it to be tried on?"),
        (["-m", "made.py:net", "--shape", "2,x"], "expected whole numbers"),
        (["-m", "made.py:net", "--shape", "2,2", "photo.png"], "choose one"),
        (["-m", "made.py:net", "some words"], "is no picture and no tensor"),
        (["-m", "made.py:net", "--json", "--markdown", "photo.png"], "choose one"),
        (["-m", "made.py:net", "whole.pt"], "is not a tensor by itself"),
        (["-m", "made.py:net", "--shape", "2,3,8,8", "--method", "gig"], "Near matches"),
    ],
)
def test_what_the_doctor_is_asked_wrongly(call, words, message):
    done = call("doctor", *words)
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_wrong_method_is_a_failure(call, monkeypatch):
    wrong = types.SimpleNamespace(healthy=False)
    monkeypatch.setattr(af, "doctor", lambda *args, **options: wrong)
    assert call("doctor", "-m", "made.py:net", "--shape", "1,3,8,8").exit_code == 1


@pytest.fixture
def insights(monkeypatch):
    """The page's own module, which notes how it is called."""
    calls = []
    page = types.SimpleNamespace(url="http://127.0.0.1:7860/", wait=lambda: calls.append("waited"))
    module = types.ModuleType("attrfunc.insights")
    module.demo = lambda **options: calls.append(("demo", options)) or page
    module.launch = lambda *args, **options: calls.append(("launch", args, options)) or page
    module.Image = lambda **options: options
    monkeypatch.setitem(sys.modules, "attrfunc.insights", module)
    return calls


def test_the_page(call, insights):
    done = call("insights", "--demo", "--port", "7861")
    assert done.exit_code == 0, done.output
    assert "http://127.0.0.1:7860/" in done.output
    options = {"host": "127.0.0.1", "port": 7861, "in_browser": False, "seconds": 120.0}
    assert insights == [("demo", options), "waited"]


def test_the_page_of_a_users_models(call, insights):
    done = call("insights", "-m", "one=made.py:net", "-m", "model.pt2", "--data", ".", *SIZE, "--labels", "labels.txt")
    assert done.exit_code == 0, done.output
    (_, (models, data), options), _ = insights
    assert list(models) == ["one", "model"]
    assert all(isinstance(model, nn.Module) for model in models.values())
    assert "photo.png" in data
    assert options["inputs"] == {"size": (16, 16), "mean": 0.5, "std": 0.25, "channels": 3}
    assert options["classes"][1] == "shark"


def test_what_the_page_is_asked_wrongly(call, insights, monkeypatch):
    assert "pass one of --demo" in call("insights").stderr
    assert "no such folder" in call("insights", "-m", "made.py:net", "--data", "none").stderr
    assert not insights
    monkeypatch.setitem(sys.modules, "attrfunc.insights", None)
    done = call("insights", "--demo")
    assert done.exit_code == 1
    assert "pip install 'attrfunc[insights]'" in done.stderr


def test_the_list_of_methods(call):
    done = call("methods")
    assert done.exit_code == 0
    assert done.output.count("\n") == len(METHODS)
    assert "--option n_steps=...  50 by default" in call("methods", "ig").output
    assert call("--version").output == f"attrfunc {af.__version__}\n"


def test_options_are_those_of_the_signature():
    for method in METHODS.values():
        known = [name for name in taken(method) if name != "baselines"]
        assert parsed(method, [f"{name}=none" for name in known]) == dict.fromkeys(known)


def test_as_a_process(place):
    """As users run it, with the console script's function and the module; what fails leaves no traceback."""
    words = ["explain", "photo.png", "-m", "made.py:net", "--size", "16", "--method", "saliency", "-o", "process.png"]
    done = subprocess.run([sys.executable, "-m", "attrfunc", *words], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "written: process.png" in done.stdout
    code = "import sys; sys.modules['typer'] = None; from attrfunc.cli import main; main(['methods'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "attrfunc: the command line needs typer. Install it: pip install 'attrfunc[cli]'\n"
