"""What the property tests draw beyond the public strategies: layers of a drawn network."""

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

import attrfunc as af
from attrfunc.testing import cases

# Smooth networks, so that the quadrature error of this many Gauss-Legendre points lies far below STRICT, which leaves
# room for rounding only. With kinks (ReLU) the error falls like 1 / n_steps and would hide all but gross mistakes.
STEPS = 64
STRICT = 1e-7


def attribute(method, case, /, **options):
    """Call a method on a case."""
    arguments = {name: value for name, value in case.items() if name != "model"}
    return method(case["model"], **arguments, **options)


def score_of(output, target, row):
    """The score of one example, from the outputs of all."""
    if callable(target):
        return target(output)[row]
    if target is None:
        return output[row].squeeze()
    if isinstance(target, list) or (isinstance(target, Tensor) and target.dim() == 1):
        target = target[row]
    if isinstance(target, tuple):
        target = tuple(part[row] if isinstance(part, Tensor) else part for part in target)
    return output[row][target].sum()


def start_of(case):
    """The baseline of a case as a tensor."""
    x, baseline = case["x"], case["baseline"]
    return baseline(x) if callable(baseline) else torch.zeros_like(x) + (0 if baseline is None else baseline)


@dataclass(frozen=True)
class Place:
    """A layer by name, side and number of the call, and the shape of its activation if that is one tensor."""

    name: str
    side: str
    call: int | None
    shape: tuple | None

    def view(self, model):
        return af.layer(model, self.name, side=self.side, call=self.call)


def places(model, x):
    """The places in a network with one example per entry of dimension 0."""
    calls, shapes, handles = {}, {}, []

    def recorder(name):
        def record(module, inputs, output):
            number = calls[name] = calls.get(name, -1) + 1
            for side, value in (("input", inputs), ("output", output)):
                tensors = [leaf for leaf in torch.utils._pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]
                if tensors and all(len(leaf) == len(x) for leaf in tensors):
                    value = value[0] if side == "input" and len(value) == 1 else value
                    shapes[name, side, number] = getattr(value, "shape", None)

        return record

    for name, module in model.named_modules():
        if name and not isinstance(module, nn.ModuleList):
            handles.append(module.register_forward_hook(recorder(name)))
    model(x.clone())
    for handle in handles:
        handle.remove()
    return [Place(name, side, number if calls[name] else None, shape) for (name, side, number), shape in shapes.items()]


def a_place(found):
    """One of the places; half of the time, where there are such, one of a layer that runs several times."""
    again = [place for place in found if place.call]
    return st.one_of(st.sampled_from(again or found), st.sampled_from(found))


@st.composite
def layer_cases(draw, **options):
    """A case, and a place in its network."""
    case = draw(cases(**options))
    return case, draw(a_place(places(case["model"], case["x"])))


@st.composite
def neuron_cases(draw, **options):
    """A case without a target, and a place with an index into its activation."""
    case = draw(cases(**options))
    case.pop("target")
    found = [place for place in places(case["model"], case["x"]) if place.side == "output" and place.shape]
    place = draw(a_place(found))
    return case, place, tuple(draw(st.integers(0, size - 1)) for size in place.shape[1:])
