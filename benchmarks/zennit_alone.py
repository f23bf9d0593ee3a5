"""zennit without torchvision, of which it only asks for the names of some networks."""

import sys
import types
from typing import Any

__all__ = ["zennit"]

_NAMES = {
    "torchvision": (),
    "torchvision.models": (),
    "torchvision.models.resnet": ("BasicBlock", "Bottleneck", "ResNet"),
    "torchvision.models.vgg": ("VGG",),
}


def _imported() -> Any:
    stubs = {name: types.ModuleType(name) for name in _NAMES if name not in sys.modules}
    for name, stub in stubs.items():
        for network in _NAMES[name]:
            setattr(stub, network, type(network, (), {}))
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


zennit = _imported()
