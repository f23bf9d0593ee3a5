"""Concept activation vectors and their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from attrfunc.captum.concept.concept import Concept, key_of
from attrfunc.core.errors import ArgumentError

__all__ = ["CAV"]


class CAV:
    """The vectors of a set of concepts at a layer.

    Args:
        concepts: The concepts.
        layer: The layer's name.
        stats: `"weights"` `(C, F)`, `"classes"`, and what the classifier tells of itself.
        save_path: The folder of all vectors.
        model_id: The folder of a model's in it.
    """

    def __init__(
        self,
        concepts: list[Concept],
        layer: str,
        stats: dict[str, Any] | None = None,
        save_path: str = "./cav/",
        model_id: str = "default_model_id",
    ) -> None:
        self.concepts = concepts
        self.layer = layer
        self.stats = stats
        self.save_path = save_path
        self.model_id = model_id

    @staticmethod
    def assemble_save_path(path: str, model_id: str, concepts: list[Concept], layer: str) -> str:
        """The file of the vectors of these concepts at a layer."""
        return str(Path(path) / model_id / f"{key_of(concepts)}-{layer}.pkl")

    @staticmethod
    def create_cav_dir_if_missing(save_path: str, model_id: str) -> None:
        """Make the folder of a model's vectors."""
        (Path(save_path) / model_id).mkdir(parents=True, exist_ok=True)

    def save(self) -> None:
        """Write the vectors to their file."""
        stored = {
            "concept_ids": [concept.id for concept in self.concepts],
            "concept_names": [concept.name for concept in self.concepts],
            "layer": self.layer,
            "stats": _plain(self.stats),
        }
        self.create_cav_dir_if_missing(self.save_path, self.model_id)
        torch.save(stored, self.assemble_save_path(self.save_path, self.model_id, self.concepts, self.layer))

    @staticmethod
    def load(cavs_path: str, model_id: str, concepts: list[Concept], layer: str) -> CAV | None:
        """Read vectors from their file, as data alone; None if there is none."""
        file = CAV.assemble_save_path(cavs_path, model_id, concepts, layer)
        if not Path(file).exists():
            return None
        try:
            stored = torch.load(file, weights_only=True, map_location="cpu")
        except Exception as error:  # whatever the reader makes of other files
            fix = "Remove it; the vectors are then made anew."
            raise ArgumentError("cavs_path", repr(file), "a file that `save` wrote", fix).within("CAV.load") from error
        return CAV(concepts, stored["layer"], stored["stats"], cavs_path, model_id)


def _plain(stats: Any) -> Any:
    """The same in tensors and numbers, which can be read without running code."""
    if isinstance(stats, dict):
        return {key: _plain(value) for key, value in stats.items()}
    return stats.tolist() if hasattr(stats, "tolist") and not isinstance(stats, Tensor) else stats
