"""LRP and LayerLRP: Captum's scripts, its rules as attributes of modules, and what differs."""

import captum.attr as captum_attr
import captum.attr._utils.lrp_rules as captum_rules
import pytest
import torch
from captum_peer import captum_warnings
from torch import nn

import attrfunc as af
import attrfunc.captum.attr as shim_attr
import attrfunc.captum.attr._utils.lrp_rules as shim_rules

PEERS = [(captum_attr, captum_rules), (shim_attr, shim_rules)]
X = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
TARGET = [0, 2, 1]


@pytest.fixture(autouse=True)
def quiet():
    with captum_warnings():
        yield


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.relu1, self.pool1 = nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2)
        self.conv2, self.norm, self.relu2 = nn.Conv2d(4, 4, 2), nn.BatchNorm2d(4), nn.ReLU()
        self.pool2, self.fc1, self.tanh, self.fc2 = nn.AvgPool2d(2), nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)
        self.norm.running_mean.uniform_(-0.2, 0.2)
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x, start=1):
        h = self.pool2(self.relu2(self.norm(self.conv2(self.pool1(self.relu1(self.conv1(x)))))))
        return self.fc2(self.tanh(self.fc1(h.flatten(start))))


def network(rules=None):
    torch.manual_seed(0)
    net = Net().eval()
    if rules is not None:
        net.conv1.rule = rules.GammaRule(0.5)
        net.conv2.rule = rules.Alpha1_Beta0_Rule(set_bias_to_zero=True)
        net.norm.rule = rules.IdentityRule()
        net.fc1.rule = rules.EpsilonRule(0.1)
    return net


def close(ours, theirs):
    ours, theirs = ([one] if isinstance(one, torch.Tensor) else list(one) for one in (ours, theirs))
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("ruled", [False, True])
def test_inputs(ruled):
    results = []
    for attr, rules in PEERS:
        explainer = attr.LRP(network(rules if ruled else None))
        results.append(explainer.attribute(X, target=TARGET, return_convergence_delta=True))
    close(results[1], results[0])


@pytest.mark.parametrize("ruled", [False, True])
@pytest.mark.parametrize("inside", [False, True])
def test_layers(ruled, inside):
    for names in (("conv1", "conv2", "fc1"), ("conv2",)):
        results = []
        for attr, rules in PEERS:
            net = network(rules if ruled else None)
            layers = [getattr(net, name) for name in names]
            found, delta = attr.LayerLRP(net, layers).attribute(
                X, target=TARGET, return_convergence_delta=True, attribute_to_layer_input=inside
            )
            assert isinstance(found, list)
            results.append([*found, *delta])
        close(results[1], results[0])
    one = [
        attr.LayerLRP(net := network(), net.conv2).attribute(X, target=TARGET, attribute_to_layer_input=inside)
        for attr, _ in PEERS
    ]
    close(one[1], one[0])


def test_all_layers():
    net = network()
    found, deltas = shim_attr.LayerLRP(net, None).attribute(X, target=1, return_convergence_delta=True)
    assert len(found) == len(deltas) == 10
    score = net(X)[:, 1].detach()
    for relevance, delta in zip(found, deltas, strict=True):
        torch.testing.assert_close(relevance.flatten(1).sum(1) + delta, score)


def test_further_arguments_and_tuples():
    results = [attr.LRP(network()).attribute((X,), 1, (1,)) for attr, _ in PEERS]
    assert isinstance(results[1], tuple)
    close(results[1], results[0])


def test_convergence_delta():
    attributions, output = torch.arange(6.0).view(2, 3), torch.tensor([4.0, 11.0])
    for attr, _ in PEERS:
        delta = attr.LRP(network()).compute_convergence_delta((attributions,), output)
        assert delta.tolist() == [1.0, -1.0]


def test_rules_stay_on_the_model():
    net = network(shim_rules)
    shim_attr.LRP(net).attribute(X, target=1)
    assert isinstance(net.conv1.rule, shim_rules.GammaRule)
    assert vars(net.conv1.rule) == {"gamma": 0.5, "set_bias_to_zero": False}
    theirs = network(captum_rules)
    captum_attr.LRP(theirs).attribute(X, target=1)
    assert not hasattr(theirs.conv1, "rule")


def test_verbose(capsys):
    shim_attr.LRP(network(shim_rules)).attribute(X, target=1, verbose=True)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("GammaRule holds in conv1: Conv2d(2, 4")
    assert len(printed) == 10


def test_a_rule_that_is_none():
    net = network()
    net.conv1.rule = captum_rules.EpsilonRule()
    with pytest.raises(af.ArgumentError, match=r"LRP: argument `conv1.rule`: .* expected a PropagationRule"):
        shim_attr.LRP(net)


def test_a_reused_module():
    """Captum raises."""

    class Reused(Net):
        def forward(self, x):
            h = self.relu1(self.conv1(x))
            return self.fc2(torch.tanh(self.fc1(self.relu1(h.mean((2, 3))))))

    torch.manual_seed(0)
    relevance, delta = shim_attr.LRP(Reused().eval()).attribute(X, target=1, return_convergence_delta=True)
    assert relevance.shape == X.shape
    assert delta.shape == (3,)


def test_rules_are_where_scripts_look_for_them():
    for name in ("EpsilonRule", "GammaRule", "Alpha1_Beta0_Rule", "IdentityRule"):
        assert getattr(shim_attr, name) is getattr(shim_rules, name)
