"""Why a goal is not reached, written by hand after measuring. The first entry that fits a missed goal is printed."""

from __future__ import annotations

import re

WHY: list[tuple[str, str, str]] = [
    (
        "100 classes|10 classes",
        "memory",
        "Sixteen backward passes are in flight at once, where a loop has one. A smaller chunk_size of vmap takes less.",
    ),
    (
        "saliency, 100 classes",
        "captum tuned bare",
        "One forward is shared, and a hundred backward passes remain; the loop by hand, which shares it too, is "
        "the bound.",
    ),
    (
        "100 classes|10 classes",
        "captum tuned bare",
        "The forward passes are shared, and all backward passes remain, so that the ratio is bounded by that of "
        "forward "
        "and backward to backward: the loop by hand, which shares the forward too, reaches 2 to 3. Behind a "
        "late layer, "
        "and behind an MLP's first layer, little is left to do backward.",
    ),
    (
        "saliency",
        "captum tuned bare memory",
        "One evaluation. torch.func dispatches each operation twice, and a call has a fixed cost (the twin, the "
        "target, "
        "checks) of some 0.3 ms on the MLP: what shows on small networks fades with their size.",
    ),
    (
        "early layer",
        "bare",
        "By hand, the network is cut at the layer and its first part left out. attrfunc runs it with the points, as "
        "Captum does: so early, that is cheaper than vmap behind it.",
    ),
    (
        "late layer|last layer",
        "bare",
        "By hand, the network is cut at the layer: its first part runs at the two ends only, by somebody who "
        "knows that "
        "nothing bypasses the layer. attrfunc also runs it once for each chunk, and has a fixed cost for each call.",
    ),
    (
        "MLP, IG, late layer",
        "captum tuned",
        "The first part of so small a network costs little; the fixed cost of a call is a third of the time.",
    ),
    (
        "Transformer, IG, late layer",
        "captum tuned",
        "The layer is the last but one: a third of the network lies behind it and is run for each point, with "
        "attention "
        "in plain operations, which vmap can batch. The row of the last layer shows the prefix alone.",
    ),
    (
        "Transformer, IG, last layer",
        "captum tuned",
        "Undecided: the goal lies within the noise of this machine.",
    ),
    (
        "Transformer, IG, (input|early)",
        "captum tuned bare",
        "The time per row of this network hardly depends on how many are evaluated at once, so that chunks win "
        "nothing; "
        "what is left is the cost of torch.func's dispatch on small operations. Memory is a quarter.",
    ),
    (
        "CNN, IG, (input|early)",
        "captum",
        "Captum's 200 rows at once take some 1.5 x the time per row of the best chunk on this machine, measured "
        "with the "
        "loop by hand too: attrfunc is at that limit.",
    ),
    (
        "EfficientNet, IG|CNN, IG",
        "tuned bare",
        "At equal chunks the times are equal (measured apart: 2.4 and 2.4 s for 50 points on EfficientNet); the "
        "rest is "
        "this machine's noise, and the search for the peer's best chunk, which attrfunc chooses unsearched.",
    ),
]
"""A pattern of cases, the peers (captum, tuned, bare, memory), and the reason."""


def why(case: str, peer: str) -> str:
    """The reason why the case misses its goal against the peer."""
    reasons = (reason for cases, peers, reason in WHY if re.search(cases, case) and peer in peers.split())
    return next(reasons, "Not yet explained.")
