"""The key of a set of concepts."""

from __future__ import annotations

from attrfunc.captum.concept.concept import Concept

__all__ = ["concepts_to_str"]


def concepts_to_str(concepts: list[Concept]) -> str:
    """The concepts' numbers with hyphens between them, as the results of `TCAV` are filed: `"0-1"`."""
    return "-".join(str(concept.id) for concept in concepts)
