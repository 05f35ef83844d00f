"""The names of what the last run passed over, for people to look at.

    DATASET/passed_over.parquet   a row for each file and folder: `faces.photos.passed_over`

Each run replaces the file, a relocation renames what has moved, and a purge removes it: nothing
needs it, and names of files may tell of people.
"""

from __future__ import annotations

import pyarrow as pa

from faces.core.storage import Folder
from faces.dataset.layout import PASSED_OVER_FILE
from faces.dataset.schema import read_table, with_column, write_table
from faces.photos.passed_over import PASSED_OVER_SCHEMA
from faces.photos.places import Place


def write_passed_over(folder: Folder, passed_over: pa.Table) -> None:
    """Replace the names of what was passed over.

    Args:
        folder: the dataset's folder.
        passed_over: rows of `PASSED_OVER_SCHEMA`.
    """
    order = [(name, "ascending") for name in PASSED_OVER_SCHEMA.names]
    with folder.put(PASSED_OVER_FILE) as file:
        write_table(passed_over.sort_by(order), file)


def read_passed_over(folder: Folder) -> pa.Table | None:
    """Return what the last run passed over, sorted by kind, label and uri.

    Returns:
        Rows of `PASSED_OVER_SCHEMA`; None where no run has written them, or a purge removed them.

    Raises:
        CorruptFileError: the file cannot be read.
    """
    if not folder.exists(PASSED_OVER_FILE):
        return None
    return read_table(folder, PASSED_OVER_FILE, PASSED_OVER_SCHEMA)


def move_passed_over(folder: Folder, old: Place, new: Place) -> None:
    """Rename what lies in a place that has another name now."""
    passed_over = read_passed_over(folder)
    if passed_over is not None and old.mask(passed_over["uri"]).any():
        uris, _ = old.moved_all(passed_over["uri"], new)
        write_passed_over(folder, with_column(passed_over, "uri", uris))


def forget_passed_over(folder: Folder) -> None:
    """Remove the names of what was passed over."""
    if folder.exists(PASSED_OVER_FILE):
        folder.remove(PASSED_OVER_FILE)
