"""What scripts written for Captum do."""

from functools import partial

import captum.attr as captum_attr
import numpy as np
import pytest
import torch
from captum_peer import agree, captum_warnings
from torch import nn

import attrfunc as af
from attrfunc.captum.attr import (
    InputXGradient,
    IntegratedGradients,
    LayerActivation,
    LayerGradCam,
    LayerGradientXActivation,
    LayerIntegratedGradients,
    NeuronGradient,
    NeuronIntegratedGradients,
    Saliency,
)
from zoo import CASES, MASK

ZOO = {case.name: case for case in CASES}


class ToyModel(nn.Module):
    """The model of the README of Captum."""

    def __init__(self):
        super().__init__()
        self.lin1, self.relu, self.lin2 = nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)
        self.lin1.weight = nn.Parameter(torch.arange(-4.0, 5.0).view(3, 3))
        self.lin1.bias = nn.Parameter(torch.zeros(1, 3))
        self.lin2.weight = nn.Parameter(torch.arange(-3.0, 3.0).view(2, 3))
        self.lin2.bias = nn.Parameter(torch.ones(1, 2))

    def forward(self, x):
        return self.lin2(self.relu(self.lin1(x)))


@pytest.fixture
def toy():
    return ToyModel().eval()


@pytest.fixture
def x():
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(1))


def hooks(model):
    return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]


def test_readme(toy):
    torch.manual_seed(123)
    np.random.seed(123)
    x, baseline = torch.rand(2, 3), torch.zeros(2, 3)
    explainer = IntegratedGradients(toy)
    attributions, delta = explainer.attribute(x, baseline, target=0, return_convergence_delta=True)
    assert [[round(v, 4) for v in row] for row in attributions.tolist()] == [
        [-0.5922, -1.5497, -1.0067],
        [0.0000, -0.2219, -5.1991],
    ]
    assert delta.shape == (2,)
    assert torch.equal(delta, explainer.compute_convergence_delta(attributions, baseline, x, target=0))


def test_positional_arguments(toy, x):
    for name, arguments in {
        "IntegratedGradients": (x, 0.5, 1, None, 3, "riemann_left", 5, True),
        "Saliency": (x, 1, False, None),
        "InputXGradient": (x, 1, None),
    }.items():
        with captum_warnings():
            agree(*(getattr(m, name)(toy).attribute(*arguments) for m in (af.captum.attr, captum_attr)))
    for name, arguments in {
        "LayerActivation": (x, None, True),
        "LayerGradCam": (x, 1, None, True, True, False, {}),
        "LayerGradientXActivation": (x, 1, None, True, {}),
        "LayerIntegratedGradients": (x, 0.5, 1, None, 3, "riemann_left", 5, True, True, {}),
        "InternalInfluence": (x, 0.5, 1, None, 3, "riemann_left", 5, True, {}),
        "NeuronConductance": (x, 1, 0.5, 1, None, 3, "riemann_left", 5, True, {}),
        "NeuronGradient": (x, 1, None, True),
        "NeuronIntegratedGradients": (x, 1, x * 0 + 0.5, None, 3, "riemann_left", 5, True),
    }.items():
        with captum_warnings():
            agree(*(getattr(m, name)(toy, toy.relu, None).attribute(*arguments) for m in (af.captum.attr, captum_attr)))


@pytest.mark.parametrize(
    "target",
    [1, (1,), torch.tensor(1), torch.tensor([1]), torch.tensor([0, 1, 1, 0]), [0, 1, 1, 0], [(0,), (1,), (1,), (0,)]],
    ids=str,
)
def test_targets(toy, x, target):
    with captum_warnings():
        for name in ("IntegratedGradients", "Saliency", "InputXGradient"):
            agree(*(getattr(m, name)(toy).attribute(x, target=target) for m in (af.captum.attr, captum_attr)))


@pytest.mark.parametrize("shape", ["number", "integer", "one", "each", "tuple", "tuple of numbers"])
@pytest.mark.parametrize("wrapped", [False, True], ids=["tensor", "tuple"])
def test_baselines(toy, x, shape, wrapped):
    baselines = {
        "number": 0.5,
        "integer": 1,
        "one": x[:1] + 1,
        "each": x.flip(0),
        "tuple": (x.flip(0),),
        "tuple of numbers": (0.5,),
    }[shape]
    inputs = (x,) if wrapped else x
    options = {"baselines": baselines, "target": 1, "n_steps": 8}
    for name, layer in (("IntegratedGradients", ()), ("LayerIntegratedGradients", (toy.relu,))):
        ours, theirs = (
            getattr(m, name)(toy, *layer).attribute(inputs, **options) for m in (af.captum.attr, captum_attr)
        )
        assert type(ours) is type(theirs)
        agree(ours, theirs)


def test_baselines_of_several_inputs():
    case = ZOO["several_inputs"]
    model = case.make()
    image, table = case.inputs
    for baselines in (None, (0, 0.5), (image[:1], 0.5), (image.flip(0), table[:1])):
        agree(*(m.IntegratedGradients(model).attribute(case.inputs, baselines) for m in (af.captum.attr, captum_attr)))


@pytest.mark.parametrize("extra", [2.0, torch.full((4, 1), 2.0), [2.0], (2.0,), {"a": 2.0}], ids=str)
def test_additional_forward_args(x, extra):
    def forward(x, extra):
        extra = extra["a"] if isinstance(extra, dict) else extra[0] if isinstance(extra, list) else extra
        return (x * x * extra).sum(1)

    agree(IntegratedGradients(forward).attribute(x, additional_forward_args=extra), 2 * x * x)
    agree(Saliency(forward).attribute(x, additional_forward_args=extra), (4 * x).abs())


def test_a_forward_function_around_a_module():
    """As in the tutorials: a closure that calls the model, and a layer of the model."""
    case = ZOO["bert"]
    model = case.make()

    def probability(ids, mask):
        return torch.softmax(model(ids, mask), 1)[:, 2]

    def run(module):
        explainer = module.LayerIntegratedGradients(probability, model.model.bert.embeddings)
        options = {"baselines": torch.zeros_like(case.inputs), "additional_forward_args": MASK, "n_steps": 60}
        return explainer.attribute(case.inputs, return_convergence_delta=True, **options)

    before = hooks(model)
    (ours, delta), (theirs, peer_delta) = run(af.captum.attr), run(captum_attr)
    agree(ours, theirs)
    assert (delta - peer_delta).abs().max() < 1e-6
    assert hooks(model) == before
    assert all(parameter.grad is None for parameter in model.parameters())


def test_deltas_agree_where_nothing_bypasses_the_layer():
    for name, layer, to_input in [
        ("mlp", "2", False),
        ("functional_relu", "fc3", True),
        ("lstm", "rnn", True),
        ("transformer_encoder", "encoder.layers.0", False),
        ("gpt2", "model.transformer.wte", False),
        ("bert", "model.bert.embeddings", False),
        ("siamese", "join", True),
        ("tuple_layer", "two", False),
    ]:
        case = ZOO[name]
        model = case.make()
        for n_steps in (3, 40):
            results = []
            for module in (af.captum.attr, captum_attr):
                explainer = module.LayerIntegratedGradients(model, model.get_submodule(layer))
                options = {"n_steps": n_steps, "attribute_to_layer_input": to_input, "return_convergence_delta": True}
                more = {"target": case.target, "additional_forward_args": case.args or None}
                attributions, delta = explainer.attribute(case.inputs, **options, **more)
                again = explainer.compute_convergence_delta(
                    attributions, None if case.differentiable else 0, case.inputs, case.target, case.args or None
                )
                results.append((delta, again))
            scale = sum(part.abs().sum() for part in torch.utils._pytree.tree_leaves(attributions))
            for delta in results[0]:
                assert (delta - results[1][0]).abs().max() < 1e-6 * scale, name


def test_gradient_options(toy, x):
    for kind in (LayerGradCam, LayerGradientXActivation):
        with pytest.raises(af.ArgumentError, match=f"{kind.__name__}.*`grad_kwargs`.*create_graph"):
            kind(toy, toy.relu).attribute(x, target=0, grad_kwargs={"create_graph": True})
    explainer = LayerGradientXActivation(toy, toy.relu)
    plain = explainer.attribute(x, target=0)
    idle = {"retain_graph": True, "create_graph": False, "allow_unused": True, "materialize_grads": True}
    assert torch.equal(explainer.attribute(x, target=0, grad_kwargs=idle), plain)
    for refused in ({"create_graph": True}, {"grad_outputs": [torch.ones(4)]}, {"is_grads_batched": True}):
        with pytest.raises(af.ArgumentError, match=f"LayerGradientXActivation.*`grad_kwargs`.*{next(iter(refused))}"):
            explainer.attribute(x, target=0, grad_kwargs=refused)


def test_memory_efficient(toy, x):
    plain = LayerGradientXActivation(toy, [toy.relu, toy.lin2]).attribute(x, target=0)
    agree(LayerGradientXActivation(toy, [toy.relu, toy.lin2], memory_efficient=True).attribute(x, target=0), plain)


def test_the_activation_runs_no_backward_pass(x):
    class NoBackward(torch.autograd.Function):
        @staticmethod
        def forward(x):
            return x + 1

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def backward(ctx, gradient):
            raise AssertionError("a backward pass runs")

    layer = nn.Linear(3, 2)
    forward = lambda x: layer(NoBackward.apply(x))
    assert torch.equal(LayerActivation(forward, layer).attribute(x), layer(x + 1).detach())


def test_dataparallel(toy, x):
    parallel = nn.DataParallel(toy)
    agree(IntegratedGradients(parallel).attribute(x, target=1), IntegratedGradients(toy).attribute(x, target=1))
    ours = LayerIntegratedGradients(parallel, parallel.module.relu, device_ids=[0]).attribute(x, target=1)
    agree(ours, LayerIntegratedGradients(toy, toy.relu).attribute(x, target=1))


def test_several_neurons_and_selectors():
    case = ZOO["residual_cnn"]
    model = case.make()
    for selector in [(2, 3, 5), (2, slice(1, 4), 5), (slice(None), 0, slice(0, 8, 2)), lambda a: a[:, 2].sum((1, 2))]:
        with captum_warnings():
            for name in ("NeuronGradient", "NeuronIntegratedGradients"):
                explainers = [getattr(m, name)(model, model.conv1) for m in (af.captum.attr, captum_attr)]
                agree(*(explainer.attribute(case.inputs, selector) for explainer in explainers))


class TestErrors:
    @pytest.mark.parametrize("target", [2, -3, None, [0, 1], torch.tensor([0, 1, 2, 0]), 0.5], ids=str)
    @pytest.mark.parametrize("kind", [IntegratedGradients, Saliency, InputXGradient])
    def test_targets(self, toy, x, kind, target):
        with pytest.raises(af.ArgumentError, match=f"^{kind.__name__}.attribute: argument `target`: got "):
            kind(toy).attribute(x, target=target)

    def test_arguments_have_the_names_of_the_class(self, toy, x):
        with pytest.raises(af.ArgumentError, match=r"^IntegratedGradients\.attribute: argument `baselines`"):
            IntegratedGradients(toy).attribute(x, torch.zeros(2), target=0)
        with pytest.raises(af.ArgumentError, match=r"^IntegratedGradients\.attribute: argument `internal_batch_size`"):
            IntegratedGradients(toy).attribute(x, target=0, internal_batch_size=0)
        with pytest.raises(af.ArgumentError, match=r"^Saliency\.attribute: argument `inputs`.*embedding"):
            Saliency(toy).attribute(torch.ones(2, 3, dtype=torch.long), target=0)
        with pytest.raises(af.ArgumentError, match=r"^LayerActivation\.attribute: argument `layer`"):
            LayerActivation(toy, nn.Linear(1, 1)).attribute(x)
        with pytest.raises(af.ArgumentError, match=r"^NeuronGradient\.attribute: argument `neuron_selector`"):
            NeuronGradient(toy, toy.lin1).attribute(x, 3)
        with pytest.raises(af.ArgumentError, match=r"^IntegratedGradients\.compute_convergence_delta.*`attributions`"):
            IntegratedGradients(toy).compute_convergence_delta(x[:2], 0, x, target=0)

    @pytest.mark.parametrize("closure", [False, True], ids=["module", "closure"])
    def test_nothing_is_left_after_an_exception(self, toy, x, closure):
        def explode(*_):
            raise RuntimeError("boom")

        handle = toy.lin2.register_forward_hook(explode)
        before = hooks(toy)
        forward = partial(toy.forward) if closure else toy
        for explainer, options in [
            (LayerIntegratedGradients(forward, toy.relu), {"target": 0}),
            (LayerGradCam(forward, toy.relu), {"target": 0}),
            (LayerGradientXActivation(forward, toy.relu), {"target": 0}),
            (LayerActivation(forward, toy.relu), {}),
            (NeuronGradient(forward, toy.lin2), {"neuron_selector": 0}),
            (NeuronIntegratedGradients(forward, toy.lin2), {"neuron_selector": 0}),
        ]:
            with pytest.raises(RuntimeError, match="boom"):
                explainer.attribute(x, **options)
            assert hooks(toy) == before
        handle.remove()
        assert torch.is_grad_enabled()
        assert all(parameter.requires_grad and parameter.grad is None for parameter in toy.parameters())
