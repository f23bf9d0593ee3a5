"""What holds for all metrics: chunks, purity, transforms, odd tensors."""

import copy

import pytest
import torch
from torch.func import grad, vmap

import attrfunc as af
from small_nets import cnn, generator, inputs, mlp

M = af.metrics

# Those of a model's attributions, and what makes them cheap.
OF_ATTRIBUTIONS = {
    "infidelity": lambda *a, **k: M.infidelity(*a, generator=generator(), **k),
    "curve": lambda *a, **k: M.curve_area(M.perturbation_curve(*a, **k)),
    "faithfulness": lambda *a, **k: M.faithfulness_correlation(*a, generator=generator(), subset_size=3, **k),
    "sensitivity_n": lambda *a, **k: M.sensitivity_n(*a, generator=generator(), n=[1, 4], n_subsets=20, **k),
    "monotonicity": M.monotonicity,
    "effective_complexity": lambda *a, **k: M.effective_complexity(*a, tolerance=0.05, **k),
}
# Those of methods, as functions of model and input.
OF_METHODS = {
    "max_sensitivity": lambda **k: M.max_sensitivity(af.saliency, radius=0.1, generator=generator(), **k),
    "avg_sensitivity": lambda **k: M.avg_sensitivity(af.ig, radius=0.1, generator=generator(), **k),
    "local_lipschitz": lambda **k: M.local_lipschitz(af.input_x_gradient, radius=0.1, generator=generator(), **k),
    "random_logit": lambda: M.random_logit(af.saliency, generator=generator()),
    "input_invariance": lambda: M.input_invariance(af.ig, shift=0.5),
}


@pytest.mark.parametrize("name", [*OF_ATTRIBUTIONS, *OF_METHODS, "parameter_randomisation"])
def test_pure_and_one_number_for_each_example(name):
    model, x, attributions = mlp(), inputs(5, 6), inputs(5, 6, seed=3)
    model.training = True  # which nothing in it depends on, and nothing may switch off
    state, kept = copy.deepcopy(model.state_dict()), (x.clone(), attributions.clone())
    if name in OF_ATTRIBUTIONS:
        found = OF_ATTRIBUTIONS[name](model, x, attributions, target=1)
    elif name in OF_METHODS:
        found = OF_METHODS[name]()(model, x, target=1)
    else:
        found = M.parameter_randomisation(af.saliency)(model, x, target=1).similarities[0]
    assert found.shape == (5,)
    assert not found.requires_grad
    assert found.isfinite().all()
    assert model.training
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in model.parameters())
    assert torch.equal(x, kept[0])
    assert torch.equal(attributions, kept[1])


@pytest.mark.parametrize("name", OF_ATTRIBUTIONS)
def test_chunks_layouts_and_single_examples(name):
    metric, model = OF_ATTRIBUTIONS[name], cnn()
    wide = inputs(3, 4, 6, 6)
    x, attributions = wide[:, ::2], inputs(3, 2, 6, 6, seed=3)
    mask = af.masks.grid_mask(x, (2, 2, 2))
    options = {"target": torch.tensor([0, 2, 1])} | ({} if name == "infidelity" else {"feature_mask": mask})
    whole = metric(model, x, attributions, **options)
    for size in (1, 2, 7):
        torch.testing.assert_close(metric(model, x, attributions, chunk_size=size, **options), whole)
    copied = metric(model, x.contiguous(), attributions.transpose(2, 3).contiguous().transpose(2, 3), **options)
    torch.testing.assert_close(copied, whole)
    if name != "infidelity":  # whose draws are those of a batch
        single = metric(model, x[1:2], attributions[1:2], **{**options, "target": 2})
        torch.testing.assert_close(single, whole[1:2])


@pytest.mark.parametrize("name", ["max_sensitivity", "avg_sensitivity", "local_lipschitz"])
def test_neighbours_do_not_depend_on_chunks(name):
    model, x, labels = mlp(), inputs(5, 6), torch.tensor([0, 2, 1, 1, 0])
    whole = OF_METHODS[name]()(model, x, target=labels)
    for size in (1, 5, 11):
        torch.testing.assert_close(OF_METHODS[name](chunk_size=size)(model, x, target=labels), whole)


@pytest.mark.parametrize("name", ["infidelity", "curve", "faithfulness", "sensitivity_n"])
def test_transforms(name):
    metric, model, x, attributions = OF_ATTRIBUTIONS[name], mlp(), inputs(3, 6), inputs(3, 6, seed=3)
    targets = torch.arange(3)
    mapped = vmap(lambda target: metric(model, x, attributions, target=target))(targets)
    looped = torch.stack([metric(model, x, attributions, target=target) for target in targets.tolist()])
    torch.testing.assert_close(mapped, looped)
    bias = model[2].bias
    bound = lambda step: metric(af.bind(model, {"2.bias": bias, "0.bias": step}), x, attributions, target=1).sum()
    slope, way = grad(bound)(model[0].bias), inputs(8, seed=5)
    numeric = (bound(model[0].bias + 1e-5 * way) - bound(model[0].bias - 1e-5 * way)) / 2e-5
    torch.testing.assert_close(slope @ way, numeric, rtol=1e-5, atol=1e-8)


def test_attributions_can_be_learned_by_their_infidelity():
    model, x = mlp(), inputs(3, 6)
    loss = lambda a: M.infidelity(
        model, x, a, target=1, multiply_by_inputs=False, n_samples=200, stdev=1e-3, generator=generator()
    ).sum()
    # Near x the score is linear, so the gradient is the minimum.
    gradient = af.saliency(model, x, target=1, absolute=False)
    assert grad(loss)(gradient).abs().max() < 1e-3 * grad(loss)(gradient + 1).abs().max()
    assert loss(gradient) < 1e-4 * loss(gradient + 1)


@pytest.mark.parametrize("name", OF_ATTRIBUTIONS)
def test_half_precision(name):
    model, x, attributions = mlp(), inputs(4, 6), inputs(4, 6, seed=3)
    x, attributions = x.bfloat16(), attributions.bfloat16()
    exact = OF_ATTRIBUTIONS[name](model, x.double(), attributions.double(), target=1)
    found = OF_ATTRIBUTIONS[name](model.bfloat16(), x, attributions, target=1)
    assert found.dtype == torch.float32
    if name in ("curve", "faithfulness", "sensitivity_n"):
        torch.testing.assert_close(found.double(), exact, rtol=0.1, atol=0.1)


def test_integers_are_replaced_as_they_are():
    table = inputs(10, 4)
    model = lambda ids: table[ids].sum(2).pow(2).sum(1)
    ids, attributions = torch.tensor([[1, 2, 3], [4, 5, 9]]), inputs(2, 3)
    found = M.perturbation_curve(model, ids, attributions, baseline=0)
    order = attributions.argsort(dim=1, descending=True)
    for row in range(2):
        point = ids[row].clone()
        for step, place in enumerate(order[row]):
            torch.testing.assert_close(found[row, step], model(point[None])[0])
            point[place] = 0


def test_one_number_for_each_example():
    x, model = inputs(4), lambda x: x**3
    assert torch.equal(M.perturbation_curve(model, x, x), torch.stack([x**3, x * 0], 1))
    torch.testing.assert_close(
        M.infidelity(model, x, x**3, perturb=lambda x, g: x, n_samples=1), torch.zeros(4).double()
    )


def test_a_batch_of_none():
    model, x = mlp(), inputs(0, 6)
    for name in ("curve", "monotonicity", "effective_complexity", "infidelity"):
        assert OF_ATTRIBUTIONS[name](model, x, x, target=1).shape == (0,)
    assert M.sparseness(x).shape == M.pointing_game(x, x).shape == (0,)
