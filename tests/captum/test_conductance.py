"""Conductance is nearer to its integral than Captum's finite differences, over the zoo, in float64.

The reference is the integral written out with plain autograd: at 2,000 points of the path, the score's gradient at the
layer times the layer's change across the point's cell.
"""

import functools
import itertools

import captum.attr as captum_attr
import pytest
import torch
from captum_peer import captum_call, captum_warnings
from torch import nn
from torch.utils import _pytree as pytree

import attrfunc.captum.attr as shim_attr
from zoo import CASES, Case

ZOO = {case.name: case for case in CASES}
POINTS = 2000

# A layer, and whether all that reaches the output goes through it, so that attributions are complete.
SMOOTH = [
    ("mlp", "0", True),
    ("mlp", "2", True),
    ("lstm", "embed", True),
    ("gru", "embed", True),
    ("siamese", "join", True),
    ("tied_weights", "embed", True),
    ("tied_weights", "hidden", True),
    ("several_inputs", "conv", False),
    ("several_inputs", "table", False),
    ("other_arguments", "fc1", True),
]
NORMALISED = [
    ("bert_embedded", "model.bert.embeddings.LayerNorm", True),
    ("vit", "model.vit.embeddings", True),
]
RELU = [
    ("functional_relu", "fc1", True),
    ("functional_relu", "fc2", True),
    ("inplace_relu", "0", True),
    ("argument_without_batch", "fc1", True),
    ("residual_cnn", "stem", True),
    ("residual_cnn", "conv2", False),
    ("transformer_encoder", "embed", True),
    ("transformer_encoder", "encoder.layers.1.linear1", False),
]
LINEAR_BEHIND = [("inplace_relu", "1"), ("residual_cnn", "pool")]


def drawn(name, seed):
    """A network of the zoo in float64 with weights, inputs and baselines of this seed, as Captum takes them."""
    case = ZOO[name]
    generator = torch.Generator().manual_seed(seed)
    draw = lambda leaf: torch.randn(leaf.shape, generator=generator, dtype=torch.float64)
    double = lambda leaf: leaf.double() if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() else leaf
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = case.build().eval().double()
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    inputs, baselines = (pytree.tree_map(draw, case.inputs) for _ in range(2))
    args, kwargs = pytree.tree_map(double, (case.args, dict(case.kwargs)))
    forward, x, extra = captum_call(Case(name, case.build, inputs, args, kwargs, case.target), model)
    return model, forward, x, baselines, case.target, extra


def errors(name, layer, seed, n_steps, method):
    """Relative errors of both peers against the reference, and their completeness errors."""
    model, forward, x, baselines, target, extra = drawn(name, seed)
    integrals, change = reference(name, seed)
    right = integrals[layer]
    distances, gaps = [], []
    for classes in (shim_attr, captum_attr):
        explainer = classes.LayerConductance(forward, model.get_submodule(layer))
        options = {"target": target, "additional_forward_args": extra or None, "n_steps": n_steps, "method": method}
        with captum_warnings():
            found, delta = explainer.attribute(x, baselines, return_convergence_delta=True, **options)
        distances.append(float((found.detach() - right).abs().sum() / right.abs().sum()))
        gaps.append(float(delta.abs().sum() / change.abs().sum()))
    return distances, gaps


@functools.cache
def reference(name, seed):
    """The integral at each layer of these tests, and the change of the whole score."""
    model, forward, x, baselines, target, extra = drawn(name, seed)
    layers = sorted({layer for case, layer, *_ in SMOOTH + NORMALISED + RELU + LINEAR_BEHIND if case == name})

    def along(nodes):
        """Activations and gradients `(K, B, ...)` of each layer at these points of the path, and scores `(K, B)`."""
        kept = {}
        keep = lambda layer: lambda *call: kept.update({layer: call[2]})
        handles = [model.get_submodule(layer).register_forward_hook(keep(layer)) for layer in layers]
        points = pytree.tree_map(lambda a, b: torch.cat([b + node * (a - b) for node in nodes]), x, baselines)
        points = pytree.tree_map(lambda leaf: leaf.requires_grad_(), points)
        more = [leaf.repeat(len(nodes), *[1] * (leaf.dim() - 1)) for leaf in extra]
        scores = picked(forward(*(points if isinstance(points, tuple) else (points,)), *more), target)
        for handle in handles:
            handle.remove()
        activations = [kept[layer] for layer in layers]
        gradients = torch.autograd.grad(scores.sum(), activations)
        fold = lambda leaf: leaf.detach().unflatten(0, (len(nodes), -1))
        return [fold(leaf) for leaf in activations], [fold(leaf) for leaf in gradients], fold(scores)

    edges, _, scores = along([k / POINTS for k in range(POINTS + 1)])
    _, gradients, _ = along([(k + 0.5) / POINTS for k in range(POINTS)])
    sums = [(gradient * edge.diff(dim=0)).sum(0) for gradient, edge in zip(gradients, edges, strict=True)]
    return dict(zip(layers, sums, strict=True)), scores[-1] - scores[0]


def picked(output, target):
    if target is None:
        return output
    if isinstance(target, list | torch.Tensor):
        wanted = torch.as_tensor(target)
        wanted = wanted.repeat(len(output) // len(wanted), *[1] * (wanted.dim() - 1)).reshape(len(output), -1)
        return output[(torch.arange(len(output)), *wanted.T)]
    return output[(slice(None), *(target if isinstance(target, tuple) else (target,)))]


@pytest.mark.parametrize(("name", "layer", "complete"), SMOOTH)
def test_smooth_networks(name, layer, complete):
    for seed, n_steps in itertools.product(range(2), (10, 50)):
        (ours, theirs), (our_gap, their_gap) = errors(name, layer, seed, n_steps, "gausslegendre")
        assert ours < 1e-3 * theirs
        assert not complete or our_gap < 1e-3 * their_gap


@pytest.mark.parametrize(("name", "layer", "complete"), NORMALISED)
def test_smooth_networks_that_normalise_need_more_points(name, layer, complete):
    for n_steps, share in ((10, 0.5), (50, 1e-3)):
        (ours, theirs), (our_gap, their_gap) = errors(name, layer, 0, n_steps, "gausslegendre")
        assert ours < share * theirs
        assert not complete or our_gap < share * their_gap


@pytest.mark.parametrize(("name", "layer", "complete"), RELU)
def test_relu_networks(name, layer, complete):
    """In the median over networks; a kink that falls well for the one may fall badly for the other."""
    seeds = 15 if name in ("functional_relu", "inplace_relu", "argument_without_batch") else 3
    for method, n_steps in itertools.product(("gausslegendre", "riemann_trapezoid"), (10, 50)):
        found = torch.tensor([errors(name, layer, seed, n_steps, method) for seed in range(seeds)])
        (ours, theirs), (our_gap, their_gap) = found.median(0).values.tolist()
        assert ours < theirs
        assert not complete or our_gap < their_gap


@pytest.mark.parametrize(("name", "layer"), LINEAR_BEHIND)
def test_exact_where_the_network_is_linear_behind_the_layer(name, layer):
    for method in ("gausslegendre", "riemann_trapezoid", "riemann_left", "riemann_middle", "riemann_right"):
        (ours, _), (gap, _) = errors(name, layer, 0, 5, method)
        assert ours < 1e-12
        assert gap < 1e-12
