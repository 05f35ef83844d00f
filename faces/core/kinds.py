"""What kind of folder a path is: each format's marker file, which tells its folders from others."""

from __future__ import annotations

from pathlib import Path

DATASET_MARKER = "dataset.json"
"""The file that every dataset folder has; see `faces.dataset.store`."""

INDEX_MARKER = "CURRENT"
"""The file that every index folder has; see `indexer.layout`."""


def is_dataset(path: Path) -> bool:
    """Whether there is a dataset at a path."""
    return (path / DATASET_MARKER).is_file()


def is_index(path: Path) -> bool:
    """Whether there is an index at a path."""
    return (path / INDEX_MARKER).is_file()
