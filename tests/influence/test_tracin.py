"""TracIn against sums of products of gradients, written out."""

import copy

import pytest
import torch
import trained
from torch.nn import functional as F

import attrfunc as af
from attrfunc.core.errors import ArgumentError, ModelError
from attrfunc.influence import count_sketch, self_influence, tracin
from attrfunc.influence.values import losses

DOUBLE = torch.float64
LOSS = trained.cross_entropy
close = torch.testing.assert_close


@pytest.fixture(params=["mlp", "conv", "tied", "lstm", "weight norm"])
def case(request):
    model, (x, labels) = trained.network(request.param)
    return model, [(x[:4], labels[:4]), (x[4:], labels[4:])], (x[1:4].clone(), labels[[0, 3, 2]])


def stages(model, count=3):
    found = []
    for number in range(count):
        other = copy.deepcopy(model)
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for p in other.parameters():
                p += 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
        found.append((other, 0.3 / (number + 1)))
    return found


def whole(data):
    return tuple(torch.cat(parts) for parts in zip(*data, strict=True))


def test_scores_over_checkpoints(case):
    model, data, queries = case
    expected = sum(w * trained.gradients(m, queries) @ trained.gradients(m, whole(data)).T for m, w in stages(model))
    pairs = [(m.state_dict(), w) for m, w in stages(model)]
    close(tracin(model, queries, data=data, loss=LOSS, checkpoints=pairs), expected)
    close(
        tracin(model, queries, data=data, loss=LOSS, checkpoints=[state for state, _ in pairs[:1]]),
        expected * 0
        + trained.gradients(stages(model)[0][0], queries) @ trained.gradients(stages(model)[0][0], whole(data)).T,
    )
    own = sum(w * trained.gradients(m, whole(data)).square().sum(1) for m, w in stages(model))
    close(self_influence(model, data, loss=LOSS, checkpoints=pairs), own)


def test_cosine(case):
    model, data, queries = case
    expected = sum(
        w * F.cosine_similarity(trained.gradients(m, queries)[:, None], trained.gradients(m, whole(data)), dim=2)
        for m, w in stages(model)
    )
    pairs = [(m.state_dict(), w) for m, w in stages(model)]
    close(tracin(model, queries, data=data, loss=LOSS, checkpoints=pairs, cosine=True), expected)


def test_one_query_by_forward_mode(case):
    model, data, queries = case
    one = tuple(part[:1] for part in queries)
    expected = trained.gradients(model, one) @ trained.gradients(model, whole(data)).T
    close(tracin(model, one, data=data, loss=LOSS), expected)


def test_a_measure(case):
    model, data, queries = case
    logit = lambda model, batch: model(batch[0])[:, 1]
    expected = -trained.gradients(model, queries, logit) @ trained.gradients(model, whole(data)).T
    close(tracin(model, queries, data=data, loss=LOSS, measure=logit), expected)
    total = af.batch_score(lambda model, batch: model(batch[0])[:, 1].sum())
    close(tracin(model, queries, data=data, loss=LOSS, measure=total), expected.sum(0, keepdim=True))


class Bags(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.bag, self.head = torch.nn.EmbeddingBag(9, 5, padding_idx=2, mode="sum"), torch.nn.Linear(5, 3)
        self.table = torch.nn.Parameter(torch.randn(9, 5))

    def forward(self, tokens):
        direct = torch.embedding(self.table, tokens).mean(1)
        last = torch.nn.functional.embedding(tokens, self.table, padding_idx=-1).sum(1)
        return self.head(torch.tanh(self.bag(tokens) + direct + last))


def test_embeddings_of_padding_have_no_gradient():
    """Whatever the way: torch's forward mode does not know of padding."""
    torch.manual_seed(0)
    model, tokens = Bags().double(), torch.randint(0, 9, (6, 5))
    tokens[3] = 2
    batch = (tokens, torch.tensor([0, 1, 2, 0, 1, 2]))
    own = trained.gradients(model, batch)
    for rows in (6, 1):
        queries = tuple(part[:rows] for part in batch)
        close(tracin(model, queries, data=[batch], loss=LOSS), own[:rows] @ own.T)


def test_a_step_on_an_example_changes_the_measure_by_its_score():
    model, (x, labels) = trained.network("mlp")
    logit = lambda model, batch: model(batch[0])[:, 1]
    scores = tracin(model, (x, labels), data=[(x, labels)], loss=LOSS, measure=logit)
    for row in range(6):
        moved, rate = copy.deepcopy(model), 1e-6
        LOSS(moved, (x[row : row + 1], labels[row : row + 1])).sum().backward()
        with torch.no_grad():
            for p in moved.parameters():
                p -= rate * p.grad
            change = (logit(moved, (x, labels)) - logit(model, (x, labels))) / rate
        close(scores[:, row], change, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"cosine": True}, {"sketch": count_sketch(64, generator=torch.Generator())}])
def test_batches_and_order_do_not_matter(case, options):
    model, data, queries = case
    x, labels = whole(data)
    expected = tracin(model, queries, data=data, loss=LOSS, **options)
    singles = [(x[i : i + 1], labels[i : i + 1]) for i in range(6)]
    close(tracin(model, queries, data=singles, loss=LOSS, **options), expected)
    order = [3, 0, 5, 1, 4, 2]
    close(tracin(model, queries, data=[(x[order], labels[order])], loss=LOSS, **options), expected[:, order])


def test_data_loaders_and_dicts():
    model, (x, labels) = trained.network("mlp")
    dataset = torch.utils.data.TensorDataset(x, labels)
    expected = tracin(model, (x, labels), data=[(x, labels)], loss=LOSS)
    close(tracin(model, (x, labels), data=torch.utils.data.DataLoader(dataset, 4), loss=LOSS), expected)
    shuffled = torch.utils.data.DataLoader(dataset, 4, shuffle=True)
    refused("`data`: got a DataLoader that shuffles", data=shuffled)
    state = torch.get_rng_state()
    curvature = af.influence.ggn(model, shuffled, loss=LOSS, damping=0.1)  # where order does not matter
    close(curvature.factor, af.influence.ggn(model, [(x, labels)], loss=LOSS, damping=0.1).factor)
    assert torch.equal(torch.get_rng_state(), state)
    named = lambda model, batch: LOSS(model, (batch["x"], batch["y"]))
    batch = {"x": x, "y": labels, "scale": torch.tensor(2.0)}
    close(tracin(model, batch, data=[batch], loss=named), expected)


def test_sketches_are_unbiased_and_alike_for_factors_and_gradients_written_out():
    model, batch = trained.network("tied")
    exact = tracin(model, batch, data=[batch], loss=LOSS)
    drawn = lambda seed, size=32: count_sketch(size, generator=torch.Generator().manual_seed(seed))
    found = torch.stack([tracin(model, batch, data=[batch], loss=LOSS, sketch=drawn(seed)) for seed in range(60)])
    spread = found.std(0) / 60**0.5
    assert ((found.mean(0) - exact).abs() / spread).max() < 4
    # The variance that the theory bounds: |a|^2 |b|^2 / size, with room for the matrices' hashes.
    own = exact.diag()
    assert (found.var(0) / (own[:, None] * own / 32)).mean() < 3
    fine = tracin(model, batch, data=[batch], loss=LOSS, sketch=drawn(0, 200_000))
    close(fine, exact, rtol=0.02, atol=0.02)


def test_sketches_of_factors():
    """The same numbers as of the gradients written out."""
    from attrfunc.influence.count_sketch import Sketcher
    from attrfunc.influence.network import open_network
    from attrfunc.influence.per_example import PerExample
    from attrfunc.influence.terms import Dense, dense

    for name in ("mlp", "tied", "conv", "lstm"):
        model, batch = trained.network(name)
        network = open_network(model)
        gradients = PerExample(network, losses(LOSS))(batch)
        written = {key: (Dense(dense(terms, DOUBLE)),) for key, terms in gradients.items()}
        sketcher = Sketcher(count_sketch(50, generator=torch.Generator().manual_seed(1)), network)
        close(sketcher(gradients), sketcher(written))


def test_an_example_without_a_gradient_has_no_influence():
    model, (x, labels) = trained.network("mlp")
    masked = lambda model, batch: LOSS(model, batch) * (batch[1] > 0)
    scores = tracin(model, (x, labels), data=[(x, labels)], loss=masked, cosine=True)
    assert (scores[labels == 0] == 0).all()
    assert (scores[:, labels == 0] == 0).all()
    assert scores.abs().max() <= 1 + 1e-12


def refused(match, **changes):
    model, batch = trained.network("mlp")
    options = {"x": batch, "data": [batch], "loss": LOSS} | changes
    with pytest.raises(ArgumentError, match=match):
        tracin(options.pop("model", model), options.pop("x"), **options)


def test_arguments_that_cannot_be_right():
    model, (x, labels) = trained.network("mlp")
    state = model.state_dict()
    refused(
        "tracin: argument `data`: got an iterator .generator., which can be passed over once.*list",
        data=(b for b in [1]),
    )
    refused("got no batch", data=[])
    refused("`data`: got a tensor", data=x)
    refused("`data`: got int", data=3)
    refused("a batch without examples", data=[(x[:0], labels[:0])])
    refused("`x`: got a batch that is", x=3)
    refused("`x`: got a batch without examples", x=(x[:0], labels[:0]))
    refused("`measure`: got a measure that is a tensor of shape", measure=lambda model, batch: model(batch[0]).sum())
    refused("`measure`: got a value that depends on none", measure=lambda model, batch: batch[0].sum(1))
    refused("`checkpoints`: got an empty list", checkpoints=[])
    refused("`checkpoints`: got .*several state dicts", checkpoints=state)
    refused(
        "'module.0.weight' in number 0.*without a prefix", checkpoints=[{f"module.{k}": v for k, v in state.items()}]
    )
    refused("number 1 without '2.bias'", checkpoints=[state, {k: v for k, v in state.items() if k != "2.bias"}])
    refused(
        "shape .3, 8. and dtype torch.float64 for '0.weight'", checkpoints=[{**state, "0.weight": state["2.weight"]}]
    )
    refused("as the weight of number 0", checkpoints=[(state, float("nan"))])
    refused("Load files first", checkpoints=["a.pt"])
    refused("`sketch`: got int 64", sketch=64)
    refused("a view of a layer", model=af.layer(model, "0"))


def test_tied_parameters_of_a_checkpoint_are_one():
    model, batch = trained.network("tied")
    state = model.state_dict()
    torn = {**state, "head.weight": state["head.weight"] + 1}
    with pytest.raises(ArgumentError, match=r"different values for 'embedding.weight' and 'head.weight'"):
        tracin(model, batch, data=[batch], loss=LOSS, checkpoints=[torn])
    lost = {**state, "head.bias": state["head.bias"] * float("nan")} if "head.bias" in state else None
    for broken in (lost,) if lost else ({name: tensor * float("nan") for name, tensor in state.items()},):
        with pytest.raises(ModelError, match="loss of an example is not finite"):
            tracin(model, batch, data=[batch], loss=LOSS, checkpoints=[broken])


def test_bound_models():
    model, batch = trained.network("mlp")
    ((other, _),) = stages(model, 1)
    bound = af.bind(model, dict(other.named_parameters()))
    close(tracin(bound, batch, data=[batch], loss=LOSS), tracin(other, batch, data=[batch], loss=LOSS))
    close(
        tracin(model, batch, data=[batch], loss=LOSS, checkpoints=[other.state_dict()]),
        tracin(other, batch, data=[batch], loss=LOSS),
    )


def test_progress_is_reported():
    model, batch = trained.network("mlp")
    seen = []
    tracin(model, batch, data=[batch] * 3, loss=LOSS, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_the_size_of_a_sketch():
    with pytest.raises(ArgumentError, match="count_sketch: argument `size`"):
        count_sketch(0)
    assert count_sketch(8, generator=torch.Generator().manual_seed(3)) == count_sketch(
        8, generator=torch.Generator().manual_seed(3)
    )


def test_checkpoints_of_another_precision():
    """They come to the model's, as `load_state_dict` brings them."""
    model, batch = trained.network("mlp")
    state = {name: value.float() for name, value in model.state_dict().items()}
    with torch.no_grad():
        loaded = copy.deepcopy(model)
        loaded.load_state_dict(state)
    gradients = trained.gradients(loaded, batch)
    found = tracin(model, batch, data=[batch], loss=trained.cross_entropy, checkpoints=[state])
    torch.testing.assert_close(found, gradients @ gradients.T)


def test_a_later_batch_that_is_not_a_number():
    model, (x, labels) = trained.network("mlp")
    broken = torch.cat([x[:5], x[5:] / 0])
    data = [(x, labels), (broken, labels)]
    for queries in (1, 2):
        with pytest.raises(ModelError, match="the loss of an example is not finite"):
            tracin(model, (x[:queries], labels[:queries]), data=data, loss=trained.cross_entropy)
