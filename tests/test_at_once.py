"""Every class, every layer, and both at once: the forward passes of one class at one layer are all that run."""

import pytest
import torch
from torch import nn

import attrfunc as af

LAYERS = ["0", "1", "3"]
METHODS = {
    "saliency": lambda m, x, layers, t: af.saliency(af.layer(m, layers), x, target=t),
    "input_x_gradient": lambda m, x, layers, t: af.input_x_gradient(af.layer(m, layers), x, target=t),
    "conductance": lambda m, x, layers, t: af.conductance(m, x, layer=layers, target=t, n_steps=6, chunk_size=8),
    "internal_influence": lambda m, x, layers, t: af.internal_influence(
        m, x, layer=layers, target=t, n_steps=6, chunk_size=8
    ),
    "grad_cam": lambda m, x, layers, t: af.grad_cam(m, x, layer=layers, target=t, relu=True),
}


@pytest.fixture
def model():
    torch.manual_seed(0)
    head = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(5, 4))
    return nn.Sequential(nn.Conv1d(2, 5, 3), nn.Tanh(), nn.Conv1d(5, 5, 3), nn.GELU(), head).double().eval()


@pytest.mark.parametrize("name", METHODS)
def test_every_class_at_every_layer(name, model):
    method, x = METHODS[name], torch.randn(3, 2, 9).double()
    rows = []
    handle = model.register_forward_hook(lambda module, args, output: rows.append(len(args[0])))

    def counted(call):
        rows.clear()
        result = call()
        return result, list(rows)

    _, alone = counted(lambda: method(model, x, "1", 2))
    several, of_layers = counted(lambda: method(model, x, LAYERS, 2))
    mapped, of_classes = counted(lambda: torch.vmap(lambda t: method(model, x, "1", t))(torch.arange(4)))
    both, of_both = counted(lambda: torch.vmap(lambda t: tuple(method(model, x, LAYERS, t)))(torch.arange(4)))
    assert alone == of_layers == of_classes == of_both
    handle.remove()
    for number, layer in enumerate(LAYERS):
        for target in range(4):
            torch.testing.assert_close(both[number][target], method(model, x, layer, target))
        torch.testing.assert_close(several[number], method(model, x, layer, 2))
    torch.testing.assert_close(mapped, both[1])
