"""LRP on whole models: conservation, forms of writing, examples by themselves, all layers at once; zennit agrees."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree
from zennit_peer import relevance, zennit

import attrfunc as af
import zoo


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def double(tree):
    return pytree.tree_map(lambda leaf: leaf.double() if getattr(leaf, "is_floating_point", bool)() else leaf, tree)


def called(case):
    """The model, and the arguments of a call; at its embedding, where the input has no gradient."""
    model = case.make(torch.float64)
    view = model
    if case.parallel and not case.differentiable:
        view = af.layer(model, list(case.parallel), joint=True)
    elif not case.differentiable:
        view = af.layer(model, case.layers[0])
    call = {"target": case.target, "args": double(case.args), "kwargs": double(dict(case.kwargs))}
    return view, double(case.inputs), call


# What no input contributes to goes to constants: a class token, an offset where all units are off.
OWN_CONSTANTS = ("vit", "argument_without_batch")


@pytest.mark.parametrize("case", [case for case in zoo.CASES if case.name not in OWN_CONSTANTS], ids=str)
def test_conservation(case):
    view, x, call = called(case)
    found = af.lrp(view, x, rules=af.rules.cp_lrp(1e-12, bias=False), **call)
    gap = af.relevance_gap(view, x, found, **call)
    total = sum(leaf.abs().sum() for leaf in pytree.tree_leaves(found))
    assert gap.abs().max() < 1e-6 * total


def test_conservation_behind_a_class_token():
    (case,) = (case for case in zoo.CASES if case.name == "vit")
    model, x, call = called(case)
    view = af.layer(model, ["model.vit.embeddings", "model.vit.layernorm"])
    found = af.lrp(view, x, rules=af.rules.cp_lrp(1e-12, bias=False), **call)
    for gap in af.relevance_gap(view, x, found, **call):
        assert gap.abs().max() < 1e-6


@pytest.mark.parametrize("case", [case for case in zoo.CASES if case.name != "siamese"], ids=str)
def test_single_precision(case):
    """Relevance amplifies what rounding does where contributions cancel: the epsilon is large."""
    view, x, call = called(case)
    rules = af.rules.attn_lrp(0.01)
    exact = pytree.tree_leaves(af.lrp(view, x, rules=rules, **call))
    model = case.make()
    single = model
    if case.parallel and not case.differentiable:
        single = af.layer(model, list(case.parallel), joint=True)
    elif not case.differentiable:
        single = af.layer(model, case.layers[0])
    call = {"target": case.target, "args": case.args, "kwargs": case.kwargs}
    for ours, theirs in zip(pytree.tree_leaves(af.lrp(single, case.inputs, rules=rules, **call)), exact, strict=True):
        assert (ours - theirs).norm() < 1e-3 * theirs.norm()


@pytest.mark.parametrize("name", ["residual_cnn", "transformer_encoder", "gpt2_embedded", "lstm"])
def test_examples_do_not_know_of_each_other(name):
    (case,) = (case for case in zoo.CASES if case.name == name)
    view, x, call = called(case)
    target = call["target"]
    alone = target[1:2] if isinstance(target, list) else target
    whole = af.lrp(view, x, **call)
    torch.testing.assert_close(whole[1:2], af.lrp(view, x[1:2], **{**call, "target": alone}))


class Modules(nn.Module):
    """Every layer a module, used once."""

    def __init__(self):
        super().__init__()
        self.conv1, self.norm, self.relu1 = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU()
        self.pool, self.conv2, self.relu2 = nn.MaxPool2d(2), nn.Conv2d(4, 4, 2, bias=False), nn.ReLU()
        self.mean, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(4, 3)
        self.norm.running_mean.normal_()

    def forward(self, x):
        h = self.pool(self.relu1(self.norm(self.conv1(x))))
        h = h + F.pad(self.relu2(self.conv2(h)), (0, 1, 0, 1))
        return self.fc(self.mean(h).flatten(1))


class Functions(Modules):
    """The same in functions and operators."""

    def forward(self, x):
        h = torch.conv2d(x, self.conv1.weight, self.conv1.bias)
        norm = self.norm
        h = torch.relu(F.batch_norm(h, norm.running_mean, norm.running_var, norm.weight, norm.bias))
        h = torch.max_pool2d(h, 2)
        h = torch.add(h, F.pad(F.conv2d(h, weight=self.conv2.weight).clamp(min=0), (0, 1, 0, 1)))
        return F.linear(h.mean((2, 3)), bias=self.fc.bias, weight=self.fc.weight)


class InPlace(Modules):
    """The same with one ReLU, and what can be overwritten is."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        h = self.pool(self.relu(self.norm(self.conv1(x))))
        more = self.conv2(h)
        h += F.pad(self.relu(more), (0, 1, 0, 1))  # what conv2 has read is overwritten
        h = self.mean(h).flatten(1)
        h = self.fc(h)
        return h.mul_(1.0)


BOOKS = [
    af.rules.attn_lrp(0.01),
    af.rules.epsilon_plus(0.01),
    af.rules.epsilon_gamma_box(-3, 3),
    af.rules.epsilon_alpha2_beta1_flat(),
]


@pytest.mark.parametrize("book", BOOKS, ids=["epsilon", "plus", "gamma_box", "alpha_beta_flat"])
@pytest.mark.parametrize("kind", [Functions, InPlace])
def test_forms_of_writing(kind, book):
    twin, model = Modules().double().eval(), kind().double().eval()
    model.load_state_dict(twin.state_dict())
    x = torch.randn(3, 2, 8, 8).double()
    expected = af.lrp(twin, x, target=1, rules=book)
    torch.testing.assert_close(af.lrp(model, x, target=1, rules=book), expected)


def test_a_product_and_a_sum_are_a_layer():
    fc = nn.Linear(4, 3).double()
    x = torch.randn(3, 4).double()
    forms = [
        fc,
        lambda x: x @ fc.weight.T + fc.bias,
        lambda x: fc.bias + (fc.weight @ x.T).T,
        lambda x: torch.addmm(fc.bias, x, fc.weight.T),
        lambda x: torch.einsum("bi,oi->bo", x, fc.weight).add(fc.bias),
    ]
    expected, *others = (af.lrp(form, x, target=1, rules=af.rules.attn_lrp(1e-12)) for form in forms)
    for other in others:
        torch.testing.assert_close(other, expected)


def test_what_a_layer_has_read_may_be_overwritten():
    fc = nn.Linear(4, 4).double()
    x = torch.randn(3, 4).double()

    def overwriting(x):
        h = torch.tanh(x)
        out, p = fc(h), h.softmax(1)
        h.mul_(3)
        p_sum = p * 1
        p.zero_()
        return (out + h + p_sum).sum(1)

    def plain(x):
        h = torch.tanh(x)
        return (fc(h) + h * 3 + h.softmax(1) * 1).sum(1)

    torch.testing.assert_close(af.lrp(overwriting, x), af.lrp(plain, x))


def test_all_layers_in_one_pass():
    model = Modules().double().eval()
    x = torch.randn(3, 2, 8, 8).double()
    names = [name for name, module in model.named_modules() if name]
    runs = []
    model.register_forward_hook(lambda *_: runs.append(1))
    found = af.lrp(af.layer(model, names), x, target=1)
    assert len(runs) == 1
    for name, relevance_there in zip(names, found, strict=True):
        torch.testing.assert_close(relevance_there, af.lrp(af.layer(model, name), x, target=1))
    (at_conv,) = af.lrp(af.layer(model, ["conv1"], side="input"), x, target=1)
    torch.testing.assert_close(at_conv, af.lrp(model, x, target=1))


def test_the_biases_share_is_what_is_missing():
    model = nn.Linear(4, 3).double()
    x = torch.randn(2, 4).double()
    found = af.lrp(model, x, target=1, rules=af.rules.attn_lrp(0))
    gap = af.relevance_gap(model, x, found, target=1)
    torch.testing.assert_close(gap, -model.bias[1].detach().expand(2))


def test_neurons():
    model = Modules().double().eval()
    x = torch.randn(3, 2, 8, 8).double()
    view = af.neuron(model, "conv2", (1, 0, 1))
    assert af.lrp(view, x).shape == x.shape
    cut = lambda x: model.conv2(model.pool(model.relu1(model.norm(model.conv1(x)))))
    torch.testing.assert_close(af.lrp(view, x), af.lrp(cut, x, target=(1, 0, 1)))


def network():
    """Layers that zennit knows, whose batch norms it folds away."""
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.ConvTranspose2d(6, 4, 2),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 8),
        nn.ReLU(),
        nn.Linear(8, 4),
    )
    for module in model:
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-12  # zennit leaves it in the batch norm that it has folded away
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return model.double().eval()


COMPOSITES = {
    "EpsilonPlus": ((), af.rules.epsilon_plus),
    "EpsilonGammaBox": ((-3.0, 3.0), af.rules.epsilon_gamma_box),
    "EpsilonAlpha2Beta1": ((), af.rules.epsilon_alpha2_beta1),
    "EpsilonPlusFlat": ((), af.rules.epsilon_plus_flat),
    "EpsilonAlpha2Beta1Flat": ((), af.rules.epsilon_alpha2_beta1_flat),
}


@pytest.mark.parametrize("name", COMPOSITES)
def test_zennit(name):
    arguments, book = COMPOSITES[name]
    model, target = network(), torch.tensor([0, 3, 1])
    x = torch.randn(3, 3, 8, 8).double()
    canonizers = [zennit.canonizers.SequentialMergeBatchNorm()]
    composite = getattr(zennit.composites, name)(*arguments, canonizers=canonizers)
    expected = relevance(composite, copy.deepcopy(model), x, target)
    ours = af.lrp(model, x, target=target, rules=book(*arguments))
    torch.testing.assert_close(ours, expected, rtol=1e-8, atol=1e-10)
    unbiased = getattr(zennit.composites, name)(*arguments, canonizers=canonizers, zero_params="bias")
    expected = relevance(unbiased, copy.deepcopy(model), x, target)
    if name != "EpsilonGammaBox":  # which drops the box's bias in any case
        ours = af.lrp(model, x, target=target, rules=book(*arguments, bias=False))
        torch.testing.assert_close(ours, expected, rtol=1e-8, atol=1e-10)


def test_vmap_over_targets_on_a_transformer():
    (case,) = (case for case in zoo.CASES if case.name == "transformer_encoder")
    model, x, call = called(case)
    rules = af.rules.attn_lrp(0.01)
    every = torch.vmap(lambda target: af.lrp(model, x, target=target, rules=rules))(torch.arange(4))
    torch.testing.assert_close(every[1], af.lrp(model, x, rules=rules, **call))


@af.operation
def halve(x):
    return x / 2


def test_compiled_gates_and_operations_of_ones_own():
    """What a mode sees under a compiler: functions that are operations, and batch norms behind their layers."""
    fc, norm = nn.Linear(4, 6).double(), nn.BatchNorm1d(6).double().eval()
    norm.running_mean.uniform_(-1, 1)
    nothing = lambda operation: (operation.value(), lambda relevance: [relevance * 3])
    rules = {halve: nothing, F.linear: af.rules.z_plus()}
    x = torch.randn(3, 4).double()

    def explained(x):
        return af.lrp(lambda x: halve(F.glu(norm(fc(x)))), x, target=1, rules=book)

    book = af.rules.attn_lrp() | rules
    torch.compiler.reset()
    compiled = torch.compile(explained, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(compiled, explained(x))
    tripled = af.lrp(lambda x: F.glu(norm(fc(x))) / 2, x, target=1, rules=book) * 3
    torch.testing.assert_close(compiled, tripled)


@pytest.mark.parametrize("at", ["itself", "in a closure", "mapped"])
def test_a_layer_that_forward_makes_is_a_layer(at):
    """Its parameters require gradients, but do not depend on the input: they get no share."""

    class Making(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last = nn.Linear(4, 5).double(), nn.Linear(5, 2).double()

        def forward(self, x):
            made = F.linear(x, nn.Parameter(self.first.weight + 1))
            return copy.deepcopy(self.last)(torch.tanh(made))

    net, x = Making(), torch.rand(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weight, last = net.first.weight + 1, net.last.weight[1]
    hidden = torch.tanh(x @ weight.T)
    expected = torch.einsum("bi,ji,bj->bi", x, weight, hidden * last / (x @ weight.T))  # the bias has its own share
    lrp = lambda model, x: af.lrp(model, x, target=1, rules=af.rules.attn_lrp(1e-12))
    found = {
        "itself": lambda: lrp(net, x),
        "in a closure": lambda: lrp(lambda x: net(x), x),
        "mapped": lambda: torch.vmap(lambda one: lrp(net, one[None])[0])(x),
    }[at]()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
