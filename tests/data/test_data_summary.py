"""Summaries beside numpy in double precision, and statistics beside what all samples at once give."""

import functools

import numpy as np
import pytest
import scipy.stats
import torch
from small_data import Pairs, net, rows

import attrfunc as af
from attrfunc.data import Statistics
from attrfunc.data.student import quantile


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    data = Pairs(300)
    data.x[11] = torch.nan
    path = tmp_path_factory.mktemp("summary") / "store"
    options = {"target": "predicted", "batch_size": 16, "shard_rows": 64, "progress": False}
    return af.data.attribute(af.ig, net(), data, path=path, **options)


def check(found, values, level=0.95):
    """Against the formulas, written out."""
    for measured, interval, one in (
        (found.mean, found.interval, values),
        (found.mean_absolute, found.interval_absolute, abs(values)),
    ):
        mean = one.sum(0) / len(one)
        error = np.sqrt(((one - mean) ** 2).sum(0) / (len(one) - 1) / len(one))
        reach = scipy.stats.t.ppf((1 + level) / 2, len(one) - 1) * error
        np.testing.assert_allclose(measured, mean, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(interval[0], mean - reach, rtol=1e-7, atol=1e-10)
        np.testing.assert_allclose(interval[1], mean + reach, rtol=1e-7, atol=1e-10)
    assert found.count == len(values)


@pytest.mark.parametrize("by", ["target", "label", "prediction"])
def test_by_class(store, by):
    values, right = store.numpy().astype(np.float64), store.numpy("row") != 11
    keys = store.numpy(by)
    found = af.data.summary(store.path, by=by, level=0.9)
    check(found.overall, values[right], 0.9)
    assert list(found.classes) == sorted(set(keys[right].tolist()))
    for key, part in found.classes.items():
        check(part, values[right & (keys == key)], 0.9)
    assert (found.rows, found.failed) == (300, 1)


def test_reduced(store):
    right = store.numpy("row") != 11
    found = af.data.summary(store, by=None, reduce=lambda a: a.abs().sum())
    check(found.overall, abs(store.numpy().astype(np.float64)[right]).sum(1))
    assert found.classes == {}
    gaps = af.data.summary(store, by=None, column="gap").overall
    check(gaps, store.numpy("gap").astype(np.float64)[right])


def test_one_row_of_a_class_has_no_interval(tmp_path):
    model = lambda x: x.sum(1)
    data = [{"x": torch.tensor([[1.0], [2.0], [4.0]]), "kind": ["a", "b", "a"]}]
    columns = {"x": "x", "keep": ["kind"]}
    af.data.attribute(af.input_x_gradient, model, data, columns=columns, path=tmp_path / "s", progress=False)
    found = af.data.summary(tmp_path / "s", by="kind")
    assert {key: float(part.mean) for key, part in found.classes.items()} == {"a": 2.5, "b": 2.0}
    assert torch.cat(found.classes["b"].interval).isnan().all()


def test_what_a_summary_refuses(store, tmp_path):
    for options, message in (
        ({"by": "classes"}, "`by`: got 'classes'; expected a column of the store"),
        ({"column": "attribution"}, "`column`: got 'attribution'.*'attributions'"),
        ({"level": 95}, "`level`: got int 95; expected a number between 0 and 1"),
        ({"reduce": lambda a: 1.0}, "`reduce`: got one that gives float 1.0"),
    ):
        with pytest.raises(af.ArgumentError, match=rf"summary: argument {message}"):
            af.data.summary(store, **options)
    with pytest.raises(af.ArgumentError, match=r"summary: argument `path`.*holds no manifest"):
        af.data.summary(tmp_path)
    x = rows(6)[0]
    data = [x, torch.cat([x, x], 1)]
    lengths = af.data.attribute(af.saliency, lambda x: x.sum(1), data, path=tmp_path / "lengths", progress=False)
    with pytest.raises(af.ArgumentError, match=r"`column`: got 'attributions', of shapes \[\(4,\), \(8,\)\].*reduce="):
        af.data.summary(lengths)
    with pytest.raises(af.ArgumentError, match=r"Store.numpy: argument `column`: .*\(4,\), \(8,\)"):
        lengths.numpy()
    assert af.data.summary(lengths, reduce=torch.sum).overall.mean == 6
    nothing = [torch.full((3, 4), torch.nan)]
    zeros = lambda model, x, *, target=None: x
    options = {"path": tmp_path / "nothing", "on_error": "record", "progress": False}
    failed = af.data.attribute(zeros, lambda x: x.sum(1), nothing, **options)
    with pytest.raises(af.ArgumentError, match="a store of 3 rows with errors, and no other"):
        af.data.summary(failed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.float16])
def test_statistics_however_they_are_cut_and_merged(dtype):
    samples = (1000 + 50 * torch.randn(97, 3, generator=torch.Generator().manual_seed(0))).to(dtype)
    whole = samples.double()
    parts = [Statistics.of(part) for part in samples.split([1, 2, 50, 44])]
    for found in (
        Statistics.of(samples),
        functools.reduce(Statistics.merged, parts),
        functools.reduce(lambda a, b: b.merged(a), parts),
        functools.reduce(Statistics.with_samples, samples.split(10)[1:], Statistics.of(samples[:10])),
    ):
        exact = 1e-12 if dtype in (torch.float64, torch.int64) else 1e-5
        assert found.count == 97
        torch.testing.assert_close(found.mean.double(), whole.mean(0), rtol=exact, atol=0)
        torch.testing.assert_close(found.variance(), whole.var(0), rtol=100 * exact, atol=0)
        torch.testing.assert_close(found.variance(0), whole.var(0, correction=0), rtol=100 * exact, atol=0)
        assert torch.equal(found.low, samples.amin(0))
        assert torch.equal(found.high, samples.amax(0))
        if dtype != torch.float16:
            torch.testing.assert_close(found.total.double(), whole.sum(0), rtol=1e-6, atol=0)
    one = Statistics.of(samples[:1])
    assert one.variance().eq(0).all()
    assert one.standard_error().isnan().all()


def test_statistics_are_values():
    samples = torch.ones(2, 3)
    found = Statistics.of(samples)
    samples.zero_()
    later = found.with_samples(torch.full((1, 3), 4.0))
    assert found.mean.eq(1).all()
    assert later.mean.eq(2).all()
    assert (found.count, later.count) == (2, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Statistics.of(torch.ones(0, 3)), r"`samples`: got a tensor of shape \(0, 3\)"),
        (lambda: Statistics.of(torch.tensor(1.0)), r"`samples`: got a tensor of shape \(\)"),
        (lambda: Statistics.of(torch.ones(2)).with_samples(torch.ones(2, 3)), r"shape \(3,\) after some of shape \(\)"),
        (lambda: Statistics.of(torch.ones(2)).interval(1.0), "`level`: got float 1.0"),
    ],
)
def test_statistics_that_cannot_be(call, message):
    with pytest.raises(af.ArgumentError, match=message):
        call()


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_quantiles(level):
    for freedom in (1, 2, 3, 4, 7, 30, 101, 1000, 1001, 20_000):
        expected = scipy.stats.t.ppf((1 + level) / 2, freedom)
        assert quantile(level, freedom) == pytest.approx(expected, rel=1e-8 if freedom <= 1000 else 1e-7)
