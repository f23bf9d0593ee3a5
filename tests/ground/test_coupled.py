"""Examples that depend on each other: a point is the whole batch, and what is attributed is the sum of its scores."""

import warnings

import numpy as np
import pytest
import torch
from alike import by_loop, drawn, same
from torch import nn

import attrfunc as af
from contract_table import METHODS

TOLD = "one by one on the whole batch"
coupled = pytest.mark.filterwarnings(f"ignore:.*{TOLD}")


def neighbours(x, edges):
    """Each node and those that have an edge to it."""
    return x + torch.zeros_like(x).index_add(0, edges[1], x[edges[0]])


RING = torch.tensor([[0, 1, 2], [1, 2, 0]])
# What a linear score of the whole ring gives, since each node counts for itself and for its neighbour.
LINEAR = {
    "saliency": (lambda net, x, **options: af.saliency(net, x, **options), lambda x: torch.full_like(x, 2)),
    "smooth": (
        lambda net, x, **options: af.smooth(af.saliency, n_samples=4, stdev=0.5)(net, x, **options),
        lambda x: torch.full_like(x, 2),
    ),
    "input_x_gradient": (af.input_x_gradient, lambda x: 2 * x),
    "ig": (af.ig, lambda x: 2 * x),
    "gradient_shap": (
        lambda net, x, **options: af.gradient_shap(net, x, baselines=torch.zeros_like(x[:1]), n_samples=4, **options),
        lambda x: 2 * x,
    ),
    "deep_lift": (af.deep_lift, lambda x: 2 * x),
    "feature_ablation": (af.feature_ablation, lambda x: 2 * x),
    "shapley_values": (af.shapley_values, lambda x: 2 * x),
    "shapley_sampling": (
        lambda net, x, **options: af.shapley_sampling(net, x, n_samples=2, **options),
        lambda x: 2 * x,
    ),
    "kernel_shap": (lambda net, x, **options: af.kernel_shap(net, x, n_samples=14, **options), lambda x: 2 * x),
}


@coupled
@pytest.mark.parametrize("name", LINEAR)
def test_nodes_of_a_graph_are_rows(name):
    method, expected = LINEAR[name]
    x = drawn(3, 1)
    same(method(neighbours, x, args=(RING,), target=0), expected(x))
    # As many edges as nodes, which could be taken for something of each example.
    edges_first = lambda z, edges: neighbours(z, edges.T)
    same(method(edges_first, x, args=(RING.T,), target=0), expected(x))


@coupled
@pytest.mark.parametrize("chunk_size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("name", ["ig", "feature_ablation", "shapley_values"])
def test_chunks_do_not_cut_a_graph(name, chunk_size):
    method, expected = LINEAR[name]
    x = drawn(3, 1)
    same(method(neighbours, x, args=(RING,), target=0, chunk_size=chunk_size), expected(x))


class Neighbourly(nn.Module):
    """A score that the other examples take part in."""

    def __init__(self, mix):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.head, self.mix = nn.Linear(2, 4), nn.Linear(4, 1), mix

    def forward(self, x):
        return self.head(self.mix(torch.tanh(self.first(x))).sigmoid())


MIXED = {
    "batch norm": lambda: Neighbourly(nn.BatchNorm1d(4, eps=0.1, track_running_stats=False)),
    "less the mean": lambda: Neighbourly(lambda h: h - h.mean(0)),
    "the largest": lambda: Neighbourly(lambda h: h * h.amax(0).exp()),
    "attention to others": lambda: Neighbourly(lambda h: (h @ h.T).softmax(1) @ h),
    "the next one": lambda: Neighbourly(lambda h: h * h.roll(1, 0)),
    "the first one": lambda: Neighbourly(lambda h: h * h[:1]),
    "softmax over the batch": lambda: Neighbourly(lambda h: h.softmax(0)),
    "the last of them only": lambda: Neighbourly(lambda h: torch.cat([h[:-1], h[-1:] * h[:-1].sum(0)])),
}


@coupled
@pytest.mark.parametrize("kind", MIXED)
def test_gradients_are_those_of_the_sum(kind):
    net, x = MIXED[kind]().double().eval(), drawn(5, 2)
    baseline = torch.full_like(x, 0.1)
    same(af.ig(net, x, baseline=baseline, n_steps=200), by_loop(net, x, baseline), 1e-3)
    point = x.clone().requires_grad_()
    same(af.saliency(net, x, absolute=False), torch.autograd.grad(net(point).sum(), point)[0])


@coupled
@pytest.mark.parametrize("kind", MIXED)
def test_paths_and_games_are_complete_over_the_batch(kind):
    net, x = MIXED[kind]().double().eval(), drawn(3, 2)
    change = af.score_change(net, x).sum()
    seeded = torch.Generator().manual_seed(0)
    for found in (
        af.ig(net, x),
        af.ig(af.layer(net, "first"), x),
        af.conductance(net, x, layer="first"),
        af.gradient_shap(net, x, baselines=torch.zeros_like(x[:1]), n_samples=300, stdev=0.0, generator=seeded),
        af.shapley_values(net, x),
        af.shapley_sampling(net, x, n_samples=2, generator=seeded),
    ):
        assert (found.sum() - change).abs() < 1e-2 * found.abs().sum()


WINDOWS = ("occlusion", "feature_permutation", "guided_ig", "integrated_hessians")
# The groups of the table's row are made for examples apart; the others call a method, or themselves, several times.
OWN = ("owen_values", "smooth(integrated_gradients)", "smooth_integrated_gradients", "deep_lift_shap")
# One gradient of the whole batch, which is that of the sum of its scores.
SINGLE = ("saliency", "input_x_gradient", "deep_lift", "guided_backprop", "deconvolution", "lrp_attn_lrp")
ROWS = [row for row in METHODS if not row.variant and not row.views and row.call.__name__ not in SINGLE]


def among_others(x):
    return (x - x.mean(0)).square() + x


@pytest.mark.parametrize("row", [row for row in ROWS if row.call.__name__ not in (*WINDOWS, *OWN)], ids=str)
def test_one_warning_says_so(row):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        row(among_others, drawn(3, 4), target=1)
    assert [TOLD in str(one.message) for one in told] == [True]


@coupled
@pytest.mark.parametrize("row", [row for row in ROWS if row.call.__name__ in WINDOWS], ids=str)
def test_methods_that_need_examples_say_so(row):
    with pytest.raises(af.ModelError, match=rf"{row.call.__name__}: .*examples"):
        row(among_others, drawn(3, 4), target=1)


def test_the_mode_alone_does_not_keep_the_warning_back():
    """In training mode a model without dropout and batch norms has been warned of by nothing else."""

    class Ring(nn.Linear):
        def forward(self, x):
            return neighbours(torch.tanh(super().forward(x)), RING).sum(1)

    with pytest.warns(UserWarning, match=TOLD):
        af.ig(Ring(2, 4).train(), drawn(3, 2).float(), n_steps=2)


def test_examples_that_are_independent_are_not_warned_of():
    """Nor where arguments go along with them."""
    scale = torch.rand(3, 1)
    af.ig(lambda z, s: z * s, torch.ones(3, 2), args=(scale,), target=0)
    af.feature_ablation(lambda z, s: z * s, torch.ones(3, 2), args=(scale,), target=0)


TEXTS = torch.tensor([1, 2, 3, 4, 5, 6])


@pytest.mark.parametrize("method", [af.ig, af.saliency, af.feature_ablation], ids=lambda method: method.__name__)
def test_texts_behind_each_other_are_refused(method):
    """Six words are two texts: there are two scores for six rows, which no word belongs to."""
    bag = nn.EmbeddingBag(9, 4)
    with pytest.raises(af.AttributionError, match=rf"{method.__name__}: .*(2|6)"):
        method(lambda words, offsets: bag(words, offsets).sum(1), TEXTS, args=(torch.tensor([0, 4]),))


@pytest.mark.filterwarnings("ignore:.*the score of an example depends on the batch")
@pytest.mark.parametrize("rows", [2, 3])
@pytest.mark.parametrize("chunk_size", [None, 1, 2])
def test_an_example_whose_score_stays_zero_tells_nothing_of_the_others(rows, chunk_size):
    """With others or without them it is the least, so rectifying its distance from the mean gives zero."""
    above_mean = lambda x: torch.relu(x - x.mean(0)).sum(1)
    x = torch.arange(rows, 0, -1).double()[:, None] + torch.arange(3.0).double()
    weights = (x > x.mean(0)).double()
    expected = weights - weights.mean(0)
    for method in (af.saliency, af.guided_backprop):
        found = method(above_mean, x, chunk_size=chunk_size)
        torch.testing.assert_close(found, expected.abs() if method is af.saliency else expected)
    total = above_mean(x).sum()
    for method in (af.lrp, af.deep_lift):
        torch.testing.assert_close(method(above_mean, x, chunk_size=chunk_size).sum(), total, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(af.ig(above_mean, x, chunk_size=chunk_size).sum(), total)


class Quantised(nn.Linear):
    """A linear layer of activations in eight bits, scaled by the largest number in the batch."""

    def forward(self, x):
        step = x.abs().max() / 127
        return super().forward(torch.round(x / step) * step)


@coupled
@pytest.mark.parametrize("seed", range(6))
def test_one_example_of_a_model_that_quantises_its_activations(seed):
    """The points of one example would change each other, in one batch."""
    torch.manual_seed(seed)
    model, x, found = nn.Sequential(Quantised(6, 8), nn.ReLU(), Quantised(8, 3)).eval(), torch.randn(1, 6), []
    for feature in range(6):
        without = x.clone()
        without[0, feature] = 0
        found.append(model(x)[0, 1] - model(without)[0, 1])
    torch.testing.assert_close(af.feature_ablation(model, x, target=1)[0], torch.stack(found), rtol=0, atol=1e-6)


LARGEST = {
    "its largest number": lambda x: x / x.amax(),
    "its smallest number": lambda x: x - x.amin(),
    "a number that is read": lambda x: x * x.max().item(),
    "steps of its range": lambda x: x + (torch.round(x / x.abs().max() * 7) * x.abs().max() / 7 - x).detach(),
}


@coupled
@pytest.mark.parametrize("rows", [1, 2, 3, 5])
@pytest.mark.parametrize("kind", LARGEST)
def test_a_batch_that_shares_the_number_of_one_example(kind, rows):
    """Photographs, none of which is negative; the example with that number may be among those that are tried."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    score = lambda x: net(LARGEST[kind](x))
    x = drawn(rows, 4, seed=rows).abs()
    nodes, weights = np.polynomial.legendre.leggauss(4)
    expected = torch.zeros_like(x)
    for node, weight in zip(nodes, weights, strict=True):
        point = (x * (0.5 + (node + 1) / 4)).requires_grad_()
        expected += weight / 2 * torch.autograd.grad(score(point)[:, 0].sum(), point)[0] * (x - 0.5 * x)
    for chunk_size in (None, 1, 2):
        same(af.ig(score, x, baseline=0.5 * x, target=0, n_steps=4, chunk_size=chunk_size), expected)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("method", [af.ig, af.feature_ablation], ids=lambda method: method.__name__)
def test_a_model_that_draws_is_said_to(method, rows):
    """A dropout that is always on: no example depends on another, but no score is the same twice."""
    net = nn.Linear(4, 2).double().eval()
    noisy = lambda x: net(nn.functional.dropout(x, 0.5, training=True))
    with pytest.warns(UserWarning, match="it draws random numbers"):
        method(noisy, drawn(rows, 4) + 3, target=0)


@coupled
@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize("chunk_size", [None, 1])
@pytest.mark.parametrize("form", ["to_sparse", "to_sparse_csr"])
def test_a_sparse_matrix_beside_the_nodes_is_no_batch(form, chunk_size):
    """It has as many rows as there are nodes, of which none can be taken; the score is linear."""
    matrix = torch.eye(3).roll(1, 0).double() + torch.eye(3)
    net = lambda x, matrix: torch.sparse.mm(matrix, x)
    x, options = drawn(3, 2), {"args": (getattr(matrix, form)(),), "target": 0, "chunk_size": chunk_size}
    expected = x * torch.tensor([2.0, 0.0])
    same(af.ig(net, x, **options), expected)
    same(af.smooth(af.input_x_gradient, n_samples=2, stdev=0.0, chunk_size=chunk_size)(net, x, **options), expected)
    same(af.feature_ablation(net, x, **options), expected)
