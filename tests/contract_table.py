"""The table of the contract: one row for each public method, the network and the views that it is tried on.

A new method adds one row to METHODS.
"""

import functools
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

import attrfunc as af
from attrfunc.perturbation.feature_groups import NumberedMask
from attrfunc.propagation.rectifiers import deconvolved, guided


@dataclass(frozen=True)
class Method:
    call: Any
    options: dict = field(default_factory=dict)  # what makes it cheap
    baseline: bool = False  # has a `baseline` argument
    chunks: bool = False  # has a `chunk_size` argument
    views: tuple = ()  # keys of VIEWS, for a method that names its layer itself; none means all
    random: bool = False  # draws from a `generator`
    loss: float = 0.05  # what bfloat16, which has 8 bits, may lose
    exact: bool = True  # what does not matter gets zero; a fit to samples leaves something
    mirrors: bool = True  # gives the structure of the input; otherwise tensors over groups of features
    fitted: bool = False  # what is not used gets zero but for rounding

    def __call__(self, model, x, **kwargs):
        seeded = {"generator": torch.Generator().manual_seed(0)} if self.random and "generator" not in kwargs else {}
        return self.call(model, x, **{**seeded, **self.options, **kwargs})

    def __str__(self):
        """The same in every process that runs tests, which a function's own text is not."""
        plain = (int, float, str, bool, tuple)
        shown = [value if isinstance(value, plain) else type(value).__name__ for value in self.options.values()]
        return f"{self.call.__name__}{shown}"

    def compiled(self, model, **kwargs):
        """The method of x alone, for `torch.compile`, which traces no generator."""
        unseeded = {"generator": None} if self.random else {}
        return lambda x: flat(self(model, x, **unseeded, **kwargs))


def at_conv(function):
    """A method that names its layer, at the first layer."""
    call = lambda model, x, **kwargs: function(model, x, layer="conv", **kwargs)
    call.__name__ = function.__name__
    return call


def at_head(function):
    """The same at the last layer, for paths that begin at a layer."""
    call = lambda model, x, **kwargs: function(model, x, layer="head", side="input", **kwargs)
    call.__name__ = function.__name__
    return call


def by_rules(book, *bounds):
    """LRP with a book. A large epsilon keeps it from being steep where a sum of contributions is nearly zero."""
    rules = book(*bounds, epsilon=0.1, **({} if book in (af.rules.attn_lrp, af.rules.cp_lrp) else {"stabilizer": 0.1}))
    call = functools.partial(af.lrp, rules=rules)
    call.__name__ = f"lrp_{book.__name__}"
    return call


def background(x):
    """A distribution of three baselines."""
    samples = torch.linspace(-0.5, 0.5, 3)
    return pytree.tree_map(lambda leaf: samples.to(leaf).view(3, *[1] * (leaf.dim() - 1)).expand(3, *leaf.shape[1:]), x)


def smoothed(method, **smoothing):
    """A combined method; its generator is the combinator's."""

    def call(model, x, *, generator, n_samples=3, chunk_size=None, **kwargs):
        options = {"generator": generator, "n_samples": n_samples, "chunk_size": chunk_size, "stdev": 0.3}
        if method is af.integrated_gradients:
            kwargs["chunk_size"] = chunk_size  # its own chunks, too
        return af.smooth(method, **options, **smoothing)(model, x, **kwargs)

    call.__name__ = f"smooth_{method.__name__}"
    return call


def in_groups(function, most=3):
    """A method of the game, with so many groups in each tensor: their coalitions are few."""

    def call(model, x, **kwargs):
        ids, count = torch.arange(6) % most, most
        if not (isinstance(model, af.View) and model.sites):
            count, leaves = 0, []
            for leaf in pytree.tree_leaves(x):
                groups = min(leaf.shape[-1], most) if leaf.dim() > 1 else 1
                leaves.append(count + torch.arange(leaf.shape[-1] if leaf.dim() > 1 else 1) % groups)
                count += groups
            ids = pytree.tree_unflatten(leaves, pytree.tree_structure(x))
        if function is af.owen_values:
            kwargs["nesting"] = [[0, 1], list(range(2, count))]
        return function(model, x, feature_mask=NumberedMask(ids, count), **kwargs)

    call.__name__ = function.__name__
    return call


class Activations(dict):
    """A rule for the activations of the network, which has no rectifier, since those have kinks."""

    def __init__(self, rule, names=("tanh", "sigmoid", "sin")):
        super().__init__(dict.fromkeys(names, rule))
        self.__name__ = "rules"


BEFORE, BEHIND = ("input", "neuron"), ("layer", "layer input", "layers")  # views that begin before a named layer
SOME = ("input", "layer")  # enough for a variant of a method that has a row for all views

METHODS = [
    Method(af.integrated_gradients, {"n_steps": 6}, baseline=True, chunks=True),
    Method(af.saliency),
    Method(af.saliency, {"absolute": False}),
    Method(af.input_x_gradient),
    Method(af.gradient_shap, {"baselines": background, "n_samples": 4, "stdev": 0.2}, chunks=True, random=True),
    # A variance is a square: it loses twice as much.
    Method(smoothed(af.saliency, kind="vargrad"), {"absolute": False}, chunks=True, random=True, loss=0.1),
    Method(smoothed(af.integrated_gradients), {"n_steps": 3}, baseline=True, chunks=True, random=True),
    Method(at_conv(af.conductance), {"n_steps": 6}, baseline=True, chunks=True, views=BEFORE),
    Method(at_head(af.conductance), {"n_steps": 6}, baseline=True, chunks=True, views=BEHIND),
    Method(at_conv(af.internal_influence), {"n_steps": 6}, baseline=True, chunks=True, views=BEFORE),
    Method(at_head(af.internal_influence), {"n_steps": 6}, baseline=True, chunks=True, views=BEHIND),
    Method(at_conv(af.neuron_conductance), {"n_steps": 6, "neuron": (1, 2)}, baseline=True, chunks=True, views=BEFORE),
    Method(at_head(af.neuron_conductance), {"n_steps": 6, "neuron": 2}, baseline=True, chunks=True, views=BEHIND),
    Method(af.deep_lift, baseline=True),
    Method(af.deep_lift, {"rules": af.REVEAL_CANCEL}, baseline=True),
    Method(af.deep_lift_shap, {"baselines": background}, chunks=True),
    Method(af.guided_backprop, {"rules": Activations(guided)}),
    # Where all activations had the rule, nothing would depend on the input.
    Method(af.deconvolution, {"rules": Activations(deconvolved, ("sigmoid",))}),
    Method(at_conv(af.guided_grad_cam), {"rules": Activations(guided)}, views=BEFORE),
    Method(af.feature_ablation, baseline=True, chunks=True),
    Method(af.occlusion, {"window": 2}, baseline=True, chunks=True),
    Method(af.feature_permutation, chunks=True, random=True),
    Method(in_groups(af.shapley_values), baseline=True, chunks=True),
    Method(in_groups(af.shapley_values), {"baselines": background}, chunks=True, views=SOME),
    Method(in_groups(af.banzhaf_values), baseline=True, chunks=True),
    Method(in_groups(af.owen_values), baseline=True, chunks=True),
    Method(in_groups(af.shapley_interactions), baseline=True, chunks=True, mirrors=False),
    Method(in_groups(af.shapley_interactions), {"index": "FSII"}, chunks=True, mirrors=False, views=SOME),
    Method(
        in_groups(af.banzhaf_values, 6),
        {"n_samples": 30},
        baseline=True,
        chunks=True,
        random=True,
        fitted=True,
        loss=0.1,
    ),
    Method(
        in_groups(af.kernel_shap, 6), {"n_samples": 30}, baseline=True, chunks=True, random=True, fitted=True, loss=0.1
    ),
    Method(
        in_groups(af.gaussian_process_shap, 6),
        {"n_samples": 30},
        baseline=True,
        chunks=True,
        random=True,
        fitted=True,
        loss=0.1,
    ),
    Method(af.shapley_sampling, {"n_samples": 3}, baseline=True, chunks=True, random=True),
    Method(af.shapley_sampling, {"n_samples": 3, "baselines": background}, chunks=True, random=True),
    Method(af.shapley_sampling, {"n_samples": 4, "design": "orthogonal"}, chunks=True, random=True, views=SOME),
    # The spread of small differences between rounded scores.
    Method(af.shapley_sampling_error, {"n_samples": 3, "design": "random"}, True, chunks=True, random=True, loss=0.4),
    Method(at_conv(af.grad_cam), views=BEFORE),
    Method(at_conv(af.grad_cam), {"weighting": "grad_cam_plus_plus"}, views=BEFORE),
    Method(at_conv(af.grad_cam), {"weighting": "xgrad_cam"}, views=BEFORE),
    Method(at_conv(af.grad_cam), {"weighting": "hires_cam", "sum_channels": False}, views=BEFORE),
    Method(at_conv(af.grad_cam), {"weighting": "layer_cam", "relu": True}, views=BEFORE),
    # More groups than samples, and fewer.
    Method(af.lime, {"n_samples": 10}, baseline=True, chunks=True, random=True, exact=False),
    Method(
        af.lime,
        {
            "n_samples": 60,
            "linear_model": af.least_squares(),
            "similarity": af.exponential_kernel(width=1.0, space="input"),
        },
        baseline=True,
        chunks=True,
        random=True,
        exact=False,
    ),
    Method(by_rules(af.rules.attn_lrp)),
    Method(by_rules(af.rules.cp_lrp)),
    Method(by_rules(af.rules.epsilon_plus)),
    Method(by_rules(af.rules.epsilon_gamma_box, -4, 4)),
    Method(by_rules(af.rules.epsilon_alpha2_beta1_flat)),
]


def over(methods):
    return pytest.mark.parametrize("method", methods, ids=str)


def every_method(test):
    """Run a test with every method, and at each view that the test names and the method takes."""
    marks = getattr(test, "pytestmark", [])
    views = [mark for mark in marks if mark.args[0] == "view"]
    if not views:
        return over(METHODS)(test)
    test.pytestmark = [mark for mark in marks if mark not in views]
    (keys,) = (mark.kwargs.get("ids") or mark.args[1] for mark in views)
    values = dict(zip(keys, views[0].args[1], strict=True))
    pairs = [
        pytest.param(method, values[key], id=f"{method}-{key}")
        for method in METHODS
        for key in values
        if not method.views or key in method.views
    ]
    return pytest.mark.parametrize(("method", "view"), pairs)(test)


every_free_method = over([method for method in METHODS if not method.views])  # which takes any model and any view


class Net(nn.Module):
    """Smooth, so that finite differences can judge it; with batch norm, a bypass and a layer of several outputs."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm1d(4)
        self.mix = nn.Linear(6, 6)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        h = torch.tanh(self.norm(self.conv(x)))
        return self.head((h + self.mix(h).sigmoid()).mean(2)).sin()


VIEWS = {
    "input": lambda m: m,
    "layer": lambda m: af.layer(m, "mix"),
    "layer input": lambda m: af.layer(m, "mix", side="input"),
    "layers": lambda m: af.layer(m, ["conv", "mix"]),
    "neuron": lambda m: af.neuron(m, "mix", (1, 2)),
    "layer of a neuron": lambda m: af.layer(af.neuron(m, "mix", (slice(0, 2), 3)), "conv"),
}
every_view = pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)


def targeted(view, model, target=1):
    """A view and the target it takes."""
    built = view(model)
    neuron = isinstance(built, af.View) and built.output is not None
    return built, {} if neuron else {"target": target}


def flat(result):
    return torch.cat([leaf.reshape(-1) for leaf in pytree.tree_leaves(result)])


def numeric_gradient(function, point, step=1e-6):
    """Central differences of a scalar function."""
    out = torch.empty_like(point)
    for i in range(point.numel()):
        moved = [point.clone() for _ in range(2)]
        for leaf, sign in zip(moved, (1, -1), strict=True):
            leaf.view(-1)[i] += sign * step
        out.view(-1)[i] = (function(moved[0]) - function(moved[1])) / (2 * step)
    return out
