"""Which argument is blamed where a model, or a callable target, does not take what it is given."""

import pytest
import torch
from torch import nn

import attrfunc as af
from attrfunc.core.score.misfit import misfit
from attrfunc.core.score.views import as_view

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(1)).double()
METHODS = {
    "saliency": af.saliency,
    "ig": af.ig,
    "lrp": af.lrp,
    "ablation": af.feature_ablation,
    "smooth": lambda model, x, **options: af.smooth(af.saliency, n_samples=2, stdev=0.1)(model, x, **options),
}


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2).double()

    def forward(self, x, weights=None):
        return self.head(x if weights is None else x @ weights)


WRONG = {
    "names": ({"kwargs": {"weight": X}}, "kwargs", "weight"),
    "too many": ({"args": (None, None)}, "args", "too many positional"),
    "twice": ({"args": (None,), "kwargs": {"weights": None}}, "kwargs", "multiple values"),
    "dtype": ({"kwargs": {"weights": torch.eye(4)}}, "kwargs", "torch.float32"),
    "shape": ({"target": lambda output: (output * torch.ones(7)).sum(1)}, "target", "must match"),
    "index": ({"target": lambda output: output[:, 9]}, "target", "out of bounds"),
    "arity": ({"target": lambda: 0}, "target", "positional argument"),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", WRONG)
def test_the_argument_that_is_wrong(name, method):
    options, argument, said = WRONG[name]
    with pytest.raises(af.ArgumentError, match=said) as caught:
        METHODS[method](Masked(), X, **{"target": 0, **options})
    assert caught.value.argument == argument


def test_another_device():
    """Which takes two of them, so torch's words stand for it."""
    said = RuntimeError("Expected all tensors to be on the same device, but found at least two devices, meta and cpu!")
    view, options = as_view(Masked()), {"kwargs": {"weights": torch.eye(4, device="meta")}}
    told = misfit(said, view, X, options)
    assert (told.argument, told.expected) == ("kwargs", "the model's device cpu")
    assert misfit(said, view, X.to("meta"), {}).argument == "x"


def test_a_selector():
    view = af.neuron(Masked(), "head", lambda activation: activation[:, 5])
    with pytest.raises(af.ArgumentError, match="out of bounds") as caught:
        af.saliency(view, X)
    assert caught.value.argument == "selector"


@pytest.mark.parametrize("method", [af.feature_ablation, af.shapley_values])
def test_identifiers_that_do_not_exist(method):
    model = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2))
    ids = torch.tensor([[1, 2]])
    for wrong in ({"x": ids + 5}, {"x": ids, "baseline": 7}):
        with pytest.raises(af.ArgumentError, match=r"beyond the end of an embedding.*baseline"):
            method(model, wrong.pop("x"), target=0, **wrong)


def test_a_sparse_matrix_inside():
    """What a model computes may be sparse; what it takes follows the examples, which a matrix between them cannot."""

    class Spread(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 2).double()

        def forward(self, x):
            links = (torch.eye(4).double() + 0.5).to_sparse()
            return self.head(torch.sparse.mm(links * 2, x.T).T)

    model = Spread()
    dense = af.ig(lambda x: model.head(2 * x @ (torch.eye(4).double() + 0.5)), X, target=1)
    torch.testing.assert_close(af.ig(model, X, target=1), dense)
    torch.testing.assert_close(af.ig(af.layer(model, "head", side="input"), X, target=1).sum(1), dense.sum(1))


def test_no_examples():
    generator = torch.Generator().manual_seed(0)
    assert af.gradient_shap(Masked(), X[:0], baselines=X, target=0, generator=generator).shape == (0, 4)


def test_scores_of_batches_keep_their_digits():
    model = nn.Linear(4, 2)
    score = af.batch_score(lambda output: 1e9 + float(output.double().sum()))
    found = af.feature_ablation(model.double(), X, target=score)
    torch.testing.assert_close(found, X.sum(0)[None] * model.weight.sum(0), rtol=0, atol=1e-5)
