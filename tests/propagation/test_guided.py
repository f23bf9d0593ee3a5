"""Guided backpropagation and deconvolution: the papers' rules, one number at a time, in every form of ReLU."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import attrfunc as af
from attrfunc.propagation.rectifiers import deconvolved, guided
from contract import numeric_gradient
from oracle_net import DOUBLE, drawn
from test_zoo import LOOPS, a_place_each, call, every_place, leaves
from zoo import CASES

METHODS = {"guided": af.guided_backprop, "deconvolution": af.deconvolution}
every_method = pytest.mark.parametrize("rule", METHODS)


class Net(nn.Module):
    """Two rectified layers and a bypass; `rectify` is a function, or modules for the two."""

    def __init__(self, rectify):
        super().__init__()
        torch.manual_seed(0)
        self.fc1, self.fc2, self.fc3 = nn.Linear(5, 7), nn.Linear(7, 7), nn.Linear(7, 3)
        self.rectify = rectify
        self.double().eval()

    def forward(self, x):
        first = self.rectify(self.fc1(x))
        return self.fc3(self.rectify(self.fc2(first)) + first)


def positive(number):
    return number if number > 0 else 0.0


def back_through_relu(rule, z, r):
    """Springenberg et al. 2015, figure 1: what goes back at a unit with the value z before ReLU, when r arrives."""
    if rule == "guided":
        return (z > 0) * (r > 0) * r
    return (r > 0) * r  # deconvolution


def linear_back(weight, r):
    rows, columns = weight.shape
    return [sum(weight[i, j].item() * r[i] for i in range(rows)) for j in range(columns)]


def by_hand(rule, net, x, target):
    """One example, from the score down to the input."""
    z1 = net.fc1(x)
    z2 = net.fc2(torch.tensor([positive(z.item()) for z in z1], dtype=DOUBLE))
    r = [weight.item() for weight in net.fc3.weight[target]]
    at_second = [back_through_relu(rule, z.item(), one) for z, one in zip(z2, r, strict=True)]
    at_first = [one + bypass for one, bypass in zip(linear_back(net.fc2.weight, at_second), r, strict=True)]
    at_first = [back_through_relu(rule, z.item(), one) for z, one in zip(z1, at_first, strict=True)]
    return torch.tensor(linear_back(net.fc1.weight, at_first), dtype=DOUBLE)


class Method(nn.Module):
    def __init__(self, name, *args, **kwargs):
        super().__init__()
        self.name, self.args, self.kwargs = name, args, kwargs

    def forward(self, x):
        return getattr(x, self.name)(*self.args, **self.kwargs)


FORMS = {
    "module": nn.ReLU(),
    "module, in place": nn.ReLU(inplace=True),
    "F.relu": F.relu,
    "F.relu, in place": lambda x: F.relu(x, inplace=True),
    "F.relu_": F.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "method": Method("relu"),
    "method, in place": Method("relu_"),
    "clamp": lambda x: torch.clamp(x, min=0),
    "clamp method": Method("clamp", 0),
    "clamp method, in place": Method("clamp_", min=0.0),
    "clamp_min": lambda x: torch.clamp_min(x, 0.0),
    "threshold": nn.Threshold(0, 0),
    "hardtanh": nn.Hardtanh(0, 1e9),
    "aten": torch.ops.aten.relu,
    "operation": af.operation(lambda x: F.relu(x)),
}


@every_method
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_relu_by_hand(rule, form):
    net, x = Net(FORMS[form]), drawn(1, 6, 5)
    found = METHODS[rule](net, x, target=torch.tensor([0, 1, 2, 0, 1, 2]))
    for i, attribution in enumerate(found):
        torch.testing.assert_close(attribution, by_hand(rule, net, x[i], i % 3))
    assert not torch.allclose(found, af.saliency(net, x, target=1, absolute=False))


RECTIFIERS = {
    "relu6": F.relu6,
    "ReLU6": nn.ReLU6(),
    "leaky_relu": lambda x: F.leaky_relu(x, 0.1),
    "prelu": lambda x: F.prelu(x, torch.tensor([0.3], dtype=DOUBLE)),
    "rrelu": nn.RReLU().eval(),
    "elu": F.elu,
    "selu": nn.SELU(),
    "celu": F.celu,
    "gelu": F.gelu,
    "gelu tanh": nn.GELU("tanh"),
    "silu": F.silu,
    "mish": nn.Mish(),
    "hardswish": F.hardswish,
    "softplus": F.softplus,
}


@every_method
@pytest.mark.parametrize("name", RECTIFIERS)
def test_rectifiers_by_the_stated_rule(rule, name):
    """`f'(z) max(g, 0)` and `max(g, 0)`, with central differences for f'."""
    f, net, x = RECTIFIERS[name], nn.Linear(5, 4).double(), 3 * drawn(1, 6, 5)
    weight = drawn(2, 4)
    found = METHODS[rule](lambda x: f(net(x)) @ weight, x)
    for one, attribution in zip(x, found, strict=True):
        back = []
        for z, g in zip(net(one).detach(), weight, strict=True):
            slope = (f(z[None] + 1e-6) - f(z[None] - 1e-6)).item() / 2e-6
            back.append((slope if rule == "guided" else 1.0) * positive(g.item()))
        expected = torch.tensor(linear_back(net.weight, back), dtype=DOUBLE)
        torch.testing.assert_close(attribution, expected, rtol=1e-6, atol=1e-8)


NATURAL = {
    "tanh": torch.tanh,
    "sigmoid": nn.Sigmoid(),
    "hardtanh": nn.Hardtanh(),
    "clamp": lambda x: x.clamp(-1, 1),
    "clamp from above": lambda x: x.clamp(max=1),
    "threshold": nn.Threshold(0.1, 20),
    "softmax": lambda x: x.softmax(1),
    "layer_norm": nn.LayerNorm(7).double(),
    "written out": lambda x: (x + x.abs()) / 2,
    "others": lambda x: x.cumsum(1).logcumsumexp(1) + x.norm(dim=1)[:, None] + torch.special.xlog1py(x, x.exp()),
}


@every_method
@pytest.mark.parametrize("name", NATURAL)
def test_everything_else_has_its_own_gradient(rule, name):
    net, x = Net(NATURAL[name]), drawn(1, 6, 5)
    torch.testing.assert_close(METHODS[rule](net, x, target=1), af.saliency(net, x, target=1, absolute=False))


class Doubled(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x.relu()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient * (ctx.saved_tensors[0] > 0)


@every_method
def test_rules_of_the_user(rule):
    """For an autograd.Function, an operation of the user's, a function that saturates, and inside one layer."""
    x, own = drawn(1, 6, 5), {"guided": guided, "deconvolution": deconvolved}[rule]
    method = METHODS[rule]
    net = Net(Doubled.apply)
    torch.testing.assert_close(method(net, x, target=1), af.saliency(net, x, target=1, absolute=False))
    by_rule = method(net, x, target=1, rules={Doubled: lambda op: (op.value(), lambda g: [g.relu() * 3])})
    assert not torch.allclose(by_rule, method(net, x, target=1))

    written = af.operation(lambda x: x * (x > 0))
    torch.testing.assert_close(
        method(Net(written), x, target=1, rules={written: own}), method(Net(F.relu), x, target=1)
    )
    straight = lambda op: (op.value(), lambda g: [g])
    model = nn.Sequential(nn.Sequential(nn.Linear(5, 4), nn.ReLU()), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    model.double()
    found = method(model, x, target=1, rules={"0": {torch.relu: straight}})
    upper = method(af.layer(model, "0"), x, target=1)
    torch.testing.assert_close(found, upper @ model[0][0].weight)


@every_method
def test_a_recurrent_layer_with_relu_is_seen_into(rule):
    """torch runs it as one operation; its twin is written with F.relu."""
    torch.manual_seed(0)
    rnn, head = nn.RNN(4, 6, nonlinearity="relu", batch_first=True).double(), nn.Linear(6, 2).double()
    x = drawn(1, 3, 5, 4)

    def twin(x):
        state = torch.zeros(len(x), 6, dtype=DOUBLE)
        for step in x.unbind(1):
            into = F.linear(step, rnn.weight_ih_l0, rnn.bias_ih_l0)
            state = F.relu(into + F.linear(state, rnn.weight_hh_l0, rnn.bias_hh_l0))
        return head(state)

    found = METHODS[rule](lambda x: head(rnn(x)[0][:, -1]), x, target=1).detach()
    torch.testing.assert_close(found, METHODS[rule](twin, x, target=1).detach())
    assert not torch.allclose(found, af.saliency(twin, x, target=1, absolute=False).detach())


def test_layers_and_neurons():
    net, x = Net(nn.ReLU()), drawn(1, 6, 5)
    for rule, method in METHODS.items():
        first, second = method(af.layer(net, ["fc1", "fc2"]), x, target=1)
        r = net.fc3.weight[1].detach()
        z1, z2 = net.fc1(x).detach(), net.fc2(net.fc1(x).relu()).detach()
        gate = lambda z, rule=rule: (z > 0) if rule == "guided" else torch.ones_like(z)
        torch.testing.assert_close(second, gate(z2) * r.relu())
        torch.testing.assert_close(first, gate(z1) * (second @ net.fc2.weight.detach() + r).relu())
        neuron = method(af.neuron(net, "fc2", 3), x)
        torch.testing.assert_close(neuron, (gate(z1) * net.fc2.weight[3].relu() @ net.fc1.weight).detach())


@every_place
@pytest.mark.filterwarnings(LOOPS)
def test_the_zoo(case, place):
    """Every architecture runs, and a network without rectifiers has its plain gradient."""
    view, x, options = call(case, place)
    plain = af.saliency(view, x, absolute=False, **options)
    for method in METHODS.values():
        found = method(view, x, **options)
        assert [leaf.shape for leaf in leaves(found)] == [leaf.shape for leaf in leaves(plain)]
        assert all(leaf.isfinite().all() for leaf in leaves(found))
        assert all(not leaf.requires_grad for leaf in leaves(found))
        if case.name in SATURATING:
            for ours, theirs in zip(leaves(found), leaves(plain), strict=True):
                torch.testing.assert_close(ours, theirs)


@a_place_each
@pytest.mark.filterwarnings(LOOPS)
def test_parameter_gradients_in_the_zoo(case, place):
    """Along a random direction in the space of all parameters, against central differences."""
    view, x, options = call(case, place)
    model = view if place is None else view.model
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    ways = {name: drawn(3, *p.shape) * p.std(correction=0) for name, p in parameters.items()}

    def loss(step):
        bound = af.bind(view, {name: p + step * ways[name] for name, p in parameters.items()})
        return sum(leaf.square().sum() for leaf in leaves(af.guided_backprop(bound, x, **options)))

    zero = torch.zeros((), dtype=DOUBLE)
    # Llama's norms compute in float32 whatever the model's dtype, so that smaller steps measure their rounding.
    step, rtol = (3e-4, 1e-3) if case.name.startswith("llama") else (1e-6, 1e-5)
    expected = (loss(zero + step) - loss(zero - step)) / (2 * step)
    torch.testing.assert_close(torch.func.grad(loss)(zero), expected, rtol=rtol, atol=1e-2 * rtol * float(loss(zero)))


SATURATING = {"lstm", "gru", "siamese", "tied_weights", "parallel_embeddings", "tuple_layer", "gpt2", "gpt2_embedded"}


def test_the_zoo_has_rectifiers():
    """Elsewhere the rules make a difference."""
    for case in CASES:
        if case.differentiable and case.name not in SATURATING | {"other_arguments"}:
            view, x, options = call(case, None)
            plain, found = (leaves(m(view, x, **options)) for m in (af.saliency, af.guided_backprop))
            assert not all(torch.allclose(a, b.abs()) for a, b in zip(plain, found, strict=True)), case


def test_a_functional_twin_of_the_residual_network():
    """The zoo's has one ReLU module that runs in place and three times."""
    case = next(case for case in CASES if case.name == "residual_cnn")
    net, x = case.make(DOUBLE), case.inputs.double()

    def twin(x):
        x = F.relu(net.bn(net.stem(x)))
        x = torch.relu(x + net.bn2(net.conv2(net.bn1(net.conv1(x)).clamp(min=0))))
        return net.fc(net.pool(x).flatten(1))

    for method in METHODS.values():
        torch.testing.assert_close(method(net, x, target=1), method(twin, x, target=1).detach())


def test_derivatives_through_relu_itself():
    """In a network with kinks, against central differences, with respect to the input and a parameter."""
    net, x = Net(F.relu), drawn(1, 2, 5)
    smooth = lambda x: net(x).sin()  # so that what goes back depends on the input
    for method in METHODS.values():
        loss = lambda x, method=method: method(smooth, x, target=1).square().sum()
        torch.testing.assert_close(torch.func.grad(loss)(x), numeric_gradient(loss, x), rtol=1e-6, atol=1e-7)
        bound = lambda p, method=method: method(af.bind(net, {"fc2.weight": p}), x, target=1).square().sum()
        weight = net.fc2.weight.detach()
        torch.testing.assert_close(torch.func.grad(bound)(weight), numeric_gradient(bound, weight))


@every_method
def test_compiled_attributions_have_no_graph(rule):
    """Their derivatives would be wrong, so nobody can ask for them."""
    net, x, method = Net(F.gelu), drawn(1, 3, 5), METHODS[rule]
    weight = net.fc1.weight.detach().requires_grad_()
    torch.compiler.reset()
    function = torch.compile(
        lambda w: method(af.bind(net, {"fc1.weight": w}), x, target=1), fullgraph=True, backend="aot_eager"
    )
    found = function(weight)
    torch.testing.assert_close(found, method(net, x, target=1))
    assert not found.requires_grad
    assert method(af.bind(net, {"fc1.weight": weight}), x, target=1).requires_grad


class TestErrors:
    def test_a_rule_for_a_layer_that_is_not_there(self):
        with pytest.raises(af.ArgumentError, match=r"guided_backprop.*`rules`.*'fc9'.*fc1"):
            af.guided_backprop(Net(F.relu), drawn(1, 2, 5), target=0, rules={"fc9": {"relu": guided}})

    def test_what_is_no_rule(self):
        for rules in ({"relu": 3}, 3):
            with pytest.raises(af.ArgumentError, match=r"deconvolution.*`rules`"):
                af.deconvolution(Net(F.relu), drawn(1, 2, 5), target=0, rules=rules)

    def test_a_rule_for_more_inputs_than_it_has(self):
        model = lambda x: F.prelu(x, x.mean(0)).sum(1)
        for method in METHODS.values():
            with pytest.raises(af.ModelError, match=f"{method.__name__}: there is no rule for.*'prelu' of 2 values"):
                method(model, drawn(1, 3, 5))

    def test_a_score_that_is_not_finite(self):
        with pytest.raises(af.ModelError, match=r"guided_backprop.*not finite"):
            af.guided_backprop(lambda x: x.sum(1) / 0, drawn(1, 3, 5))

    def test_the_model_is_untouched_after_an_error(self):
        net = Net(nn.ReLU())
        before = copy.deepcopy(net.state_dict())
        with pytest.raises(af.ArgumentError):
            af.guided_backprop(net, drawn(1, 3, 5), target=7)
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
