"""The classes of training-data influence beside Captum's, and where they differ on purpose."""

import copy
import inspect
import warnings

import captum.influence as captum_influence
import pytest
import torch
from captum.influence._core import arnoldi_influence_function, influence_function, similarity_influence, tracincp
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import attrfunc.captum.influence as shim
from attrfunc import ArgumentError, ModelError

DOUBLE = torch.float64
close = torch.testing.assert_close
THEIRS = {
    "DataInfluence": captum_influence.DataInfluence,
    "SimilarityInfluence": similarity_influence.SimilarityInfluence,
    "TracInCPBase": tracincp.TracInCPBase,
    "TracInCP": captum_influence.TracInCP,
    "TracInCPFast": captum_influence.TracInCPFast,
    "TracInCPFastRandProj": captum_influence.TracInCPFastRandProj,
    "NaiveInfluenceFunction": influence_function.NaiveInfluenceFunction,
    "ArnoldiInfluenceFunction": arnoldi_influence_function.ArnoldiInfluenceFunction,
}
METHODS = ("__init__", "influence", "self_influence", "compute_intermediate_quantities", "get_name")


def parameters(function):
    """Names, kinds and defaults; a function that is a default counts by its name."""
    found = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default.__name__ if inspect.isfunction(p.default) else p.default) for p in found]


@pytest.mark.parametrize("name", THEIRS)
def test_signatures(name):
    ours, theirs = getattr(shim, name), THEIRS[name]
    found = {m: parameters(getattr(ours, m)) for m in METHODS if hasattr(theirs, m) and m in dir(theirs)}
    expected = {m: parameters(getattr(theirs, m)) for m in METHODS if hasattr(theirs, m)}
    if name == "TracInCPFastRandProj":  # `k` may be None there, too
        assert [p[0] for p in found["influence"]] == [p[0] for p in expected["influence"]]
    if name == "DataInfluence":  # whose constructor has a misspelt name
        found.pop("__init__"), expected.pop("__init__")
    assert found == expected
    family = [other for other in THEIRS if issubclass(theirs, THEIRS[other])]
    assert [other for other in THEIRS if issubclass(ours, getattr(shim, other))] == family


class Net(nn.Module):
    def __init__(self, bias=False, outputs=3):
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, outputs, bias=bias)

    def forward(self, x, shift=None):
        x = torch.tanh(self.first(x) if shift is None else self.first(x + shift))
        return self.last(x)


@pytest.fixture
def case(tmp_path):
    torch.manual_seed(0)
    model = Net().double()
    data = TensorDataset(torch.randn(11, 4, dtype=DOUBLE), torch.randint(3, (11,)))
    queries = (torch.randn(3, 4, dtype=DOUBLE), torch.tensor([0, 2, 1]))
    for number in (2, 10, 1):
        state = {name: value + 0.1 * torch.randn_like(value) for name, value in model.state_dict().items()}
        torch.save(state, tmp_path / f"checkpoint-{number}.pt")
    return model, data, queries, tmp_path


def load(model, path):
    model.load_state_dict(torch.load(path))
    return 0.1 * int(path.rpartition("-")[2].removesuffix(".pt"))


def both(name, model, *args, **kwargs):
    """Ours and theirs, each on a model of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = torch.get_rng_state()
        ours = getattr(shim, name)(copy.deepcopy(model), *args, **kwargs)
        assert torch.equal(torch.get_rng_state(), state)
        theirs = THEIRS[name](copy.deepcopy(model), *args, **kwargs)
    return ours, theirs


def quiet(function, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


LOSSES = {
    "none": (nn.CrossEntropyLoss(reduction="none"), False),
    "sum": (nn.CrossEntropyLoss(reduction="sum"), True),
    "mean": (nn.CrossEntropyLoss(reduction="mean"), True),
    "a function": (lambda out, labels: nn.functional.cross_entropy(out, labels, reduction="none"), False),
    "a function that sums": (lambda out, labels: nn.functional.cross_entropy(out, labels, reduction="sum"), True),
}


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("layers", [None, ["last"]])
def test_tracin(case, kind, layers):
    model, data, queries, path = case
    loss_fn, trick = LOSSES[kind]
    options = {"layers": layers, "loss_fn": loss_fn, "batch_size": 4, "sample_wise_grads_per_batch": trick}
    ours, theirs = both("TracInCP", model, data, str(path), load, **options)
    assert ours.checkpoints == theirs.checkpoints
    loader = DataLoader(TensorDataset(*queries), 2)
    calls = [
        lambda one: one.influence(queries),
        lambda one: one.influence(queries, aggregate=True),
        lambda one: one.influence(loader, aggregate=True),
        lambda one: one.influence(loader),
        lambda one: one.self_influence(),
        lambda one: one.self_influence(queries, outer_loop_by_checkpoints=True),
        lambda one: one.compute_intermediate_quantities(queries),
        lambda one: one.compute_intermediate_quantities(loader, aggregate=True),
    ]
    for call in calls:
        close(quiet(call, ours), quiet(call, theirs))
    for proponents in (True, False):
        for k, more in ((3, {}), (20, {}), (2, {"aggregate": True})):
            ask = lambda one, k=k, more=more, p=proponents: one.influence(queries, k=k, proponents=p, **more)
            found, expected = quiet(ask, ours), quiet(ask, theirs)
            assert torch.equal(found.indices, expected.indices)
            close(found.influence_scores, expected.influence_scores)


def test_tracin_of_another_test_loss(case):
    model, data, queries, path = case
    options = {
        "loss_fn": nn.CrossEntropyLoss(reduction="none"),
        "test_loss_fn": nn.NLLLoss(reduction="none"),
        "batch_size": 4,
    }
    ours, theirs = both("TracInCP", model, data, str(path), load, **options)
    close(ours.influence(queries), theirs.influence(queries))


def test_regression_with_several_outputs_and_arguments(case):
    model, _, _, path = case
    x, y, shift = torch.randn(11, 4, dtype=DOUBLE), torch.randn(11, 3, dtype=DOUBLE), torch.randn(11, 4, dtype=DOUBLE)
    data, queries = TensorDataset(x, shift, y), (x[:2], shift[:2], y[:2])
    for reduction in ("sum", "mean"):
        options = {"loss_fn": nn.MSELoss(reduction=reduction), "batch_size": 4, "sample_wise_grads_per_batch": True}
        ours, theirs = both("TracInCP", model, data, str(path), load, **options)
        close(ours.influence(queries), quiet(theirs.influence, queries))
        fast = both("TracInCPFast", model, "last", data, str(path), load, loss_fn=options["loss_fn"], batch_size=4)
        close(fast[0].influence(queries), quiet(fast[1].influence, queries))


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_tracin_of_the_last_layer(case, reduction):
    model, data, queries, path = case
    options = {"loss_fn": nn.CrossEntropyLoss(reduction=reduction), "batch_size": 4}
    ours, theirs = both("TracInCPFast", model, "last", data, str(path), load, **options)
    close(ours.influence(queries), theirs.influence(queries))
    close(ours.self_influence(), theirs.self_influence())
    close(ours.self_influence(queries, outer_loop_by_checkpoints=True), theirs.self_influence(queries))
    for proponents in (True, False):
        found, expected = (one.influence(queries, k=3, proponents=proponents) for one in (ours, theirs))
        assert torch.equal(found.indices, expected.indices)
        close(found.influence_scores, expected.influence_scores)
    by_module = shim.TracInCPFast(model, model.last, data, str(path), load, **options)
    close(by_module.influence(queries), theirs.influence(queries))


def test_the_bias_of_the_last_layer_counts(case):
    _, data, queries, _ = case
    model = Net(bias=True).double()
    states = [model.state_dict()]
    loss_fn = nn.CrossEntropyLoss(reduction="sum")
    set_state = lambda model, state: model.load_state_dict(state) and 1.0
    fast = shim.TracInCPFast(model, "last", data, states, set_state, loss_fn=loss_fn, batch_size=4)
    whole = both("TracInCP", model, data, states, set_state, ["last"], LOSSES["none"][0], 4)[1]
    close(fast.influence(queries), whole.influence(queries))
    projected = shim.TracInCPFastRandProj(model, "last", data, states, set_state, loss_fn, batch_size=4)
    close(projected.influence(queries, k=None), whole.influence(queries))


@pytest.mark.parametrize("projection_dim", [None, 9])
def test_projections(case, projection_dim):
    model, data, queries, path = case
    loss_fn = nn.CrossEntropyLoss(reduction="sum")
    ours = shim.TracInCPFastRandProj(
        model, model.last, data, str(path), load, loss_fn, batch_size=4, projection_dim=projection_dim
    )
    exact = shim.TracInCPFast(model, model.last, data, str(path), load, loss_fn, batch_size=4)
    vectors = ours.compute_intermediate_quantities(queries)
    assert vectors.shape == (3, 3 * (18 if projection_dim is None else 9))
    scores = ours.influence(queries, k=None)
    close(scores, vectors @ ours.compute_intermediate_quantities(DataLoader(data, 4)).T)
    if projection_dim is None:
        close(scores, exact.influence(queries))
    found = ours.influence(queries, k=4, proponents=False)
    assert torch.equal(found.indices, scores.argsort(dim=1, stable=True)[:, :4])
    close(found.influence_scores, scores.gather(1, found.indices))
    with pytest.warns(UserWarning, match="TracInCPFast"), pytest.raises(NotImplementedError):
        ours.self_influence()


def test_projections_keep_scores_on_average(case):
    model, data, queries, path = case
    loss_fn = nn.CrossEntropyLoss(reduction="sum")
    make = lambda **more: shim.TracInCPFastRandProj(
        model, model.last, data, [str(path / "checkpoint-1.pt")], load, loss_fn, batch_size=11, **more
    )
    exact = make().influence(queries, k=None)
    drawn = torch.stack([make(projection_dim=4, seed=seed).influence(queries, k=None) for seed in range(150)])
    assert ((drawn.mean(0) - exact).abs() / (drawn.std(0) / 150**0.5)).max() < 4.5


def test_a_search_of_the_users(case):
    model, data, queries, path = case

    class First(shim.NearestNeighbors):
        def setup(self, data):
            self.data = data

        def get_nearest_neighbors(self, query, k):
            return torch.arange(k).expand(len(query), k), query @ self.data[:k].T

    loss_fn = nn.CrossEntropyLoss(reduction="sum")
    ours = shim.TracInCPFastRandProj(
        model, model.last, data, str(path), load, loss_fn, batch_size=4, nearest_neighbors=First()
    )
    found = ours.influence(queries, k=2)
    assert found.indices.tolist() == [[0, 1]] * 3
    close(found.influence_scores, ours.influence(queries, k=None)[:, :2])


@pytest.mark.parametrize("kind", ["none", "sum", "mean"])
def test_the_largest_eigenvalues_of_the_hessian(case, kind):
    model, data, queries, path = case
    loss_fn, trick = LOSSES[kind]
    options = {"loss_fn": loss_fn, "batch_size": 4, "sample_wise_grads_per_batch": trick, "projection_dim": 7}
    checkpoint = str(path / "checkpoint-1.pt")
    for name, more in (("NaiveInfluenceFunction", {}), ("ArnoldiInfluenceFunction", {"arnoldi_dim": 20})):
        ours, theirs = both(name, model, data, checkpoint, load, **options, **more)
        tolerance = {"rtol": 1e-5, "atol": 1e-7} if name == "NaiveInfluenceFunction" else {"rtol": 2e-2, "atol": 1e-3}
        close(ours.influence(queries), quiet(theirs.influence, queries), **tolerance)
        close(ours.self_influence(), quiet(theirs.self_influence), **tolerance)
        close(ours.self_influence(queries), quiet(theirs.self_influence, queries), **tolerance)
        found = ours.influence(queries, k=3)
        close(found.influence_scores, ours.influence(queries).gather(1, found.indices))
        vectors = ours.compute_intermediate_quantities(DataLoader(data, 3))
        close(vectors.sum(0, keepdim=True), ours.compute_intermediate_quantities(DataLoader(data, 3), aggregate=True))
        close(vectors.square().sum(1), ours.self_influence())


def test_hessians_of_other_data_and_of_layers(case):
    model, data, queries, path = case
    options = {
        "layers": ["first"],
        "loss_fn": nn.CrossEntropyLoss(reduction="none"),
        "test_loss_fn": nn.NLLLoss(reduction="none"),
        "hessian_dataset": TensorDataset(data.tensors[0][:7], data.tensors[1][:7]),
        "batch_size": 4,
    }
    ours, theirs = both("NaiveInfluenceFunction", model, data, str(path / "checkpoint-2.pt"), load, **options)
    close(ours.influence(queries), theirs.influence(queries), rtol=1e-5, atol=1e-7)


def test_similarity(case, tmp_path):
    _, data, queries, _ = case
    x = data.tensors[0][:8].float()
    x[5] = 0
    net = nn.Sequential(nn.Linear(4, 5, bias=False), nn.ReLU(), nn.Linear(5, 2)).requires_grad_(False)
    options = {
        "batch_size": 2,
        "similarity_direction": "min",
        "similarity_metric": shim.similarity_influence.euclidean_distance,
    }
    theirs_metric = {**options, "similarity_metric": similarity_influence.euclidean_distance}
    source = list(x)
    found = shim.SimilarityInfluence(net, ["0", "2"], source, str(tmp_path / "a"), "m", **options).influence(
        queries[0].float(), top_k=3
    )
    expected = THEIRS["SimilarityInfluence"](net, ["0", "2"], source, str(tmp_path / "b"), "m", **theirs_metric)
    expected = expected.influence(queries[0].float(), top_k=3)
    assert found.keys() == expected.keys()
    for key, (indices, values) in expected.items():
        close(found[key][1][:, :2], values[:, :2])  # of each batch Captum keeps no more than its size
        assert torch.equal(found[key][0][:, :1], indices[:, :1])
    with pytest.warns(UserWarning, match="activations of zeros"):
        one = shim.SimilarityInfluence(net, "0", source[:7], "", batch_size=3).influence(queries[0].float(), top_k=7)
    assert one["zero_acts-0"].tolist() == [[0, 5], [1, 5], [2, 5]]
    flat = net[0](x[:7])
    exact = nn.functional.cosine_similarity(net[0](queries[0].float())[:, None], flat[None], dim=2)
    close(one["0"][1][:, :6], exact.gather(1, one["0"][0])[:, :6])
    assert (one["0"][0][:, 6] == 5).all()


def test_the_model_is_left_alone(case):
    model, data, queries, path = case
    model.first.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    loss_fn = nn.CrossEntropyLoss(reduction="none")
    shim.TracInCP(model, data, str(path), load, ["first"], loss_fn, 4).influence(queries)
    shim.NaiveInfluenceFunction(model, data, str(path / "checkpoint-1.pt"), load, loss_fn=loss_fn).influence(queries)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == [False, True, True]
    assert all(p.grad is None for p in model.parameters())


def test_the_default_loader_reads_learning_rates_and_prefixes(case):
    model, data, queries, path = case
    loss_fn = nn.CrossEntropyLoss(reduction="none")
    state = model.state_dict()
    torch.save({f"module.{name}": value for name, value in state.items()} | {"learning_rate": 0.5}, path / "a")
    torch.save(state, path / "b")
    make = lambda *names: shim.TracInCP(model, data, [str(path / n) for n in names], loss_fn=loss_fn, batch_size=4)
    close(make("a").influence(queries), 0.5 * make("b").influence(queries))
    parallel = shim.TracInCP(nn.DataParallel(model), data, [str(path / "a")], loss_fn=loss_fn, batch_size=4)
    close(parallel.influence(queries), 0.5 * make("b").influence(queries))


def test_progress_is_shown(case, capsys):
    model, data, queries, path = case
    ours = shim.TracInCP(model, data, str(path), load, loss_fn=nn.CrossEntropyLoss(reduction="none"), batch_size=4)
    ours.influence(queries, show_progress=True)
    ours.influence(queries, k=1, show_progress=True)
    ours.self_influence(show_progress=True)
    shown = capsys.readouterr().err
    assert "Using TracInCP to compute influence for training batches: 100%" in shown
    assert "getting proponents. Processing training batches: 100%" in shown
    assert "self influence. Processing batch: 100%" in shown


def test_arguments_that_cannot_be_right(case):
    model, data, queries, path = case
    plain = nn.CrossEntropyLoss(reduction="none")
    make = lambda **more: shim.TracInCP(
        model,
        data,
        **{"checkpoints": str(path), "checkpoints_load_func": load, "loss_fn": plain, "batch_size": 4} | more,
    )
    raises = lambda kind, match, call: _raises(kind, match, call)
    raises(AssertionError, "inputs.*is required. Call self_influence", lambda: make().influence(None))
    raises(ArgumentError, "batch_size", lambda: make(batch_size=None))
    raises(ArgumentError, "checkpoints", lambda: make(checkpoints=[]))
    raises(ArgumentError, "checkpoints", lambda: make(checkpoints=[None]).influence(queries))
    raises(ArgumentError, "loss_fn", lambda: make(loss_fn=3))
    raises(AssertionError, "reduction is 'sum'", lambda: make(loss_fn=nn.CrossEntropyLoss(reduction="sum")))
    raises(AssertionError, "reduction is 'none'", lambda: make(sample_wise_grads_per_batch=True))
    raises(AssertionError, "layers", lambda: make(layers=[]))
    raises(ArgumentError, "Near matches", lambda: make(layers=["lsat"]).influence(queries))
    raises(
        ArgumentError,
        "final_fc_layer.*Near matches: 'last'",
        lambda: shim.TracInCPFast(model, "lsat", data, str(path), load, plain),
    )
    raises(
        ArgumentError, "final_fc_layer", lambda: shim.TracInCPFast(model, nn.Linear(2, 2), data, str(path), load, plain)
    )
    raises(AssertionError, "loss_fn", lambda: shim.TracInCPFast(model, "last", data, str(path), load))
    raises(
        ModelError,
        "arnoldi_tol",
        lambda: shim.ArnoldiInfluenceFunction(
            model, data, str(path / "checkpoint-1.pt"), load, loss_fn=plain, arnoldi_tol=1e9
        ),
    )
    raises(
        ArgumentError,
        "similarity_direction",
        lambda: shim.SimilarityInfluence(model, "last", data, "", similarity_direction="up"),
    )
    with pytest.warns(UserWarning, match="no attribute `reduction`"):
        make(loss_fn=lambda out, labels: out)


def _raises(kind, match, call):
    with pytest.raises(kind, match=match):
        call()


def test_bars_over_checkpoints_and_a_loss_that_squeezes(capsys):
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    data = torch.utils.data.TensorDataset(torch.randn(5, 2), torch.randn(5, 1))
    load = lambda model, state: model.load_state_dict(state) and 1.0
    states = [{name: value * scale for name, value in model.state_dict().items()} for scale in (1.0, 2.0)]
    squeezed = lambda output, label: (output - label).square().squeeze()
    squeezed.reduction = "none"
    found = shim.TracInCP(model, data, states, load, loss_fn=squeezed, batch_size=2)
    plain = shim.TracInCP(model, data, states, load, loss_fn=nn.MSELoss(reduction="none"), batch_size=2)
    by_checkpoints = found.self_influence(show_progress=True, outer_loop_by_checkpoints=True)
    torch.testing.assert_close(by_checkpoints, plain.self_influence())
    shown = capsys.readouterr().err
    assert "Processing checkpoint: 100%" in shown
    assert shown.count("Processing batch: 100%") >= 2
