"""Gradient SHAP and noise tunnels: exact where nothing is random, else within five standard errors.

Many copies of an example, or many calls, give independent estimates and their standard error.
"""

import captum.attr as captum_attr
import numpy as np
import pytest
import torch
from captum_peer import agree, both, captum_warnings, kinds
from torch import nn
from torch.utils import _pytree as pytree

import attrfunc as af
import attrfunc.captum.attr as shim_attr
from attrfunc.captum.attr import GradientShap, IntegratedGradients, LayerGradientShap, NoiseTunnel, Saliency
from zoo import CASES

ZOO = {case.name: case for case in CASES}
INPUT = [case for case in CASES if case.differentiable]
TYPES = ["smoothgrad", "smoothgrad_sq", "vargrad"]
COPIES = 1000
MODULES = [shim_attr, captum_attr]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture
def x():
    return torch.randn(4, 5, generator=torch.Generator().manual_seed(1))


def copies(x):
    """The first example, many times."""
    return pytree.tree_map(lambda leaf: leaf[:1].repeat(COPIES, *[1] * (leaf.dim() - 1)), x)


def mean_and_error(estimates):
    estimates = estimates.detach().double()
    return estimates.mean(0), estimates.std(0) / len(estimates) ** 0.5


def within(estimates, expected, error=0.0):
    """The estimates' mean is right, and known so well that a mistake would show."""
    mean, own = mean_and_error(estimates)
    bound = 5 * (own.square() + error**2).sqrt()
    assert ((mean - expected).abs() <= bound + 1e-6).all()
    assert bound.max() < 0.3 * expected.abs().max()


def draw(case, seed, rows):
    generator = torch.Generator().manual_seed(seed)
    return pytree.tree_map(lambda leaf: torch.randn(rows, *leaf.shape[1:], generator=generator), case.inputs)


class TestGradientShap:
    @pytest.mark.parametrize("multiply", [True, False])
    def test_one_baseline_and_a_linear_model(self, x, multiply):
        model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
        init = {"multiply_by_inputs": multiply}
        for name, where, options in [
            ("GradientShap", (), {"target": 1, "return_convergence_delta": True}),
            ("LayerGradientShap", (model[0],), {"target": 1, "return_convergence_delta": True}),
            ("LayerGradientShap", (model[1],), {"target": 1, "attribute_to_layer_input": True}),
            ("NeuronGradientShap", (model[0],), {"neuron_selector": 2}),
        ]:
            found = []
            for module in MODULES:
                explainer = getattr(module, name)(model, *where, **init)
                found.append(explainer.attribute(x, baselines=x[1:2], n_samples=3, **options))
            assert kinds(found[0]) == kinds(found[1])
            if "return_convergence_delta" in options:
                deltas = [pair[1] for pair in found]
                assert deltas[0].shape == deltas[1].shape == (12,)
                assert deltas[0].abs().max() < 1e-5
                assert not multiply or deltas[1].abs().max() < 1e-5  # Captum's is of what does not add up to anything
                found = [pair[0] for pair in found]
            agree(*found)

    def test_positional_arguments(self, x):
        model = nn.Linear(5, 3)
        for name, where, arguments in [
            ("GradientShap", (), (x, x[:1], 2, 0.0, 1, None, True)),
            ("LayerGradientShap", (model,), (x, x[:1], 2, 0.0, 1, None, True, True)),
            ("NeuronGradientShap", (model,), (x, 1, x[:1], 2, 0.0, None, False)),
        ]:
            ours, theirs = (getattr(module, name)(model, *where).attribute(*arguments) for module in MODULES)
            assert kinds(ours) == kinds(theirs)
            agree(pytree.tree_leaves(ours)[0], pytree.tree_leaves(theirs)[0])

    @pytest.mark.parametrize("form", ["tensor", "tuple of one", "callable", "callable of nothing"])
    @pytest.mark.parametrize("wrapped", [False, True], ids=["tensor", "tuple"])
    def test_forms_of_baselines(self, x, form, wrapped):
        model, inputs = nn.Linear(5, 3), (x,) if wrapped else x
        baselines = {
            "tensor": x[:1],
            "tuple of one": (x[:1],),
            "callable": lambda inputs: inputs[0][:1] if wrapped else inputs[:1],
            "callable of nothing": lambda: x[:1],
        }[form]
        ours, theirs = (module.GradientShap(model).attribute(inputs, baselines, target=1) for module in MODULES)
        assert kinds(ours) == kinds(theirs)
        agree(ours, theirs)

    @pytest.mark.parametrize("name", ["mlp", "residual_cnn", "lstm", "several_inputs"])
    def test_expectation(self, name):
        """Of integrated gradients over the baselines, and with noise too that of Captum."""
        case = ZOO[name]
        model, x, baselines = case.make(), case.inputs, draw(case, 2, 4)
        target = 1 if case.target is not None else None
        single = pytree.tree_map(lambda leaf: leaf[:1], x)
        each = [pytree.tree_map(lambda leaf, i=i: leaf[i : i + 1], baselines) for i in range(4)]
        right = [pytree.tree_leaves(af.ig(model, single, baseline=one, target=target, n_steps=200)) for one in each]
        ours = GradientShap(model).attribute(copies(x), baselines, target=target)
        for leaf, *parts in zip(pytree.tree_leaves(ours), *right, strict=True):
            within(leaf, torch.stack(parts).mean(0)[0])
        noisy = [m.GradientShap(model).attribute(copies(x), baselines, stdevs=0.3, target=target) for m in MODULES]
        for leaf, peer in zip(*map(pytree.tree_leaves, noisy), strict=True):
            within(leaf, *mean_and_error(peer))

    def test_attributions_and_deltas_come_from_the_same_draws(self, x):
        model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
        right = af.score_change(model, x, baseline=x[:1] + 1, target=1)
        for explainer in (GradientShap(model), LayerGradientShap(model, model[0])):
            options = {"baselines": x[:1] + 1, "n_samples": 7, "target": 1}
            found, delta = explainer.attribute(x, return_convergence_delta=True, **options)
            assert delta.view(4, 7).std(1).min() > 1e-3
            assert torch.allclose(found.sum(1) - delta.view(4, 7).mean(1), right, atol=1e-5)
            torch.manual_seed(5)
            found, _ = explainer.attribute(x, return_convergence_delta=True, **options)
            torch.manual_seed(5)
            again = explainer.attribute(x, **options)
            assert torch.equal(found, again)
            assert not torch.equal(explainer.attribute(x, **options), again)

    def test_deltas_stand_example_by_example(self, x):
        model = lambda x: x.square().sum(1)
        x[2] = 0  # no way from the baseline, so no delta, whatever is drawn
        for module in MODULES:
            explainer = module.GradientShap(model)
            _, delta = explainer.attribute(x, torch.zeros(1, 5), n_samples=3, return_convergence_delta=True)
            assert delta.view(4, 3).ne(0).all(1).tolist() == [True, True, False, True]
            _, delta = module.NoiseTunnel(explainer).attribute(
                x, nt_samples=2, stdevs=0.0, baselines=torch.zeros(1, 5), n_samples=3, return_convergence_delta=True
            )
            assert delta.view(4, 6).ne(0).all(1).tolist() == [True, True, False, True]


class TestNoiseTunnel:
    @pytest.mark.parametrize("case", INPUT, ids=str)
    def test_targets_and_arguments_follow_the_examples(self, case):
        """Without noise, and results are nested as Captum's."""
        layer, selector = case.neuron
        both_tunnels("Saliency", case, kind="smoothgrad", target=case.target, abs=False)
        both_tunnels("NeuronGradient", case, layer, kind="smoothgrad", neuron_selector=selector)
        both_tunnels("LayerGradientXActivation", case, case.layers[0], kind="smoothgrad", target=case.target)

    @pytest.mark.parametrize("kind", TYPES)
    @pytest.mark.parametrize("name", ["mlp", "tuple_layer"])
    def test_without_noise(self, name, kind):
        case = ZOO[name]
        case_of = lambda name, *where, **options: both_tunnels(name, case, *where, kind=kind, **options)
        case_of("Saliency", target=case.target, abs=False)
        case_of("IntegratedGradients", target=case.target, n_steps=3)
        layer, selector = case.neuron
        case_of("NeuronGradient", layer, neuron_selector=selector)
        for layer in case.layers:
            case_of("LayerActivation", layer)
            case_of("LayerGradientXActivation", layer, target=case.target)
            case_of("InternalInfluence", layer, target=case.target, n_steps=3)

    @pytest.mark.parametrize("batch", [None, 1, 2, 10])
    def test_deltas(self, x, batch):
        model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
        options = {"nt_samples": 5, "stdevs": 0.0, "target": [0, 1, 2, 0], "n_steps": 2, "baselines": x.flip(0)}
        options |= {"nt_samples_batch_size": batch, "return_convergence_delta": True, "method": "riemann_left"}
        results = [module.NoiseTunnel(module.IntegratedGradients(model)).attribute(x, **options) for module in MODULES]
        (ours, delta), (theirs, peer_delta) = results
        agree(ours, theirs)
        assert delta.view(4, 5).std(1).max() < 1e-6 < 1e-2 < delta.view(4, 5).std(0).min()
        if batch in (None, 10):  # otherwise batch by batch in Captum
            agree(delta, peer_delta)

    @pytest.mark.parametrize("module", MODULES, ids=["ours", "captum"])
    def test_moments(self, x, module):
        """A gradient that is linear in the noise: 2 w (x + noise)."""
        weight, stdev, samples = torch.linspace(1, 2, 5), 0.5, 4
        model = lambda x: (x.square() * weight).sum(1)
        run = lambda kind: module.NoiseTunnel(module.Saliency(model)).attribute(
            copies(x), kind, samples, stdevs=stdev, abs=False
        )
        with captum_warnings():
            within(run("smoothgrad"), 2 * weight * x[0])
            within(run("smoothgrad_sq"), (2 * weight).square() * (x[0].square() + stdev**2))
            within(run("vargrad"), (2 * weight * stdev).square() * (samples - 1) / samples)

    def test_several_inputs_have_their_own_noise(self):
        case = ZOO["several_inputs"]
        model = lambda image, table: image.square().sum((1, 2, 3)) + table.square().sum(1)
        results = []
        for stdevs in ((0.0, 0.5), (0.5, 0.0)):
            tunnel = NoiseTunnel(Saliency(model))
            results.append(tunnel.attribute(case.inputs, "vargrad", stdevs=stdevs, abs=False))
        assert [leaf.any().item() for leaf in results[0]] == [False, True]
        assert [leaf.any().item() for leaf in results[1]] == [True, False]
        agree(
            *(
                m.NoiseTunnel(m.IntegratedGradients(case.make())).attribute(case.inputs, stdevs=(0.0, 0.0))
                for m in MODULES
            )
        )
        x = case.inputs[1]
        single = NoiseTunnel(Saliency(lambda x: x.square().sum(1))).attribute(x, stdevs=(0.0,))
        agree(single, 2 * x.abs())

    def test_kinds_are_moments_of_the_same_draws(self, x):
        tunnel = NoiseTunnel(IntegratedGradients(nn.Sequential(nn.Linear(5, 4), nn.Tanh())))
        found = {}
        for kind in TYPES:
            torch.manual_seed(3)
            found[kind] = tunnel.attribute(x, kind, 6, target=1)
        assert torch.allclose(found["smoothgrad_sq"] - found["smoothgrad"].square(), found["vargrad"], atol=1e-6)
        assert found["vargrad"].min() > 0
        for size in (1, 4, 6, 100):
            torch.manual_seed(3)
            agree(tunnel.attribute(x, "vargrad", 6, size, target=1), found["vargrad"])
        twice = NoiseTunnel(GradientShap(nn.Linear(5, 4)))
        chunked = []
        for size in (1, 4, 6):
            torch.manual_seed(3)
            chunked.append(twice.attribute(x, nt_samples=6, nt_samples_batch_size=size, baselines=x, target=1))
        assert torch.equal(chunked[0], chunked[1])
        assert torch.equal(chunked[0], chunked[2])
        assert not torch.allclose(tunnel.attribute(x, "vargrad", 6, target=1), found["vargrad"])

    def test_samples_of_a_batch(self, x):
        rows = []
        model = lambda x: rows.append(len(x)) or x.square().sum(1)
        NoiseTunnel(Saliency(model)).attribute(x, nt_samples=7, nt_samples_batch_size=3)
        del rows[:2]  # one example, and two, which tell whether they can be evaluated apart
        assert sum(rows) == 7 * 4
        assert max(rows) == 3 * 4

    def test_baselines_from_a_distribution(self, x):
        model = nn.Linear(5, 3)
        baselines = torch.stack([torch.zeros(5), torch.full((5,), 100.0)])
        candidates = [(copies(x) - one) * model.weight[1].detach() for one in baselines]
        options = {"nt_samples": 1, "stdevs": 0.0, "baselines": baselines, "target": 1}
        for module in MODULES:
            tunnel = module.NoiseTunnel(module.IntegratedGradients(model))
            found = tunnel.attribute(copies(x), draw_baseline_from_distrib=True, **options)
            taken = [torch.isclose(found, one, rtol=1e-3, atol=1e-3).all(1).detach() for one in candidates]
            assert (taken[0] ^ taken[1]).all()
            assert 0.4 < taken[0].float().mean() < 0.6
        given = NoiseTunnel(GradientShap(model)).attribute(copies(x), **options)
        drawn = NoiseTunnel(GradientShap(model)).attribute(copies(x), draw_baseline_from_distrib=True, **options)
        nested = NoiseTunnel(NoiseTunnel(GradientShap(model))).attribute(copies(x), **options)
        for found in (given, drawn, nested):
            within(found, torch.stack(candidates).mean((0, 1)))

    def test_what_it_says_of_itself(self):
        model = nn.Linear(2, 2)
        for name, init in [
            ("Saliency", {}),
            ("IntegratedGradients", {}),
            ("IntegratedGradients", {"multiply_by_inputs": False}),
            ("InputXGradient", {}),
        ]:
            tunnels = [module.NoiseTunnel(getattr(module, name)(model, **init)) for module in MODULES]
            ours, theirs = ((t.multiplies_by_inputs, t.has_convergence_delta(), t.forward_func) for t in tunnels)
            assert ours == theirs

    def test_a_neuron_for_each_example(self, x):
        model = nn.Sequential(nn.Linear(5, 4), nn.Tanh())
        chosen = torch.tensor([0, 3, 1, 2])
        explainer = shim_attr.NeuronGradient(model, model[0])
        found = NoiseTunnel(explainer).attribute(x, stdevs=0.1, neuron_selector=chosen)
        agree(found, model[0].weight[chosen])

    def test_layers(self):
        """A list of layers gives a list; a tunnel around a tunnel is one, too."""
        case = ZOO["mlp"]
        model = case.make()
        explainer = shim_attr.LayerGradientXActivation(model, [model[0], model[2]])
        found = NoiseTunnel(NoiseTunnel(explainer)).attribute(case.inputs, stdevs=0.1, target=case.target)
        assert isinstance(found, list)
        assert [leaf.shape for leaf in found] == [(3, 8), (3, 8)]


def both_tunnels(name, case, *where, kind, **options):
    plain, _ = both(name, case, *where, **options)
    tunnel = {"nt_type": kind, "nt_samples": 3, "stdevs": 0.0}
    ours, theirs = both(name, case, *where, tunnel=True, **tunnel, **options)
    if not isinstance(case.inputs, dict):
        assert kinds(ours) == kinds(theirs)
    for leaf, peer, one in zip(*map(pytree.tree_leaves, (ours, theirs, plain)), strict=True):
        right = {"smoothgrad": one, "smoothgrad_sq": one.square(), "vargrad": 0 * one}[kind]
        scale = one.abs().max() ** (1 if kind == "smoothgrad" else 2)
        assert (leaf - right).abs().max() < 1e-5 * scale
        assert (leaf - peer).abs().max() < 1e-5 * scale
