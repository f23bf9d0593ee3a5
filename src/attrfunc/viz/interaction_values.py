"""Interactions for shapiq, whose plots take what it calls interaction values."""

from __future__ import annotations

import warnings
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.extras import require
from attrfunc.viz.arrays import Array, choice, drawing, to_array

if TYPE_CHECKING:
    import shapiq

__all__ = ["interaction_values"]

INDICES = ("k-SII", "SII", "STII", "FSII", "BII")


@drawing
def interaction_values(
    interactions: Any, *, index: Literal["k-SII", "SII", "STII", "FSII", "BII"] = "k-SII", base: float = 0.0
) -> shapiq.InteractionValues:
    """Hand the interactions of one example to shapiq, for any of its plots.

    Args:
        interactions: What `af.shapley_interactions` gives, for one example: `(n,)`, `(n, n)`, and so on, with or
            without a dimension for that example in front.
        index: The index that they were computed by.
        base: The score that they start from, that of the baseline.

    Returns:
        A `shapiq.InteractionValues` of all sets of features up to that size.

    Raises:
        ArgumentError: If the tensors are not those of one example.
        AttributionError: If shapiq is not installed, the extra `attrfunc[shapiq]`.

    Example:
        >>> found = af.shapley_interactions(lambda x: x[:, 0] * x[:, 1] + x[:, 2], torch.ones(1, 3))
        >>> values = af.viz.interaction_values(found)
        >>> values[(0, 1)], values[(2,)], values[(0, 2)]
        (1.0, 1.0, 0.0)
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of shap, which it imports
        require("shapiq", "shapiq")
        import shapiq
    kind = choice("index", index, INDICES)
    start = to_array("base", base)
    if start.size != 1:
        fix = "Pass the score at the baseline: model(baseline)[0, target].item()."
        raise ArgumentError("base", describe(base), "one number", fix)
    orders = _orders(interactions)
    players = len(orders[0])
    sets = {
        chosen: float(part[chosen])
        for size, part in enumerate(orders, 1)
        for chosen in combinations(range(players), size)
    }
    return shapiq.InteractionValues(
        {(): float(start.reshape(())), **sets},
        index=kind,
        min_order=0,
        max_order=len(orders),
        n_players=players,
        estimated=False,
        baseline_value=float(start.reshape(())),
    )


def _orders(interactions: Any) -> list[Array]:
    """The tensors of one example, by size of the sets."""
    if not isinstance(interactions, tuple | list) or not interactions:
        fix = "Pass what af.shapley_interactions returned."
        raise ArgumentError("interactions", describe(interactions), "a tuple of tensors (n,), (n, n), ...", fix)
    found = [to_array(f"interactions[{number}]", part) for number, part in enumerate(interactions)]
    if found[0].ndim == 2 and all(part.shape[0] == 1 for part in found):
        found = [part[0] for part in found]
    players = found[0].shape[-1] if found[0].ndim else 0
    if [part.shape for part in found] != [(players,) * size for size in range(1, len(found) + 1)]:
        fix = "Choose one example: tuple(part[0] for part in interactions)."
        got = f"shapes {[part.shape for part in found]}"
        raise ArgumentError("interactions", got, "(n,), (n, n), ... of one example", fix)
    return found
