"""Methods that go back from the score, each a function from a case to a finding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import attrfunc as af
from case import RADII, Case, Finding, complete, seeded
from classifier import log_probability

BLOCK, LAST_BLOCK = "_blocks.10", "_blocks.15"  # of 16; 14 x 14 and 7 x 7 positions
FEATURES = "_avg_pooling"  # its input is what the final linear layer averages: 1280 features on 7 x 7 positions
PREACTIVATION = "_bn1"  # the same features before their ReLU6, which has no gradient once it saturates
COMPOSITE = af.rules.epsilon_gamma_box(-1.0, 1.0)  # inputs reach from -1 to 1
NOISE = 0.15  # of SmoothGrad


def similarity(one: Tensor, other: Tensor) -> float:
    """The correlation of two maps of sizes."""
    return torch.corrcoef(torch.stack([size.abs().sum(1).flatten() for size in (one, other)]))[0, 1].item()


def saliency(case: Case) -> Finding:
    return Finding(af.saliency(case.model, case.x, target=case.target), "1 gradient")


def smooth_grad(case: Case) -> Finding:
    method = af.smooth(af.saliency, n_samples=case.steps // 2, stdev=NOISE, generator=seeded())
    return Finding(method(case.model, case.x, target=case.target), f"{case.steps // 2} noisy copies")


def input_x_gradient(case: Case) -> Finding:
    values = af.input_x_gradient(case.model, case.x, target=case.target)
    cancelled = (values.abs().sum() / values.sum().abs()).item()
    caution = f"mostly noise: the sizes add up to {cancelled:.0f} x the sum" if cancelled > 100 else ""
    return Finding(values, "1 gradient", caution=caution)


def integrated_gradients(case: Case) -> Finding:
    values = af.ig(case.model, case.x, n_steps=case.steps, **case.compared)
    return complete(values, case.change, f"{case.steps} points")


def expected_gradients(case: Case) -> Finding:
    options = {"baselines": case.baselines, "target": case.target, "n_samples": case.steps // 2}
    values = af.gradient_shap(case.model, case.x, generator=seeded(), **options)
    return Finding(values, f"{case.steps // 2} draws of {len(RADII)} blurs")


def neuron(case: Case) -> Finding:
    """What drives the feature that the class owes most to, at the position that it owes most to."""
    features = af.layer(case.model, FEATURES, side="input")
    share = af.ig(features, case.x, n_steps=16, **case.compared)[0]
    row, column = divmod(int(share.sum(0).argmax()), share.shape[-1])
    channel = int(share[:, row, column].argmax())
    view = af.neuron(case.model, PREACTIVATION, (channel, row, column))
    # More points than for the class: one unit's ReLU6 switches where a thousand together would average it out.
    values = af.ig(view, case.x, baseline=case.baseline, n_steps=2 * case.steps)
    change = af.score_change(view, case.x, baseline=case.baseline)
    return complete(values, change, f"feature {channel}, {2 * case.steps} points", cell=(row, column))


def deep_lift(case: Case) -> Finding:
    return complete(af.deep_lift(case.model, case.x, **case.compared), case.change, "1 gradient")


def deep_lift_shap(case: Case) -> Finding:
    values = af.deep_lift_shap(case.model, case.x, baselines=case.baselines, target=case.target)
    return Finding(values, f"{len(RADII)} blurs")


def lrp(case: Case) -> Finding:
    # Relevance is a share of the score itself, and the logarithm of a probability near 1 is nearly nothing.
    logit = lambda logits: logits[:, list(case.photo.classes)].amax(1)  # noqa: E731
    values = af.lrp(case.model, case.x, target=logit, rules=COMPOSITE)
    return Finding(values, "epsilon-gamma-box")


def beside_rival(case: Case, method: Callable[..., Tensor], **options: Any) -> Finding:
    """A finding that says how much the picture of another class looks like this one."""
    values, other = (
        method(case.model, case.x, target=target, **options) for target in (case.target, log_probability((case.rival,)))
    )
    alike = similarity(values, other)
    caution = f"nearly blind to the class: the picture for another correlates by {alike:.2f}" if alike > 0.7 else ""
    return Finding(values, "1 gradient", caution=caution)


def guided_backprop(case: Case) -> Finding:
    return beside_rival(case, af.guided_backprop)


def deconvolution(case: Case) -> Finding:
    return beside_rival(case, af.deconvolution)


def guided_grad_cam(case: Case) -> Finding:
    return beside_rival(case, af.guided_grad_cam, layer=FEATURES, side="input", interpolate_mode="bilinear")


def grad_cam(case: Case) -> Finding:
    values = af.grad_cam(case.model, case.x, target=case.target, layer=FEATURES, side="input")
    return Finding(values, "7 x 7 positions")


def layer_cam(case: Case) -> Finding:
    options = {"weighting": "layer_cam", "relu": True, "layer": BLOCK}
    return Finding(af.grad_cam(case.model, case.x, target=case.target, **options), "14 x 14 positions")


def layer_ig(case: Case, name: str = BLOCK) -> Finding:
    values = af.ig(af.layer(case.model, name), case.x, n_steps=case.steps // 2, **case.compared)
    return complete(values, case.change, f"{case.steps // 2} points")


def last_layer_ig(case: Case) -> Finding:
    return layer_ig(case, LAST_BLOCK)


def conductance(case: Case) -> Finding:
    values = af.conductance(case.model, case.x, layer=BLOCK, n_steps=case.steps, **case.compared)
    return complete(values, case.change, f"{case.steps} points")


def internal_influence(case: Case) -> Finding:
    values = af.internal_influence(case.model, case.x, layer=BLOCK, n_steps=case.steps // 2, **case.compared)
    return Finding(values, f"{case.steps // 2} points")
