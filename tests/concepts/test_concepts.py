"""Concepts against closed forms: linear heads, regressions written out, tests by scipy."""

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import nn

import attrfunc as af
from small_nets import cnn, generator, inputs, mlp

C = af.concepts


def close(found, expected, tolerance=1e-9):
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype), rtol=tolerance, atol=tolerance)


@pytest.fixture
def headed():
    """A network whose head is linear, and the view in front of it."""
    model = mlp()
    return model, af.layer(model, "1")


@pytest.fixture
def concepts():
    return {"large": inputs(20, 6) + 1, "small": inputs(15, 6, seed=2) - 1, "mixed": inputs(10, 6, seed=3)}


def test_the_sensitivity_of_a_linear_head_is_its_weights(headed):
    model, view = headed
    vectors, x = inputs(5, 8, seed=4), inputs(7, 6)
    found = C.concept_sensitivity(view, x, vectors=vectors, target=2)
    close(found, (vectors @ model[2].weight[2]).expand(7, 5))
    result = C.tcav(view, x, vectors=vectors, target=2)
    close(result.sign, (vectors @ model[2].weight[2] > 0).double())
    close(result.magnitude, (vectors @ model[2].weight[2] > 0).double())


def test_sensitivities_are_derivatives():
    model, x = cnn(), inputs(4, 2, 6, 6)
    view = af.layer(model, "1")
    vectors, labels = inputs(3, 4, 6, 6, seed=5), torch.tensor([0, 2, 1, 1])
    whole = C.concept_sensitivity(view, x, vectors=vectors, target=labels)
    after = lambda z: model[4](model[3](model[2](z))).gather(1, labels[:, None])[:, 0]
    active = af.activation(view, x)
    for number in range(3):
        step = 1e-6 * vectors[number]
        close(whole[:, number], (after(active + step) - after(active - step)) / 2e-6, 1e-6)
    close(C.concept_sensitivity(view, x, vectors=vectors, target=labels, chunk_size=3), whole)
    result = C.tcav(view, x, vectors=vectors, target=labels)
    close(result.sign, (whole > 0).double().mean(0))
    close(result.magnitude, whole.clamp(min=0).sum(0) / whole.abs().sum(0))
    zero = C.tcav(view, x, vectors=vectors * 0, target=0)
    assert zero.sign.tolist() == [0, 0, 0]
    assert zero.magnitude.isnan().all()


def balanced_ridge(features, labels):
    """scikit-learn's ridge with weights that make both classes count the same."""
    shares = np.where(labels, 0.5 / labels.sum(), 0.5 / (~labels).sum())
    middle = shares @ features
    penalty = (shares[:, None] * (features - middle) ** 2).sum(0).mean()
    model = Ridge(alpha=penalty).fit(features, np.where(labels, 1.0, -1.0), sample_weight=shares)
    return model.coef_, model.intercept_


@pytest.mark.parametrize("shape", [(30, 5), (6, 40)])
def test_fits_are_their_formulas(shape):
    features, labels = inputs(*shape), torch.arange(shape[0]) % 3 == 0
    features[labels] += 0.7
    weight, bias = C.ridge()(features, labels)
    expected, intercept = balanced_ridge(features.numpy(), labels.numpy())
    close(weight, expected, 1e-8)
    close(bias, intercept, 1e-8)
    difference, offset = C.mean_difference()(features, labels)
    one, other = features[labels].mean(0), features[~labels].mean(0)
    close(difference, one - other)
    close((one @ difference + offset), -(other @ difference + offset))
    # The same as the pattern of the labels: cov(x, t) / var(t).
    t = labels.double()
    covariance = ((features - features.mean(0)) * (t - t.mean())[:, None]).mean(0)
    close(difference, covariance / t.var(correction=0))
    fit = LogisticRegression().fit(features.numpy(), labels.numpy())
    weight, bias = C.scikit_learn(LogisticRegression())(features, labels)
    close(weight, fit.coef_[0], 1e-6)
    close(bias, fit.intercept_[0], 1e-6)
    shown, _ = C.pattern(C.scikit_learn(LogisticRegression()))(features, labels)
    covariance = np.cov(features.numpy().T, bias=True) @ fit.coef_[0]
    close(shown, covariance / (fit.coef_[0] @ covariance), 1e-6)


def test_a_pattern_does_not_turn_away_from_what_disturbs():
    """The concept moves the first feature; a disturbance is in both, so a classifier subtracts the second."""
    noise, labels = inputs(4000), torch.arange(4000) % 2 == 0
    features = torch.stack([labels * 1.0 + noise, noise], 1).double()
    weights, _ = C.ridge(1e-3)(features, labels)
    shown, _ = C.pattern(C.ridge(1e-3))(features, labels)
    assert weights[1] < -0.9 * weights[0]
    assert shown[1].abs() < 0.1 * shown[0]


def test_vectors_are_fitted_to_activations(headed, concepts):
    model, view = headed
    active = {name: model[1](model[0](x)) for name, x in concepts.items()}
    against = inputs(12, 6, seed=8)
    found = C.concept_vectors(view, concepts, against=against, fit=C.mean_difference())
    assert found.names == ("large", "small", "mixed")
    assert found.layer == "1"
    for number, name in enumerate(concepts):
        direction = active[name].mean(0) - model[1](model[0](against)).mean(0)
        close(found.vectors[number], direction / direction.norm())
        close(found[name], found.vectors[number])
    relative = C.concept_vectors(view, concepts, fit=C.mean_difference())
    direction = active["large"].mean(0) - torch.cat([active["small"], active["mixed"]]).mean(0)
    close(relative["large"], direction / direction.norm())
    assert relative.accuracy.isnan().all()
    batched = C.concept_vectors(view, {name: list(x.split(4)) for name, x in concepts.items()}, fit=C.mean_difference())
    close(batched.vectors, relative.vectors)
    tested = C.concept_vectors(view, concepts, held_out=0.4, generator=generator())
    assert tested.accuracy[:2].min() > 0.8
    again = C.concept_vectors(view, concepts, held_out=0.4, generator=generator())
    assert torch.equal(tested.vectors, again.vectors)
    # Those that are held out are not fitted to: without them the vectors are others.
    assert not torch.equal(tested.vectors, C.concept_vectors(view, concepts).vectors)


def test_images_keep_the_shape_of_the_activation():
    model = cnn()
    found = C.concept_vectors(af.layer(model, "1"), {"a": inputs(5, 2, 6, 6), "b": inputs(5, 2, 6, 6, seed=2)})
    assert found.vectors.shape == (2, 4, 6, 6)
    close(found.vectors.flatten(1).norm(dim=1), [1.0, 1.0])
    assert C.tcav(af.layer(model, "1"), inputs(3, 2, 6, 6), vectors=found, target=0).sign.shape == (2,)


def test_saved_and_loaded(headed, concepts, tmp_path):
    model, view = headed
    found, path = C.concept_vectors(view, concepts), tmp_path / "concepts.pt"
    C.save(found, path)
    loaded = C.load(path, view)
    assert loaded.names == found.names
    assert torch.equal(loaded.vectors, found.vectors)
    assert loaded.made_from == found.made_from
    other = C.concept_vectors(view, {**concepts, "mixed": concepts["mixed"] + 1e-9})
    assert other.made_from["data"] != found.made_from["data"]
    assert other.made_from["model"] == found.made_from["model"]
    with pytest.raises(af.ArgumentError, match=r"load: argument `view`.*other parameters, or another layer"):
        C.load(path, af.layer(model, "0"))
    bound = af.bind(view, {"0.bias": model[0].bias + 1e-9})
    with pytest.raises(af.ArgumentError, match="other parameters"):
        C.load(path, bound)
    assert C.load(path).layer == "1"
    (tmp_path / "other.pt").write_bytes(b"nothing")
    with pytest.raises(af.ArgumentError, match=r"load: argument `path`.*`save` wrote"):
        C.load(tmp_path / "other.pt")
    torch.save({"names": 3}, tmp_path / "dict.pt")
    with pytest.raises(af.ArgumentError, match="`path`"):
        C.load(tmp_path / "dict.pt")


@pytest.mark.parametrize("statistic", ["sign", "mean"])
def test_the_test_of_concepts(statistic):
    """One concept drives the class, one is noise: p values as scipy gives them, and right."""
    model, x, drawn = mlp(features=40), inputs(30, 40), generator(5)
    normal = lambda count: torch.randn(count, 40, generator=drawn, dtype=torch.float64)
    slope = af.saliency(model, x, target=1, absolute=False).mean(0)
    concepts = {"driving": normal(60) + 4 * slope / slope.norm(), "noise": normal(60)}
    random = [normal(60) for _ in range(10)]
    view = af.layer(model, "1")
    options = {"concepts": concepts, "random": random, "target": 1, "fit": C.mean_difference(), "statistic": statistic}
    found = C.tcav_test(view, x, **options)

    def measured(one, other):
        vectors = C.concept_vectors(view, {"one": one}, against=other, fit=C.mean_difference())
        values = C.concept_sensitivity(view, x, vectors=vectors, target=1)
        return float((values > 0).double().mean() if statistic == "sign" else values.mean())

    for number, name in enumerate(concepts):
        for other in (0, 7):
            close(found.scores[number, other], measured(concepts[name], random[other]))
    for number in (0, 9):
        others = [one for one in random if one is not random[number]]
        close(found.random[number], np.mean([measured(random[number], one) for one in others]))
    spread = float(found.random.std()) * (1 + 1 / 10) ** 0.5
    middle = float(found.random.mean())
    raw = [2 * scipy.stats.t.sf(abs(mean - middle) / spread, 9) for mean in found.scores.mean(1).tolist()]
    assert raw[0] < raw[1]
    close(found.p, [min(1, 2 * raw[0]), max(min(1, 2 * raw[0]), raw[1])], 1e-6)
    half = scipy.stats.t.ppf(0.975, 9) * spread
    ends = [middle - half, middle + half]
    close(torch.tensor([found.low, found.high]).double(), np.clip(ends, 0, 1) if statistic == "sign" else ends, 1e-6)
    if statistic == "mean":
        assert found.p[0] < 0.05 < 0.1 < found.p[1]
        assert found.low < found.mean[1] < found.high < found.mean[0]
    assert str(found).startswith("| concept | TCAV | p |\n| --- | --- | --- |\n| driving | ")


@pytest.mark.parametrize("statistic", ["sign", "mean"])
def test_random_concepts_are_not_found_more_often_than_the_p_values_say(statistic):
    model, x = mlp(classes=2), inputs(30, 6)
    p = []
    for seed in range(60):
        drawn = generator(seed)
        normal = lambda count, drawn=drawn: torch.randn(count, 6, generator=drawn, dtype=torch.float64)
        sets = [normal(20) for _ in range(6)]
        options = {"target": 1, "fit": C.mean_difference(), "statistic": statistic}
        found = C.tcav_test(af.layer(model, "1"), x, concepts={"none": normal(20)}, random=sets, **options)
        p.append(float(found.p))
    assert np.mean(np.array(p) < 0.05) <= 0.1
    assert 0.2 < np.mean(np.array(p) < 0.5) < 0.8


def test_concept_relevance_is_conditioned_lrp():
    """Two layers, epsilon rule, written out: the relevance of a hidden unit goes back through its weights alone."""
    model, x = mlp(), inputs(4, 6)
    model[1] = nn.ReLU()
    rules = af.rules.attn_lrp(epsilon=1e-10)
    found = C.concept_relevance(model, x, layer="1", units=range(8), target=2, rules=rules)
    hidden = model[1](model[0](x))
    for unit in range(8):
        share = hidden[:, unit] * model[2].weight[2, unit]
        own = x * model[0].weight[unit]
        total = own.sum(1) + model[0].bias[unit]
        close(found[unit], own * torch.where(hidden[:, unit] > 0, share / total, 0.0)[:, None], 1e-6)
    close(found.sum(0), af.lrp(model, x, target=2, rules=rules), 1e-5)
    single = C.concept_relevance(model, x, layer=model[1], units=3, target=2, rules=rules)
    close(single, found[3])


def test_concept_relevance_of_convolutions_adds_up():
    model, x = cnn(), inputs(3, 2, 6, 6)
    model[1] = nn.ReLU()
    labels = torch.tensor([0, 2, 1])
    found = C.concept_relevance(model, x, layer="1", units=[0, 1, 2, 3], target=labels)
    assert found.shape == (4, 3, 2, 6, 6)
    close(found.sum(0), af.lrp(model, x, target=labels), 1e-4)
    assert not torch.allclose(found[0], found[1])


VIEW, X = af.layer(mlp(), "1"), inputs(5, 6)
TWO = {"a": inputs(4, 6), "b": inputs(4, 6, seed=2)}
REFUSED = {
    "no layer": (lambda: C.concept_vectors(mlp(), TWO), "concept_vectors: argument `view`.*af.layer"),
    "two layers": (lambda: C.concept_vectors(af.layer(mlp(), ["0", "1"]), TWO), "`view`.*2 layers"),
    "no examples": (lambda: C.concept_vectors(VIEW, {"a": X[:0], "b": X}), r"concepts\['a'\].*no example"),
    "one class": (lambda: C.concept_vectors(VIEW, {"a": X}), "`concepts`.*two classes.*against="),
    "empty against": (lambda: C.concept_vectors(VIEW, {"a": X}, against=[]), "`against`.*no example"),
    "no dict": (lambda: C.concept_vectors(VIEW, X), "`concepts`.*dict"),
    "no data": (lambda: C.concept_vectors(VIEW, {"a": 3, "b": X}), r"concepts\['a'\]"),
    "the same": (lambda: C.concept_vectors(VIEW, {"a": X, "b": X}, fit=C.mean_difference()), "tell nothing"),
    "the same, to rounding": (lambda: C.concept_vectors(VIEW, {"a": X, "b": X.flip(0)}), "tell nothing"),
    "not a number": (lambda: C.concept_vectors(VIEW, {"a": X / 0 * 0, "b": X}), r"concepts\['a'\].*NaN"),
    "lengths": (
        lambda: C.concept_vectors(af.layer(nn.Identity(), ""), {"a": [X, X[:, :3]], "b": X}),
        r"concepts\['a'\].*of one shape.*texts to one length",
    ),
    "no numbers": (lambda: C.tcav(VIEW, X, vectors=inputs(2, 8) * torch.nan, target=0), "`vectors`.*finite"),
    "fit": (lambda: C.concept_vectors(VIEW, TWO, fit=lambda f, y: f), "`fit`.*direction and a bias"),
    "estimator": (
        lambda: C.concept_vectors(
            VIEW, TWO, fit=C.scikit_learn(__import__("sklearn.tree").tree.DecisionTreeClassifier())
        ),
        "`fit`.*linear classifier",
    ),
    "held out": (lambda: C.concept_vectors(VIEW, TWO, held_out=1), "`held_out`"),
    "strength": (lambda: C.ridge(0), "ridge: argument `strength`"),
    "vectors": (lambda: C.tcav(VIEW, X, vectors=inputs(2, 6), target=0), r"tcav: argument `vectors`.*\(8,\)"),
    "one vector": (lambda: C.concept_sensitivity(VIEW, X, vectors=inputs(8), target=0), r"`vectors`.*vector\[None\]"),
    "no x": (lambda: C.tcav(VIEW, X[:0], vectors=inputs(2, 8), target=0), "tcav: argument `x`.*no example"),
    "two sets": (lambda: C.tcav_test(VIEW, X, concepts=TWO, random=[X, X], target=0), "`random`.*three"),
    "one tensor": (lambda: C.tcav_test(VIEW, X, concepts=TWO, random=X, target=0), "`random`.*split"),
    "confidence": (
        lambda: C.tcav_test(VIEW, X, concepts=TWO, random=[X, X, X], confidence=95, target=0),
        "`confidence`",
    ),
    "statistic": (
        lambda: C.tcav_test(VIEW, X, concepts=TWO, random=[X, X, X], statistic="t", target=0),
        "`statistic`.*sign",
    ),
    "units": (lambda: C.concept_relevance(mlp(), X, layer="1", units=[8], target=0), "`units`.*0 to 7"),
    "a view": (lambda: C.concept_relevance(VIEW, X, layer="1", units=0, target=0), "concept_relevance: .*`model`"),
    "not saved": (lambda: C.save({}, "nowhere"), "save: argument `concepts`"),
    "target": (lambda: C.tcav(VIEW, X, vectors=inputs(2, 8), target=3), "`target`.*0 to 2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(af.ArgumentError, match="(?s)" + message):
        call()


def test_the_model_stays_as_it_is(headed, concepts):
    model, view = headed
    state = {name: value.clone() for name, value in model.state_dict().items()}
    found = C.concept_vectors(view, concepts)
    C.tcav(view, inputs(4, 6), vectors=found, target=1)
    C.concept_relevance(model, inputs(4, 6), layer="1", units=0, target=1)
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert C.concept_sensitivity(view, inputs(4, 6), vectors=found, target=1).requires_grad is False
