"""LIME beside Captum's, with the same coalitions."""

import itertools
import math

import captum._utils.models.linear_model as captum_models
import captum.attr as captum_attr
import captum.attr._core.lime as captum_lime
import pytest
import torch
from captum_peer import agree, kinds

import attrfunc.captum.attr as shim_attr
import attrfunc.captum.attr.lime as shim_lime
import attrfunc.captum.models as shim_models
from attrfunc import ArgumentError
from zoo import CASES

ZOO = {case.name: case for case in CASES}
MODULES = [(shim_attr, shim_lime, shim_models), (captum_attr, captum_lime, captum_models)]
pytestmark = pytest.mark.filterwarnings("ignore:You are providing multiple inputs for Lime")


def model(x, y=None):
    return torch.stack([(x.sin() * torch.arange(1, 5)).sum(1), x.prod(1) + (0 if y is None else y.sum((1, 2)))], 1)


@pytest.fixture
def x():
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(1))


def coalitions(n, count):
    """The same for each example: Captum draws anew for each, from a generator function."""
    drawn = torch.rand(count, n, generator=torch.Generator().manual_seed(0)) < 0.5

    def perturb(inputs, **kwargs):
        assert kwargs["num_interp_features"] == n
        yield from drawn.long()[:, None]

    return perturb


def every_coalition(n):
    def perturb(inputs, **kwargs):
        yield from (torch.tensor([one]) for one in itertools.product([0, 1], repeat=n))

    return perturb


LINEAR = {
    "lasso": lambda models: models.SkLearnLasso(alpha=0.003),
    "ridge": lambda models: models.SkLearnRidge(alpha=0.1),
    "linear": lambda models: models.SkLearnLinearRegression(),
    "sgd": lambda models: models.SGDLinearRegression(),
}


@pytest.mark.parametrize(
    ("linear", "kernel"),
    [
        ("lasso", ("cosine", 1.0)),
        ("ridge", ("cosine", 0.3)),
        ("linear", ("euclidean", 2.0)),
        ("sgd", ("cosine", 1.0)),
    ],
)
def test_the_same_coalitions(x, linear, kernel):
    for options in (
        {"target": 0},
        {"target": torch.tensor([1, 0, 1]), "baselines": 0.5},
        {"target": 1, "feature_mask": torch.tensor([[0, 0, 1, 2]]), "baselines": x.flip(0)},
    ):
        n = 3 if "feature_mask" in options else 4
        results = []
        for attr, lime, models in MODULES:
            similarity = lime.get_exp_kernel_similarity_function(*kernel)
            explainer = attr.Lime(model, LINEAR[linear](models), similarity, coalitions(n, 12))
            results.append(
                [
                    explainer.attribute(x, n_samples=12, **options, **more)
                    for more in ({}, {"return_input_shape": False})
                ]
            )
        for ours, theirs in zip(*results, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Minimum element in feature mask is not 0")
@pytest.mark.parametrize("wrapped", [True, False])
def test_several_inputs_and_gaps(x, wrapped):
    """Captum fits coefficients to the gaps, too; with all coalitions of the groups and gaps these are zero."""
    y = torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(2))
    inputs = (x, y) if wrapped else x
    mask = (torch.tensor([[2, 2, 3, 7]]), torch.tensor([[[7, 7], [5, 5]]])) if wrapped else torch.tensor([[2, 3, 3, 7]])
    for options in ({}, {"return_input_shape": False}):
        results = []
        for attr, _, models in MODULES:
            explainer = attr.Lime(model, models.SkLearnRidge(alpha=0.1), perturb_func=every_coalition(6))
            results.append(explainer.attribute(inputs, target=1, feature_mask=mask, n_samples=64, **options))
        assert kinds(results[0]) == kinds(results[1])
        for ours, theirs in zip(*(r if isinstance(r, tuple) else (r,) for r in results), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_defaults(x):
    """All 16 coalitions, each once; Captum draws as many of them as it is told."""
    ours = shim_attr.Lime(model).attribute(x, target=0, n_samples=20)
    theirs = captum_attr.Lime(model, perturb_func=every_coalition(4)).attribute(x, target=0, n_samples=16)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    torch.manual_seed(3)
    drawn = shim_attr.Lime(model).attribute(x, target=0, n_samples=12)
    torch.manual_seed(3)
    agree(shim_attr.Lime(model).attribute(x, target=0, n_samples=12, perturbations_per_eval=5), drawn)
    assert not torch.allclose(shim_attr.Lime(model).attribute(x, target=0, n_samples=12), drawn)


@pytest.mark.parametrize("name", ["mlp", "several_inputs", "lstm"])
def test_real_networks_on_average(name):
    """Many draws: both estimate the same coefficients."""
    case = ZOO[name]
    network, results = case.make(), []
    inputs = case.inputs if isinstance(case.inputs, tuple) else (case.inputs,)
    masks = tuple(
        torch.arange(2).view(1, *[1] * (leaf.dim() - 2), 2).repeat_interleave(leaf.shape[-1], -1)[..., : leaf.shape[-1]]
        + 2 * i
        for i, leaf in enumerate(inputs)
    )
    for attr, _, models in MODULES:
        torch.manual_seed(0)
        explainer = attr.Lime(network, models.SkLearnLinearRegression())
        options = {"target": case.target, "feature_mask": masks, "additional_forward_args": case.args or None}
        results.append(explainer.attribute(inputs, n_samples=400, **options))
    for ours, theirs in zip(*results, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() < 0.1 * theirs.abs().max()


def test_a_score_of_the_batch(x):
    results = []
    for attr, _, models in MODULES:
        explainer = attr.Lime(
            lambda x: model(x).square().sum(), models.SkLearnRidge(alpha=0.1), None, coalitions(4, 12)
        )
        results.append([explainer.attribute(x, n_samples=12, return_input_shape=shape) for shape in (True, False)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs.view_as(ours), rtol=1e-4, atol=1e-5)
    assert results[0][0].shape == (1, 4)


def test_own_functions(x):
    """Weights of Captum's signature, of each example."""
    seen = []

    def similarity(original, perturbed, features, **kwargs):
        assert original.shape == perturbed.shape == (1, 4)
        assert features.shape == (1, 4)
        torch.testing.assert_close(perturbed, torch.where(features.bool(), original, kwargs["baselines"]))
        assert kwargs["feature_mask"].tolist() == [[0, 1, 2, 3]]
        assert kwargs["num_interp_features"] == 4
        seen.append(features)
        return math.exp(-float((original - perturbed).abs().sum()))

    results = []
    for attr, _, models in MODULES:
        explainer = attr.Lime(model, models.SkLearnRidge(alpha=0.1), similarity, coalitions(4, 12))
        results.append(explainer.attribute(x, x.flip(1), target=0, n_samples=12))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)
    assert len(seen) == 2 * 36


def test_integers():
    """Captum's cosine of integers, too."""
    table = torch.randn(10, 2, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[1, 2, 3], [7, 8, 4]])
    results = []
    for attr, _, models in MODULES:
        explainer = attr.Lime(lambda ids: table[ids].sum(1), models.SkLearnRidge(alpha=0.1), None, coalitions(3, 10))
        results.append(explainer.attribute(ids, target=1, n_samples=10))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)


def test_kernels():
    one, other = torch.randn(2, 3), torch.randn(2, 3)
    for arguments in ((), ("cosine", 0.4), ("euclidean", 3.0)):
        kernels = [lime.get_exp_kernel_similarity_function(*arguments) for _, lime, _ in MODULES]
        ours, theirs = (kernel((one, other), (other, one), None, any=1) for kernel in kernels)
        assert ours == pytest.approx(theirs, rel=1e-5)
        assert isinstance(ours, float)


class TestLimeBase:
    def test_sampled_features(self):
        x = torch.randn(1, 6, generator=torch.Generator().manual_seed(4))
        scales = torch.rand(15, 1, 3, generator=torch.Generator().manual_seed(5))
        results = []
        for attr, _, models in MODULES:
            supply = iter(scales)
            explainer = attr.LimeBase(
                lambda x: model(x[:, :4]),
                models.SkLearnRidge(alpha=0.1),
                lambda original, perturbed, features, **kwargs: torch.exp(-(original - perturbed).norm() * kwargs["k"]),
                lambda original, supply=supply, **kwargs: next(supply),
                True,
                lambda features, original, **kwargs: original * features.repeat_interleave(2, 1),
                None,
            )
            results.append(explainer.attribute(x, target=1, n_samples=15, perturbations_per_eval=4, k=0.5))
        assert results[0].shape == (1, 3)
        torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)

    def test_sampled_inputs(self):
        x = torch.randn(1, 4, generator=torch.Generator().manual_seed(4))
        noise = torch.randn(9, 1, 4, generator=torch.Generator().manual_seed(5))

        def perturb(original, **kwargs):
            for one in noise:
                yield original[0] + 0.1 * one, original[1]

        results = []
        for attr, _, models in MODULES:
            explainer = attr.LimeBase(
                model,
                models.SkLearnLinearRegression(),
                lambda original, perturbed, features, **kwargs: 1.0,
                perturb,
                False,
                None,
                lambda perturbed, original, **kwargs: perturbed[0][:, :2] - original[0][:, :2],
            )
            with pytest.warns(UserWarning, match="yielded 9 samples|Generator completed prior"):
                results.append(explainer.attribute((x, torch.ones(1, 2, 2)), target=0, n_samples=20))
        torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)

    def test_a_batch_with_one_score(self, x):
        results = []
        for attr, lime, models in MODULES:
            explainer = attr.LimeBase(
                lambda x: float(model(x).sum()),
                models.SkLearnRidge(alpha=0.1),
                lime.get_exp_kernel_similarity_function("euclidean", 5.0),
                coalitions(4, 12),
                True,
                lime.default_from_interp_rep_transform,
                None,
            )
            kwargs = {"feature_mask": torch.arange(4)[None], "baselines": 0, "num_interp_features": 4}
            results.append(explainer.attribute(x, n_samples=12, **kwargs))
        torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)

    def test_what_cannot_be_right(self, x):
        with pytest.raises(ArgumentError, match="LimeBase: argument `from_interp_rep_transform`"):
            shim_attr.LimeBase(model, None, None, print, True, None, None)
        with pytest.raises(ArgumentError, match="LimeBase: argument `to_interp_rep_transform`"):
            shim_attr.LimeBase(model, None, None, print, False, print, None)
        base = shim_attr.LimeBase(model, None, None, shim_lime.default_perturb_func, True, print, None)
        with pytest.raises(ArgumentError, match=r"LimeBase.attribute: argument `inputs`: got 3 examples"):
            base.attribute(x, target=0)
        with pytest.raises(ArgumentError, match="num_interp_features"):
            base.attribute(x[:1], target=0)
        with pytest.raises(NotImplementedError, match="LimeBase"):
            base.attribute_future()


def test_default_transforms(x):
    y = torch.randn(3, 2)
    for inputs, kwargs in [
        (x, {"feature_mask": torch.tensor([[0, 1, 1, 2]]), "baselines": 3}),
        ((x, y), {"feature_mask": (torch.tensor([[0, 1, 1, 2]]), torch.tensor([[2, 0]])), "baselines": (0, y.flip(0))}),
    ]:
        ours, theirs = (
            lime.default_from_interp_rep_transform(torch.tensor([[1, 0, 1]]), inputs, **kwargs)
            for _, lime, _ in MODULES
        )
        torch.testing.assert_close(ours, theirs)
    drawn = shim_lime.default_perturb_func(x, num_interp_features=500)
    assert drawn.shape == (1, 500)
    assert 0.4 < drawn.float().mean() < 0.6
    assert drawn.dtype == captum_lime.default_perturb_func(x, num_interp_features=5).dtype


def test_errors_name_the_class(x):
    with pytest.raises(ArgumentError, match=r"Lime.attribute: argument `feature_mask`"):
        shim_attr.Lime(model).attribute(x, target=0, feature_mask=torch.zeros(7, dtype=torch.long))
    with pytest.raises(ArgumentError, match=r"Lime.attribute: argument `n_samples`"):
        shim_attr.Lime(model).attribute(x, target=0, n_samples=0)
