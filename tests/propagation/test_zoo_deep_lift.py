"""DeepLIFT on every architecture of the zoo, in float32: complete, by either book, at the input and at layers."""

import pytest
import torch
from torch.utils import _pytree as pytree

import attrfunc as af
from test_zoo import a_place_each, every_place
from zoo import CASES


def leaves(result):
    return [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)]


@every_place
def test_rescale_is_complete(case, place):
    complete(case, place, None)


@a_place_each
def test_reveal_cancel_is_complete(case, place):
    complete(case, place, af.REVEAL_CANCEL)


def complete(case, place, book):
    model = case.make()
    view = model if place is None else af.layer(model, place)
    # Another example as the baseline: at zeros, networks that normalise their input are singular.
    call = {"args": case.args, "kwargs": case.kwargs, "target": case.target}
    call["baseline"] = lambda x: pytree.tree_map(lambda leaf: leaf.flip(0), x)
    found = af.deep_lift(view, case.inputs, rules=book, **call)
    scale = af.score_change(view, case.inputs, **call).abs().max()
    assert af.completeness_gap(view, case.inputs, found, **call).abs().max() <= 1e-4 * scale


@pytest.mark.parametrize("case", [case for case in CASES if case.differentiable], ids=str)
def test_deep_lift_shap_is_the_mean(case):
    model, x = case.make(), case.inputs
    call = {"args": case.args, "kwargs": case.kwargs, "target": case.target}
    # All examples as baselines of all.
    found = af.deep_lift_shap(model, x, baselines=x, **call)
    rows = leaves(x)[0].shape[0]
    one = lambda k: af.deep_lift(model, x, baseline=pytree.tree_map(lambda leaf: leaf[k : k + 1], x), **call)
    parts = [leaves(one(k)) for k in range(rows)]
    for number, leaf in enumerate(leaves(found)):
        mean = torch.stack([part[number] for part in parts]).mean(0)
        torch.testing.assert_close(leaf, mean, rtol=1e-3, atol=1e-5 * float(mean.abs().max()))
