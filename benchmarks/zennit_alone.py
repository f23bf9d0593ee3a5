"""zennit without torchvision, of which it only asks for the names of some networks."""

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["stubbed", "zennit"]

_NAMES = {
    "torchvision": (),
    "torchvision.models": (),
    "torchvision.models.resnet": ("BasicBlock", "Bottleneck", "ResNet"),
    "torchvision.models.vgg": ("VGG",),
}


@contextmanager
def stubbed() -> Iterator[None]:
    """Stand-ins for the names of torchvision, as long as something is imported that asks for them."""
    stubs = {name: types.ModuleType(name) for name in _NAMES if name not in sys.modules}
    for name, stub in stubs.items():
        for network in _NAMES[name]:
            setattr(stub, network, type(network, (), {}))
    sys.modules.update(stubs)
    try:
        yield
    finally:
        for name in stubs:
            del sys.modules[name]


with stubbed():
    import zennit
    import zennit.canonizers
    import zennit.composites
    import zennit.rules
    import zennit.torchvision
