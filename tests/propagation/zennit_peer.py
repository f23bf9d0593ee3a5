"""zennit, which asks for torchvision only to name the networks of its canonizers."""

import sys
import types

import torch


def _import():
    names = ("torchvision", "torchvision.models", "torchvision.models.resnet", "torchvision.models.vgg")
    stubs = {name: types.ModuleType(name) for name in names if name not in sys.modules}
    for kind in ("BasicBlock", "Bottleneck", "ResNet", "VGG"):
        for name in ("torchvision.models.resnet", "torchvision.models.vgg"):
            if name in stubs:
                setattr(stubs[name], kind, type(kind, (), {}))
    sys.modules.update(stubs)
    try:
        import zennit.canonizers
        import zennit.composites
        import zennit.rules
        import zennit.torchvision
    finally:
        for name in stubs:
            del sys.modules[name]
    return zennit


zennit = _import()


def relevance(composite, model, x, target):
    """What zennit gives for one class each, starting from the score itself."""
    x = x.clone().requires_grad_()
    with composite.context(model) as modified:
        out = modified(x)
        seed = torch.zeros_like(out)
        seed[torch.arange(len(x)), target] = out.detach()[torch.arange(len(x)), target]
        (found,) = torch.autograd.grad(out, x, seed)
    return found
