"""Numbers at the edges: half precision, integers of any type, targets that a transform hides."""

import pytest
import torch
from alike import drawn, same
from torch import nn

import attrfunc as af

INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
METHODS = {
    "saliency": af.saliency,
    "ig": lambda net, x, **options: af.ig(net, x, n_steps=3, **options),
    "deep_lift": af.deep_lift,
    "lrp": af.lrp,
    "guided_backprop": af.guided_backprop,
    "feature_ablation": af.feature_ablation,
    "shapley_sampling": lambda net, x, **options: af.shapley_sampling(
        net, x, n_samples=2, generator=torch.Generator().manual_seed(0), **options
    ),
    "conductance": lambda net, x, **options: af.conductance(net, x, layer="0", n_steps=3, **options),
}
each = pytest.mark.parametrize("name", METHODS)


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)).double().eval()


@each
def test_targets_of_any_integer_type(name):
    x = drawn(2, 6)
    each_own, one = METHODS[name](net(), x, target=[0, 2]), METHODS[name](net(), x, target=2)
    for dtype in INTEGERS:
        same(METHODS[name](net(), x, target=torch.tensor([0, 2], dtype=dtype)), each_own)
        same(METHODS[name](net(), x, target=torch.tensor(2, dtype=dtype)), one)


@each
def test_targets_that_do_not_exist(name):
    """An error where the number is seen, and no number where a transform hides it: nothing wraps around."""
    x = drawn(2, 6)
    for wrong in (3, -4, 200):
        with pytest.raises(af.ArgumentError, match=r"`target`"):
            METHODS[name](net(), x, target=torch.tensor(wrong))
    found = torch.vmap(lambda t: METHODS[name](net(), x, target=t), randomness="same")(torch.tensor([1, 7]))
    same(found[0], METHODS[name](net(), x, target=1))
    assert found[1].isnan().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["saliency", "ig", "deep_lift", "guided_backprop", "lrp"])
def test_scores_whose_sum_is_no_number_of_half_precision(name, dtype):
    """3,000 scores of 40, each of which is one."""
    x = torch.ones(3000, 3, dtype=dtype)
    found = METHODS[name](lambda x: 40 * x[:, 0] + x[:, 1], x)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), torch.tensor([40.0, 1.0, 0.0]).expand(3000, 3), rtol=1e-2, atol=2e-2)


@pytest.mark.parametrize("name", ["saliency", "ig", "input_x_gradient"])
@pytest.mark.parametrize("score", [lambda t: torch.relu(t[0]) - t[1], lambda t: t.sum(), lambda t: t[:1].sum()])
def test_a_score_of_one_example_says_what_is_missing(name, score):
    method = getattr(af, name)
    with pytest.raises(af.AttributionError, match=rf"{method.__name__}: .*(batch|per example)"):
        method(score, torch.tensor([3.0, 1.0]))
    found = method(lambda x: torch.stack([score(row) for row in x]), torch.tensor([[3.0, 1.0]]))
    assert found.shape == (1, 2)


@pytest.mark.filterwarnings("ignore:Implicit dimension choice")
@pytest.mark.parametrize("kind", [nn.Softmax, nn.LogSoftmax, nn.Softmin])
@pytest.mark.parametrize("name", ["ig", "deep_lift", "lrp", "guided_backprop"])
def test_a_dimension_that_torch_chooses(name, kind):
    """Of a table it takes the last, as if that had been said."""
    torch.manual_seed(0)
    first, last, x = nn.Linear(6, 4).double(), nn.Linear(4, 3).double(), drawn(5, 6)
    unsaid, said = nn.Sequential(first, kind(), last), nn.Sequential(first, kind(dim=1), last)
    same(METHODS[name](unsaid, x, target=0), METHODS[name](said, x, target=0))
