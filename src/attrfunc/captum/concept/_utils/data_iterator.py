"""Examples of concepts from files."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset, IterableDataset

__all__ = ["CustomIterableDataset", "dataset_to_dataloader"]


class CustomIterableDataset(IterableDataset[Any]):
    """What a function makes of each file of a folder, in the order of their names.

    Args:
        transform_filename_to_tensor: A file's path to an example; to all examples, where `path` is a file.
        path: The folder, or one file.
    """

    def __init__(self, transform_filename_to_tensor: Callable[[str], Any], path: str) -> None:
        folder = os.path.isdir(path)
        self.file_itr = sorted(glob.glob(os.path.join(glob.escape(path), "*"))) if folder else None
        self.path = path
        self.transform_filename_to_tensor = transform_filename_to_tensor

    def __iter__(self) -> Iterator[Any]:
        if self.file_itr is None:
            return iter(self.transform_filename_to_tensor(self.path))
        return map(self.transform_filename_to_tensor, self.file_itr)


def dataset_to_dataloader(dataset: Dataset[Any], batch_size: int = 64) -> DataLoader[Any]:
    """A loader of a data set's batches."""
    return DataLoader(dataset, batch_size=batch_size)
