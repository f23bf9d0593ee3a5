"""The table of cases: one row measures one method on one network. A new method is a `Method` and some rows."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from benchmarks.networks import NETWORKS
from benchmarks.peers import (
    CONDUCTANCE,
    DECONVOLUTION,
    DEEP_LIFT,
    DEEP_LIFT_SHAP,
    GRAD_CAM,
    GRADIENT_SHAP,
    GUIDED_BACKPROP,
    GUIDED_GRAD_CAM,
    HYPOTHETICAL,
    IG,
    INFIDELITY,
    INTERNAL_INFLUENCE,
    LRP_ALPHA_BETA,
    LRP_BOX,
    LRP_EPSILON,
    LRP_PLUS,
    NEURON_CONDUCTANCE,
    PGD,
    SALIENCY,
    SENSITIVITY_MAX,
    SMOOTH_IG,
    SMOOTH_SALIENCY,
    ablation,
    exact_shapley,
    lime,
    occlusion,
    permutation_shapley,
)
from benchmarks.task import Method, Task

LATE = {"captum": 4.0}
ALL = {"captum": 5.0}
PASS = {"captum": 1.5}
SAMPLED = {**PASS, "bare": 1.2}
PERTURBED = {"captum": 3.0, "memory": 0.0}
GOALS = {"captum": 1.0, "tuned": 1.0, "bare": 1 / 1.1, "other": 1.0, "memory": 1.0}
"""What every case is to reach at least, as peer / attrfunc: seconds, and for `memory` Captum's peak."""

BASELINES = 20
"""The size of a distribution of baselines."""


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        name: Its name.
        network: A key of `NETWORKS`.
        method: The method.
        layer: The layer, or layers.
        neuron: A neuron in it.
        classes: How many classes are attributed at once.
        count: Points of the path, or random samples.
        split: Whether the network can be cut at the layer, so that the rest can be run by hand.
        check: How agreement is checked, if not as the method says.
        goals: Where they differ from `GOALS`.
        examples: How many of the network's examples are attributed; None: all.
        family: The report that it stands in.
    """

    name: str
    network: str
    method: Method
    layer: str | tuple[str, ...] | None = None
    neuron: Any = None
    classes: int | None = None
    count: int = 50
    split: bool = True
    check: str | None = None
    goals: dict[str, float] = field(default_factory=dict)
    examples: int | None = None
    family: str = "gradient"

    def goal(self, peer: str) -> float:
        return (GOALS | self.goals)[peer]

    def task(self, smoke: bool = False, device: str = "cpu") -> Task:
        """What is computed, with few points for a smoke run."""
        model, x, target = NETWORKS[self.network]()
        model, x, target = model.to(device), x[: self.examples].to(device), target[: self.examples].to(device)
        frozen = copy.deepcopy(model).requires_grad_(False)
        baselines = torch.randn(BASELINES, *x.shape[1:], generator=torch.Generator().manual_seed(0)).to(device)
        task = Task(model, frozen, x, target, self.layer, self.neuron, self.count, self.classes, baselines=baselines)
        return replace(task, count=min(self.count, 4), classes=self.classes and 3) if smoke else task

    def ways(self) -> Method:
        """The method as this case calls it."""
        method = self.method.for_all_classes() if self.classes else self.method
        return method if self.split else replace(method, bare=None)


def perturbed(
    name: str,
    network: str,
    method: Method,
    count: int,
    layer: str | None = None,
    batches: bool = True,
    bare: float | None = None,
) -> Iterator[Case]:
    """The case of one example, and that of the network's batch.

    At layers, Captum takes no batch with a class for each example and several perturbations at once.
    """
    batches = batches and not layer
    goals = PERTURBED | ({"bare": bare} if bare else {})
    options = {"count": count, "layer": layer, "goals": goals, "family": "perturbation"}
    yield Case(f"{name}, one example" if batches else name, network, method, examples=1, **options)
    if batches:
        yield Case(f"{name}, batch", network, method, **options)


def propagated(name: str, network: str, method: Method, **options: Any) -> Case:
    """A case of a method with rules."""
    return Case(name, network, method, family="propagation", **options)


def worth(name: str, network: str, method: Method, count: int) -> Case:
    """A case of what an explanation is worth, or of an attack."""
    return Case(
        name,
        network,
        method,
        count=count,
        goals={"captum": 1.0, "tuned": 0.9, "bare": 0.8, "memory": 0.0},
        family="worth",
    )


STAGES = ("stem", "stage2", "stage4")

CASES = [
    Case("CNN, IG, input", "cnn", IG, goals={"captum": 2.0, "bare": 1.3}),
    Case("CNN, IG, early layer", "cnn", IG, layer="stem"),
    Case("CNN, IG, late layer", "cnn", IG, layer="stage4", goals=LATE),
    Case("CNN, saliency", "cnn", SALIENCY),
    Case("CNN, Grad-CAM", "cnn", GRAD_CAM, layer="stage4"),
    propagated("CNN, guided backprop", "cnn", GUIDED_BACKPROP),
    propagated("CNN, deconvolution", "cnn", DECONVOLUTION),
    propagated("CNN, guided Grad-CAM", "cnn", GUIDED_GRAD_CAM, layer="stage4"),
    propagated("CNN, guided backprop, 100 classes", "cnn", GUIDED_BACKPROP, classes=100, split=False, goals=ALL),
    Case("CNN, IG, 100 classes", "cnn", IG, classes=100, count=5, goals=ALL),
    Case("CNN, IG, late layer, 100 classes", "cnn", IG, layer="stage4", classes=100, count=5, goals=ALL),
    Case("CNN, saliency, 100 classes", "cnn", SALIENCY, classes=100, goals=ALL),
    Case("CNN, conductance, early layer", "cnn", CONDUCTANCE, layer="stem", goals=SAMPLED),
    Case("CNN, conductance, middle layer", "cnn", CONDUCTANCE, layer="stage2", goals=SAMPLED),
    Case("CNN, conductance, late layer", "cnn", CONDUCTANCE, layer="stage4", goals=SAMPLED),
    Case("CNN, conductance, 3 layers at once", "cnn", CONDUCTANCE, layer=STAGES, goals={"captum": 2.0}),
    Case("CNN, internal influence", "cnn", INTERNAL_INFLUENCE, layer="stage2"),
    Case("CNN, neuron conductance", "cnn", NEURON_CONDUCTANCE, layer="stage4", neuron=(3, 2, 2)),
    Case("CNN, gradient SHAP, 5 samples", "cnn", GRADIENT_SHAP, count=5, goals=SAMPLED),
    Case("CNN, gradient SHAP, 25 samples", "cnn", GRADIENT_SHAP, count=25, goals=SAMPLED),
    Case("CNN, SmoothGrad, 5 samples", "cnn", SMOOTH_SALIENCY, count=5, goals=SAMPLED),
    Case("CNN, SmoothGrad, 50 samples", "cnn", SMOOTH_SALIENCY, goals=SAMPLED),
    Case("CNN, SmoothGrad, 100 samples", "cnn", SMOOTH_SALIENCY, count=100, goals=SAMPLED),
    Case("Transformer, IG, input", "transformer", IG),
    Case("Transformer, IG, early layer", "transformer", IG, layer="encoder.layers.0", split=False),
    Case("Transformer, IG, late layer", "transformer", IG, layer="encoder.layers.2", split=False, goals=LATE),
    Case("Transformer, IG, last layer", "transformer", IG, layer="encoder.layers.3", split=False, goals=LATE),
    Case("Transformer, saliency", "transformer", SALIENCY),
    Case("Transformer, IG, 10 classes", "transformer", IG, classes=10, count=10),
    Case("Transformer, conductance", "transformer", CONDUCTANCE, layer="encoder.layers.1", goals=PASS),
    Case("Transformer, internal influence", "transformer", INTERNAL_INFLUENCE, layer="encoder.layers.1"),
    Case("Transformer, gradient SHAP, 25 samples", "transformer", GRADIENT_SHAP, count=25, goals=PASS),
    Case("Transformer, SmoothGrad, 50 samples", "transformer", SMOOTH_SALIENCY, goals=PASS),
    Case("MLP, IG, input", "mlp", IG),
    Case("MLP, IG, early layer", "mlp", IG, layer="fc1"),
    Case("MLP, IG, late layer", "mlp", IG, layer="relu2", goals=LATE),
    Case("MLP, saliency", "mlp", SALIENCY),
    propagated("MLP, guided backprop", "mlp", GUIDED_BACKPROP),
    propagated("MLP, deconvolution", "mlp", DECONVOLUTION),
    Case("MLP, IG, 100 classes", "mlp100", IG, classes=100, count=20, goals=ALL),
    Case("MLP, saliency, 100 classes", "mlp100", SALIENCY, classes=100, goals=ALL),
    Case("MLP, conductance", "mlp", CONDUCTANCE, layer="relu1", goals=PASS),
    Case("MLP, neuron conductance", "mlp", NEURON_CONDUCTANCE, layer="relu2", neuron=3),
    Case("MLP, gradient SHAP, 25 samples", "mlp", GRADIENT_SHAP, count=25, check="means", goals=PASS),
    Case("MLP, SmoothGrad, 50 samples", "mlp", SMOOTH_SALIENCY, check="means", goals=PASS),
    Case("MLP, smoothed IG, 5 samples of 10 points", "mlp", SMOOTH_IG, count=5, check="means"),
    Case("EfficientNet, IG, input", "efficientnet", IG, goals={"captum": 4.0, "bare": 1.3}),
    Case("EfficientNet, IG, early layer", "efficientnet", IG, layer="_blocks.2", split=False),
    Case("EfficientNet, IG, late layer", "efficientnet", IG, layer="_conv_head", split=False, goals=LATE),
    Case("EfficientNet, saliency", "efficientnet", SALIENCY),
    Case("EfficientNet, Grad-CAM", "efficientnet", GRAD_CAM, layer="_conv_head"),
    Case("EfficientNet, conductance", "efficientnet", CONDUCTANCE, layer="_blocks.8", goals=SAMPLED),
    Case("EfficientNet, gradient SHAP, 25 samples", "efficientnet", GRADIENT_SHAP, count=25, goals=SAMPLED),
    Case("EfficientNet, SmoothGrad, 50 samples", "efficientnet", SMOOTH_SALIENCY, goals=SAMPLED),
    propagated("Plain CNN, DeepLIFT", "plain", DEEP_LIFT),
    propagated("Plain CNN, DeepLIFT, 100 classes", "plain", DEEP_LIFT, classes=100, goals=ALL),
    propagated("Plain CNN, DeepLIFT-SHAP, 20 baselines", "plain", DEEP_LIFT_SHAP, goals=PASS),
    propagated("MLP, DeepLIFT", "mlp", DEEP_LIFT),
    propagated("MLP, DeepLIFT, 100 classes", "mlp100", DEEP_LIFT, classes=100, goals=ALL),
    propagated("MLP, DeepLIFT-SHAP, 20 baselines", "mlp", DEEP_LIFT_SHAP, goals=PASS),
    propagated("Sequences, DeepLIFT-SHAP, 20 baselines", "sequences", HYPOTHETICAL, goals=PASS),
    propagated("Plain CNN, LRP epsilon-plus", "plain", LRP_PLUS),
    propagated("Plain CNN, LRP epsilon-gamma-box", "plain", LRP_BOX),
    propagated("Plain CNN, LRP epsilon-alpha2-beta1", "plain", LRP_ALPHA_BETA),
    propagated("Plain CNN, LRP epsilon-plus, 100 classes", "plain", LRP_PLUS, classes=100, goals={"other": 5.0}),
    propagated("MLP, LRP epsilon", "mlp", LRP_EPSILON),
    propagated("MLP, LRP epsilon, 100 classes", "mlp100", LRP_EPSILON, classes=100, goals={"other": 5.0, **ALL}),
    propagated("Sequences, LRP epsilon-plus", "sequences", LRP_PLUS),
    *perturbed("CNN, ablation of 64 patches", "cnn", ablation((8, 8)), count=64, bare=1.2),
    *perturbed("CNN, ablation of 256 patches", "cnn", ablation((4, 4)), count=256, bare=1.2),
    *perturbed("CNN, ablation of 64 late channels", "cnn", ablation((1, 8, 8)), count=64, layer="stage4"),
    *perturbed("CNN, occlusion, 225 windows", "cnn", occlusion((8, 8), (4, 4)), count=225, bare=1.2),
    *perturbed("Transformer, ablation of 32 steps", "transformer", ablation((1, 64)), count=32),
    *perturbed("Transformer, ablation of 512 parts", "transformer", ablation((1, 4)), count=512),
    *perturbed("MLP, ablation of 784 features", "mlp", ablation(), count=784),
    *perturbed("MLP, ablation of 28 groups", "mlp", ablation(28), count=28),
    *perturbed("MLP, ablation of 256 late units", "mlp", ablation(), count=256, layer="relu2"),
    *perturbed(
        "EfficientNet, ablation of 64 patches", "efficientnet", ablation((28, 28)), count=64, batches=False, bare=1.2
    ),
    *perturbed(
        "EfficientNet, occlusion, 49 windows",
        "efficientnet",
        occlusion((56, 56), (28, 28)),
        count=49,
        batches=False,
        bare=1.2,
    ),
    *perturbed("CNN, LIME of 16 patches, 200 samples", "cnn", lime((16, 16)), count=200),
    *perturbed("MLP, LIME of 28 groups, 200 samples", "mlp", lime(28), count=200),
    *perturbed("Transformer, LIME of 32 steps, 200 samples", "transformer", lime((1, 64)), count=200),
    *perturbed("CNN, 10 permutations of 16 patches", "cnn", permutation_shapley((16, 16)), count=10),
    *perturbed("Transformer, 10 permutations of 16 steps", "transformer", permutation_shapley((2, 64)), count=10),
    *perturbed("MLP, 10 permutations of 28 groups", "mlp", permutation_shapley(28), count=10),
    *perturbed("MLP, exact, 6 groups", "mlp", exact_shapley(131), count=720),
    worth("CNN, infidelity, 50 samples", "cnn", INFIDELITY, 50),
    worth("MLP, infidelity, 50 samples", "mlp", INFIDELITY, 50),
    worth("Transformer, infidelity, 50 samples", "transformer", INFIDELITY, 50),
    worth("CNN, sensitivity_max of saliency, 10 samples", "cnn", SENSITIVITY_MAX, 10),
    worth("MLP, sensitivity_max of saliency, 10 samples", "mlp", SENSITIVITY_MAX, 10),
    worth("CNN, PGD, 10 steps", "cnn", PGD, 10),
    worth("MLP, PGD, 40 steps", "mlp", PGD, 40),
]
