"""Batches of a data set, in the forms in which loaders give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.trees import batch_size

__all__ = ["Batch", "Role", "read_roles"]

Role = Literal["attribute", "forward", "ignore"]
ROLES = {"attribute", "forward", "ignore"}


@dataclass(frozen=True)
class Batch:
    """A batch: elements one after the other, and their names if it is a dict.

    Attributes:
        elements: The elements.
        keys: Their names, or None.
        alone: Whether the batch is its only element.
    """

    elements: tuple[Any, ...]
    keys: tuple[Any, ...] | None
    alone: bool

    @classmethod
    def of(cls, batch: Any, like: Batch | None = None) -> Batch:
        """Read what a loader gave.

        Args:
            batch: A tensor, a tuple or list, or a mapping.
            like: The first batch, whose structure all have.

        Raises:
            ArgumentError: If this one has another structure.
        """
        if isinstance(batch, Mapping):
            keys = tuple(batch) if like is None or like.keys is None else like.keys
            found = cls(tuple(batch.get(key) for key in keys), keys, False)
            same = like is None or (like.keys is not None and set(batch) == set(keys))
        else:
            several = isinstance(batch, list | tuple)
            found = cls(tuple(batch) if several else (batch,), None, not several)
            same = like is None or (like.keys is None and len(found.elements) == len(like.elements))
        if like is not None and not same:
            expected = f"{len(like.elements)} elements, as in the first batch"
            if like.keys is not None:
                expected = f"a dict of {', '.join(map(repr, like.keys))}, as the first batch"
            raise ArgumentError("batches", f"a batch that is {describe(batch)}", expected, "Give all one structure.")
        return found

    def attributed(self, roles: Sequence[str]) -> tuple[Tensor, ...]:
        """The elements that are attributed."""
        return tuple(one for one, role in zip(self.elements, roles, strict=True) if role == "attribute")

    def replaced(self, roles: Sequence[str], parts: Sequence[Tensor]) -> Batch:
        """The batch with others in their place."""
        given = iter(parts)
        pairs = zip(self.elements, roles, strict=True)
        return replace(self, elements=tuple(next(given) if role == "attribute" else one for one, role in pairs))

    def restored(self) -> Any:
        """The batch as `reduce` sees it: a tuple, or a dict."""
        return self.elements if self.keys is None else dict(zip(self.keys, self.elements, strict=True))

    def output(self, model: Any, roles: Sequence[str]) -> Any:
        """What the model makes of the elements that are for it."""
        if self.keys is None:
            return model(*[one for one, role in zip(self.elements, roles, strict=True) if role != "ignore"])
        named = zip(self.keys, self.elements, roles, strict=True)
        return model(**{key: one for key, one, role in named if role != "ignore"})

    def result(self, roles: Sequence[str], parts: Sequence[Tensor]) -> Any:
        """Attributions in the structure of what is attributed."""
        if self.keys is not None:
            names = [key for key, role in zip(self.keys, roles, strict=True) if role == "attribute"]
            return dict(zip(names, parts, strict=True))
        return parts[0] if self.alone else tuple(parts)

    def flat(self, name: str, given: Any, roles: Sequence[str]) -> Any:
        """An argument for what is attributed, a dict as the batch is, as a tuple."""
        if self.keys is None or not isinstance(given, Mapping):
            return given
        names = [key for key, role in zip(self.keys, roles, strict=True) if role == "attribute"]
        if set(given) != set(names):
            expected = f"one for each of {', '.join(map(repr, names))}"
            raise ArgumentError(name, describe(given), expected, "Name what is attributed, all of it.")
        return tuple(given[key] for key in names) if len(names) > 1 else given[names[0]]


def read_roles(given: Any, batch: Batch) -> tuple[str, ...]:
    """The role of each element of a batch.

    Args:
        given: Roles in the order of the elements, a dict of them, or None.
        batch: The first batch.

    Raises:
        ArgumentError: If they do not fit.
    """
    keys, count = batch.keys, len(batch.elements)
    roles: tuple[Any, ...] = ("attribute",) * count if given is None else tuple(given)
    if isinstance(given, Mapping):
        roles = tuple(given[key] for key in keys) if keys is not None and set(keys) == set(given) else ()
    right = len(roles) == count and "attribute" in roles and set(roles) <= ROLES
    if not right or (keys is not None and not isinstance(given, Mapping | None)):
        places = f"the {count} elements of a batch" if keys is None else f"{', '.join(map(repr, keys))}, in a dict"
        raise ArgumentError(
            "input_roles",
            describe(given),
            f"'attribute', 'forward' or 'ignore' for each of {places}, 'attribute' at least once",
            "Say what each element is for.",
        )
    batch_size(batch.attributed(roles))
    return roles
