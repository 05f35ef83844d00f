"""Carry a dataset or an index over to the format that this version of facetrove writes."""

from __future__ import annotations

from pathlib import Path

from faces.core.errors import WrongUsageError
from faces.core.kinds import is_dataset, is_index
from faces.core.named import absolute
from faces.core.progress import OnProgress, ignore_progress
from faces.dataset.upgrade import DatasetUpgrade, upgrade_dataset
from indexer.upgrade import IndexUpgrade, upgrade_index


def upgrade(
    path: str | Path, *, read_photos: bool = False, on_progress: OnProgress = ignore_progress
) -> DatasetUpgrade | IndexUpgrade:
    """Carry a dataset or an index over to the current format, in place.

    Face_ids, boxes, columns, deletions, embeddings, options and calibration stay as they are. If
    this is stopped at any point, the same call finishes it. Afterwards an older version of
    facetrove does not open the folder any more.

    Args:
        path: path of the folder of a dataset or an index.
        read_photos: whether to read the photos of a dataset that an older version embedded without
            what recognises edited copies of them; see `DatasetUpgrade.num_without_hash`. Photos
            that cannot be read stay without it, and so do photos that have changed.
        on_progress: called with each step and how far it is.

    Returns:
        What was carried over, and whether the embeddings can be compared with new ones.

    Raises:
        WrongUsageError: there is no dataset or index at `path`, or a newer facetrove wrote it.
        CorruptFileError: a file cannot be read, or the index is of the first format, which is
            built again from its dataset instead.
        BusyError: another process is writing the dataset or the index.
    """
    folder = absolute(path)
    if is_index(folder):
        return upgrade_index(folder, on_progress=on_progress)
    if not is_dataset(folder):
        problem = "is neither a dataset nor an index" if folder.exists() else "does not exist"
        raise WrongUsageError(f"{path} {problem}; name the folder of one")
    return upgrade_dataset(folder, read_photos=read_photos, on_progress=on_progress)
