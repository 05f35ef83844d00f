"""Build, compact and open an index: what comes back is something one can search."""

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
    """Bring an index up to date with a dataset, and open it.

    Args:
        dataset: folder written by the embed job.
        index: folder made, or given a new version. Readers of the old version keep it.
        rebuild: build the whole index anew, whatever is there.
        device: where the index is built and searched: `cpu`, `cuda`, or `auto`: a GPU where FAISS
            sees one.
        on_progress: called with what is being done.
        options: recipe, target_recall, recall_of, memory, threshold; see docs/index.md. What is not
            given stays as it was asked last; what is changed builds the whole index anew.

    Raises: as `indexer.build.build_index`.
    """
    build.build_index(
        dataset, index, rebuild=rebuild, device=device, on_progress=on_progress, **options
    )
    return FaceSearcher.open(index, device=device)


def compact_index(
    index: str | Path, *, device: Device = "auto", on_progress: OnProgress = ignore_progress
) -> FaceSearcher:
    """Make one segment of a whole index, without deleted faces, and open it.

    Args:
        index: the index's folder.
        device: as of `build_index`.
        on_progress: called with what is being done.

    Raises: as `indexer.compact.compact_index`.
    """
    compact.compact_index(index, device=device, on_progress=on_progress)
    return FaceSearcher.open(index, device=device)
