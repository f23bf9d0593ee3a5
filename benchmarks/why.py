"""Why a goal is not reached, written by hand after measuring. The first entry that fits a missed goal is printed."""

from __future__ import annotations

import re

WHY: list[tuple[str, str, str]] = []
"""A pattern of cases, the peers (captum, tuned, bare, memory), and the reason."""


def why(case: str, peer: str) -> str:
    """The reason why the case misses its goal against the peer."""
    reasons = (reason for cases, peers, reason in WHY if re.search(cases, case) and peer in peers.split())
    return next(reasons, "Not yet explained.")
