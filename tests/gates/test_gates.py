"""Gates: their moments, their gradients, and what they refuse."""

import pytest
import scipy.integrate
import scipy.stats
import torch
from torch.func import grad, vmap

import attrfunc as af
from small_nets import generator

G = af.gates


@pytest.mark.parametrize("log_alpha", [-2.0, 0.0, 1.5])
def test_the_moments_of_hard_concrete_gates(log_alpha):
    """From the distribution function of the stretched variable: s <= y iff logit(u) <= t logit((y - l)/(h - l)) - a."""
    temperature, low, high = 0.5, -0.2, 1.3

    def below(y):
        share = torch.tensor((y - low) / (high - low)).double()
        return float((temperature * share.logit() - log_alpha).sigmoid())

    mean, _ = scipy.integrate.quad(lambda y: 1 - below(y), 0, 1)
    square, _ = scipy.integrate.quad(lambda y: 2 * y * (1 - below(y)), 0, 1)
    options = {"temperature": temperature, "low": low, "high": high}
    drawn = G.hard_concrete(
        torch.tensor([log_alpha]).double(), shape=(400_000,), generator=generator(), **options
    ).squeeze(1)
    error = 4 * drawn.std() / len(drawn) ** 0.5
    assert abs(drawn.mean() - mean) < error
    assert abs(drawn.square().mean() - square) < 2 * error
    active = G.active_probability(torch.tensor([log_alpha]).double(), **options)
    torch.testing.assert_close(float(active), 1 - below(0))
    assert abs((drawn > 0).double().mean() - active) < 0.003
    assert abs((drawn == 1).double().mean() - (1 - below(1))) < 0.003


@pytest.mark.parametrize("mean", [-0.4, 0.2, 0.9])
def test_the_moments_of_gaussian_gates(mean):
    drawn = G.gaussian_gate(torch.tensor([mean]).double(), shape=(400_000,), stdev=0.4, generator=generator())
    normal = scipy.stats.norm(mean, 0.4)
    expected, _ = scipy.integrate.quad(lambda y: normal.sf(y), 0, 1)
    assert abs(drawn.mean() - expected) < 4 * drawn.std() / len(drawn) ** 0.5
    active = G.gaussian_active_probability(torch.tensor([mean]).double(), stdev=0.4)
    torch.testing.assert_close(float(active), float(normal.sf(0)))
    assert abs((drawn > 0).double().mean() - active) < 0.003


@pytest.mark.parametrize("gate", [G.hard_concrete, G.gaussian_gate])
def test_gradients_transforms_shapes_and_draws(gate):
    parameter = torch.tensor([0.1, 0.4, 0.7]).double()
    loss = lambda p: gate(p, shape=(50,), generator=generator()).square().sum()
    slope = grad(loss)(parameter)
    for place in range(3):
        step = 1e-6 * torch.eye(3).double()[place]
        numeric = (loss(parameter + step) - loss(parameter - step)) / 2e-6
        torch.testing.assert_close(slope[place], numeric, rtol=1e-4, atol=1e-6)
    stack = torch.stack([parameter, parameter + 0.5])
    mapped = vmap(lambda p: gate(p, shape=(4,), generator=generator()))(stack)
    for one, found in zip(stack, mapped, strict=True):
        torch.testing.assert_close(gate(one, shape=(4,), generator=generator()), found)
    grid = gate(torch.zeros(2, 3), shape=(4, 5), generator=generator())
    assert grid.shape == (4, 5, 2, 3)
    assert grid.dtype == torch.float32
    torch.testing.assert_close(gate(torch.zeros(2, 3).double(), shape=(4, 5), generator=generator()).float(), grid)
    assert gate(torch.zeros(2).half()).dtype == torch.float16
    state = torch.random.get_rng_state()
    gate(parameter, generator=generator())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_gate_of_evaluation():
    log_alpha = torch.linspace(-4, 4, 9).double()
    expected = [min(1.0, max(0.0, -0.1 + 1.2 / (1 + 2.718281828459045**-a))) for a in log_alpha.tolist()]
    torch.testing.assert_close(G.expected_gate(log_alpha), torch.tensor(expected).double())


@pytest.mark.parametrize("kind", [G.HardConcreteGates, G.GaussianGates])
def test_modules(kind):
    mask = torch.tensor([[0, 0], [1, 2]])
    gates, x = kind(3, mask), torch.arange(1.0, 41).view(5, 2, 2, 2)
    parameter = next(gates.parameters())
    with torch.no_grad():
        parameter.copy_(torch.tensor([0.2, 0.6, 9.0]))
    fixed = gates.eval()(x)
    values = gates.gates()
    torch.testing.assert_close(fixed, x * values[mask])
    drawn = gates.train()(x, generator=generator())
    again = kind(3).train()
    again.load_state_dict({name: value for name, value in gates.state_dict().items() if name != "mask"})
    torch.testing.assert_close(again(torch.ones(5, 3), generator=generator())[:, mask][:, None] * x, drawn)
    assert len({*(drawn / x)[:, 0, 0, 0].tolist()}) > 3  # each example has its own
    torch.testing.assert_close(gates.penalty(), gates.probabilities().sum())
    gates.penalty().backward()
    assert (parameter.grad[:2] > 0).all()
    assert "mask" in gates.state_dict()


def test_a_penalty_closes_what_is_not_needed():
    torch.manual_seed(0)
    x = torch.randn(400, 6)
    y = 2 * x[:, 1] - x[:, 4]
    gates, weights = G.HardConcreteGates(6), torch.zeros(6, requires_grad=True)
    optimiser = torch.optim.Adam([*gates.parameters(), weights], lr=0.05)
    drawn = generator()
    for _ in range(300):
        loss = ((gates(x, generator=drawn) @ weights - y) ** 2).mean() + 0.1 * gates.penalty()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (gates.gates() > 0.5).tolist() == [False, True, False, False, True, False]
    assert (gates.gates()[[0, 2, 3, 5]] < 0.05).all()


REFUSED = {
    "log_alpha": (lambda: G.hard_concrete([0.0]), "hard_concrete: argument `log_alpha`"),
    "integers": (lambda: G.gaussian_gate(torch.tensor([1])), "gaussian_gate: argument `mean`"),
    "shape": (lambda: G.hard_concrete(torch.zeros(2), shape=(-1,)), "`shape`"),
    "temperature": (lambda: G.active_probability(torch.zeros(2), temperature=0), "active_probability: .*`temperature`"),
    "low": (lambda: G.hard_concrete(torch.zeros(2), low=0.1), "`low`.*below 0"),
    "high": (lambda: G.expected_gate(torch.zeros(2), high=1), "expected_gate: argument `high`.*above 1"),
    "stdev": (lambda: G.gaussian_active_probability(torch.zeros(2), stdev=-1), "`stdev`"),
    "generator": (lambda: G.gaussian_gate(torch.zeros(2), generator=0), "`generator`"),
    "mask": (lambda: G.HardConcreteGates(2, torch.tensor([0, 2])), "HardConcreteGates: argument `mask`.*0 to 1"),
    "n_gates": (lambda: G.GaussianGates(0), "GaussianGates: argument `n_gates`"),
    "x": (lambda: G.GaussianGates(3)(torch.ones(2, 4)), r"GaussianGates: argument `x`.*\(3,\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(af.ArgumentError, match="(?s)" + message):
        call()
