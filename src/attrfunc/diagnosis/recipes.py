"""How each method is tried, and what its numbers are compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch.utils import _pytree as pytree

from attrfunc.combined.ablation_cam import ablation_cam
from attrfunc.combined.eigen_cam import eigen_cam
from attrfunc.combined.extremal_perturbation import extremal_perturbation
from attrfunc.combined.fullgrad import full_gradients, fullgrad
from attrfunc.combined.guided_grad_cam import guided_grad_cam
from attrfunc.combined.score_cam import score_cam
from attrfunc.combined.xrai import xrai
from attrfunc.diagnosis.case import (
    SAMPLES,
    STEPS,
    Case,
    background,
    drawn,
    game,
    generator,
    path,
    players,
    regions,
    rolled,
    start,
    unions,
    windows,
)
from attrfunc.diagnosis.expected import (
    as_is,
    between,
    cam,
    chance,
    first_part,
    group_totals,
    guided_cam,
    mean_change,
    occluded,
    of_game,
    pair_totals,
    permuted,
    principal,
    product,
    signed,
    times_gradient,
    totals,
    without_channels,
)
from attrfunc.diagnosis.hand import Hand, Leaves
from attrfunc.diagnosis.rectified import rectified
from attrfunc.gradient.blur_ig import blur_ig
from attrfunc.gradient.conductance import conductance
from attrfunc.gradient.grad_cam import grad_cam
from attrfunc.gradient.gradient_shap import gradient_shap
from attrfunc.gradient.guided_ig import guided_ig
from attrfunc.gradient.input_x_gradient import input_x_gradient
from attrfunc.gradient.integrated_gradients import integrated_gradients
from attrfunc.gradient.integrated_hessians import integrated_hessians
from attrfunc.gradient.internal_influence import internal_influence
from attrfunc.gradient.neuron_conductance import neuron_conductance
from attrfunc.gradient.saliency import saliency
from attrfunc.gradient.sequential_ig import sequential_ig
from attrfunc.gradient.temporal_ig import temporal_ig
from attrfunc.perturbation.banzhaf_values import banzhaf_values
from attrfunc.perturbation.feature_ablation import feature_ablation
from attrfunc.perturbation.feature_permutation import feature_permutation
from attrfunc.perturbation.gaussian_process_shap import gaussian_process_shap
from attrfunc.perturbation.kernel_shap import kernel_shap
from attrfunc.perturbation.lime import lime
from attrfunc.perturbation.occlusion import occlusion
from attrfunc.perturbation.owen_values import owen_values
from attrfunc.perturbation.rise import rise
from attrfunc.perturbation.shapley_interactions import shapley_interactions
from attrfunc.perturbation.shapley_sampling import shapley_sampling
from attrfunc.perturbation.shapley_values import shapley_values
from attrfunc.propagation import rules
from attrfunc.propagation.deconvolution import deconvolution
from attrfunc.propagation.deep_lift import deep_lift
from attrfunc.propagation.deep_lift_shap import deep_lift_shap
from attrfunc.propagation.guided_backprop import guided_backprop
from attrfunc.propagation.lrp import lrp

__all__ = ["RECIPES", "Recipe"]

Options = Callable[[Case], dict[str, Any]]


@dataclass(frozen=True)
class Recipe:
    """How a method is tried.

    Attributes:
        method: The method.
        options: What it is called with, made anew for each call.
        expected: What is to come out, by hand; None where nothing does. Where it gives None, nothing does here.
        check: What that is, in words.
        seen: What is compared with it.
        limit: How far it may be from that, if chance has a part in it.
        place: Where it is taken where inputs have no gradient: at the `"embedding"`, or still at the `"input"`.
        layer: The layer it needs: `"cam"`, `"units"` or none.
        draws: Whether it draws.
        told: What of the options is worth telling.
    """

    method: Callable[..., Any]
    options: Options = lambda case: {}
    expected: Callable[[Case, Hand], Leaves | None] | None = None
    check: str = ""
    seen: Callable[[Case, Hand, Leaves], Leaves] = as_is
    limit: Callable[[Case, Hand], float] | None = None
    place: str = "input"
    layer: str = ""
    draws: bool = False
    told: tuple[str, ...] = field(default=())


DEFINITION = "its definition, all coalitions one by one"
COMPLETE = "the change of the score, which attributions add up to"
change: Callable[[Case, Hand], Leaves] = lambda case, hand: [hand.change()]  # noqa: E731

ALL: Sequence[Recipe] = (
    Recipe(
        saliency,
        lambda case: {"absolute": False},
        lambda case, hand: hand.gradient(hand.end),
        "the gradient by plain autograd",
        place="embedding",
    ),
    Recipe(input_x_gradient, expected=product, check="the gradient by plain autograd", place="embedding"),
    Recipe(
        integrated_gradients,
        path,
        lambda case, hand: hand.integrated(STEPS),
        "a loop over the path",
        place="embedding",
        told=("n_steps",),
    ),
    Recipe(
        gradient_shap,
        lambda case: {
            "baselines": pytree.tree_unflatten([one[:1] for one in case.hand.start], pytree.tree_structure(case.x)),
            "n_samples": SAMPLES,
            "generator": generator(case),
        },
        lambda case, hand: hand.integrated(STEPS) if hand.apart else None,
        "a loop over the path, but for chance",
        limit=chance,
        draws=True,
        told=("n_samples",),
    ),
    Recipe(guided_ig, path, told=("n_steps",)),
    Recipe(blur_ig, lambda case: {"n_steps": STEPS, "max_sigma": 5.0}, told=("n_steps",)),
    Recipe(temporal_ig, path, told=("n_steps",)),
    Recipe(sequential_ig, path, told=("n_steps",)),
    Recipe(integrated_hessians, lambda case: {"baseline": case.baseline, "n_steps": 4}, told=("n_steps",)),
    Recipe(deep_lift, start, change, COMPLETE, totals, place="embedding"),
    Recipe(deep_lift_shap, lambda case: {"baselines": background(case)}, mean_change, COMPLETE, totals),
    Recipe(
        lrp,
        lambda case: {"rules": rules.attn_lrp(epsilon=1e-9)},
        times_gradient,
        "input times gradient, which it is in such networks",
        place="embedding",
    ),
    Recipe(
        guided_backprop,
        expected=lambda case, hand: rectified(hand, True),
        check="autograd with other ReLUs",
        place="embedding",
    ),
    Recipe(
        deconvolution,
        expected=lambda case, hand: rectified(hand, False),
        check="autograd with other ReLUs",
        place="embedding",
    ),
    Recipe(
        conductance,
        path,
        lambda case, hand: [hand.conductance(str(case.units), STEPS)],
        "a loop over the path, with hooks, as far as few points tell",
        limit=between,
        layer="units",
        told=("layer", "n_steps"),
    ),
    Recipe(
        internal_influence,
        path,
        lambda case, hand: [hand.influence(str(case.units), STEPS)],
        "a loop over the path, with hooks",
        layer="units",
        told=("layer", "n_steps"),
    ),
    Recipe(
        neuron_conductance,
        lambda case: {**path(case), "neuron": (0,) * (case.hand.activation(str(case.units)).dim() - 1)},
        lambda case, hand: hand.neuron_conductance(str(case.units), STEPS),
        "a loop over the path, with hooks",
        layer="units",
        told=("layer", "n_steps"),
    ),
    Recipe(grad_cam, expected=cam, check="its formula, with hooks", layer="cam", told=("layer",)),
    Recipe(
        guided_grad_cam, expected=guided_cam, check="autograd with other ReLUs, and hooks", layer="cam", told=("layer",)
    ),
    Recipe(
        eigen_cam,
        expected=principal,
        check="its formula, with hooks",
        seen=signed,
        layer="cam",
        told=("layer",),
    ),
    Recipe(fullgrad),
    Recipe(
        full_gradients,
        expected=lambda case, hand: product(case, hand),
        check="its part at the input, by plain autograd",
        seen=first_part,
    ),
    Recipe(feature_ablation, game, of_game("ablation"), "a loop over the groups"),
    Recipe(occlusion, windows, occluded, "a loop over the windows", told=("window",)),
    Recipe(
        feature_permutation,
        lambda case: {"feature_mask": case.ids, "perm_func": rolled},
        permuted,
        "a loop over the groups",
    ),
    Recipe(shapley_values, game, of_game("shapley"), DEFINITION),
    Recipe(banzhaf_values, game, of_game("banzhaf"), DEFINITION),
    Recipe(
        owen_values,
        lambda case: {**game(case), "nesting": unions(case)},
        lambda case, hand: (
            hand.game(pytree.tree_leaves(case.ids)).owen(unions(case)) if case.rows < 2 or hand.apart else None
        ),
        DEFINITION,
    ),
    Recipe(shapley_interactions, game, change, COMPLETE, pair_totals),
    Recipe(
        kernel_shap,
        partial(drawn, n_samples=300),
        of_game("shapley"),
        DEFINITION,
        draws=True,
        told=("n_samples",),
    ),
    Recipe(
        shapley_sampling, partial(drawn, n_samples=4), change, COMPLETE, group_totals, draws=True, told=("n_samples",)
    ),
    Recipe(
        gaussian_process_shap,
        lambda case: drawn(case, n_samples=2 * players(case) + 4),
        change,
        COMPLETE,
        group_totals,
        draws=True,
        told=("n_samples",),
    ),
    Recipe(lime, partial(drawn, n_samples=50), draws=True, told=("n_samples",)),
    Recipe(
        rise,
        lambda case: {"baseline": case.baseline, "n_samples": SAMPLES, "cells": 2, "generator": generator(case)},
        draws=True,
        told=("n_samples",),
    ),
    Recipe(xrai, regions, told=("n_steps",)),
    Recipe(extremal_perturbation, lambda case: {"baseline": case.baseline, "area": 0.3, "n_steps": 5}),
    # A row for each channel, of which there may be a thousand: these come last.
    Recipe(ablation_cam, expected=without_channels, check="a loop over the channels", layer="cam", told=("layer",)),
    Recipe(score_cam, start, layer="cam", told=("layer",)),
)

RECIPES = {recipe.method.__name__: recipe for recipe in ALL}
