"""Averages over random samples: the formulas with the same draws, one by one, and what they tend to."""

import pytest
import torch

import attrfunc as af
from oracle_net import drawn, make, slope

N = 6


@pytest.fixture
def net():
    return make()


@pytest.fixture
def x():
    return drawn(1, 3, 5)


@pytest.fixture
def background():
    return drawn(2, 7, 5)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def draws(x, background=None, nodes=False, n=N, stdev=0.3):
    """The samples one by one, in the order in which they are drawn: node, noise, baseline."""
    generator = seeded()
    for k in range(n):
        node = (k + torch.rand(len(x), generator=generator, dtype=torch.float64)) / n if nodes else None
        noisy = x + stdev * torch.randn(x.shape, generator=generator).to(x.dtype)
        baseline = None
        if background is not None:
            picked = torch.rand(len(x), generator=generator, dtype=torch.float64) * len(background)
            baseline = background[picked.long()]
        yield node, noisy, baseline


def test_gradient_shap(net, x, background):
    result = af.gradient_shap(net, x, baselines=background, n_samples=N, stdev=0.3, generator=seeded(), target=2)
    gaps = af.gradient_shap_gap(net, x, baselines=background, n_samples=N, stdev=0.3, generator=seeded(), target=2)
    expected = torch.zeros_like(x)
    for k, (node, noisy, baseline) in enumerate(draws(x, background, nodes=True)):
        for i, (end, start) in enumerate(zip(noisy, baseline, strict=True)):
            one = (end - start) * slope(lambda z: net(z[None])[0, 2], start + node[i] * (end - start))
            expected[i] += one / N
            change = (net(end[None]) - net(start[None]))[0, 2]
            torch.testing.assert_close(gaps[k, i], one.sum() - change)
    torch.testing.assert_close(result, expected)


def test_gradient_shap_at_a_layer(net, x, background):
    """The layer's activation moves; what bypasses the layer is that of the noisy input."""
    options = {"baselines": background, "n_samples": N, "stdev": 0.3, "target": 2}
    result = af.gradient_shap(af.layer(net, "block"), x, generator=seeded(), **options)
    expected = torch.zeros(3, 4, dtype=x.dtype)
    for node, noisy, baseline in draws(x, background, nodes=True):
        for i, (end, start) in enumerate(zip(noisy, baseline, strict=True)):
            low, high = net.before(start), net.before(end)
            gradient = slope(lambda a, end=end: net.behind(end, a)[2], low + node[i] * (high - low))
            expected[i] += (high - low) * gradient / N
    torch.testing.assert_close(result, expected.detach())


def test_gradient_shap_tends_to_the_mean_of_integrated_gradients(net, x, background):
    expected = torch.stack([af.ig(net, x, baseline=b, target=2) for b in background]).mean(0)
    runs = [
        af.gradient_shap(net, x, baselines=background, n_samples=200, generator=seeded(seed), target=2)
        for seed in range(20)
    ]
    error = torch.stack(runs).std(0) / len(runs) ** 0.5
    assert ((torch.stack(runs).mean(0) - expected).abs() < 5 * error).all()


def test_average_gradients_without_multiplication(net, x, background):
    options = {"n_samples": N, "target": 2}
    average = af.gradient_shap(
        net, x, baselines=background[:1], generator=seeded(), multiply_by_inputs=False, **options
    )
    result = af.gradient_shap(net, x, baselines=background[:1], generator=seeded(), **options)
    torch.testing.assert_close(average * (x - background[0]), result)


@pytest.mark.parametrize("kind", ["smoothgrad", "smoothgrad_sq", "vargrad"])
def test_smooth(kind, net, x):
    found = af.smooth(af.saliency, n_samples=N, stdev=0.3, kind=kind, generator=seeded())(
        net, x, target=torch.tensor([0, 2, 1]), absolute=False
    )
    scores = [lambda z, c=c: net(z[None])[0, c] for c in (0, 2, 1)]
    gradients = lambda noisy: torch.stack([slope(score, one) for score, one in zip(scores, noisy, strict=True)])
    samples = torch.stack([gradients(noisy) for _, noisy, _ in draws(x)])
    expected = {
        "smoothgrad": samples.mean(0),
        "smoothgrad_sq": samples.square().mean(0),
        "vargrad": samples.square().mean(0) - samples.mean(0).square(),
    }
    torch.testing.assert_close(found, expected[kind])


def test_smooth_draws_baselines(net, x, background):
    smoothed = af.smooth(af.ig, n_samples=N, stdev=0.3, baselines=background, generator=seeded())
    expected = [af.ig(net, noisy, baseline=baseline, target=1) for _, noisy, baseline in draws(x, background)]
    torch.testing.assert_close(smoothed(net, x, target=1), torch.stack(expected).mean(0))


def test_what_follows_the_examples_follows_them_in_larger_batches(x):
    """Targets, arguments, baselines and masks belong to examples; a callable baseline sees one sample at a time."""

    def model(x, scale, *, shift):
        return torch.stack([(x * scale + shift).sin().sum(1), (x.square() * scale).sum(1)], 1)

    def method(model, x, *, baseline, feature_mask, **options):
        return af.ig(model, x, baseline=baseline, n_steps=4, **options) * feature_mask

    scale, shift, mask = drawn(3, 3, 5), drawn(4, 3, 1), drawn(5, 3, 5)
    for target in ([0, 1, 1], torch.tensor([0, 1, 1]), [(0,), (1,), (1,)]):
        options = {"target": target, "args": (scale,), "kwargs": {"shift": shift}, "feature_mask": mask}
        options["baseline"] = lambda x: x.mean(0, keepdim=True)
        smoothed = af.smooth(method, n_samples=N, stdev=0.3, generator=seeded())
        expected = torch.stack([method(model, noisy, **options) for _, noisy, _ in draws(x)]).mean(0)
        torch.testing.assert_close(smoothed(model, x, **options), expected)


def test_noise_for_each_input(x):
    pair = (x, 2 * x)
    seen = []

    def method(model, x):
        seen.append(x)
        return x

    af.smooth(method, n_samples=2, stdev=(0.0, 1.0), generator=seeded(), chunk_size=1)(None, pair)
    assert all(torch.equal(first, x) for first, _ in seen)
    assert all(not torch.equal(second, 2 * x) for _, second in seen)


def test_a_method_that_draws_gets_one_sample_at_a_time(net, x, background):
    options = {"baselines": background, "n_samples": 2, "target": 1}
    expected = None
    for chunk_size in (1, 3, 6, 100, None):
        smoothed = af.smooth(af.gradient_shap, n_samples=4, stdev=0.1, generator=seeded(), chunk_size=chunk_size)
        found = smoothed(net, x, generator=seeded(1), **options)
        expected = found if expected is None else expected
        assert torch.equal(found, expected)


def test_smooth_of_a_neuron_for_each_example(net, x):
    view = af.neuron(net, "block", torch.tensor([0, 3, 1]))
    found = af.smooth(af.saliency, n_samples=N, stdev=0.3, generator=seeded())(view, x)
    torch.testing.assert_close(found, torch.stack([af.saliency(view, noisy) for _, noisy, _ in draws(x)]).mean(0))


def test_smooth_of_the_conductance_of_a_neuron_for_each_example(net, x):
    options = {"layer": "block", "neuron": torch.tensor([0, 3, 1]), "target": [1, 0, 2], "n_steps": 4}
    found = af.smooth(af.neuron_conductance, n_samples=N, stdev=0.3, generator=seeded())(net, x, **options)
    expected = [af.neuron_conductance(net, noisy, **options) for _, noisy, _ in draws(x)]
    torch.testing.assert_close(found, torch.stack(expected).mean(0))


def test_running_moments_do_not_lose_digits(net, x):
    """A variance far smaller than the mean, in single precision."""
    method = lambda model, x: 1000 + x
    smoothed = af.smooth(method, n_samples=500, stdev=0.01, kind="vargrad", generator=seeded(), chunk_size=30)
    found = smoothed(net, torch.zeros(3, 5))
    samples = torch.stack([1000 + noisy for _, noisy, _ in draws(torch.zeros(3, 5), n=500, stdev=0.01)])
    # Single precision keeps 6e-5 of 1000, and the mean of squares less the square of the mean would keep nothing.
    torch.testing.assert_close(found.double(), samples.double().var(0, correction=0), rtol=6e-3, atol=0)
