"""Concepts, and the base of what explains with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["Concept", "ConceptInterpreter", "key_of"]


class Concept:
    """Examples of a concept.

    Args:
        id: Its number, of no other concept.
        name: Its name.
        data_iter: Batches of examples, inputs alone.
    """

    def __init__(self, id: int, name: str, data_iter: Iterable[Any] | None) -> None:  # noqa: A002  # Captum's name
        self.id = id
        self.name = name
        self.data_iter = data_iter

    @property
    def identifier(self) -> str:
        """The name and the number."""
        return f"{self.name}-{self.id}"

    def __repr__(self) -> str:
        return f"Concept({self.id!r}, {self.name!r})"


class ConceptInterpreter:
    """Base of what explains a model by concepts.

    Args:
        model: The model.
    """

    interpret: Callable[..., Any]

    def __init__(self, model: Any) -> None:
        self.model = model


def key_of(concepts: Iterable[Concept]) -> str:
    """The numbers of concepts, joined by hyphens."""
    return "-".join(str(concept.id) for concept in concepts)
