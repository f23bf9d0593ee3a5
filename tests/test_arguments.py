"""What cannot be right is named before anything runs, by every public method alike."""

import numpy as np
import pytest
import torch
from torch import nn

import attrfunc as af
from contract import Net, each_method

X = torch.randn(2, 2, 6, generator=torch.Generator().manual_seed(0)).double()


class Taking(Net):
    def forward(self, x, scale=1.0):
        return super().forward(x) * scale


WRONG = {
    "a class": (Net, {}, r"`model`: got the class Net.*Pass Net\("),
    "an array": (X.numpy(), {}, r"`x`: got an array of type numpy.ndarray.*torch.as_tensor\(x\)"),
    "an array inside": ((X.numpy(),), {}, r"`x`: got an array of type numpy.ndarray"),
    "sparse": (X.to_sparse(), {}, r"`x`: got a tensor of layout torch.sparse_coo.*x.to_dense\(\)"),
    "meta": (X.to("meta"), {}, r"`x`: got a tensor on device meta"),
    "nested": (
        torch.nested.nested_tensor(list(X), layout=torch.jagged),
        {},
        r"`x`: got a nested tensor.*to_padded_tensor",
    ),
    "kwargs": (X, {"kwargs": [1]}, r"`kwargs`: got list \[1\]; expected None, or a dict"),
    "names of kwargs": (X, {"kwargs": {1: 1}}, r"`kwargs`: got dict \{1: 1\}; expected None, or a dict"),
    "unknown kwargs": (X, {"kwargs": {"size": 1}}, r"`kwargs`.*unexpected keyword argument 'size'"),
    "too many args": (X, {"args": (1.0, 2.0)}, r"`args`.*positional argument"),
    "args": (X, {"args": 3}, r"`args`: got int 3; expected a tuple"),
}


@each_method(lambda method: not method.variant)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_what_no_method_takes(method):
    torch.manual_seed(0)
    net = Taking().double().eval()
    for what, (given, options, message) in WRONG.items():
        model, x = (given, X) if what == "a class" else (net, given)
        with pytest.raises(af.ArgumentError, match=message):
            method(model, x, target=1, **options)
    method(net, X, target=1, kwargs={"scale": 2.0})


@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor|torch.quantized")
def test_quantised_inputs():
    x = torch.quantize_per_tensor(torch.rand(2, 3), 0.1, 0, torch.qint8)
    for method in (af.saliency, af.feature_ablation):
        with pytest.raises(af.ArgumentError, match=r"`x`.*not quantised. Pass x.dequantize\(\)"):
            method(nn.Linear(3, 2), x, target=1)


BASELINES = {
    "imaginary": (torch.zeros(2, 3), 1j, "input's own dtype"),
    "complex": (torch.zeros(2, 3), torch.zeros(3, dtype=torch.complex64), "input's own dtype"),
    "negative": (torch.zeros(2, 3, dtype=torch.uint8), -1, "padding id"),
    "too large": (torch.zeros(2, 3, dtype=torch.uint8), torch.tensor(300), "padding id"),
    "no truth value": (torch.zeros(2, 3, dtype=torch.bool), 2, "padding id"),
    "a fraction": (torch.zeros(2, 3, dtype=torch.long), 0.5, "padding id"),
    "sparse": (torch.zeros(2, 3), torch.zeros(2, 3).to_sparse(), "to_dense"),
    "meta": (torch.zeros(2, 3), torch.zeros(3, device="meta"), "on the model's device"),
}


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_are_not_turned_into_others(name):
    x, baseline, message = BASELINES[name]
    model = lambda z: z.double().sum(1)
    with pytest.raises(af.ArgumentError, match=rf"`baseline`.*{message}"):
        af.feature_ablation(model, x, baseline=baseline)
    if isinstance(baseline, torch.Tensor) and x.is_floating_point():
        samples = baseline if name == "sparse" else baseline[None]
        with pytest.raises(af.ArgumentError, match=rf"`baselines`.*{message}"):
            af.gradient_shap(model, x, baselines=samples)


@pytest.mark.parametrize(
    ("x", "baseline"),
    [
        (torch.ones(2, 3, dtype=torch.uint8), 255),
        (torch.ones(2, 3, dtype=torch.long), 7.0),
        (torch.ones(2, 3, dtype=torch.bool), False),
        (torch.ones(2, 3), True),
        (torch.ones(2, 3).double(), 0.1),
        (torch.ones(2, 3), np.float32(0.5)),
    ],
)
def test_baselines_that_the_dtype_holds(x, baseline):
    found = af.feature_ablation(lambda z: z.double().sum(1), x, baseline=baseline)
    torch.testing.assert_close(found, (x.double() - float(baseline)).to(found.dtype))


def test_bound_tensors():
    model, x = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)), torch.ones(1, 3)
    with pytest.raises(af.ArgumentError, match=r"bind: argument `tensors`: got int 3; expected a dict"):
        af.bind(model, 3)
    halved = af.bind(model, {"0.weight": torch.ones(2, 3).double()})
    with pytest.raises(af.ArgumentError, match=r"saliency: argument `tensors`.*float64; expected the model's dtype"):
        af.saliency(halved, x, target=1)
    every = {name: tensor.detach().double() for name, tensor in model.named_parameters()}
    assert af.saliency(af.bind(model, every), x.double(), target=1).dtype == torch.float64


def test_an_error_inside_the_model_is_the_users():
    def model(x):
        return helper(x, 1)

    def helper(x):
        return x

    with pytest.raises(TypeError, match="positional argument"):
        af.saliency(model, X)


@pytest.mark.parametrize("count", [0, -1, True, 2.5, "3"], ids=str)
def test_counts(count):
    model = nn.Linear(4, 3)
    for method in (af.ig, af.shapley_sampling, af.smooth(af.saliency, chunk_size=count)):
        options = {} if getattr(method, "__name__", "") == "smooth(saliency)" else {"chunk_size": count}
        with pytest.raises(af.ArgumentError, match=r"`chunk_size`.*at least 1"):
            method(model, torch.ones(2, 4), target=0, **options)
    with pytest.raises(af.ArgumentError, match=r"`n_steps`.*at least 1"):
        af.ig(model, torch.ones(2, 4), target=0, n_steps=count)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (None, "NoneType.*a structure of tensors"),
        ([[1.0, 2.0]], r"list \[\[1.0, 2.0\]\].*torch.as_tensor"),
        ({"x": torch.ones(2, 4)}, r"got dict.*model\(\*\*x\)"),
    ],
    ids=["none", "numbers", "dict"],
)
def test_inputs_that_are_no_tensor(x, said):
    for method in (af.saliency, af.feature_ablation, af.lrp):
        with pytest.raises(af.ArgumentError, match=f"{method.__name__}: argument `x`: .*{said}"):
            method(nn.Linear(4, 3), x, target=0)


def test_numbers_where_an_embedding_reads_identifiers():
    model, x = nn.Sequential(nn.Embedding(5, 3), nn.Flatten()), torch.ones(2, 4)
    with pytest.raises(af.ArgumentError, match=r"feature_ablation: argument `x`: .*not whole.*embedding"):
        af.feature_ablation(model, x, target=0)


class Mixed(nn.Module):
    """The mean of the batch goes into each score."""

    def forward(self, x):
        return (x - x.mean(0)).square()


def test_one_warning_for_one_call():
    x = torch.randn(4, 3)
    model = nn.Sequential(nn.Linear(3, 3), Mixed()).eval()
    for name, call in {
        "smooth(integrated_gradients)": lambda: af.smooth(af.ig, n_samples=3)(model, x, target=0, n_steps=3),
        "integrated_gradients": lambda: af.ig(af.layer(model, ["0", "0"]), x, target=0, n_steps=3),
        "shapley_sampling": lambda: af.shapley_sampling(model, x, target=0, n_samples=2),
    }.items():
        with pytest.warns(UserWarning, match="depends on the batch") as caught:
            call()
        assert [str(one.message).partition(": ")[0] for one in caught] == [name]
    with pytest.warns(UserWarning, match="depends on the batch"):
        af.ig(model, x, target=0, n_steps=3)  # the next call says it again
