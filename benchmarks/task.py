"""What is to be computed, and one method written three times: attrfunc, Captum, and by hand with `torch.autograd.grad`.

Every way takes a `Task`; Captum's and the hand-written ones also take the number of rows that are evaluated at once
(None: all of them), which is searched before a case is timed. attrfunc is always called as its users call it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

import attrfunc as af

Result = Tensor | list[Tensor]
"""Attributions; a list for a list of layers."""


@dataclass(frozen=True)
class Task:
    """Attributions of `x` (or of a layer) for `target`, or for the first `classes` classes.

    Attributes:
        model: The network.
        frozen: A copy whose parameters ask for no gradient, for the hand-written functions.
        x: The input.
        target: One class for each example.
        layer: The layer, or layers.
        neuron: A neuron in the layer.
        count: Points of the path, or random samples.
        classes: How many classes are attributed at once.
        stdev: Standard deviation of the noise of random samples.
        baselines: A distribution of baselines `(N, *S)`.
    """

    model: nn.Module
    frozen: nn.Module
    x: Tensor
    target: Tensor
    layer: str | tuple[str, ...] | None = None
    neuron: Any = None
    count: int = 50
    classes: int | None = None
    stdev: float = 0.1
    baselines: Tensor | None = None

    @property
    def layers(self) -> list[str]:
        return [self.layer] if isinstance(self.layer, str) else list(self.layer or ())

    @property
    def place(self) -> nn.Module:
        return self.model.get_submodule(self.layers[0]) if self.layer else self.model

    @property
    def where(self) -> object:
        """The view of the model, for attrfunc."""
        return af.layer(self.model, self.layers[0]) if self.layer else self.model

    def split(self) -> tuple[nn.Module, nn.Module]:
        """The frozen network before and after the layer; a layer is for `nn.Sequential` only."""
        if self.layer is None:
            return nn.Identity(), self.frozen
        cut = [name for name, _ in self.frozen.named_children()].index(self.layers[0]) + 1
        return self.frozen[:cut], self.frozen[cut:]

    def double(self) -> Task:
        """The same in float64, on a model of its own."""
        model = copy.deepcopy(self.model).double()
        baselines = None if self.baselines is None else self.baselines.double()
        frozen = copy.deepcopy(model).requires_grad_(False)
        return replace(self, model=model, frozen=frozen, x=self.x.double(), baselines=baselines)

    def first(self) -> Task:
        """The first example alone."""
        return replace(self, x=self.x[:1], target=self.target[:1])

    def warm_up(self) -> Task:
        """The smallest task that takes the same path through the code."""
        return replace(self.first(), count=2, classes=self.classes and 2)


Peer = Callable[[Task, int | None], Result]


@dataclass(frozen=True)
class Method:
    """The same method in the three ways.

    Attributes:
        ours: attrfunc's.
        captum: Captum's; None where it has no such method.
        bare: By hand.
        tunable: Whether Captum has a number of rows to choose.
        chunked: Whether the way by hand has.
        check: How agreement is checked; a name in `benchmarks.agreement`.
        other: Another library's.
        library: The name of that library.
    """

    ours: Callable[[Task], Result]
    captum: Peer | None
    bare: Peer | None
    tunable: bool = True
    chunked: bool = True
    check: str = "same"
    other: Peer | None = None
    library: str = ""

    def for_all_classes(self) -> Method:
        """Every class: by `vmap` in attrfunc, a loop of calls in Captum, and by hand a loop of backward passes.

        As its documentation advises for many targets, `vmap` takes 16 at a time.
        """

        def ours(task: Task) -> Tensor:
            one = lambda target: self.ours(replace(task, target=target))  # noqa: E731
            return torch.vmap(one, chunk_size=16)(torch.arange(task.classes, device=task.x.device))

        def captum(task: Task, rows: int | None) -> Tensor:
            assert self.captum is not None
            return torch.stack([self.captum(replace(task, target=c), rows) for c in range(task.classes)])

        def other(task: Task, rows: int | None) -> Tensor:
            assert self.other is not None
            return torch.stack([self.other(replace(task, target=c), rows) for c in range(task.classes)])

        return replace(self, ours=ours, captum=self.captum and captum, other=self.other and other)
