"""Each metric against its paper's formula, written out in loops, and against values that are known."""

import itertools

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch
from torch import nn

import attrfunc as af
from attrfunc.perturbation.game import open_game
from small_nets import cnn, generator, inputs, linear, mlp

M = af.metrics


def close(found, expected, tolerance=1e-10):
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype), rtol=tolerance, atol=tolerance)


@pytest.fixture
def model():
    return mlp()


@pytest.fixture
def x():
    return inputs(4, 6)


@pytest.mark.parametrize("normalize", [False, True])
def test_infidelity_is_the_formula(model, x, normalize):
    attributions, baseline = inputs(4, 6, seed=3), inputs(4, 6, seed=4)
    steps = [inputs(4, 6, seed=10 + number) for number in range(5)]
    given = iter(steps)
    found = M.infidelity(
        model, x, attributions, baseline=baseline, target=2, perturb=lambda x, g: next(given), n_samples=5,
        normalize=normalize, chunk_size=4,
    )  # fmt: skip
    for row in range(4):
        said, lost = [], []
        for step in steps:
            slope = attributions[row] / (x[row] - baseline[row])
            said.append(float(step[row] @ slope))
            lost.append(float(model(x[row : row + 1])[0, 2] - model((x[row] - step[row])[None])[0, 2]))
        said, lost = np.array(said), np.array(lost)
        if normalize:
            said = said * np.mean(said * lost) / np.mean(said**2)
        close(found[row], np.mean((said - lost) ** 2))


def test_infidelity_of_what_is_known(x):
    score, weights = linear()
    slopes = weights.expand_as(x)
    assert M.infidelity(score, x, slopes, multiply_by_inputs=False, generator=generator()).max() < 1e-25
    assert M.infidelity(score, x, slopes * (x - 0.3), baseline=0.3, n_samples=20).max() < 1e-25
    # With all of x - b, it is the squared gap.
    model, attributions = mlp(), inputs(4, 6, seed=3)
    found = M.infidelity(model, x, attributions, target=1, perturb=lambda x, g: x, n_samples=1)
    close(found, M.completeness_gap(model, x, attributions, target=1).square())
    # No other factor is better.
    options = {"target": 1, "n_samples": 30, "stdev": 0.5}
    best = M.infidelity(model, x, attributions, normalize=True, generator=generator(), **options)
    for factor in (-1.0, 0.0, 0.1, 0.5, 1.0, 2.0):
        other = M.infidelity(model, x, attributions * factor, generator=generator(), **options)
        assert (best <= other + 1e-12).all()


def test_a_feature_at_its_baseline_has_no_slope():
    score, weights = linear()
    x = inputs(2, 6)
    x[:, 2] = 0
    step = torch.eye(6, dtype=torch.float64)[2].expand(2, 6)
    found = M.infidelity(score, x, weights * x, perturb=lambda x, g: step, n_samples=1)
    close(found, (weights[2] ** 2).expand(2))


def neighbours(x, radius, count, seed):
    """The same draws as the library's, in single precision."""
    drawn = generator(seed)
    for _ in range(count):
        yield (2 * radius * (torch.rand(x.shape, generator=drawn) - 0.5)).to(x.dtype)


def test_sensitivities_are_the_formulas(model, x):
    options = {"radius": 0.2, "n_samples": 7}
    before = af.saliency(model, x, target=1)
    changes, rates = [], []
    for step in neighbours(x, 0.2, 7, 5):
        change = (af.saliency(model, x + step, target=1) - before).norm(dim=1)
        changes.append(change)
        rates.append(change / step.norm(dim=1))
    changes, rates, size = torch.stack(changes), torch.stack(rates), before.norm(dim=1)
    for chunk_size in (None, 4, 9):
        more = {**options, "chunk_size": chunk_size}
        found = M.max_sensitivity(af.saliency, generator=generator(5), **more)(model, x, target=1)
        close(found, changes.amax(0))
        found = M.avg_sensitivity(af.saliency, generator=generator(5), relative=True, **more)(model, x, target=1)
        close(found, changes.mean(0) / size)
        close(M.local_lipschitz(af.saliency, generator=generator(5), **more)(model, x, target=1), rates.amax(0))


def test_sensitivities_of_linear_scores(x):
    score, weights = linear()
    for metric in (M.max_sensitivity, M.avg_sensitivity, M.local_lipschitz):
        assert not metric(af.saliency, radius=0.1)(score, x).any()
    rate = M.local_lipschitz(af.input_x_gradient, radius=0.1, n_samples=500, generator=generator())(score, x)
    assert (rate <= weights.abs().max() + 1e-9).all()
    assert (rate >= weights.abs().median()).all()


def test_perturbations_and_norms_of_the_users(model, x):
    other = inputs(4, 6, seed=6)
    measure = M.max_sensitivity(af.saliency, radius=1.0, n_samples=1, perturb=lambda x, g: other, norm=1)
    change = af.saliency(model, other, target=1) - af.saliency(model, x, target=1)
    close(measure(model, x, target=1), change.abs().sum(1))
    rate = M.local_lipschitz(af.saliency, radius=1.0, n_samples=1, perturb=lambda x, g: other, norm=torch.inf)
    close(rate(model, x, target=1), change.abs().amax(1) / (other - x).abs().amax(1))
    a, step = inputs(4, 6, seed=3), inputs(4, 6, seed=7)
    pair = M.infidelity(
        model, x, a, target=1, perturb=lambda x, g: (step, other), multiply_by_inputs=False, n_samples=1
    )
    close(pair, ((step * a).sum(1) - (model(x) - model(other))[:, 1]) ** 2)


def test_targets_and_draws_of_the_method_follow(model, x):
    labels = torch.tensor([0, 1, 2, 0])
    found = M.max_sensitivity(af.saliency, radius=0.1, generator=generator(2))(model, x, target=labels)
    single = [
        M.max_sensitivity(af.saliency, radius=0.1, generator=generator(2))(model, x, target=int(label))[row]
        for row, label in enumerate(labels)
    ]
    close(found, torch.stack(single))
    # A method that draws has the same draws for both explanations: no change of a linear score's.
    score, _ = linear()
    drawing = M.max_sensitivity(af.gradient_shap, radius=1e-9, n_samples=3)
    options = {"baselines": inputs(5, 6, seed=8), "n_samples": 4, "stdev": 0.3}
    assert drawing(score, x, generator=generator(), **options).max() < 1e-6


def curve_of(model, x, sums, baseline, sizes, least_first=False, insertion=False):
    """One example's curve, one evaluation at a time."""
    order = sorted(range(len(sums)), key=lambda group: sums[group] if least_first else -sums[group])
    found = []
    for size in sizes:
        point = (baseline if insertion else x).clone()
        for group in order[:size]:
            point[group] = (x if insertion else baseline)[group]
        found.append(model(point[None])[0])
    return torch.stack(found)


@pytest.mark.parametrize("chunk_size", [None, 1, 5])
@pytest.mark.parametrize(
    ("order", "start"), list(itertools.product(("most_first", "least_first"), ("input", "baseline")))
)
def test_curves_are_what_is_evaluated_one_by_one(order, start, chunk_size):
    model, x, attributions, baseline = mlp(7), inputs(3, 7), inputs(3, 7, seed=3), inputs(3, 7, seed=4)
    found = M.perturbation_curve(
        model, x, attributions, baseline=baseline, target=1, order=order, start=start, n_steps=3, chunk_size=chunk_size
    )
    score = lambda point: model(point)[:, 1]
    for row in range(3):
        sums = attributions[row].tolist()
        expected = curve_of(
            score, x[row], sums, baseline[row], (0, 2, 5, 7), order == "least_first", start == "baseline"
        )
        close(found[row], expected)


def test_curves_of_groups_and_of_structures():
    x, attributions = inputs(2, 2, 4, 4), inputs(2, 2, 4, 4, seed=3)
    model = lambda x: x.flatten(1).pow(3).sum(1)
    mask = af.masks.grid_mask(x, (2, 2, 2))
    found = M.perturbation_curve(model, x, attributions, feature_mask=mask)
    for row in range(2):
        sums = [float(attributions[row][mask.expand(1, 2, 4, 4)[0] == group].sum()) for group in range(4)]
        order, point, expected = sorted(range(4), key=lambda group: -sums[group]), x[row].clone(), []
        expected.append(model(point[None])[0])
        for group in order:
            point[mask.expand(1, 2, 4, 4)[0] == group] = 0
            expected.append(model(point[None])[0])
        close(found[row], torch.stack(expected))
    pair = (inputs(2, 3), inputs(2, 2))
    both = M.perturbation_curve(lambda a, b: a.sum(1) * b.sum(1), pair, (pair[0], pair[1]))
    joined = M.perturbation_curve(lambda x: x[:, :3].sum(1) * x[:, 3:].sum(1), torch.cat(pair, 1), torch.cat(pair, 1))
    close(both, joined)


def test_no_order_is_better_than_the_exact_attributions_of_an_additive_score():
    score, weights = linear()
    x = inputs(3, 6)
    best = M.curve_area(M.perturbation_curve(score, x, weights * x))
    assert (M.curve_area(M.perturbation_curve(score, x, weights * x, start="baseline")) > best).all()
    for seed in range(20):
        assert (best <= M.curve_area(M.perturbation_curve(score, x, inputs(3, 6, seed=seed))) + 1e-12).all()


def test_area():
    curve = inputs(3, 5)
    close(M.curve_area(curve), np.trapezoid(curve.numpy(), dx=0.25, axis=1))
    close(M.curve_area(curve, relative=True), np.trapezoid((curve / curve[:, :1]).numpy(), dx=0.25, axis=1))
    assert M.curve_area(torch.tensor([[0.0, 1.0]]), relative=True).isnan().all()


def imputed(image, known):
    """ROAD's imputation by a dense linear system, one channel at a time."""
    channels, height, width = image.shape
    result = image.clone()
    unknown = [(i, j) for i in range(height) for j in range(width) if not known[i, j]]
    number = {place: index for index, place in enumerate(unknown)}
    for channel in range(channels):
        matrix, right = np.zeros((len(unknown),) * 2), np.zeros(len(unknown))
        for (i, j), index in number.items():
            for a, b in itertools.product((-1, 0, 1), repeat=2):
                k, m = i + a, j + b
                if (a, b) == (0, 0) or not (0 <= k < height and 0 <= m < width):
                    continue
                weight = 1 / 6 if 0 in (a, b) else 1 / 12
                matrix[index, index] += weight
                if (k, m) in number:
                    matrix[index, number[k, m]] -= weight
                else:
                    right[index] += weight * float(image[channel, k, m])
        solution = np.linalg.solve(matrix, right)
        for (i, j), index in number.items():
            result[channel, i, j] = solution[index]
    return result


def test_noisy_linear_solves_the_system():
    x, pixels = inputs(2, 2, 6, 6), torch.arange(36).view(1, 1, 6, 6)
    order = torch.randperm(36, generator=generator(3)).double()
    attributions = order.view(1, 1, 6, 6).expand(2, 2, 6, 6)
    model = lambda x: x.flatten(1).pow(2).sum(1)
    found = M.perturbation_curve(
        model, x, attributions, feature_mask=pixels, imputer=M.noisy_linear(stdev=0.0), n_steps=4
    )
    for step in range(4):
        known = order.view(6, 6) < 36 - 9 * step
        expected = [model(imputed(image, known)[None])[0] for image in x]
        close(found[:, step], torch.stack(expected), 1e-5)
    mean = x.mean((2, 3), keepdim=True).expand_as(x)
    close(found[:, 4], model(mean), 1e-10)  # of which nothing is left
    # The noise is that of the generator, the same for every chunk.
    noisy = [
        M.perturbation_curve(
            model, x, attributions, feature_mask=pixels, imputer=M.noisy_linear(generator=generator(1)), n_steps=4,
            chunk_size=size,
        )
        for size in (None, 1, 3)
    ]  # fmt: skip
    close(noisy[1], noisy[0])
    close(noisy[2], noisy[0])
    assert (noisy[0] != found)[:, 1:].all()


def test_an_imputer_of_the_users():
    x, attributions = inputs(2, 6), inputs(2, 6, seed=4)
    model, constant = mlp(), torch.full((2, 6), 0.7, dtype=torch.float64)
    fill = lambda x: lambda rows, present: torch.where(present, x[rows], constant[rows])
    found = M.perturbation_curve(model, x, attributions, target=0, imputer=fill, chunk_size=1)
    close(found, M.perturbation_curve(model, x, attributions, target=0, baseline=0.7))


def test_correlations_are_the_formulas(model, x):
    attributions = inputs(4, 6, seed=3)
    sets = list(itertools.combinations(range(6), 2))
    found = M.faithfulness_correlation(model, x, attributions, target=0, baseline=0.2, subset_size=2, chunk_size=5)
    for row in range(4):
        said, lost = [], []
        for chosen in sets:
            point = x[row].clone()
            point[list(chosen)] = 0.2
            said.append(float(attributions[row, list(chosen)].sum()))
            lost.append(float(model(x[row : row + 1])[0, 0] - model(point[None])[0, 0]))
        close(found[row], scipy.stats.pearsonr(said, lost)[0])
    options = {"target": 0, "baseline": 0.2}
    close(M.sensitivity_n(model, x, attributions, n=2, **options), found)
    both = [M.sensitivity_n(model, x, attributions, n=size, **options) for size in (2, 4)]
    close(M.sensitivity_n(model, x, attributions, n=[2, 4], **options), torch.stack(both).mean(0))
    # A part of the sets is near all of them.
    some = M.faithfulness_correlation(
        mlp(12), inputs(2, 12), inputs(2, 12, seed=3), target=0, subset_size=6, n_subsets=900, generator=generator()
    )
    every = M.faithfulness_correlation(
        mlp(12), inputs(2, 12), inputs(2, 12, seed=3), target=0, subset_size=6, n_subsets=924
    )
    assert (some - every).abs().max() < 0.1
    assert (some != every).any()


def test_correlations_of_an_additive_score(x):
    score, weights = linear()
    for sign in (1, -1):
        exact = sign * weights * x
        assert (M.faithfulness_correlation(score, x, exact, subset_size=3) - sign).abs().max() < 1e-12
        assert (M.sensitivity_n(score, x, exact, n=range(1, 6)) - sign).abs().max() < 1e-12
        shares = (sign * weights * x >= 0).double().mean(1)
        if sign == 1:
            close(M.monotonicity(score, x, exact), shares)
    assert M.faithfulness_correlation(score, x, torch.ones_like(x)).isnan().all()


def test_monotonicity_is_the_formula(model, x):
    attributions = inputs(4, 6, seed=3)
    found = M.monotonicity(model, x, attributions, target=1, baseline=-0.1)
    score = lambda point: model(point)[:, 1]
    for row in range(4):
        expected = curve_of(
            score, x[row], attributions[row].tolist(), torch.full((6,), -0.1).double(), range(7), True, True
        )
        close(found[row], float((expected[1:] >= expected[:-1]).double().mean()))


def test_effective_complexity_is_the_formula(model, x):
    attributions, baselines = inputs(4, 6, seed=3), inputs(3, 6, seed=7)
    found = M.effective_complexity(model, x, attributions, target=1, tolerance=0.05, baselines=baselines)
    for row in range(4):
        order = attributions[row].abs().argsort(descending=True)
        for count in range(7):
            squares = []
            for baseline in baselines:
                point = baseline.clone()
                point[order[:count]] = x[row, order[:count]]
                squares.append(float(model(point[None])[0, 1] - model(x[row : row + 1])[0, 1]) ** 2)
            if np.mean(squares) < 0.05:
                assert found[row] == count
                break
    product = lambda x: x[:, 0] * x[:, 1]
    ones = torch.ones(2, 5)
    assert M.effective_complexity(product, ones, af.ig(product, ones), tolerance=0.01).tolist() == [2, 2]
    assert M.effective_complexity(product, ones, af.ig(product, ones), tolerance=1.1).tolist() == [0, 0]


def test_sparseness_and_complexity():
    a = inputs(5, 2, 4)
    for row in range(5):
        values = np.sort(np.abs(a[row].numpy().ravel()))
        differences = np.abs(values[:, None] - values[None]).sum()
        close(M.sparseness(a)[row], differences / (2 * len(values) ** 2 * values.mean()))
        close(M.complexity(a)[row], scipy.stats.entropy(values / values.sum()))
    close(M.sparseness((a[:, 0], a[:, 1])), M.sparseness(a))
    close(M.sparseness(a * -1e300), M.sparseness(a))
    close(M.complexity(torch.ones(2, 7)), torch.full((2,), 7.0).log(), 1e-6)
    assert M.sparseness(torch.zeros(2, 3)).isnan().all()
    assert M.complexity(torch.zeros(2, 3)).isnan().all()
    assert M.sparseness(torch.randn(2, 3).half()).dtype == torch.float32


def test_localisation():
    a = inputs(6, 3, 5, 5)
    mask = (inputs(6, 1, 5, 5, seed=9) > 0.4).int()
    mask[:, 0, 0, 0], mask[:, 0, 4, 4] = 1, 0
    found = [metric(a, mask) for metric in (M.pointing_game, M.relevance_mass, M.relevance_rank, M.localisation_auc)]
    for row in range(6):
        relevance, inside = a[row].sum(0).numpy().ravel(), mask[row, 0].numpy().ravel().astype(bool)
        assert found[0][row] == inside[relevance.argmax()]
        positive = np.maximum(relevance, 0)
        close(found[1][row], positive[inside].sum() / positive.sum())
        close(found[2][row], inside[np.argsort(-relevance)[: inside.sum()]].mean())
        close(found[3][row], sklearn.metrics.roc_auc_score(inside, relevance))
    # Ties count half, or by their share.
    level, two = torch.ones(1, 8), torch.tensor([[1, 1] + [0] * 6])
    assert M.localisation_auc(level, two) == 0.5
    assert M.relevance_rank(level, two) == 0.25
    assert M.relevance_mass(level, two) == 0.25
    assert M.pointing_game(level, two) == 0.25
    near = torch.zeros(1, 1, 9, 9)
    near[0, 0, 4, 4] = 1
    place = torch.zeros(1, 1, 9, 9)
    place[0, 0, 4, 7] = 1
    assert M.pointing_game(near, place, tolerance=2.9) == 0
    assert M.pointing_game(near, place, tolerance=3) == 1
    coarse = torch.tensor([[1.0, 1.0, 2.0, 3.0, 3.0, 0.0]])
    truth = torch.tensor([[1, 0, 1, 0, 1, 0]])
    close(M.localisation_auc(coarse, truth)[0], sklearn.metrics.roc_auc_score(truth[0], coarse[0]), 1e-6)
    assert M.relevance_mass(-level, two).isnan().all()


def test_sufficiency(model):
    x, attributions = inputs(9, 6), inputs(9, 6, seed=3)
    labels = model(x).argmax(1)
    found = M.sufficiency(model, x, attributions, threshold=3.0)
    scaled = attributions / attributions.square().mean().sqrt()
    for row in range(9):
        others = [n for n in range(9) if n != row and (scaled[row] - scaled[n]).norm() <= 3.0]
        expected = np.mean([float(labels[n] == labels[row]) for n in others]) if others else float("nan")
        torch.testing.assert_close(float(found[row]), float(expected), equal_nan=True)
    assert found.isnan().any() or (found < 1).any()
    # An explanation that is the label tells it.
    told = torch.nn.functional.one_hot(labels, 6).double()
    found = M.sufficiency(model, x, told, threshold=0.1)
    assert (found[~found.isnan()] == 1).all()
    assert torch.equal(
        M.sufficiency(model, x, attributions, threshold=1.2, labels=labels).nan_to_num(-1),
        M.sufficiency(model, x, attributions, threshold=1.2).nan_to_num(-1),
    )


@pytest.mark.parametrize("similarity", ["spearman", "pearson", "cosine"])
def test_randomisation_compares_what_it_says(model, x, similarity):
    state = {name: value.clone() for name, value in model.state_dict().items()}
    check = M.parameter_randomisation(
        af.input_x_gradient, similarity=similarity, kind="shuffled", generator=generator()
    )
    layers, found = check(model, x, target=1)
    assert layers == ("2", "0")
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    drawn, other = generator(), mlp()
    before = af.input_x_gradient(model, x, target=1)
    measure = {
        "spearman": lambda a, b: scipy.stats.spearmanr(a, b)[0],
        "pearson": lambda a, b: scipy.stats.pearsonr(a, b)[0],
        "cosine": lambda a, b: float(a @ b / (a.norm() * b.norm())),
    }[similarity]
    for number, layer in enumerate((other[2], other[0])):
        for parameter in layer.parameters():
            order = torch.randperm(parameter.numel(), generator=drawn)
            parameter.data = parameter.data.reshape(-1)[order].view(parameter.shape)
        after = af.input_x_gradient(other, x, target=1)
        close(found[number], [measure(before[row], after[row]) for row in range(4)])


def test_what_does_not_look_at_the_model_does_not_change(model, x):
    blind = lambda model, x, **options: x.abs()
    assert (M.parameter_randomisation(blind)(model, x, target=0).similarities - 1).abs().max() < 1e-12
    assert (M.random_logit(blind)(model, x, target=0) - 1).abs().max() < 1e-12
    by_one = M.parameter_randomisation(af.saliency, layers=["0", "2"], cascading=False, generator=generator())
    again = M.parameter_randomisation(af.saliency, layers=["0"], generator=generator())
    first, single = by_one(model, x, target=0), again(model, x, target=0)
    close(first.similarities[0], single.similarities[0])


def test_random_logit_takes_another_class(model, x):
    labels = torch.tensor([0, 1, 2, 0])
    seen = []

    def method(model, x, *, target):
        seen.append(torch.as_tensor(target).expand(4))
        return af.saliency(model, x, target=target, absolute=False)

    for seed in range(20):
        found = M.random_logit(method, similarity="cosine", generator=generator(seed))(model, x, target=labels)
    assert all((other != labels).all() and ((other >= 0) & (other < 3)).all() for other in seen[1::2])
    assert len({tuple(other.tolist()) for other in seen[1::2]}) > 3
    one, two = (af.saliency(model, x, target=target, absolute=False) for target in (labels, seen[-1]))
    close(found, torch.nn.functional.cosine_similarity(one, two))
    # Of two classes whose scores are opposite, so are the gradients.
    pair = lambda x: torch.stack([x.sum(1), -x.sum(1)], 1)
    signed = M.random_logit(lambda m, x, target: af.saliency(m, x, target=target, absolute=False), similarity="cosine")
    close(signed(pair, x, target=1), -torch.ones(4))


def test_input_invariance(model, x):
    assert M.input_invariance(af.saliency, shift=3.0)(model, x, target=1).max() < 1e-10
    assert M.input_invariance(af.ig, shift=3.0)(model, x, baseline=lambda x: x.mean(0), target=1).max() < 1e-10
    found = M.input_invariance(af.input_x_gradient, shift=3.0)(model, x, target=1)
    gradient = af.saliency(model, x, target=1, absolute=False)
    close(found, (3.0 * gradient).norm(dim=1) / (x * gradient).norm(dim=1))
    own = inputs(4, 6, seed=5)  # another shift for each example
    found = M.input_invariance(af.input_x_gradient, shift=own)(model, x, target=1)
    close(found, (own * gradient).norm(dim=1) / (x * gradient).norm(dim=1))


def test_at_a_layer(x):
    model = cnn()
    x = inputs(2, 2, 6, 6)
    view, head = af.layer(model, "2"), lambda z: model[4](z.flatten(1))
    activation = af.activation(view, x)
    attributions = inputs(2, 4, 3, 3, seed=3)
    baseline = af.activation_baseline()
    for metric in (M.perturbation_curve, M.monotonicity, M.faithfulness_correlation):
        options = {"subset_size": 20, "generator": generator()} if metric is M.faithfulness_correlation else {}
        again = {**options, "generator": generator()} if options else {}
        found = metric(view, x, attributions, target=1, baseline=baseline, **options)
        close(found, metric(head, activation, attributions, target=1, **again))
    found = M.infidelity(view, x, attributions, target=1, baseline=baseline, generator=generator())
    close(found, M.infidelity(head, activation, attributions, target=1, generator=generator()))


def test_a_leading_linear_layer_is_not_run_for_each_of_many_nested_coalitions():
    """Curves of an MLP of many features, where shares of the first layer are added up, beside every run by hand."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(200, 8), nn.Tanh(), nn.Linear(8, 2)).double().eval()
    x, low, attributions = inputs(3, 4, 50), inputs(3, 4, 50, seed=2), inputs(3, 4, 50, seed=3)
    order = attributions.flatten(1).argsort(dim=1, descending=True, stable=True)
    assert open_game(model, x, baseline=low, target=1)._prefix(201) is not None
    for start in ("input", "baseline"):
        found = af.metrics.perturbation_curve(
            model, x, attributions, baseline=low, target=1, n_steps=200, start=start, chunk_size=90
        )
        one, other = (x, low) if start == "input" else (low, x)
        for count in range(201):
            point = one.flatten(1).clone()
            for row in range(3):
                point[row, order[row, :count]] = other.flatten(1)[row, order[row, :count]]
            torch.testing.assert_close(found[:, count], model(point.view(3, 4, 50))[:, 1].detach())
