"""Streaming statistics beside Captum's, and beside what torch gives for all samples at once."""

import captum.attr as captum_attr
import pytest
import torch

import attrfunc.captum.attr as shim_attr
from attrfunc import ArgumentError
from attrfunc.core.loops.moments import with_samples

MODULES = [shim_attr, captum_attr]


def every(module):
    orders = [
        kind(order=order)
        for kind in (module.Var, module.StdDev)
        for order in (0, 1, 2)
        if (kind, order) != (module.StdDev, 2)
    ]
    simple = [getattr(module, name)() for name in ("Count", "Mean", "MSE", "Min", "Max", "Sum")]
    return [*simple, *orders]


def check(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        if isinstance(value, torch.Tensor):
            # Captum's variances are float64, of float32 moments; but float32 where they are zeros for want of samples.
            torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-6, check_dtype=bool(value.any()))
        else:
            assert ours[name] == value


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


SAMPLES = {
    "vectors": [drawn(3, seed=i) for i in range(5)],
    "images": [drawn(2, 4, 4, seed=i).double() for i in range(3)],
    "numbers": [1.5, -2.0, 0.25],
    "scalars": [torch.tensor(float(i)) for i in range(4)],
    "integers": [torch.tensor([i, 2 * i]) for i in range(4)],
    "one": [drawn(3)],
    "two": [drawn(3), drawn(3, seed=1)],
    "far from zero": [1e4 + drawn(3, seed=i).double() for i in range(9)],
}


@pytest.mark.parametrize("samples", SAMPLES.values(), ids=SAMPLES)
@pytest.mark.parametrize("alone", [True, False])
def test_all_statistics(samples, alone):
    """Together, sharing the moments, and each alone."""
    for place in range(len(every(shim_attr))) if alone else [slice(None)]:
        summaries = []
        for module in MODULES:
            stats = every(module)[place]
            summarizer = module.Summarizer([stats] if alone else stats)
            assert summarizer.summary is None
            for x in samples:
                summarizer.update(x)
            summaries.append(summarizer.summary)
        check(*summaries)


def test_tuples():
    summaries = []
    for module in MODULES:
        summarizer = module.Summarizer(module.CommonStats())
        for i in range(4):
            summarizer.update((drawn(3, seed=i), drawn(2, 2, seed=i), 1.0 * i))
        summaries.append(summarizer.summary)
    for ours, theirs in zip(*summaries, strict=True):
        check(ours, theirs)
        assert ours.keys() == {"mean", "sample_variance", "sample_std_dev", "min", "max"}


def test_names_and_own_functions():
    stats = lambda module: [
        module.Mean("centre"),
        module.Min(min_fn=lambda a, b: torch.where(a.abs() < b.abs(), a, b)),
        module.Max("top", torch.maximum),
        module.Sum(add_fn=torch.mul),
    ]
    summaries = []
    for module in MODULES:
        summarizer = module.Summarizer(stats(module))
        for i in range(4):
            summarizer.update(drawn(5, seed=i))
        summaries.append(summarizer.summary)
    check(*summaries)
    assert shim_attr.StdDev(order=2).name == "std_dev(2)"
    assert shim_attr.Var(order=1) == shim_attr.Var(order=1) != shim_attr.Var(order=2)
    assert len({shim_attr.Mean(), shim_attr.Mean(), shim_attr.Max()}) == 2


def test_the_statistics_that_are_passed_stay_as_they_are():
    stats = shim_attr.CommonStats()
    shim_attr.Summarizer(stats).update(torch.ones(2))
    assert all(stat.get() is None for stat in stats)


def test_a_statistic_by_itself():
    for stat in every(shim_attr):
        assert stat.get() is None
        for x in SAMPLES["vectors"]:
            stat.update(x)
    whole = torch.stack(SAMPLES["vectors"])
    alone = shim_attr.Var(order=1)
    for x in whole:
        alone.update(x)
    torch.testing.assert_close(alone.get(), whole.double().var(0), rtol=1e-5, atol=1e-6)


def test_what_was_added_may_be_overwritten():
    summarizer = shim_attr.Summarizer([shim_attr.Max(), shim_attr.Mean()])
    x = torch.ones(2)
    summarizer.update(x)
    x.zero_()
    assert summarizer.summary["max"].eq(1).all()
    assert summarizer.summary["mean"].eq(1).all()


class Last(shim_attr.stat.Stat):
    value = None

    def update(self, x):
        self.value = x

    def get(self):
        return self.value


def test_own_statistics():
    summarizer = shim_attr.ClassSummarizer([Last(), shim_attr.Mean()])
    summarizer.update(torch.tensor([[1.0], [2.0], [4.0]]), ["a", "b", "a"])
    assert summarizer.class_summaries["a"][0]["last"] == 4
    assert summarizer.class_summaries["b"][0]["mean"] == 2
    with pytest.raises(NotImplementedError):
        shim_attr.stat.Stat().get()
    with pytest.raises(NotImplementedError):
        shim_attr.stat.Stat(order=3).update(torch.ones(1))
    assert shim_attr.stat.Stat(order=3).name == "stat({'order': 3})"


@pytest.mark.parametrize("labels", [[0, 1, 0, 2], ["a", "b", "b", "a"], 7, [3], None])
@pytest.mark.parametrize("pair", [True, False])
def test_classes(labels, pair):
    found = []
    for module in MODULES:
        summarizer = module.ClassSummarizer(every(module))
        for seed in range(3):
            x = drawn(4, 3, seed=seed)
            summarizer.update((x, drawn(4, 2, seed=seed)) if pair else x, labels)
        found.append(summarizer)
    ours, theirs = found
    assert ours.class_summaries.keys() == theirs.class_summaries.keys()
    pairs = [
        (ours.summary, theirs.summary),
        *((ours.class_summaries[k], theirs.class_summaries[k]) for k in theirs.class_summaries),
    ]
    for one, other in pairs:
        assert type(one) is type(other)
        for mine, peer in zip(*([s] if isinstance(s, dict) else s for s in (one, other)), strict=True):
            check(mine, peer)


def test_labels_in_a_tensor_are_classes():
    summarizer = shim_attr.ClassSummarizer([shim_attr.Mean(), shim_attr.Count()])
    summarizer.update(torch.tensor([[1.0], [2.0], [5.0]]), torch.tensor([4, 4, 2]))
    assert summarizer.class_summaries[4] == [{"mean": torch.tensor([1.5]), "count": 2}]
    assert summarizer.class_summaries[2] == [{"mean": torch.tensor([5.0]), "count": 1}]


def test_one_tensor():
    stats = every(shim_attr)
    single = shim_attr.SummarizerSingleTensor(stats, [0, 1])
    single.update(torch.ones(2))
    assert single.summary.keys() == {"count", "mean"}
    assert single.get(shim_attr.Mean()) is stats[1]
    assert single.get(shim_attr.Var(order=9)) is None


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (torch.ones(2), (torch.ones(2),), "tuple"),
        ((torch.ones(2),), (torch.ones(2), torch.ones(2)), "tuple of 2"),
        (torch.ones(2), torch.ones(3), r"\(3,\)"),
        (torch.ones(2), torch.ones(()), r"\(\)"),
    ],
)
def test_what_does_not_fit(first, second, message):
    summarizer = shim_attr.Summarizer([shim_attr.Mean()])
    summarizer.update(first)
    with pytest.raises(ArgumentError, match=rf"Summarizer.update.*`x`.*{message}"):
        summarizer.update(second)


def test_labels_that_do_not_fit():
    with pytest.raises(ArgumentError, match=r"ClassSummarizer.update.*`labels`.*2 labels for 3 examples"):
        shim_attr.ClassSummarizer([shim_attr.Mean()]).update(torch.ones(3, 2), [0, 1])


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1, 1), (2, 3, 1), (6,), (5, 1)])
def test_moments_in_chunks(sizes):
    samples = 100 + drawn(6, 4).double()
    moment, untouched = None, []
    for part in samples.split(sizes):
        moment = with_samples(moment, part, second=True)
        untouched.append((moment, moment.mean.clone(), moment.squares.clone()))
    torch.testing.assert_close(moment.mean, samples.mean(0))
    for correction in (0, 1):
        torch.testing.assert_close(moment.variance(correction), samples.var(0, correction=correction))
    assert moment.count == 6
    for known, mean, squares in untouched:  # a pure function: what was known stays
        assert torch.equal(known.mean, mean)
        assert torch.equal(known.squares, squares)


def test_product_baselines():
    torch.manual_seed(0)
    values = {"age": [20, 40], ("city", "country"): [("Oslo", "Norway"), ("Rome", "Italy")]}
    drawn = [shim_attr.ProductBaselines(values)() for _ in range(200)]
    cells = {(one["age"], one["city"], one["country"]) for one in drawn}
    assert cells == {(age, *place) for age in (20, 40) for place in values["city", "country"]}
    assert all(list(one) == ["age", "city", "country"] for one in drawn)
    listed = [tuple(shim_attr.ProductBaselines([[0, 1, 2], [5]]).sample()) for _ in range(60)]
    assert set(listed) == {(0, 5), (1, 5), (2, 5)}
    theirs = captum_attr.ProductBaselines(values)()
    assert theirs.keys() == drawn[0].keys()
    torch.manual_seed(0)
    assert shim_attr.ProductBaselines(values)() == drawn[0]
