"""What a computation needs is known before it starts, and refused where no machine has it."""

from __future__ import annotations

from attrfunc.core.errors import ArgumentError

__all__ = ["MOST", "require_room", "require_table"]

MOST = 2**30
"""So many numbers are held at once at most: 4 GiB of them in single precision."""


def require_room(argument: str, got: str, numbers: int, fix: str) -> None:
    """Refuse what needs too many numbers.

    Args:
        argument: The argument that asks for them.
        got: What it asks for, in words.
        numbers: How many numbers that takes.
        fix: What takes fewer.

    Raises:
        ArgumentError: If these are more than `MOST`.
    """
    if numbers > MOST:
        # Their digits, and no float: some are larger than any.
        size = f"{numbers:,}" if numbers < 10**15 else f"about 10^{len(str(numbers)) - 1}"
        raise ArgumentError(argument, f"{got}, which takes {size} numbers", f"what takes at most {MOST:,}", fix)


def require_table(n_samples: int, players: int) -> None:
    """Refuse a table of so many coalitions of so many groups that no memory holds it.

    Args:
        n_samples: Number of coalitions.
        players: Number of groups.

    Raises:
        ArgumentError: If these are more than `MOST` numbers.
    """
    require_room(
        "n_samples",
        f"{n_samples} coalitions of {players} groups",
        n_samples * players,
        "Make fewer groups with feature_mask (grid_mask and superpixels make masks), or use feature_ablation, which "
        "needs no table.",
    )
