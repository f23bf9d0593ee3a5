"""The table of the contract: one row for each public method, or the reason why a public name has none.

A new method adds one row to METHODS.
"""

import functools
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils import _pytree as pytree

import attrfunc as af
from attrfunc.perturbation.feature_groups import NumberedMask
from attrfunc.propagation.rectifiers import deconvolved, guided


@dataclass(frozen=True, eq=False)
class Method:
    call: Any
    options: dict = field(default_factory=dict)  # what makes it cheap
    baseline: bool = False  # has a `baseline` argument
    views: tuple = ()  # keys of VIEWS, for a method that names its layer itself; none means all
    random: bool = False  # draws from a `generator`
    loss: float = 0.05  # what bfloat16, which has 8 bits, may lose
    exact: bool = True  # what does not matter gets zero; a fit to samples leaves something
    mirrors: bool = True  # gives the structure of the input; otherwise tensors over groups of features
    fitted: bool = False  # what is not used gets zero but for rounding
    compiles: bool = True  # refuses by name to be compiled, where not
    variant: bool = False  # of a method that has a row: a test that picks views tries it at the input

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


def flat(result):
    return torch.cat([leaf.reshape(-1) for leaf in pytree.tree_leaves(result)])


def at_conv(function):
    """A method that names its layer, at the first layer."""
    call = lambda model, x, **kwargs: function(model, x, layer="conv", **kwargs)
    return functools.update_wrapper(call, function)


def at_head(function):
    """The same at the last layer, for paths that begin at a layer."""
    call = lambda model, x, **kwargs: function(model, x, layer="head", side="input", **kwargs)
    return functools.update_wrapper(call, function)


def without_target(function):
    """A method of activations, which have no score."""

    @functools.wraps(function)
    def call(model, x, *, target=None, **kwargs):
        return function(model, x, **kwargs)

    return call


def by_rules(book, *bounds):
    """LRP with a book. A large epsilon keeps it from being steep where a sum of contributions is nearly zero."""
    rules = book(*bounds, epsilon=0.1, **({} if book in (af.rules.attn_lrp, af.rules.cp_lrp) else {"stabilizer": 0.1}))
    call = functools.update_wrapper(functools.partial(af.lrp, rules=rules), af.lrp)
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

    functools.update_wrapper(call, af.smooth)
    call.__name__ = f"smooth_{method.__name__}"
    return call


def in_groups(function, most=3):
    """A method of the game, with so many groups in each tensor: their coalitions are few."""

    @functools.wraps(function)
    def call(model, x, **kwargs):
        ids, count = torch.arange(6) % most, most
        if not (isinstance(model, af.View) and model.sites):
            count, leaves = 0, []
            for leaf in pytree.tree_leaves(x):
                groups = min(leaf.shape[-1], most) if leaf.ndim > 1 else 1
                leaves.append(count + torch.arange(leaf.shape[-1] if leaf.ndim > 1 else 1) % groups)
                count += groups
            ids = pytree.tree_unflatten(leaves, pytree.tree_structure(x))
        if function is af.owen_values:
            kwargs["nesting"] = [[0, 1], list(range(2, count))]
        return function(model, x, feature_mask=NumberedMask(ids, count), **kwargs)

    return call


class Activations(dict):
    """A rule for the activations of the network, which has no rectifier, since those have kinks."""

    def __init__(self, rule, names=("tanh", "sigmoid", "sin")):
        super().__init__(dict.fromkeys(names, rule))
        self.__name__ = "rules"


BEFORE, BEHIND = ("input", "neuron"), ("layer", "layer input", "layers")  # views that begin before a named layer
POSITIONS = ("input", "layer", "layer input", "layers", "neuron")  # for a method that takes tensors with positions

METHODS = [
    Method(af.integrated_gradients, {"n_steps": 6}, baseline=True),
    # Second derivatives lose more.
    Method(af.integrated_hessians, {"n_steps": 8}, baseline=True, mirrors=False, loss=0.2, compiles=False),
    Method(af.guided_ig, {"n_steps": 5, "max_distance": 0.3}, baseline=True, loss=0.2),
    Method(af.blur_ig, {"n_steps": 5, "max_sigma": 2.0}, views=POSITIONS),
    Method(af.sequential_ig, {"n_steps": 2, "dim": -1}, baseline=True, views=POSITIONS),
    Method(af.temporal_ig, {"n_steps": 2, "dim": -1}, baseline=True, views=POSITIONS),
    Method(af.saliency),
    Method(af.saliency, {"absolute": False}, variant=True),
    Method(af.input_x_gradient),
    Method(af.gradient_shap, {"baselines": background, "n_samples": 4, "stdev": 0.2}, random=True),
    # A variance is a square: it loses twice as much.
    Method(smoothed(af.saliency, kind="vargrad"), {"absolute": False}, random=True, loss=0.1),
    Method(smoothed(af.integrated_gradients), {"n_steps": 3}, baseline=True, random=True),
    Method(at_conv(af.conductance), {"n_steps": 6}, baseline=True, views=BEFORE),
    Method(at_head(af.conductance), {"n_steps": 6}, baseline=True, views=BEHIND),
    Method(at_conv(af.internal_influence), {"n_steps": 6}, baseline=True, views=BEFORE),
    Method(at_head(af.internal_influence), {"n_steps": 6}, baseline=True, views=BEHIND),
    Method(at_conv(af.neuron_conductance), {"n_steps": 6, "neuron": (1, 2)}, baseline=True, views=BEFORE),
    Method(at_head(af.neuron_conductance), {"n_steps": 6, "neuron": 2}, baseline=True, views=BEHIND),
    Method(af.deep_lift, baseline=True),
    Method(af.deep_lift, {"rules": af.REVEAL_CANCEL}, baseline=True, variant=True),
    Method(af.deep_lift_shap, {"baselines": background}),
    Method(af.guided_backprop, {"rules": Activations(guided)}),
    # Where all activations had the rule, nothing would depend on the input.
    Method(af.deconvolution, {"rules": Activations(deconvolved, ("sigmoid",))}),
    Method(at_conv(af.guided_grad_cam), {"rules": Activations(guided)}, views=BEFORE),
    Method(af.feature_ablation, baseline=True),
    Method(af.occlusion, {"window": 2}, baseline=True),
    Method(af.feature_permutation, random=True),
    Method(in_groups(af.shapley_values), baseline=True),
    Method(in_groups(af.shapley_values), {"baselines": background}, variant=True),
    Method(in_groups(af.banzhaf_values), baseline=True),
    Method(in_groups(af.owen_values), baseline=True),
    Method(in_groups(af.shapley_interactions), baseline=True, mirrors=False),
    Method(in_groups(af.shapley_interactions), {"index": "FSII"}, mirrors=False, variant=True),
    Method(
        in_groups(af.banzhaf_values, 6),
        {"n_samples": 30},
        baseline=True,
        random=True,
        fitted=True,
        loss=0.1,
        variant=True,
    ),
    Method(in_groups(af.kernel_shap, 6), {"n_samples": 30}, baseline=True, random=True, fitted=True, loss=0.1),
    Method(
        in_groups(af.gaussian_process_shap, 6),
        {"n_samples": 30},
        baseline=True,
        random=True,
        fitted=True,
        loss=0.1,
    ),
    Method(af.shapley_sampling, {"n_samples": 3}, baseline=True, random=True),
    Method(af.shapley_sampling, {"n_samples": 3, "baselines": background}, random=True, variant=True),
    Method(af.shapley_sampling, {"n_samples": 4, "design": "orthogonal"}, random=True, variant=True),
    # The spread of small differences between rounded scores.
    Method(af.shapley_sampling_error, {"n_samples": 3, "design": "random"}, True, random=True, loss=0.4),
    Method(at_conv(af.grad_cam), views=BEFORE),
    Method(at_conv(af.grad_cam), {"weighting": "grad_cam_plus_plus"}, views=BEFORE, variant=True),
    Method(at_conv(af.grad_cam), {"weighting": "xgrad_cam"}, views=BEFORE, variant=True),
    Method(at_conv(af.grad_cam), {"weighting": "hires_cam", "sum_channels": False}, views=BEFORE, variant=True),
    Method(at_conv(af.grad_cam), {"weighting": "layer_cam", "relu": True}, views=BEFORE, variant=True),
    Method(at_conv(af.score_cam), baseline=True, views=BEFORE),
    Method(at_conv(af.ablation_cam), views=BEFORE),
    Method(at_conv(without_target(af.eigen_cam)), views=BEFORE),
    Method(af.full_gradients, views=("input",)),
    Method(af.fullgrad, {"rescale": False}, views=("input",)),
    Method(af.fullgrad, views=("input",), loss=0.1, variant=True),
    Method(af.rise, {"n_samples": 12, "cells": 2}, baseline=True, random=True, views=POSITIONS, exact=False, loss=0.2),
    Method(
        af.xrai,
        {"regions": torch.tensor([[[0, 0, 1, 1, 2, 2]]]), "baselines": [0.2, -0.5], "n_steps": 4},
        views=("input",),
        compiles=False,
    ),
    # More groups than samples, and fewer.
    Method(af.lime, {"n_samples": 10}, baseline=True, random=True, exact=False),
    Method(
        af.lime,
        {
            "n_samples": 60,
            "linear_model": af.surrogates.least_squares(),
            "similarity": af.surrogates.exponential_kernel(width=1.0, space="input"),
        },
        baseline=True,
        random=True,
        exact=False,
        variant=True,
    ),
    Method(by_rules(af.rules.attn_lrp)),
    Method(by_rules(af.rules.cp_lrp), variant=True),
    Method(by_rules(af.rules.epsilon_plus), variant=True),
    Method(by_rules(af.rules.epsilon_gamma_box, -4, 4), variant=True),
    Method(by_rules(af.rules.epsilon_alpha2_beta1_flat), variant=True),
]


# Why a public name has no row.
EXEMPT = {
    "an error": ["ArgumentError", "AttributionError", "ModelError"],
    "makes a view, or what it takes; test_calls.py": [
        "View",
        "activation_baseline",
        "bind",
        "layer",
        "neuron",
    ],
    "says what a view attributes to; test_points.py": ["activation"],
    "measures attributions; test_oracles.py, test_points.py, test_lrp.py": [
        "completeness_gap",
        "gradient_shap_gap",
        "relevance_gap",
        "score_change",
    ],
    "parts of rules and of surrogates, which the rows of LRP, DeepLIFT, guided methods and LIME take": [
        "REVEAL_CANCEL",
        "operation",
        "rules",
        "surrogates",
    ],
    "LIME with samples of the user's; test_local_surrogate.py": ["local_surrogate"],
    "the result of a search, which has no derivative; test_extremal_perturbation.py": ["extremal_perturbation"],
    "of one-hot sequences, which transforms would not leave as such; test_in_silico_mutagenesis.py": [
        "hypothetical_attributions",
        "in_silico_mutagenesis",
    ],
    "tries methods on a model; tests/diagnosis": ["Diagnosis", "doctor"],
    "for a data set, outside transforms; test_dataset_ablation.py": ["dataset_ablation"],
    "one number for a batch, which is not differentiated; test_game.py": ["batch_score"],
    "makes masks; test_game.py": ["masks"],
    "draws, and reshapes maps; tests/viz": ["viz"],
    "measures explanations; tests/metrics": ["metrics"],
    "attacks models; tests/robust": ["robust"],
    "draws gates; tests/gates": ["gates"],
    "runs methods over data sets; tests/data": ["data"],
    "concepts; tests/concepts": ["concepts"],
    "of training data, with a contract of its own; influence/test_influence_contract.py": ["influence"],
    "attributes language models; tests/text": ["text"],
    "a page; tests/insights": ["insights"],
}
