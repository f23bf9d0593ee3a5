"""The table of cases: one row measures one method on one network. A new method is a `Method` and some rows."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace

from benchmarks.networks import NETWORKS
from benchmarks.peers import IG, SALIENCY, Method, Task

LATE = {"captum": 4.0}
ALL = {"captum": 5.0}
GOALS = {"captum": 1.0, "tuned": 1.0, "bare": 1 / 1.1, "memory": 1.0}
"""What every case is to reach at least, as peer / attrfunc: seconds, and for `memory` Captum's peak."""


@dataclass(frozen=True)
class Case:
    """One row. `split`: the network can be cut at the layer, so that the rest can be run by hand."""

    name: str
    network: str
    method: Method
    layer: str | None = None
    classes: int | None = None
    n_steps: int = 50
    split: bool = True
    goals: dict[str, float] = field(default_factory=dict)

    def goal(self, peer: str) -> float:
        return (GOALS | self.goals)[peer]

    def task(self, quick: bool = False) -> Task:
        model, x, target = NETWORKS[self.network]()
        frozen = copy.deepcopy(model).requires_grad_(False)
        task = Task(model, frozen, x, target, self.layer, self.n_steps, self.classes)
        return replace(task, n_steps=4, classes=self.classes and 3) if quick else task

    def ways(self) -> Method:
        """The method as this case calls it."""
        method = self.method.for_all_classes() if self.classes else self.method
        return method if self.split else replace(method, bare=None)


CASES = [
    Case("CNN, IG, input", "cnn", IG, goals={"captum": 2.0}),
    Case("CNN, IG, early layer", "cnn", IG, layer="stem"),
    Case("CNN, IG, late layer", "cnn", IG, layer="stage4", goals=LATE),
    Case("CNN, saliency", "cnn", SALIENCY),
    Case("CNN, IG, 100 classes", "cnn", IG, classes=100, n_steps=5, goals=ALL),
    Case("CNN, IG, late layer, 100 classes", "cnn", IG, layer="stage4", classes=100, n_steps=5, goals=ALL),
    Case("CNN, saliency, 100 classes", "cnn", SALIENCY, classes=100, goals=ALL),
    Case("Transformer, IG, input", "transformer", IG),
    Case("Transformer, IG, early layer", "transformer", IG, layer="encoder.layers.0", split=False),
    Case("Transformer, IG, late layer", "transformer", IG, layer="encoder.layers.2", split=False, goals=LATE),
    Case("Transformer, IG, last layer", "transformer", IG, layer="encoder.layers.3", split=False, goals=LATE),
    Case("Transformer, saliency", "transformer", SALIENCY),
    Case("Transformer, IG, 10 classes", "transformer", IG, classes=10, n_steps=10),
    Case("MLP, IG, input", "mlp", IG),
    Case("MLP, IG, early layer", "mlp", IG, layer="fc1"),
    Case("MLP, IG, late layer", "mlp", IG, layer="relu2", goals=LATE),
    Case("MLP, saliency", "mlp", SALIENCY),
    Case("MLP, IG, 100 classes", "mlp100", IG, classes=100, n_steps=20, goals=ALL),
    Case("MLP, saliency, 100 classes", "mlp100", SALIENCY, classes=100, goals=ALL),
    Case("EfficientNet, IG, input", "efficientnet", IG),
    Case("EfficientNet, IG, early layer", "efficientnet", IG, layer="_blocks.2", split=False),
    Case("EfficientNet, IG, late layer", "efficientnet", IG, layer="_conv_head", split=False, goals=LATE),
    Case("EfficientNet, saliency", "efficientnet", SALIENCY),
]
