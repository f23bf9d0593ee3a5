"""What has to come out: formulas, loops and definitions, written out."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

from attrfunc.diagnosis.case import CHANNELS, SAMPLES, STEPS, Case, windows
from attrfunc.diagnosis.hand import Hand, Leaves
from attrfunc.diagnosis.rectified import Calls, rectified

__all__ = [
    "CLEAR",
    "as_is",
    "between",
    "cam",
    "chance",
    "first_part",
    "group_totals",
    "guided_cam",
    "mean_change",
    "occluded",
    "of_game",
    "pair_totals",
    "permuted",
    "principal",
    "product",
    "signed",
    "times_gradient",
    "totals",
    "without_channels",
]

CLEAR = 1e-3  # of a map's sum, as a share of what it sums


def as_is(case: Case, hand: Hand, found: Leaves) -> Leaves:
    """The attributions themselves."""
    return found


def totals(case: Case, hand: Hand, found: Leaves) -> Leaves:
    """What attributions add up to."""
    return [hand.total(found)]


def group_totals(case: Case, hand: Hand, found: Leaves) -> Leaves:
    """The same, where each element has the value of its group."""
    total: Any = 0.0
    for group in range(case.groups):
        for ids, leaf in zip(pytree.tree_leaves(case.ids), found, strict=True):
            members = ids.flatten(1)[0].eq(group).nonzero().flatten()
            if len(members):
                values = leaf.flatten(1)[:, members[0]].double()
                total = total + (values if hand.apart else values.sum()[None])
                break
    return [total]


def pair_totals(case: Case, hand: Hand, found: Leaves) -> Leaves:
    """The same for single groups and pairs, each counted once."""
    single, pairs = found
    return [single.sum(1) + pairs.sum((1, 2)) / 2]


def first_part(case: Case, hand: Hand, found: Leaves) -> Leaves:
    """What is given to the input, beside what biases get."""
    return found[: len(hand.end)]


def mean_change(case: Case, hand: Hand) -> Leaves:
    """The mean change of the scores from both baselines."""
    halves = [(a[:1] + b[:1]) / 2 for a, b in zip(hand.start, hand.end, strict=True)]
    both = [[one[:1] for one in hand.start], halves]
    wide = [[one.expand_as(leaf) for one, leaf in zip(some, hand.end, strict=True)] for some in both]
    return [torch.stack([hand.change(some) for some in wide]).mean(0)]


def chance(case: Case, hand: Hand) -> float:
    """Five standard errors of a mean of gradients at random points of the line, as a share of the mean."""
    mean, variance = hand.average(STEPS)
    ways = [b - a for a, b in zip(hand.start, hand.end, strict=True)]
    error = sum(float((v * w.square()).sum()) for v, w in zip(variance, ways, strict=True)) / SAMPLES
    size = sum(float((m * w).square().sum()) for m, w in zip(mean, ways, strict=True))
    return 5 * math.sqrt(error / max(size, 1e-30)) + 1e-3


def between(case: Case, hand: Hand) -> float:
    """What twice the points change of conductance: both sides take few of them, in different sums."""
    few, many = (hand.conductance(str(case.units), steps) for steps in (STEPS, 2 * STEPS))
    return 1e-3 + 3 * float((few - many).norm() / few.norm().clamp(min=1e-30))


LINEAR = {
    *("linear", "conv1d", "conv2d", "conv3d", "relu", "add", "iadd", "flatten", "view", "reshape", "mean", "size"),
    *("max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool2d", "batch_norm", "dropout", "dim"),
    *("permute", "transpose", "unsqueeze", "squeeze", "pad", "boolean_dispatch", "shape", "get", "numel", "contiguous"),
    *("adaptive_avg_pool1d", "_max_pool1d", "_max_pool2d", "__get", "is_floating_point", "clone", "requires_grad"),
}


def times_gradient(case: Case, hand: Hand) -> Leaves | None:
    """What LRP is with a vanishing epsilon in networks of linear layers and ReLUs, and in no others."""
    calls, model = Calls(), hand.fresh()
    if hasattr(model, "_orig_mod"):  # compiled: what it calls is not seen
        return None
    with calls:
        hand.output(model=model)
    if not calls.names <= LINEAR or hand.layer is not None:
        return None
    return product(case, hand)


def product(case: Case, hand: Hand) -> Leaves:
    """The input times its gradient."""
    return [g * e for g, e in zip(hand.gradient(hand.end), hand.end, strict=True)]


def cam(case: Case, hand: Hand) -> Leaves:
    """Grad-CAM by its formula."""
    values, slopes = hand.slopes(str(case.cam), hand.end)
    weights = slopes.flatten(2).mean(2) if slopes.dim() > 2 else slopes
    return [(weights.view(*weights.shape, *[1] * (slopes.dim() - 2)) * values).sum(1, keepdim=True)]


def guided_cam(case: Case, hand: Hand) -> Leaves | None:
    """The map as large as the input, times guided backpropagation."""
    detail = rectified(hand, True)
    if detail is None or any(leaf.dim() < 3 for leaf in detail):
        return None
    heat = cam(case, hand)[0].clamp(min=0)
    return [torch.nn.functional.interpolate(heat, leaf.shape[2:]) * leaf for leaf in detail]


def without_channels(case: Case, hand: Hand) -> Leaves | None:
    """Ablation-CAM by a loop over channels; None where there are many."""
    values = hand.activation(str(case.cam)).detach()
    if values.shape[1] > CHANNELS or not hand.apart:
        return None
    at_layer = copy.copy(hand)
    at_layer.layer, losses = case.cam, []
    with torch.no_grad():
        whole = at_layer.at([values])
        for channel in range(values.shape[1]):
            less = values.clone()
            less[:, channel] = 0
            losses.append(whole - at_layer.at([less]))
    weights = torch.stack(losses, 1)
    return [(weights.view(*weights.shape, *[1] * (values.dim() - 2)) * values).sum(1, keepdim=True)]


def principal(case: Case, hand: Hand) -> Leaves:
    """Eigen-CAM by the eigenvectors of the matrix of channels."""
    values = hand.activation(str(case.cam)).detach().double()
    matrix = values.flatten(2) if values.dim() > 2 else values[:, :, None]  # (B, C, positions)
    _, vectors = torch.linalg.eigh(matrix @ matrix.transpose(1, 2))
    heat = (vectors[:, :, -1:] * matrix).sum(1, keepdim=True)
    return signed(case, hand, [heat.view(len(heat), 1, *values.shape[2:])])


def signed(case: Case, hand: Hand, found: Leaves) -> Leaves:
    """Maps with the sign that makes their sums positive; their size where the sum is too near zero to say."""
    flat = found[0].flatten(1)
    total, size = flat.sum(1, keepdim=True), flat.abs().sum(1, keepdim=True)
    clear = total.abs() > CLEAR * size
    return [torch.where(clear, torch.where(total < 0, -flat, flat), flat.abs()).view(found[0].shape)]


def occluded(case: Case, hand: Hand) -> Leaves | None:
    """What the score loses under each window."""
    if len(hand.end) > 1 or hand.end[0].dim() < 2 or not hand.apart:
        return None
    leaf, sides = hand.end[0], windows(case)["window"]
    result = torch.zeros(leaf.shape, device=leaf.device)
    whole = hand.value([torch.ones_like(leaf, dtype=torch.bool)])
    corners = [range(0, size, side) for size, side in zip(leaf.shape[-len(sides) :], sides, strict=True)]
    for corner in torch.cartesian_prod(*map(torch.tensor, corners)).view(-1, len(sides)).tolist():
        window: Any = (..., *(slice(first, first + side) for first, side in zip(corner, sides, strict=True)))
        present = torch.ones_like(leaf, dtype=torch.bool)
        present[window] = False
        loss = whole - hand.value([present])
        result[window] = loss.view(-1, *[1] * (leaf.dim() - 1)).to(result.dtype)
    return [result]


def permuted(case: Case, hand: Hand) -> Leaves | None:
    """What the scores lose where a group's elements are those of the example before."""
    if hand.rows < 2 or not hand.apart:
        return None
    leaves, losses = pytree.tree_leaves(case.ids), []
    with torch.no_grad():
        whole = hand.at(hand.end)
        for group in range(case.groups):
            moved = [torch.where(i == group, e.roll(1, 0), e) for i, e in zip(leaves, hand.end, strict=True)]
            losses.append(whole - hand.at(moved))
    return hand.game(leaves).spread(losses)


def of_game(function: str) -> Callable[[Case, Hand], Leaves]:
    """A value of the game of groups, by its definition."""
    return lambda case, hand: getattr(hand.game(pytree.tree_leaves(case.ids)), function)()
