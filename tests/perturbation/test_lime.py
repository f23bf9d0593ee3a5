"""LIME: its formula written out, what it recovers exactly, the kernels, and what cannot be right."""

import itertools
import math

import pytest
import torch

import attrfunc as af
from attrfunc import ArgumentError, surrogates
from oracle_net import drawn, make

MASK = torch.tensor([[0, 1, 1, 2, 4]])  # 3 is left out
GROUPS = [[0], [1, 2], [3], [4]]


@pytest.fixture
def net():
    return make()


@pytest.fixture
def x():
    return drawn(1, 3, 5)


@pytest.fixture
def b():
    return drawn(2, 5)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def replaced(end, start, coalition, groups):
    point = start.clone()
    for present, group in zip(coalition, groups, strict=True):
        if present:
            point[group] = end[group]
    return point


def cosine(one, other):
    return 1 - one @ other / (one.norm() * other.norm()).clamp(min=1e-8)


def kernel(distance, space, width, point, end, coalition):
    """The weight of one coalition for one example, literally."""
    one, other = (point, end) if space == "input" else (coalition.double(), torch.ones(len(coalition)).double())
    apart = cosine(one, other) if distance == "cosine" else (one - other).norm()
    return math.exp(-(apart**2) / (2 * width**2))


def solved(coalitions, scores, weights, alpha):
    """Ridge as an ordinary least squares problem: a row for each sample, and one for each penalty."""
    n, weights = coalitions.shape[1], torch.tensor(weights).double()
    weights = weights / weights.mean()
    rows = weights.sqrt()[:, None] * torch.cat([torch.ones(len(coalitions), 1), coalitions], 1)
    penalty = alpha**0.5 * torch.cat([torch.zeros(n, 1), torch.eye(n)], 1)
    right = torch.cat([weights.sqrt() * torch.stack(scores), torch.zeros(n)])
    return torch.linalg.lstsq(torch.cat([rows, penalty]).double(), right[:, None].double()).solution[1:, 0]


def draws(count, n, p=0.5):
    return torch.rand(count, n, generator=seeded(), dtype=torch.float64) < p


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("space", ["coalition", "input"])
@pytest.mark.parametrize("alpha", [0.3, 2.0])
def test_the_formula(net, x, b, distance, space, alpha):
    width = 0.8
    similarity = surrogates.exponential_kernel(distance, width=width, space=space)
    options = {
        "similarity": similarity,
        "linear_model": surrogates.ridge(alpha),
        "n_samples": 12,
        "generator": seeded(),
    }
    found = af.lime(net, x, baseline=b, target=2, feature_mask=MASK, **options)
    coalitions = draws(12, 4)
    for i, end in enumerate(x):
        points = [replaced(end, b, z, GROUPS) for z in coalitions]
        scores = [net(point[None])[0, 2].detach() for point in points]
        weights = [kernel(distance, space, width, p, end, z) for p, z in zip(points, coalitions, strict=True)]
        expected = solved(coalitions, scores, weights, alpha)
        for coefficient, group in zip(expected, GROUPS, strict=True):
            torch.testing.assert_close(found[i, group], coefficient.expand(len(group)))


def test_the_defaults(net, x):
    """Few groups: every coalition once. A cosine of coalitions, ridge with a penalty of 1."""
    found = af.lime(net, x, target=2)
    coalitions = torch.tensor(list(itertools.product([False, True], repeat=5)))
    weights = [kernel("cosine", "coalition", 0.25, None, None, z) for z in coalitions]
    for i, end in enumerate(x):
        scores = [net((z * end)[None])[0, 2].detach() for z in coalitions]
        torch.testing.assert_close(found[i], solved(coalitions, scores, weights, 1.0))


def test_at_a_layer(net, x, b):
    options = {"linear_model": surrogates.ridge(0.5), "n_samples": 10, "generator": seeded(), "target": 1}
    similarity = surrogates.exponential_kernel(space="input", width=1.0)
    found = af.lime(af.layer(net, "block"), x, baseline=b, similarity=similarity, **options)
    coalitions = draws(10, 4)
    for i, one in enumerate(x):
        start, end = net.before(b), net.before(one)
        points = [torch.where(z, end, start) for z in coalitions]
        scores = [net.behind(one, point)[1].detach() for point in points]
        weights = [
            kernel("cosine", "input", 1.0, p.detach(), end.detach(), z) for p, z in zip(points, coalitions, strict=True)
        ]
        torch.testing.assert_close(found[i].detach(), solved(coalitions, scores, weights, 0.5))


def test_of_a_neuron(net, x, b):
    found = af.lime(af.neuron(net, "block", 3), x, baseline=b)
    torch.testing.assert_close(found, af.lime(lambda x: net.before(x)[:, 3], x, baseline=b).detach())


@pytest.mark.parametrize("n_samples", [12, 31, 32, 1000])
def test_an_additive_score_is_recovered(x, b, n_samples):
    """Whatever the kernel, by least squares; and ridge with a small penalty tends to it."""
    weight = drawn(3, 5)
    model = lambda x: (x.sin() * weight).sum(1)
    expected = weight * (x.sin() - b.sin())
    for similarity in (
        surrogates.exponential_kernel(),
        surrogates.exponential_kernel("euclidean", width=3.0, space="input"),
    ):
        options = {"baseline": b, "similarity": similarity, "n_samples": n_samples, "generator": seeded(4)}
        found = af.lime(model, x, linear_model=surrogates.least_squares(), **options)
        torch.testing.assert_close(found, expected)
        found = af.lime(model, x, linear_model=surrogates.ridge(1e-9), **options)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_linearity(net, x, b):
    options = {"baseline": b, "n_samples": 20, "feature_mask": MASK}
    one, other, both = (
        af.lime(net, x, target=target, generator=seeded(), **options)
        for target in (lambda y: y[:, 0], lambda y: y[:, 2], lambda y: 3 * y[:, 0] - y[:, 2])
    )
    torch.testing.assert_close(both, 3 * one - other)


def test_examples_do_not_matter_to_each_other(net, x):
    for space in ("coalition", "input"):
        options = {"similarity": surrogates.exponential_kernel(space=space), "n_samples": 15, "target": 1}
        whole = af.lime(net, x, generator=seeded(), **options)
        single = torch.cat([af.lime(net, x[i : i + 1], generator=seeded(), **options) for i in range(3)])
        torch.testing.assert_close(whole, single)


def test_groups_of_each_example_and_structures(b):
    x = {"a": drawn(1, 2, 3), "b": drawn(2, 2, 2, 2)}
    mask = {"a": torch.tensor([[0, 0, 1], [2, 1, 1]]), "b": torch.tensor([[[2]], [[0]]])}
    weight = {key: drawn(5 + i, *leaf.shape[1:]) for i, (key, leaf) in enumerate(x.items())}
    model = lambda x: sum((weight[key] * x[key]).flatten(1).sum(1) for key in x)
    found = af.lime(model, x, feature_mask=mask, linear_model=surrogates.least_squares())
    for i in range(2):
        for group in range(3):
            members = {key: (mask[key][i].expand(x[key][i].shape) == group) for key in x}
            total = sum((weight[key] * x[key][i])[chosen].sum() for key, chosen in members.items())
            for key, chosen in members.items():
                torch.testing.assert_close(found[key][i][chosen], total.expand(int(chosen.sum())))


def test_integers():
    table = drawn(0, 10, 3)
    model = lambda ids: table[ids].sum((1, 2))
    ids = torch.tensor([[3, 5, 7, 2], [9, 9, 1, 0]])
    found = af.lime(model, ids, baseline=0, linear_model=surrogates.least_squares())
    torch.testing.assert_close(found, table[ids].sum(2) - table[0].sum())
    with pytest.raises(ArgumentError, match=r"lime: argument `similarity`.*integers.*space='coalition'"):
        af.lime(model, ids, similarity=surrogates.exponential_kernel(space="input"))


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_a_score_of_the_batch(x, b, distance):
    weight = drawn(3, 3, 5)
    target = af.batch_score(lambda y: (y * weight).sum())
    similarity = surrogates.exponential_kernel(distance, width=2.0, space="input")
    found = af.lime(
        lambda x: x, x, baseline=b, target=target, linear_model=surrogates.least_squares(), similarity=similarity
    )
    torch.testing.assert_close(found, ((x - b) * weight).sum(0, keepdim=True))
    model = lambda x: (x * weight).sin().sum()
    found = af.lime(
        model, x, baseline=b, target=af.batch_score(), similarity=similarity, linear_model=surrogates.ridge(0.5)
    )
    coalitions = torch.tensor(list(itertools.product([False, True], repeat=5)))
    points = [torch.where(z, x, b) for z in coalitions]
    weights = [
        kernel(distance, "input", 2.0, p.flatten(), x.flatten(), z) for p, z in zip(points, coalitions, strict=True)
    ]
    torch.testing.assert_close(found[0], solved(coalitions, [model(p) for p in points], weights, 0.5))


def test_sampling(net, x):
    seen = []

    def sampling(n_samples, players, generator):
        seen.append((n_samples, players, generator))
        return torch.rand(7, players, generator=generator, dtype=torch.float64) < 0.5

    generator = seeded()
    found = af.lime(net, x, target=0, n_samples=30, sampling=sampling, generator=generator)
    assert seen == [(30, 5, generator)]
    torch.testing.assert_close(found, af.lime(net, x, target=0, n_samples=7, generator=seeded()))
    often = af.lime(net, x, target=0, n_samples=64, sampling=0.9, generator=seeded())
    explicit = af.lime(net, x, target=0, sampling=lambda *_: draws(64, 5, 0.9))
    torch.testing.assert_close(often, explicit)


def test_any_kernel_and_linear_model(net, x):
    def similarity(coalitions, game):
        (points,) = game.points(coalitions)
        assert points.shape == (len(coalitions), 3, 5)
        return torch.exp(-(points - game.end[0]).abs().sum(2))

    def mean(features, scores, weights):
        assert features.shape == (9, 5)
        assert scores.shape == weights.shape == (9, 3)
        return (weights[:, :, None] * features[:, None]).sum(0)

    coalitions = draws(9, 5)
    found = af.lime(net, x, target=0, similarity=similarity, linear_model=mean, sampling=lambda *_: coalitions)
    weights = torch.exp(-((~coalitions)[:, None] * x).abs().sum(2))
    torch.testing.assert_close(found, torch.einsum("kb,kn->bn", weights, coalitions.double()))


def test_one_generator_one_result(net, x):
    options = {"target": 1, "n_samples": 12}
    first = af.lime(net, x, generator=seeded(), **options)
    for chunk_size in (1, 2, 5, 12, 100):
        torch.testing.assert_close(af.lime(net, x, generator=seeded(), chunk_size=chunk_size, **options), first)
    assert not torch.allclose(af.lime(net, x, generator=seeded(1), **options), first)
    seen = []
    af.lime(net, x, progress=lambda done, total: seen.append((done, total)), **options)
    assert seen[-1] == (36, 36)


def test_lasso_and_its_gradient(net, x):
    options = {"target": 1, "linear_model": surrogates.lasso(0.001)}
    assert af.lime(net, x, **options).count_nonzero() > 0
    assert not af.lime(net, x, target=1, linear_model=surrogates.lasso(100.0)).any()
    with pytest.raises(af.ModelError, match="lime: Lasso is fitted outside torch"):
        torch.func.grad(lambda x: af.lime(net, x, **options).sum())(x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_samples": 0}, "`n_samples`"),
        ({"n_samples": 5, "linear_model": surrogates.least_squares()}, "`n_samples`: got 5 samples for 5 groups"),
        (
            {"sampling": lambda *_: draws(4, 5).repeat(3, 1), "linear_model": surrogates.least_squares()},
            "do not tell the 5 groups",
        ),
        ({"sampling": 1.0}, "`sampling`: got float 1.0"),
        ({"sampling": "bernoulli"}, "`sampling`"),
        ({"sampling": lambda *_: draws(4, 6)}, r"`sampling`: .*\(4, 6\)"),
        ({"sampling": lambda *_: drawn(4, 5)}, "`sampling`"),
        ({"generator": 0}, "`generator`"),
        ({"similarity": lambda z, game: torch.ones(3)}, r"`similarity`: .*\(3,\)"),
        ({"similarity": lambda z, game: 1.0}, "`similarity`"),
        ({"similarity": lambda z, game: z.sum(1).double() - 1}, "negative or not finite"),
        ({"similarity": lambda z, game: z.sum(1) / 0.0}, "negative or not finite"),
        (
            {"similarity": surrogates.exponential_kernel("euclidean", width=0.01, space="input")},
            "all but one.*Widen the kernel",
        ),
        ({"similarity": lambda z, game: torch.zeros(len(z))}, "all but one"),
        ({"linear_model": lambda z, y, w: y}, "`linear_model`: .*"),
        ({"chunk_size": 0}, "`chunk_size`"),
    ],
)
def test_what_cannot_be_right(net, x, options, message):
    with pytest.raises(ArgumentError, match=f"lime: .*{message}"):
        af.lime(net, x, target=1, **options)


@pytest.mark.parametrize("options", [{"distance": "l1"}, {"space": "pixels"}, {"width": 0}, {"width": "1"}])
def test_kernels_that_cannot_be_right(options):
    (name,) = options
    with pytest.raises(ArgumentError, match=f"exponential_kernel: argument `{name}`"):
        surrogates.exponential_kernel(**options)
