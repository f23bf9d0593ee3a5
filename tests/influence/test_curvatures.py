"""Curvatures and influence functions against closed forms, in double precision."""

import functools

import pytest
import torch
import trained
from torch import nn
from torch.nn import functional as F

from attrfunc.core.errors import ArgumentError, ModelError
from attrfunc.influence import (
    cg,
    datainf,
    ekfac,
    fisher,
    ggn,
    hessian,
    influence_function,
    kfac,
    lanczos,
    lissa,
    load_curvature,
    self_influence,
)

DOUBLE = torch.float64
LOSS = trained.cross_entropy
close = torch.testing.assert_close
ALL = {
    "hessian": hessian,
    "ggn": ggn,
    "fisher": fisher,
    "kfac": kfac,
    "ekfac": ekfac,
    "datainf": datainf,
    "lanczos": lambda *args, **kwargs: lanczos(*args, generator=torch.Generator().manual_seed(0), **kwargs),
    "cg": cg,
    "lissa": functools.partial(lissa, steps=30),
}


def squared(model, batch):
    return 0.5 * (model(batch[0]) - batch[1]).square().sum(1)


def ridge(rows=12, width=4, decay=0.1):
    """A ridge regression at its optimum, `mean(squared) + decay / 2 |w|^2`."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, width, dtype=DOUBLE, generator=generator)
    y = x @ torch.randn(width, 1, dtype=DOUBLE, generator=generator) + torch.randn(rows, 1, dtype=DOUBLE)
    model = nn.Linear(width, 1, bias=False, dtype=DOUBLE)
    solve = lambda keep: (
        torch.linalg.solve(x[keep].T @ x[keep] + rows * decay * torch.eye(width, dtype=DOUBLE), x[keep].T @ y[keep]).T
    )
    with torch.no_grad():
        model.weight.copy_(solve(torch.arange(rows)))
    return model, x, y, solve


def test_ridge_regression_leave_one_out_is_influence_over_one_minus_leverage():
    model, x, y, solve = ridge()
    curvature = hessian(model, [(x[:5], y[:5]), (x[5:], y[5:])], loss=squared, damping=0.1)
    prediction = lambda model, batch: model(batch[0]).squeeze(1)
    scores = influence_function(model, (x, y), data=[(x, y)], loss=squared, measure=prediction, curvature=curvature)
    gram = x.T @ x + 12 * 0.1 * torch.eye(4, dtype=DOUBLE)
    leverage = (x @ torch.linalg.inv(gram) * x).sum(1)
    for row in range(12):
        without = solve(torch.tensor([i for i in range(12) if i != row]))
        exact = (x @ model.weight.detach().T - x @ without.T).squeeze(1)
        close(scores[:, row] / (1 - leverage[row]), exact)


def test_the_hessian_of_softmax_regression():
    """`mean_i (diag(p_i) - p_i p_i^T) (x) (x_i, 1)(x_i, 1)^T`; the Gauss-Newton matrix is the same."""
    torch.manual_seed(0)
    model, batch = nn.Linear(4, 3, dtype=DOUBLE), (torch.randn(10, 4, dtype=DOUBLE), torch.randint(3, (10,)))
    p = model(batch[0]).softmax(1).detach()
    ones = torch.cat([batch[0], torch.ones(10, 1, dtype=DOUBLE)], 1)
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    full = torch.einsum("nab,ni,nj->aibj", middle, ones, ones) / 10
    order = [(a, i) for a in range(3) for i in range(4)] + [(a, 4) for a in range(3)]
    matrix = torch.stack([torch.stack([full[a, i, b, j] for b, j in order]) for a, i in order])
    expected = matrix + 0.05 * torch.eye(15, dtype=DOUBLE)
    for make in (hessian, ggn):
        factor = make(model, [batch], loss=LOSS, damping=0.05).factor
        close(factor @ factor.T, expected)
    vectors = torch.randn(3, 15, dtype=DOUBLE)
    solved = torch.linalg.solve(expected, vectors.T).T
    for of in ("hessian", "ggn"):
        close(
            cg(model, [batch], loss=LOSS, damping=0.05, tolerance=1e-12, of=of).solve(vectors),
            solved,
            rtol=1e-8,
            atol=1e-8,
        )
    long = lissa(model, [batch], loss=LOSS, damping=0.05, steps=400)
    close(long.solve(vectors), solved, rtol=1e-6, atol=1e-6)
    whole = lanczos(model, [batch], loss=LOSS, damping=0.05, rank=15, generator=torch.Generator().manual_seed(0))
    close(whole.solve(vectors), solved, rtol=1e-6, atol=1e-6)


def written_out(model, batch, values, damping):
    """The Hessian of a sum of values over N, by torch.func on the parameters."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    flat = torch.cat([p.detach().flatten() for p in parameters])

    def total(vector):
        parts = vector.split([p.numel() for p in parameters])
        tensors = {n: part.view_as(p) for n, part, p in zip(names, parts, parameters, strict=True)}
        return values(lambda x: torch.func.functional_call(model, tensors, (x,)), batch).sum() / len(batch[1])

    return torch.func.hessian(total)(flat) + damping * torch.eye(len(flat), dtype=DOUBLE)


@pytest.mark.parametrize("name", ["mlp", "conv", "twice"])
def test_hessian_and_gauss_newton_of_networks(name):
    model, (x, labels) = trained.network(name)
    data = [(x[:4], labels[:4]), (x[4:], labels[4:])]
    exact = written_out(model, (x, labels), LOSS, 3.0)
    factor = hessian(model, data, loss=LOSS, damping=3.0).factor
    close(factor @ factor.T, exact)
    p = model(x).softmax(1).detach()
    # Linear in the outputs: (H z)' z with the outputs' Jacobians alone.
    roots = torch.linalg.cholesky(
        torch.diag_embed(p) - p[:, :, None] * p[:, None, :] + 1e-13 * torch.eye(3, dtype=DOUBLE)
    )
    jacobians = [trained.gradients(model, (x, labels), lambda m, b, k=k: m(b[0])[:, k]) for k in range(3)]
    pulled = torch.einsum("nkc,knp->ncp", roots, torch.stack(jacobians)).flatten(0, 1)
    expected = pulled.T @ pulled / 6 + 0.5 * torch.eye(pulled.shape[1], dtype=DOUBLE)
    factor = ggn(model, data, loss=LOSS, damping=0.5).factor
    close(factor @ factor.T, expected, rtol=1e-6, atol=1e-9)
    vectors = torch.randn(2, pulled.shape[1], dtype=DOUBLE)
    products = cg(model, data, loss=LOSS, damping=0.5, tolerance=1e-12)
    close(products.solve(vectors), torch.linalg.solve(expected, vectors.T).T, rtol=1e-6, atol=1e-8)
    own = trained.gradients(model, (x, labels))
    factor = fisher(model, data, loss=LOSS, damping=0.5).factor
    close(factor @ factor.T, own.T @ own / 6 + 0.5 * torch.eye(own.shape[1], dtype=DOUBLE))


def test_kronecker_factors_are_exact_on_one_linear_layer():
    torch.manual_seed(0)
    model = nn.Linear(4, 3, dtype=DOUBLE)
    many = (torch.randn(9, 4, dtype=DOUBLE), torch.randn(9, 3, dtype=DOUBLE))
    one = (many[0][:1], torch.tensor([2]))
    vectors = torch.randn(3, 15, dtype=DOUBLE)
    for batch, loss in ((many, squared), (one, LOSS)):
        expected = ggn(model, [batch], loss=loss, damping=0.1).solve(vectors)
        for make in (kfac, ekfac):
            close(make(model, [batch], loss=loss, damping=0.1).solve(vectors), expected)


@pytest.mark.parametrize("name", ["mlp", "conv", "grouped conv", "layer norm", "lstm"])
def test_fitted_eigenvalues_are_nearer_than_products(name):
    """In the Frobenius norm, block by block, EK-FAC is the best with its eigenvectors."""
    model, batch = trained.network(name)
    exact = ggn(model, [batch], loss=LOSS, damping=1.0).factor
    exact = exact @ exact.T
    errors = []
    for make in (ekfac, kfac):
        inverse = make(model, [batch], loss=LOSS, damping=1.0).solve(torch.eye(len(exact), dtype=DOUBLE))
        matrix = torch.linalg.inv(inverse)
        close(matrix, matrix.T)
        assert torch.linalg.eigvalsh((matrix + matrix.T) / 2)[0] > 1 - 1e-9
        errors.append((matrix - exact).norm())
        if make is ekfac:
            close(matrix.trace(), exact.trace())  # the diagonal in another basis
    assert errors[0] <= errors[1] * (1 + 1e-12)


def test_datainf_is_the_mean_of_inverses():
    model, batch = trained.network("mlp")
    own = trained.gradients(model, batch)
    vectors = torch.randn(2, own.shape[1], dtype=DOUBLE)
    expected, begin = [], 0
    for p in model.parameters():
        part = slice(begin, begin + p.numel())
        eye = 0.3 * torch.eye(p.numel(), dtype=DOUBLE)
        inverse = torch.stack([torch.linalg.inv(torch.outer(g, g) + eye) for g in own[:, part]]).mean(0)
        expected.append(vectors[:, part] @ inverse)
        begin = part.stop
    close(datainf(model, [batch], loss=LOSS, damping=0.3).solve(vectors), torch.cat(expected, 1))


def test_few_eigenvalues():
    model, batch = trained.network("mlp")
    exact = written_out(model, batch, LOSS, 0.0)
    values, vectors = torch.linalg.eigh(exact)
    drawn = lambda **options: lanczos(
        model, [batch], loss=LOSS, steps=60, rank=3, generator=torch.Generator().manual_seed(0), **options
    )
    found = drawn(damping=0.2)
    close(found.eigenvalues, values.flip(0)[:3])
    top = vectors[:, -3:]
    given = torch.randn(2, len(exact), dtype=DOUBLE)
    inside = given @ top
    expected = (inside / (values[-3:] + 0.2)) @ top.T + (given - inside @ top.T) / 0.2
    close(found.solve(given), expected)
    close(drawn(damping=0.0).solve(given), (inside / values[-3:]) @ top.T)


def test_eigenvalues_that_are_there_several_times():
    """With a squared loss each eigenvalue of the inputs' moments is there once for each output."""
    torch.manual_seed(0)
    model, x, y = torch.nn.Linear(3, 4).double(), torch.randn(7, 3, dtype=DOUBLE), torch.randn(7, 4, dtype=DOUBLE)
    with_bias = torch.cat([x, torch.ones(7, 1, dtype=DOUBLE)], 1)
    expected = torch.linalg.eigvalsh(2 * with_bias.T @ with_bias / 7).flip(0).repeat_interleave(4)
    loss = lambda model, batch: (model(batch[0]) - batch[1]).square().sum(1)
    for rank in (3, 16):
        found = lanczos(model, [(x, y)], loss=loss, damping=0.1, rank=rank, steps=16)
        close(found.eigenvalues, expected[:rank])


class Scaled(nn.Module):
    """A layer whose outputs a temperature scales: a parameter without dimensions."""

    def __init__(self):
        super().__init__()
        self.temperature, self.layer = nn.Parameter(torch.tensor(0.7)), nn.Linear(3, 3)

    def forward(self, x):
        return self.layer(torch.tanh(x)) * self.temperature


@pytest.mark.parametrize("dim", [0, None])
def test_a_weight_norm_has_the_hessian_of_what_it_computes(dim):
    torch.manual_seed(0)
    fused = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2, bias=False), dim=dim).double()
    x, y = torch.randn(6, 3, dtype=DOUBLE), torch.randint(2, (6,))
    names, parameters = zip(*fused.named_parameters(), strict=True)
    sizes = [parameter.shape for parameter in parameters]

    def loss(flat):
        parts = [part.view(size) for part, size in zip(flat.split([s.numel() for s in sizes]), sizes, strict=True)]
        g, v = (parts[names.index(f"parametrizations.weight.original{place}")] for place in (0, 1))
        norm = v.norm() if dim is None else v.norm(dim=1, keepdim=True)
        return F.cross_entropy(x @ (v * (g / norm)).T, y)

    matrix = torch.autograd.functional.hessian(loss, torch.cat([p.detach().flatten() for p in parameters]))
    curvature = hessian(fused, [(x, y)], loss=LOSS, damping=0.5)
    vectors = torch.eye(len(matrix), dtype=DOUBLE)
    close(curvature.solve(vectors), torch.linalg.inv(matrix + 0.5 * vectors))


def test_parameters_without_dimensions():
    torch.manual_seed(0)
    model, batch = Scaled().double(), (torch.randn(5, 3, dtype=DOUBLE), torch.tensor([0, 2, 1, 1, 0]))
    exact = written_out(model, batch, LOSS, 2.0)
    own = trained.gradients(model, batch)
    for curvature in (hessian(model, [batch], loss=LOSS, damping=2.0),
                      cg(model, [batch], loss=LOSS, damping=2.0, of="hessian", tolerance=1e-12)):  # fmt: skip
        found = influence_function(model, batch, data=[batch], loss=LOSS, curvature=curvature)
        close(found, own @ torch.linalg.solve(exact, own.T) / 5)


@pytest.mark.parametrize("kind", ["hessian", "ggn"])
def test_embeddings_of_padding_have_no_curvature(kind):
    """Torch's forward mode, which products are taken by, does not know of padding."""
    torch.manual_seed(0)
    embedding, head = nn.Embedding(4, 2, padding_idx=1, dtype=DOUBLE), nn.Linear(6, 2, dtype=DOUBLE)
    model = nn.Sequential(embedding, nn.Tanh(), nn.Flatten(), head)
    tokens, labels = torch.tensor([[0, 1, 2], [3, 1, 1], [2, 2, 0], [1, 3, 0]]), torch.tensor([0, 1, 1, 0])
    padding = embedding.weight[1].detach()

    def logits(table, weight, bias, x):
        rows = torch.where((x == 1).unsqueeze(-1), padding, F.embedding(x, table))
        return F.linear(torch.tanh(rows).flatten(1), weight, bias)

    parts = [p.detach() for p in model.parameters()]
    split = lambda v: [part.view_as(p) for part, p in zip(v.split([p.numel() for p in parts]), parts, strict=True)]
    flat = torch.cat([p.flatten() for p in parts])
    if kind == "hessian":
        exact = torch.func.hessian(lambda v: F.cross_entropy(logits(*split(v), tokens), labels))(flat)
        damping = 0.1 - torch.linalg.eigvalsh(exact)[0].clamp(max=0).item()
    else:
        jacobians = torch.func.jacrev(lambda v: logits(*split(v), tokens))(flat)
        chances = model(tokens).detach().softmax(1)
        inner = torch.diag_embed(chances) - chances.unsqueeze(2) * chances.unsqueeze(1)
        exact, damping = (jacobians.mT @ inner @ jacobians).mean(0), 0.1
    size = len(flat)
    expected = torch.linalg.inv(exact + damping * torch.eye(size, dtype=DOUBLE))
    options = {"loss": LOSS, "damping": damping}
    data = [(tokens[:3], labels[:3]), (tokens[3:], labels[3:])]
    found = [
        {"hessian": hessian, "ggn": ggn}[kind](model, data, **options),
        cg(model, data, of=kind, tolerance=1e-12, **options),
    ]
    if kind == "ggn":
        found.append(lanczos(model, data, of=kind, rank=size, steps=size, **options))
    for curvature in found:
        close(curvature.solve(torch.eye(size, dtype=DOUBLE)), expected)


@pytest.mark.parametrize("make", [ggn, kfac, ekfac])
def test_models_that_give_one_number_for_each_example(make):
    torch.manual_seed(0)
    linear, x, y = torch.nn.Linear(3, 1).double(), torch.randn(7, 3, dtype=DOUBLE), torch.randn(7, dtype=DOUBLE)
    model = torch.nn.Sequential(linear, torch.nn.Flatten(0))
    with_bias = torch.cat([x, torch.ones(7, 1, dtype=DOUBLE)], 1)
    exact = 2 * with_bias.T @ with_bias / 7 + 0.1 * torch.eye(4, dtype=DOUBLE)
    loss = lambda model, batch: (model(batch[0]) - batch[1]).square()
    found = make(model, [(x[:3], y[:3]), (x[3:], y[3:])], loss=loss, damping=0.1)
    close(found.solve(exact), torch.eye(4, dtype=DOUBLE))


@pytest.mark.parametrize("name", ALL)
def test_influence_with_each_curvature(name, tmp_path):
    model, (x, labels) = trained.network("mlp")
    data = [(x[:4], labels[:4]), (x[4:], labels[4:])]
    curvature = ALL[name](model, data, loss=LOSS, damping=1.0)
    own = trained.gradients(model, (x, labels))
    expected = own[:3] @ curvature.solve(own).T / 6
    queries = (x[:3], labels[:3])
    score = lambda curvature, data, q=queries: influence_function(model, q, data=data, loss=LOSS, curvature=curvature)
    tolerance = {"rtol": 1e-4, "atol": 1e-5}  # of `cg`, which stops at its own
    close(score(curvature, data), expected, **tolerance)
    close(score(curvature, data, (x[:1], labels[:1])), expected[:1], **tolerance)
    solved = curvature.solve(own)
    close(self_influence(model, data, loss=LOSS, curvature=curvature), (own * solved).sum(1) / 6, **tolerance)
    assert torch.linalg.eigvalsh(own @ solved.T)[0] > 0
    # Neither batches nor order matter.
    order = [3, 0, 5, 1, 4, 2]
    other = ALL[name](model, [(x[order], labels[order])], loss=LOSS, damping=1.0)
    close(score(other, data), expected, **tolerance)
    if curvature.savable:
        curvature.save(tmp_path / "curvature.pt")
        loaded = load_curvature(tmp_path / "curvature.pt")
        assert torch.equal(score(loaded, data), score(curvature, data))
    else:
        with pytest.raises(ArgumentError, match=r"save: argument `path`: got a curvature that is not stored"):
            curvature.save(tmp_path / "curvature.pt")


def test_a_measure():
    model, batch = trained.network("mlp")
    curvature = ggn(model, [batch], loss=LOSS, damping=0.1)
    logit = lambda model, batch: model(batch[0])[:, 1]
    slopes, own = trained.gradients(model, batch, logit), trained.gradients(model, batch)
    scores = influence_function(model, batch, data=[batch], loss=LOSS, measure=logit, curvature=curvature)
    close(scores, -slopes @ curvature.solve(own).T / 6)


def test_models_without_forward_mode():
    class Odd(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x):
            return x.sin()

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, slope):
            return slope * ctx.saved_tensors[0].cos()

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(4, 3), nn.Linear(3, 3)

        def forward(self, x):
            return self.last(Odd.apply(self.first(x)))

    torch.manual_seed(0)
    model, batch = Model().double(), (torch.randn(6, 4, dtype=DOUBLE), torch.tensor([0, 1, 2, 0, 1, 2]))
    vectors = torch.randn(2, 27, dtype=DOUBLE)
    for of, make in (("hessian", hessian), ("ggn", ggn)):
        expected = make(model, [batch], loss=LOSS, damping=2.0).solve(vectors)
        close(cg(model, [batch], loss=LOSS, damping=2.0, tolerance=1e-12, of=of).solve(vectors), expected)


def test_curvatures_that_cannot_be_right(tmp_path):
    model, (x, labels) = trained.network("mlp")
    data = [(x, labels)]
    for name in ("hessian", "ggn", "fisher", "kfac", "ekfac", "datainf"):
        with pytest.raises(ArgumentError, match=rf"{name}: argument `damping`: .*Pass "):
            ALL[name](model, data, loss=LOSS, damping=0.0)
    with pytest.raises(ArgumentError, match=r"expected a number of at least 0"):
        ggn(model, data, loss=LOSS, damping=-1)
    broken = cg(model, data, loss=LOSS, damping=0.0, of="hessian")
    with pytest.raises(ArgumentError, match=r"`damping`: got 0.0, with which the curvature is not positive"):
        broken.solve(torch.randn(2, 67, dtype=DOUBLE))
    with pytest.raises(ModelError, match=r"after 2 steps, more than the tolerance"):
        cg(model, data, loss=LOSS, damping=1e-3, steps=2).solve(torch.randn(1, 67, dtype=DOUBLE))
    with pytest.raises(ModelError, match=r"diverges with scale=0.01"):
        lissa(model, data, loss=LOSS, damping=1e-3, scale=0.01).solve(torch.randn(1, 67, dtype=DOUBLE))
    with pytest.raises(ModelError, match=r"not convex in the model's outputs"):
        ggn(model, data, loss=lambda model, batch: model(batch[0]).sin().sum(1), damping=1.0)
    with pytest.raises(ArgumentError, match=r"`model`: got 300 outputs for each example.*fisher"):
        ggn(nn.Linear(4, 300).double(), data, loss=LOSS, damping=1.0)
    with pytest.raises(ArgumentError, match=r"`parameters`: got .* numbers, whose matrix would take"):
        hessian(nn.Linear(4, 10_000).double(), data, loss=LOSS, damping=1.0)
    with pytest.raises(ArgumentError, match=r"`of`: got 'gnn'"):
        cg(model, data, loss=LOSS, damping=1.0, of="gnn")
    with pytest.raises(ArgumentError, match=r"`tolerance`"):
        cg(model, data, loss=LOSS, damping=1.0, tolerance=0.0)
    curvature = ggn(model, data, loss=LOSS, damping=1.0)
    with torch.no_grad():
        model[0].bias += 1
    with pytest.raises(
        ArgumentError, match=r"influence_function: argument `curvature`: got a curvature of other parameters"
    ):
        influence_function(model, (x, labels), data=data, loss=LOSS, curvature=curvature)
    with pytest.raises(ArgumentError, match=r"`curvature`: got str 'ggn'"):
        influence_function(model, (x, labels), data=data, loss=LOSS, curvature="ggn")
    with pytest.raises(ArgumentError, match=r"save: .*cannot be written"):
        curvature.save(tmp_path / "nowhere" / "curvature.pt")
    (tmp_path / "half.pt").write_bytes(b"PK")
    with pytest.raises(ArgumentError, match=r"load_curvature: argument `path`"):
        load_curvature(tmp_path / "half.pt")


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    model, batch = trained.network("mlp")
    curvature = ggn(model, [batch], loss=LOSS, damping=1.0)
    path = tmp_path / "curvature.pt"
    curvature.save(path)
    before = path.read_bytes()

    def full(held, where):
        where.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(ArgumentError, match=r"No space left on device"):
        curvature.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_half_precision_and_frozen_parameters():
    model, batch = trained.network("mlp", torch.float32)
    exact = influence_function(
        model, batch, data=[batch], loss=LOSS, curvature=ggn(model, [batch], loss=LOSS, damping=0.1)
    )
    half = model.bfloat16()
    given = (batch[0].bfloat16(), batch[1])
    curvature = ggn(half, [given], loss=lambda m, b: LOSS(m, b).float(), damping=0.1)
    found = influence_function(half, given, data=[given], loss=lambda m, b: LOSS(m, b).float(), curvature=curvature)
    assert (found - exact).norm() < 0.05 * exact.norm()
    assert F.cosine_similarity(found.flatten(), exact.flatten(), dim=0) > 0.99


@pytest.mark.parametrize("name", ["hessian", "cg", "lanczos", "lissa"])
def test_data_that_is_not_a_number(name):
    model, (x, labels) = trained.network("mlp")
    broken = [(x / 0, labels)]

    def scores():
        curvature = ALL[name](model, broken, loss=LOSS, damping=0.1)
        return influence_function(model, (x, labels), data=[(x, labels)], loss=LOSS, curvature=curvature)

    with pytest.raises(ModelError, match="not finite"):
        scores()
