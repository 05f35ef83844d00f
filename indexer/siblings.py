"""Find the indexes of a dataset in the folders where people keep them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from faces.core.errors import FaceTroveError
from faces.core.kinds import is_index
from faces.dataset.store import Dataset
from indexer.manifest import read_current

MAX_ENTRIES = 1000
"""At most this many entries of a folder are looked at, so that a crowded folder costs no time."""


def unnamed_indexes(source: Dataset, named: Sequence[Path]) -> tuple[Path, ...]:
    """Return the indexes of a dataset, beside it or beside an index named, that are not named.

    Only the manifests are read, which say what dataset an index was built from. Indexes in other
    folders are not found: a dataset does not know who has built an index from it.

    Args:
        source: the dataset.
        named: paths of the indexes that are named.
    """
    known = {path.resolve() for path in named}
    folders = {path.resolve().parent for path in (source.path, *named)}
    dataset = source.path.resolve()
    return tuple(
        path
        for folder in sorted(folders)
        for path in _indexes_in(folder)
        if path.resolve() not in known and _dataset_of(path) == dataset
    )


def _indexes_in(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            paths = sorted(Path(entry.path) for entry in islice(entries, MAX_ENTRIES))
    except OSError:
        return
    for path in paths:
        try:
            if is_index(path):
                yield path
        except OSError:
            continue


def _dataset_of(index: Path) -> Path | None:
    """Return the path of the dataset that an index was built from; None if it is not known."""
    try:
        dataset = read_current(index).dataset
        return Path(dataset).resolve() if dataset else None
    except (FaceTroveError, OSError, ValueError, RuntimeError):
        return None
