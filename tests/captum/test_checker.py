"""`python -m attrfunc.captum script.py`: a script of Captum's, each call beside Captum's own."""

import subprocess
import sys

import captum.attr as captum_attr
import pytest
import torch

import attrfunc as af
from attrfunc.captum import check

SCRIPT = """
import sys
import torch
from torch import nn
from captum.attr import FeatureAblation, IntegratedGradients, LayerAttribution, NoiseTunnel, visualization
import captum.attr as attr

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
x = torch.randn(6, 4)
explainer = IntegratedGradients(model)
attributions, delta = explainer.attribute(x, target=1, return_convergence_delta=True)
assert type(explainer).__name__ == "IntegratedGradients" and explainer.multiplies_by_inputs
explainer.attribute(x, target=1, method="riemann_trapezoid")
NoiseTunnel(explainer).attribute(x, target=1, nt_samples=2)
attr.LayerActivation(model, model[0]).attribute(x)
FeatureAblation(lambda x: x**2).attribute(x[0, 0])
attr.IntegratedGradients(lambda x: (x.sum(), "no tensor")).attribute(x) if "raise" in sys.argv else None
assert LayerAttribution.interpolate(torch.ones(1, 1, 2), 4).shape == (1, 1, 4)
print("the script's", attributions.shape, sys.argv[1:])
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return str(path)


@pytest.mark.filterwarnings("ignore")
def test_calls_and_what_is_said_of_them(script, capsys):
    calls = check.run(script, ["one"])
    same, trapezoid, tunnel, layer, alone = calls
    assert [call.name for call in calls] == [
        "IntegratedGradients",
        "IntegratedGradients",
        "NoiseTunnel",
        "LayerActivation",
        "FeatureAblation",
    ]
    assert same.difference < 1e-5
    assert same.line == "script.py:12"
    assert not same.reasons
    assert abs(trapezoid.difference - 1 / 49) < 1e-3  # Captum's weights sum to 49 / 50
    assert any("riemann_trapezoid" in one for one in trapezoid.reasons)
    assert "both draw at random" in tunnel.outcome
    assert layer.difference == 0
    assert alone.difference is None
    assert alone.outcome.startswith("Captum raises: IndexError")
    assert all(seconds > 0 for call in calls for seconds in call.seconds)
    printed = capsys.readouterr().out
    assert "the script's torch.Size([6, 4]) ['one']" in printed
    assert "5 calls, 2 with the same results" in printed
    assert "Captum (" in printed


@pytest.mark.filterwarnings("ignore")
def test_everything_is_put_back(script):
    argv, path, theirs = list(sys.argv), list(sys.path), captum_attr
    with pytest.raises(af.ArgumentError):
        check.run(script, ["raise"])
    assert sys.argv == argv
    assert sys.path == path
    assert sys.modules["captum.attr"] is theirs


def test_what_raises_here_goes_on_with_captums():
    calls = []

    class Mine:
        _differs = ("It raises.",)

        def attribute(self, x):
            raise ValueError("not here")

    class Theirs:
        def attribute(self, x):
            return x + 1

    kind = check.checked("Both", (Mine, Theirs), calls.append)
    assert torch.equal(kind().attribute(torch.ones(2)), torch.full((2,), 2.0))
    assert "attrfunc raises" in calls[0].outcome
    assert calls[0].reasons == ("It raises.",)
    Theirs.attribute = lambda self, x: x[:1]
    Mine.attribute = lambda self, x: x
    kind().attribute(torch.ones(2))
    assert "shapes differ: [(2,)], Captum's [(1,)]" in calls[1].outcome


def test_the_same_random_numbers(script):
    calls = []

    class Drawn:
        def attribute(self):
            return torch.rand(3)

    torch.manual_seed(0)
    found = check.checked("Drawn", (Drawn, Drawn), calls.append)().attribute()
    torch.manual_seed(0)
    assert torch.equal(found, torch.rand(3))
    assert calls[0].difference == 0


def test_from_the_command_line(script, tmp_path):
    command = [sys.executable, "-W", "ignore", "-m", "attrfunc.captum"]
    found = subprocess.run([*command, script], capture_output=True, text=True, check=True)
    assert "5 calls, 2 with the same results" in found.stdout
    missing = subprocess.run([*command, str(tmp_path / "none.py")], capture_output=True, text=True, check=False)
    assert missing.returncode == 1
    assert "argument `script`" in missing.stderr
    assert subprocess.run(command, capture_output=True, text=True, check=False).returncode == 1
