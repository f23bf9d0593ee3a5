"""What a view attributes to, what attributions add up to, and attribution under the caller's no_grad."""

import pytest
import torch
from torch import nn

import attrfunc as af
from zoo import CASES

ZOO = {case.name: case for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_activation(case):
    model = case.make()
    seen = {}
    for name in case.layers:
        model.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: seen.__setitem__(
                name, torch.utils._pytree.tree_map(torch.Tensor.clone, output)
            )
        )
    inputs = case.inputs if isinstance(case.inputs, tuple) else (case.inputs,)
    model(*inputs, *case.args, **case.kwargs)
    found = af.activation(af.layer(model, case.layers), case.inputs, args=case.args, kwargs=case.kwargs)
    torch.testing.assert_close(found, [seen[name] for name in case.layers])
    assert not any(leaf.requires_grad for leaf in torch.utils._pytree.tree_leaves(found))


def test_the_activation_of_an_input_view_is_the_input():
    x = torch.randn(2, 3)
    assert torch.equal(af.activation(nn.Linear(3, 2), x), x)


def test_score_change():
    case = ZOO["mlp"]
    model, x = case.make(), case.inputs
    expected = (model(x) - model(torch.full_like(x, 0.5)))[:, 2].detach()
    for view in (model, af.layer(model, "0"), af.layer(model, "3")):
        torch.testing.assert_close(af.score_change(view, x, baseline=0.5, target=2), expected)
    one, other = af.score_change(af.layer(model, ["0", "3"]), x, baseline=0.5, target=2)
    torch.testing.assert_close(one, expected)
    torch.testing.assert_close(other, expected)


@pytest.mark.parametrize("closure", [False, True], ids=["module", "closure"])
@pytest.mark.parametrize("name", ["lstm", "gru", "residual_cnn", "transformer_encoder", "bert_embedded"])
def test_no_grad_outside_changes_no_number_and_leaves_no_graph(name, closure):
    case = ZOO[name]
    module = case.make()
    model = (lambda *args, **kwargs: module(*args, **kwargs)) if closure else module
    layer = af.layer(model, module.get_submodule(case.layers[0]))
    for view in (model, layer):
        for method in (af.ig, af.saliency, af.input_x_gradient):
            expected = method(view, case.inputs, target=case.target, kwargs=case.kwargs)
            with torch.no_grad():
                found = method(view, case.inputs, target=case.target, kwargs=case.kwargs)
                assert not torch.is_grad_enabled()
            torch.testing.assert_close(found, expected.detach())
            assert not found.requires_grad
