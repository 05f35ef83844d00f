"""Move the rows of photos in a dataset, and in its indexes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from faces.core.errors import WrongUsageError
from faces.core.progress import OnProgress, ignore_progress
from faces.dataset import relocation
from faces.dataset.relocation import Relocation
from faces.dataset.store import Dataset
from indexer.build import build_index
from indexer.changes import indexed_photos
from indexer.delete import open_all
from indexer.manifest import Manifest


def plan_relocation(dataset: str | Path, old: str | Path, new: str | Path) -> Relocation:
    """Count what `relocate` would change, without writing anything.

    Args:
        dataset: path of the dataset's folder.
        old: folder, photo, archive or address where the photos were.
        new: where it is now.

    Returns:
        What would be changed.

    Raises:
        WrongUsageError: there is no such dataset, it has no photo in either place, or the new place
            lies in the old one.
    """
    return relocation.plan_relocation(Dataset.open(dataset), old, new)


def relocate(
    dataset: str | Path,
    old: str | Path,
    new: str | Path,
    *,
    indexes: str | Path | Sequence[str | Path] = (),
    on_progress: OnProgress = ignore_progress,
) -> Relocation:
    """Tell a dataset and its indexes that photos have moved, without reading a photo.

    Faces, labels and deletions of the photos stay. If it is stopped at any point, the same call
    continues it.

    Args:
        dataset: path of the dataset's folder.
        old: folder, photo, archive or address where the photos were.
        new: where it is now.
        indexes: paths of indexes of the dataset, which are brought up to date. An index that is not
            named follows when it is next built.
        on_progress: called with each step and how far it is.

    Returns:
        What was changed in the dataset.

    Raises:
        WrongUsageError: there is no such dataset or index, the dataset has no photo in either
            place, or the new place lies in the old one.
        ContractMismatchError: an index holds embeddings of another model.
        CorruptFileError: a file of the dataset or of an index is corrupt.
        BusyError: another process is writing the dataset or an index.
    """
    source, opened = open_all(dataset, indexes)
    for path, manifest in opened:
        _require_its_dataset(source, path, manifest)
    changed = relocation.relocate_photos(source, old, new)
    for path, _ in opened:
        build_index(dataset, path, on_progress=on_progress)
    return changed


def _require_its_dataset(source: Dataset, index: Path, manifest: Manifest) -> None:
    """Require that an index was built from a dataset, which may itself have moved since.

    Raises:
        WrongUsageError: it has read no part of the dataset.
    """
    read = indexed_photos(index, manifest.segments)["part"].unique().to_pylist()
    if not set(read) & set(source.committed_parts()):
        raise WrongUsageError(
            f"index {index} was built from {manifest.dataset or 'another dataset'}, not from "
            f"{source.path}; leave it out, or name its dataset"
        )
