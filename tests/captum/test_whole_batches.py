"""What scripts do with whole batches, lists of layers that feed each other, and single rows."""

import captum.attr as captum_attr
import pytest
import torch
from captum.testing.helpers.basic_models import BasicModel_MultiLayer
from captum_peer import agree, captum_warnings
from torch import nn

import attrfunc as af
import attrfunc.captum.attr as shim_attr

MODULES = (shim_attr, captum_attr)


@pytest.fixture
def x():
    return torch.randn(2, 3, generator=torch.Generator().manual_seed(0))


class Fed(nn.Module):
    """The first layer reaches the output around the second, too; the third is reached by nothing but these."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.third = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x):
        first = self.first(x).tanh()
        return self.third((first + self.second(first).tanh()).sin())


class TestLayersThatFeedEachOther:
    @pytest.mark.parametrize("names", [("first", "second"), ("second", "first")])
    def test_as_captum_and_by_many_points(self, names, x):
        net = Fed()
        options = {"target": 1, "return_convergence_delta": True}
        with captum_warnings():
            ours, theirs = (
                m.LayerIntegratedGradients(net, [getattr(net, n) for n in names]).attribute(x, **options)
                for m in MODULES
            )
        for one, other in zip(ours[0], theirs[0], strict=True):
            agree(one, other)
        zero = torch.zeros_like(x)
        ends = {"first": (net.first(zero), net.first(x)), "second": None}
        ends["second"] = tuple(net.second(end.tanh()) for end in ends["first"])
        ends = {name: tuple(end.detach() for end in pair) for name, pair in ends.items()}
        expected = {name: torch.zeros_like(x) for name in names}
        points = 4000
        for share in (torch.arange(points) + 0.5) / points:
            at = {n: (low + share * (high - low)).requires_grad_() for n, (low, high) in ends.items()}
            net.third((at["first"].tanh() + at["second"].tanh()).sin())[:, 1].sum().backward()
            for name in names:
                expected[name] += at[name].grad * (ends[name][1] - ends[name][0]) / points
        for name, one in zip(names, ours[0], strict=True):
            torch.testing.assert_close(one, expected[name], rtol=1e-4, atol=1e-5)
        assert ours[1].abs().max() < 1e-5

    def test_where_nothing_of_one_reaches_the_output(self, x):
        net = Fed()
        with pytest.raises(af.ModelError, match="depends on another layer"):
            shim_attr.LayerIntegratedGradients(net, [net.first, net.third]).attribute(x, target=1)
        with captum_warnings(), pytest.raises(RuntimeError, match="not have been used"):
            captum_attr.LayerIntegratedGradients(net, [net.first, net.third]).attribute(x, target=1)


@pytest.mark.parametrize("name", ["FeatureAblation", "ShapleyValues", "Occlusion", "FeaturePermutation"])
@pytest.mark.parametrize("score", [lambda out: out.sum(0), lambda out: out.softmax(0)[:, 1]])
def test_scores_that_depend_on_each_other_are_numbers_of_the_batch(name, score, x):
    """Each is compared with what it is where a feature is replaced in all examples."""
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    model = lambda x: score(net(x).tanh())
    moved = (lambda x, mask: torch.where(mask, x.roll(1, 0), x),) if name == "FeaturePermutation" else ()
    options = {"sliding_window_shapes": (1,)} if name == "Occlusion" else {}
    ours, theirs = (getattr(m, name)(model, *moved).attribute(x, **options) for m in MODULES)
    agree(ours, theirs)
    if name in ("FeatureAblation", "Occlusion"):
        for feature in range(3):
            other = x.clone()
            other[:, feature] = 0
            torch.testing.assert_close(ours[:, feature], (model(x) - model(other)).detach())


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize(
    "name", ["FeatureAblation", "FeaturePermutation", "KernelShap", "Lime", "Occlusion", "ShapleyValues"]
)
def test_one_perturbation_at_a_time(name, rows, x):
    """As many rows as there are in the batch, and one example more at most where it is looked at what they share."""
    seen = []
    net = nn.Linear(3, 2)

    def model(x):
        seen.append(len(x))
        return net(x).tanh()

    options = {"Occlusion": {"sliding_window_shapes": (1,)}, "Lime": {"n_samples": 9}}.get(name, {})
    explainer = getattr(shim_attr, name)(model)
    if (name, rows) == ("FeaturePermutation", 1):
        assert not explainer.attribute(x[:rows], target=0, perturbations_per_eval=1).any()
    else:
        explainer.attribute(x[:rows], target=0, perturbations_per_eval=1, **options)
        free = max(seen)
        assert free == (1 if rows == 1 else 3)
        assert seen.count(3) <= 1
        explainer.attribute(x[:rows], target=0, **options)
        assert max(seen) > free


def test_permutation_of_batches_that_differ():
    """Each input has its own examples."""
    model = lambda a, b: torch.stack([a.sum() + 2 * (b[0] * b[1:]).sum(), (a**2 * a[0]).sum() - b.sum()])
    roll = lambda x, mask: torch.where(mask, x.roll(1, 0), x)
    inputs = (torch.tensor([[1.0, 3.0], [2.0, 5.0]]), torch.tensor([[1.0], [4.0], [9.0]]))
    ours, theirs = (m.FeaturePermutation(model, roll).attribute(inputs) for m in MODULES)
    for one, other in zip(ours, theirs, strict=True):
        agree(one, other)
    assert ours[0].any()
    assert ours[1].any()


@pytest.mark.filterwarnings("ignore:.*depends on the batch that it is evaluated in")  # of the first, which is true
@pytest.mark.parametrize("selector", [lambda a: a.tanh().sum(), lambda a: a.flatten(1).mul(2).sum(1)])
def test_deep_lift_of_what_a_selector_computes(selector, x):
    """Complete: a selector of one number for the batch has its share of each row."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.Sigmoid())
    change = selector(net[0](x)) - selector(net[0](torch.zeros_like(x)))
    ours = shim_attr.NeuronDeepLift(net, net[0]).attribute(x, selector)
    torch.testing.assert_close(ours.sum(), change.detach().sum())
    several = shim_attr.NeuronDeepLiftShap(net, net[0]).attribute(x, selector, baselines=torch.zeros(2, 3))
    torch.testing.assert_close(several, ours)


def test_internal_influence_by_a_hundred_thousand_points():
    """.81 is right; the trapezoid of 500 points gives .8106, and Captum's, whose weights sum to 499 / 500, .8090."""
    net, x, baseline = BasicModel_MultiLayer(), torch.tensor([[0.0, 80.0, 0.0]]), torch.tensor([[0.0, -20.0, 0.0]])
    shares = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    hidden = (-20 + 100 * shares)[:, None] + net.linear1.bias.double()
    right = (hidden > 0).double().mean(0, keepdim=True)  # the weights behind the ReLU are ones
    torch.testing.assert_close(right, torch.tensor([[0.7, 0.81, 0.81, 0.81]]).double())
    options = {"baselines": baseline, "target": 0, "n_steps": 500}
    found = {}
    for method in ("gausslegendre", "riemann_middle", "riemann_left", "riemann_trapezoid"):
        found[method] = [m.InternalInfluence(net, net.linear1).attribute(x, method=method, **options) for m in MODULES]
        assert (found[method][0] - right).abs().max() < 0.0021  # the weight of a point
    ours, theirs = found.pop("riemann_trapezoid")
    torch.testing.assert_close(ours, torch.tensor([[0.7004, 0.8106, 0.8106, 0.8106]]), rtol=0, atol=1e-4)
    torch.testing.assert_close(theirs, ours * 499 / 500)
    for ours, theirs in found.values():
        assert (ours - theirs).abs().max() < 0.0021


def test_errors_are_those_that_scripts_expect(x):
    for module in MODULES:
        with pytest.raises(AssertionError):
            module.IntegratedGradients(nn.Linear(3, 2)).attribute(x, target=(1, 1))


def test_help_says_what_each_argument_is():
    text = shim_attr.LayerGradientShap.attribute.__doc__
    assert text.startswith("Gradient SHAP from a layer's activation")
    assert "baselines: The distribution of baselines" in text
    assert "attribute_to_layer_input: Attribute to what goes into the layer" in text
    assert "multiply_by_inputs: `False` leaves out" in shim_attr.IntegratedGradients.__doc__
