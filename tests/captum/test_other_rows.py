"""Models whose outputs have other rows than their inputs, and integers on a path, beside sums by hand."""

import captum.attr as captum_attr
import numpy as np
import pytest
import torch
from captum_peer import captum_warnings
from torch import nn

import attrfunc as af
import attrfunc.captum.attr as shim_attr

OTHER = pytest.mark.filterwarnings("ignore:the score is the sum of all")


class Bags(nn.Module):
    """Dense features beside bags of tokens with offsets, as recommenders and text classifiers have them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.dense, self.bag, self.head = nn.Linear(4, 6), nn.EmbeddingBag(30, 6), nn.Linear(6, 3)

    def forward(self, tokens, offsets, dense=None):
        return self.rest(self.bag(tokens, offsets), torch.zeros(3, 6) if dense is None else self.dense(dense))

    def rest(self, bags, dense):
        return self.head(torch.tanh(bags + 1) * (1 + dense))


class Graphs(nn.Module):
    """Two graphs of three and two nodes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.head = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x, edges, graph):
        return self.rest(self.first(x), edges, graph)

    def rest(self, hidden, edges, graph):
        hidden = torch.tanh(hidden)
        hidden = hidden.index_add(0, edges[1], hidden[edges[0]])
        return self.head(torch.zeros(2, 8, dtype=hidden.dtype).index_add(0, graph, hidden))


TOKENS, BASE = (torch.randint(0, 30, (11,), generator=torch.Generator().manual_seed(k)) for k in (0, 1))
OFFSETS, TARGET = torch.tensor([0, 4, 7]), torch.tensor([0, 2, 1])
DENSE = torch.rand(3, 4, generator=torch.Generator().manual_seed(2)).double()
EDGES, GRAPH = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 0, 4, 3]]), torch.tensor([0, 0, 0, 1, 1])
NODES = torch.rand(5, 4, generator=torch.Generator().manual_seed(3)).double()


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def on_a_path(score, start, end):
    """Integrated gradients, by 30 points of a Gauss-Legendre rule."""
    total = torch.zeros_like(end)
    for place, weight in zip(*np.polynomial.legendre.leggauss(30), strict=True):
        point = (start + (place + 1) / 2 * (end - start)).detach().requires_grad_()
        total += torch.autograd.grad(score(point).sum(), point)[0] * weight / 2
    return (total * (end - start)).detach()


@pytest.mark.parametrize("as_inputs", [True, False])
def test_bags_of_tokens(as_inputs):
    model = Bags()
    inputs, more = ((TOKENS, OFFSETS), ()) if as_inputs else (TOKENS, (OFFSETS,))
    baselines = (BASE, OFFSETS) if as_inputs else BASE
    options = {"target": TARGET, "additional_forward_args": more or None}
    at_inputs, at_baselines = (model.bag(tokens, OFFSETS) for tokens in (TOKENS, BASE))
    chosen = lambda bags: model.rest(bags, torch.zeros(3, 6)).gather(1, TARGET[:, None])
    explainer = shim_attr.LayerIntegratedGradients(model, model.bag)
    found, delta = explainer.attribute(inputs, baselines, **options, return_convergence_delta=True)
    torch.testing.assert_close(found, on_a_path(chosen, at_baselines, at_inputs), rtol=1e-5, atol=1e-7)
    assert delta.abs().max() < 1e-8
    lifted = shim_attr.LayerDeepLift(model, model.bag).attribute(inputs, baselines, **options)
    torch.testing.assert_close(lifted.sum(1), (chosen(at_inputs) - chosen(at_baselines))[:, 0].detach())
    for name in ("LayerGradientXActivation", "LayerGradCam", "LayerActivation"):
        more = {} if name == "LayerActivation" else {"target": TARGET}
        given = {"additional_forward_args": options["additional_forward_args"], **more}
        ours, theirs = (
            getattr(kit, name)(model, model.bag).attribute(inputs, **given) for kit in (shim_attr, captum_attr)
        )
        torch.testing.assert_close(ours, theirs.detach())


def test_a_layer_beside_bags():
    """Captum repeats the offsets for each point of the path."""
    model = Bags()
    found = shim_attr.LayerIntegratedGradients(model, model.dense).attribute((TOKENS, OFFSETS, DENSE), target=1)
    score = lambda hidden: model.rest(model.bag(TOKENS, OFFSETS), hidden)[:, 1]
    expected = on_a_path(score, model.dense(DENSE * 0), model.dense(DENSE))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_nodes_of_graphs():
    model, options = Graphs(), {"target": 1, "additional_forward_args": (EDGES, GRAPH)}
    score = lambda x: model(x, EDGES, GRAPH)[:, 1]
    expected = on_a_path(score, NODES * 0, NODES)
    with pytest.warns(UserWarning, match="the score is the sum of all 2 rows of the output"):
        found, delta = shim_attr.IntegratedGradients(model).attribute(NODES, **options, return_convergence_delta=True)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    assert delta.abs().max() < 1e-8
    with pytest.warns(UserWarning, match="the score is the sum of all"):
        inside = shim_attr.LayerIntegratedGradients(model, model.first).attribute(NODES, **options)
    rest = lambda hidden: model.rest(hidden, EDGES, GRAPH)[:, 1]
    expected = on_a_path(rest, model.first(NODES * 0), model.first(NODES))
    torch.testing.assert_close(inside, expected, rtol=1e-5, atol=1e-7)


@OTHER
@pytest.mark.parametrize("name", ["Saliency", "InputXGradient"])
def test_gradients_agree_with_captum(name):
    model, options = Graphs(), {"target": TARGET[:2], "additional_forward_args": (EDGES, GRAPH)}
    ours = getattr(shim_attr, name)(model).attribute(NODES, **options)
    with captum_warnings():
        theirs = getattr(captum_attr, name)(model).attribute(NODES.clone(), **options)
    torch.testing.assert_close(ours, theirs.detach())


@OTHER
def test_inputs_of_several_sizes():
    """One query and five documents: the score is bilinear, so each has half of each product."""
    query, documents = NODES[:1], NODES.flip(1)
    model = lambda query, documents: (query @ documents.T).sum(0, keepdim=True)
    ours = shim_attr.IntegratedGradients(model).attribute((query, documents), target=2)
    half = query * documents[2:3] / 2
    torch.testing.assert_close(ours[0], half)
    torch.testing.assert_close(ours[1], torch.zeros(5, 4).index_copy(0, torch.tensor([2]), half))


def test_what_is_wrong_is_still_said():
    with pytest.raises(af.ArgumentError, match="argument `target`"):
        shim_attr.Saliency(Graphs()).attribute(NODES, target=7, additional_forward_args=(EDGES, GRAPH))
    with pytest.raises(af.ArgumentError, match="argument `inputs`: got inputs of shapes"):
        shim_attr.LayerConductance(Bags(), "bag").attribute((TOKENS, OFFSETS), target=0)


@pytest.mark.parametrize("name", ["IntegratedGradients", "InternalInfluence", "NeuronIntegratedGradients"])
def test_integers_on_a_path(name):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)), torch.randint(0, 9, (3, 4))
    layer = [] if name == "IntegratedGradients" else [model[1]]
    where = {"neuron_selector": 1} if name.startswith("Neuron") else {"target": 1}
    with pytest.warns(UserWarning, match="are taken for quantities"):
        found = getattr(shim_attr, name)(model, *layer).attribute(x, **where)
    with captum_warnings():
        theirs = getattr(captum_attr, name)(model, *layer).attribute(x, **where)
    torch.testing.assert_close(found.double(), theirs.detach().double(), rtol=1e-5, atol=1e-7)
    with pytest.raises(af.ArgumentError, match="expected floating-point inputs"):
        shim_attr.IntegratedGradients(nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), model[0:0])).attribute(
            x, target=1
        )
