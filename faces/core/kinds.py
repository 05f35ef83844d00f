"""What a folder is: a dataset or an index, told by the one file that marks it.

Both names stand here, so that a room which may not import the other's can still say that a folder
of the wrong kind was named. How the rest of each folder is laid out only its own room knows.
"""

from __future__ import annotations

from pathlib import Path

DATASET_MARKER = "dataset.json"
"""File in a dataset's folder, there from its first run on."""

INDEX_MARKER = "CURRENT"
"""File in an index's folder, there from its first version on."""


def is_dataset(path: str | Path) -> bool:
    """Whether a path is the folder of a dataset."""
    return (Path(path) / DATASET_MARKER).is_file()


def is_index(path: str | Path) -> bool:
    """Whether a path is the folder of an index."""
    return (Path(path) / INDEX_MARKER).is_file()
