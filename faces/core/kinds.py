"""Tell what kind of folder a path is: a dataset or an index, each marked by one file.

Both file names stand here, so that a package that may not import the other kind's package can
still report a folder of the wrong kind. Only a folder's own package knows the rest of its layout.
"""

from __future__ import annotations

from pathlib import Path

DATASET_MARKER = "dataset.json"
"""Name of the file that marks a dataset's folder; the dataset's first run creates it."""

INDEX_MARKER = "CURRENT"
"""Name of the file that marks an index's folder; the index's first version creates it."""


def is_dataset(path: str | Path) -> bool:
    """Return whether a path is a dataset's folder."""
    return (Path(path) / DATASET_MARKER).is_file()


def is_index(path: str | Path) -> bool:
    """Return whether a path is an index's folder."""
    return (Path(path) / INDEX_MARKER).is_file()
