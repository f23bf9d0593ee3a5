"""Concepts on disk, with hashes of what they were made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from attrfunc.concepts.vectors import Concepts, at_one_layer, fingerprint
from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.score.method import named
from attrfunc.core.score.views import Model

__all__ = ["load", "save"]

FORMAT = "attrfunc.concepts 1"


def save(concepts: Concepts, path: str | Path) -> None:
    """Write concepts to a file.

    Args:
        concepts: What `concept_vectors` gave.
        path: The file.

    Raises:
        ArgumentError: If it is something else.

    Example:
        >>> import tempfile
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())
        >>> view = af.layer(model, "0")
        >>> found = af.concepts.concept_vectors(view, {"a": torch.rand(5, 3), "b": -torch.rand(5, 3)})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     af.concepts.save(found, folder + "/concepts.pt")
        ...     af.concepts.load(folder + "/concepts.pt", view).names
        ('a', 'b')
    """

    def write() -> None:
        if not isinstance(concepts, Concepts):
            fix = "Pass what concept_vectors returned."
            raise ArgumentError("concepts", describe(concepts), "Concepts", fix)
        torch.save({"format": FORMAT, **vars(concepts), "names": list(concepts.names)}, path)

    named("save", write)()


def load(path: str | Path, view: Model | None = None) -> Concepts:
    """Read concepts that were saved.

    Args:
        path: The file. It is read as data alone: no code in it is run.
        view: The view that they are to be used with. If it is given, its model must be the one that they were made
            from, to the bit, at the same layer.

    Returns:
        `Concepts`.

    Raises:
        ArgumentError: If the file holds something else, or the view is not the one that the concepts were made from.

    Example:
        See `save`.

        >>> callable(af.concepts.load)
        True
    """

    def read() -> Concepts:
        try:
            stored: Any = torch.load(path, weights_only=True, map_location="cpu")
        except FileNotFoundError:
            raise
        except Exception as error:  # whatever the reader makes of other files
            raise ArgumentError(
                "path", repr(str(path)), "a file that `save` wrote", "Save the concepts anew."
            ) from error
        if not isinstance(stored, dict) or stored.pop("format", None) != FORMAT:
            raise ArgumentError("path", repr(str(path)), "a file that `save` wrote", "Save the concepts anew.")
        concepts = Concepts(**{**stored, "names": tuple(stored["names"])})
        if view is not None and fingerprint(at_one_layer(view)) != concepts.made_from["model"]:
            expected = f"the one that the concepts were made from, at layer {concepts.layer!r}"
            fix = "Load that model's parameters, or make the concepts anew."
            raise ArgumentError("view", "a model with other parameters, or another layer", expected, fix)
        return concepts

    return named("load", read)()
