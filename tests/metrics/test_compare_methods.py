"""The table of methods: means, intervals and what differs beyond chance."""

import functools
import warnings

import pytest
import torch

import attrfunc as af
from small_nets import generator, inputs, mlp

M = af.metrics


def insertion(measured):
    curve = M.perturbation_curve(
        measured.model, measured.x, measured.attributions, start="baseline", **measured.options
    )
    return M.curve_area(curve)


def test_the_table(tmp_path):
    model, labels = mlp(), torch.tensor([0, 1, 2, 0, 1] * 4)
    data = [(inputs(20, 6, seed=seed), labels) for seed in range(3)]
    noise = lambda model, x, **options: inputs(*x.shape, seed=9)
    methods = {"IG": af.ig, "noise": noise, "IG, 20 points": functools.partial(af.ig, n_steps=20)}
    metrics = {"insertion": insertion, "sparseness": lambda m: M.sparseness(m.attributions)}
    table = M.compare(methods, model, data, metrics=metrics, generator=generator())
    assert table.values.shape == (2, 3, 60)
    expected = torch.cat(
        [insertion(M.Measured(af.ig, model, x, {"target": y}, af.ig(model, x, target=y))) for x, y in data]
    )
    torch.testing.assert_close(table.values[0, 0], expected)
    torch.testing.assert_close(table.means, table.values.mean(2))
    assert (table.low < table.means).all()
    assert (table.means < table.high).all()
    # As wide as the normal approximation has them.
    error = table.values.std(2) / 60**0.5
    torch.testing.assert_close(table.high - table.low, 2 * 1.96 * error, rtol=0.15, atol=0)
    assert table.differ[0].tolist() == [[False, True, False], [True, False, True], [False, True, False]]
    assert str(table).startswith("| method | insertion | sparseness |\n| --- | --- | --- |\n| IG | ")
    table.draw().savefig(tmp_path / "table.png")
    assert (tmp_path / "table.png").stat().st_size > 5_000
    again = M.compare(methods, model, data, metrics=metrics, generator=generator())
    assert torch.equal(table.low, again.low)


def test_methods_that_do_not_differ_are_warned_of():
    model, data = mlp(), [(inputs(30, 6), {"target": 1})]
    with pytest.warns(UserWarning, match=r"in sparseness, complexity no two methods differ.*30 examples"):
        M.compare({"a": af.saliency, "b": af.saliency}, model, data, n_resamples=200)


def test_chance_is_not_taken_for_a_difference():
    """Of methods that are alike, few pairs differ: as often as the confidence says, over all pairs together."""
    model = lambda x: x.sum(1)
    wrong = 0
    for seed in range(40):
        drawn = generator(seed)
        values = {str(n): torch.randn(50, generator=drawn, dtype=torch.float64) for n in range(4)}
        methods = {name: lambda m, x, value=value, **options: value[:, None] for name, value in values.items()}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="compare: in")
            table = M.compare(
                methods,
                model,
                [(torch.ones(50, 3), None)],
                metrics={"value": lambda m: m.attributions[:, 0]},
                n_resamples=400,
                generator=drawn,
            )
        wrong += bool(table.differ.any())
    assert wrong <= 6  # 2 are expected; of 40 with a chance of 5 %, more than 6 come in 0.3 %


def test_examples_without_a_number_are_left_out_for_all():
    model, x = mlp(), inputs(10, 6)
    holes = torch.arange(10) < 3
    metrics = {"value": lambda m: torch.where(holes, torch.nan, m.x[:, 0])}
    table = M.compare({"ig": af.ig}, model, [(x, 0)], metrics=metrics, n_resamples=50)
    torch.testing.assert_close(table.means, x[3:, 0].mean().view(1, 1))
