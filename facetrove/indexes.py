"""Build or compact an index, and open it for searching."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from faces.core.progress import OnProgress, ignore_progress
from faces.core.settings import Device
from indexer import build, compact
from indexer.options import GivenOptions
from search.searcher import FaceSearcher


def build_index(
    dataset: str | Path,
    index: str | Path,
    *,
    rebuild: bool = False,
    device: Device = "auto",
    on_progress: OnProgress = ignore_progress,
    **options: Unpack[GivenOptions],
) -> FaceSearcher:
    """Build the index of a dataset, or bring it up to date, and open it.

    Only photos that are new, changed or deleted since the last build are read. An index that is up
    to date is not changed.

    Args:
        dataset: path of the dataset's folder.
        index: path of the index's folder, which is made, or given a new version. Searchers that
            are open keep the old version.
        rebuild: build the whole index from nothing, even where an update would do.
        device: device that builds and searches the index: `cpu`, `cuda`, or `auto`, which is a GPU
            where FAISS sees one.
        on_progress: function called with the step that is being done.
        options: `recipe` (`auto`, `exact` or a FAISS factory string), `target_recall` (in (0, 1]),
            `recall_of` (`matches` or `neighbours`), `memory` (bytes) and `threshold` (similarity,
            [-1, 1]); see docs/index.md. An option that is not given, or is None, keeps its value of
            the last build. A changed option builds the whole index from nothing.

    Returns:
        A searcher on the version that is now in force.

    Raises:
        WrongUsageError: there is no such dataset, it holds no face, an option or device cannot be
            used, or `index` is the path of something else.
        ContractMismatchError: the index holds embeddings of another model.
        CorruptFileError: a file of the dataset is corrupt.
        BusyError: another process is writing the index.
    """
    build.build_index(
        dataset, index, rebuild=rebuild, device=device, on_progress=on_progress, **options
    )
    return FaceSearcher.open(index, device=device)


def compact_index(
    index: str | Path, *, device: Device = "auto", on_progress: OnProgress = ignore_progress
) -> FaceSearcher:
    """Rewrite an index as one segment without its deleted faces, and open it.

    An index that has one segment and no deleted face is not changed.

    Args:
        index: path of the index's folder.
        device: device that builds and searches the index: `cpu`, `cuda`, or `auto`, which is a GPU
            where FAISS sees one.
        on_progress: function called with the step that is being done.

    Returns:
        A searcher on the version that is now in force.

    Raises:
        WrongUsageError: there is no index at that path, or no such device.
        CorruptFileError: a file of the index is missing, truncated or altered.
        BusyError: another process is writing the index.
    """
    compact.compact_index(index, device=device, on_progress=on_progress)
    return FaceSearcher.open(index, device=device)
