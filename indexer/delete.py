"""Delete faces from a dataset and its indexes: make a plan of the faces, then carry it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from faces.core.contract import require_same_contract
from faces.core.errors import BusyError
from faces.core.named import as_list
from faces.core.progress import OnProgress, Progress, ignore_progress
from faces.dataset.deleted_pictures import (
    PLACE_COLUMNS,
    add_deleted_pictures,
    num_recognisable,
    pictures_of,
)
from faces.dataset.deletions import add_deletions, face_digest, read_deletions
from faces.dataset.rewrite import remove_deleted_faces
from faces.dataset.store import Dataset
from indexer.changes import rows_in
from indexer.faces_file import FACES_SCHEMA, faces_schema
from indexer.filters import FilterTable
from indexer.folder import IndexWriter, open_segments
from indexer.manifest import Manifest, read_current
from indexer.segment import filter_tables, metadata_of
from indexer.selection import Selection


@dataclass(frozen=True)
class DeletionResult:
    """The result of a deletion.

    Attributes:
        num_faces: number of different faces that were deleted.
        face_digests: for each of these faces `faces.dataset.deletions.face_digest`, a hash from
            which the face cannot be identified.
        num_faces_of_index: number of these faces that each index held, by the index's path.
        num_recognisable: number of these faces that stay away in edited copies of their photos,
            too. The others are withheld from files of the same bytes alone: they fill their photos,
            or an older version of facetrove embedded the photos and these cannot be read now.
        still_in_dataset: True if another job was writing the dataset: its readers do not see the
            faces, but their rows stay in its files until `purge`.
    """

    num_faces: int
    face_digests: tuple[str, ...]
    num_faces_of_index: dict[str, int]
    num_recognisable: int
    still_in_dataset: bool


@dataclass(frozen=True)
class DeletionPlan:
    """The faces that a deletion will remove, found by `plan_deletion` before anything is deleted.

    Attributes:
        dataset: the dataset that the faces are deleted from.
        indexes: paths of the indexes that the faces are deleted from.
        in_indexes: (n,) string, the face ids that were found in the indexes.
        in_dataset: (m,) string, the face ids that were found in the dataset.
        pictures: what will be kept of these faces' photos to recognise edited copies, rows of
            `faces.dataset.deleted_pictures.PICTURES_SCHEMA`.
        unhashed: the faces whose photos are to be read for that, from `pictures_of`.
    """

    dataset: Dataset
    indexes: tuple[Path, ...]
    in_indexes: pa.Array
    in_dataset: pa.Array
    pictures: pa.Table
    unhashed: pa.Table

    @property
    def face_ids(self) -> pa.Array:
        """The ids of all faces to be deleted, (f,) string, each once."""
        return pa.concat_arrays([self.in_indexes, self.in_dataset]).unique()

    @property
    def num_faces(self) -> int:
        """The number of different faces to be deleted."""
        return len(self.face_ids)

    def execute(self, *, on_progress: OnProgress = ignore_progress) -> DeletionResult:
        """Delete the planned faces, so that no search finds them any more.

        Exactly the planned faces are deleted, even if an index has a newer version by now or
        their photos were embedded again. Faces that match the plan's filter only since then stay:
        nobody has confirmed their deletion.

        The faces are first withheld from the dataset's readers, then marked as deleted in each
        index, which is opened for writing once, then removed from the dataset's parts. If this is
        interrupted, carrying out the same plan again, or a new one for the same faces, finishes it.

        Args:
            on_progress: called with each step and how far it is.

        Raises:
            WrongUsageError: an index no longer exists.
            ContractMismatchError: an index now holds embeddings of another model.
            BusyError: another process is writing an index.
        """
        face_ids = self.face_ids
        pictures = self.pictures
        add_deleted_pictures(self.dataset.path, pictures)
        counts = _withhold(self.dataset, self.indexes, face_ids)
        if len(self.unhashed):
            read = _read_pictures(self.unhashed, on_progress)
            add_deleted_pictures(self.dataset.path, read)
            pictures = pa.concat_tables([pictures, read])
        try:
            remove_deleted_faces(
                self.dataset, lambda step, n, of: on_progress(Progress(step, n, of))
            )
        except BusyError:
            still_in_dataset = True
        else:
            still_in_dataset = False
        return DeletionResult(
            num_faces=len(face_ids),
            face_digests=tuple(map(face_digest, face_ids.to_pylist())),
            num_faces_of_index=counts,
            num_recognisable=num_recognisable(pictures),
            still_in_dataset=still_in_dataset,
        )


def plan_deletion(
    dataset: str | Path,
    indexes: str | Path | Sequence[str | Path],
    *,
    faces: str | Sequence[str] = (),
    photos: str | Path | Sequence[str | Path] = (),
    where: str | None = None,
    on_progress: OnProgress = ignore_progress,
) -> DeletionPlan:
    """Find the faces that a deletion would remove from a dataset and its indexes; delete nothing.

    A face is selected if `faces`, `photos` or `where` selects it.

    Args:
        dataset: path of the dataset's folder.
        indexes: paths of indexes built from the dataset. An index that is left out keeps the
            faces until its next update.
        faces: face ids.
        photos: paths, uris or photo ids of photos whose faces are all selected.
        where: a condition as in SQL's WHERE, over the columns of faces and the photos' metadata.
        on_progress: called with each step and how far it is.

    Returns:
        The plan, whose `execute` deletes the faces.

    Raises:
        WrongUsageError: the dataset or an index does not exist, none of `faces`, `photos` and
            `where` is given, or `where` is not a valid condition.
        ContractMismatchError: an index holds embeddings of another model than the dataset.
    """
    selection = Selection.of(faces, photos, where)
    source, opened = open_all(dataset, indexes)
    in_indexes = _matching_in_indexes(opened, selection, source, on_progress)
    on_progress(Progress("looking through the dataset"))
    places = _matching_in_dataset(source, selection)
    pictures, unhashed = pictures_of(source, places)
    return DeletionPlan(
        dataset=source,
        indexes=tuple(path for path, _ in opened),
        in_indexes=in_indexes,
        in_dataset=places["face_id"].combine_chunks(),
        pictures=pictures,
        unhashed=unhashed,
    )


def delete_faces(
    dataset: str | Path,
    indexes: str | Path | Sequence[str | Path],
    where: str | None = None,
    *,
    faces: str | Sequence[str] = (),
    photos: str | Path | Sequence[str | Path] = (),
    on_progress: OnProgress = ignore_progress,
) -> DeletionResult:
    """Delete faces from a dataset and its indexes, so that no search finds them any more.

    The faces are removed from the dataset's parts, and stay withheld if their photos, or edited
    copies of these, are embedded again. Until `purge`, bytes of them remain in the indexes' files,
    and may remain in older files of the dataset. If this is interrupted, the same call finishes it.

    Args:
        dataset: path of the dataset.
        indexes: paths of the indexes that were built from the dataset.
        where: a condition on the faces' columns, as in SQL's WHERE; None: no condition.
        faces: face ids.
        photos: paths, uris or photo ids of photos, of which all faces are deleted.
        on_progress: called with each step and how far it is.

    Returns:
        How many faces were deleted where.

    Raises:
        WrongUsageError: neither faces, photos nor a condition is given, or the condition is not
            valid.
        CorruptFileError: a file of the dataset or of an index is corrupt.
        BusyError: another process writes to the dataset or to an index.
    """
    plan = plan_deletion(
        dataset, indexes, faces=faces, photos=photos, where=where, on_progress=on_progress
    )
    return plan.execute(on_progress=on_progress)


def open_all(
    dataset: str | Path, indexes: str | Path | Sequence[str | Path]
) -> tuple[Dataset, list[tuple[Path, Manifest]]]:
    """Open a dataset and read the manifests of its indexes.

    Raises:
        WrongUsageError: the dataset or an index does not exist.
        ContractMismatchError: an index holds embeddings of another model than the dataset.
    """
    source = Dataset.open(Path(dataset))
    opened = [(Path(index), read_current(index)) for index in as_list(indexes)]
    for path, manifest in opened:
        _require_its_contract(source, path, manifest)
    return source, opened


def _require_its_contract(source: Dataset, index: Path, manifest: Manifest) -> None:
    require_same_contract(
        source.contract,
        manifest.contract,
        ours_name=f"dataset {source.path}",
        theirs_name=f"index {index}",
        remedy="name the indexes that were built from the dataset",
    )


def _matching_in_indexes(
    opened: Sequence[tuple[Path, Manifest]],
    selection: Selection,
    source: Dataset,
    on_progress: OnProgress,
) -> pa.Array:
    """Return the ids of the live faces in indexes that are selected.

    Columns that the dataset has and an index does not have yet are null in that index.
    """
    found = [pa.array([], pa.string())]
    for index_dir, manifest in opened:
        on_progress(Progress(f"looking through {index_dir}"))
        segments = open_segments(index_dir, manifest)
        metadata = pa.unify_schemas([metadata_of(segments), source.metadata])
        tables = filter_tables(segments, metadata)
        for table, mask in zip(tables, selection.masks(tables), strict=True):
            found.append(table.faces["face_id"].filter(pa.array(mask)).combine_chunks())
    return pa.concat_arrays(found).unique()


def _matching_in_dataset(source: Dataset, selection: Selection) -> pa.Table:
    """Return `PLACE_COLUMNS` of the faces of a dataset that are selected."""
    columns = [*FACES_SCHEMA.names, *source.metadata.names]
    tables = list(source.faces(columns)) or [faces_schema(source.metadata).empty_table()]
    faces = pa.concat_tables(tables)
    (mask,) = selection.masks([FilterTable(faces)])
    return faces.filter(pa.array(mask)).select(PLACE_COLUMNS)


def _read_pictures(faces: pa.Table, on_progress: OnProgress) -> pa.Table:
    """Return what is kept of the photos of faces that an older version of facetrove embedded."""
    from faces.dataset.picture_reading import pictures_read

    return pictures_read(faces, lambda step, n, of: on_progress(Progress(step, n, of)))


def _withhold(source: Dataset, indexes: Sequence[Path], face_ids: pa.Array) -> dict[str, int]:
    """Withhold faces from the dataset's readers, then mark them as deleted in the indexes.

    The indexes also lose faces that an earlier deletion withheld and that are still in the
    dataset's parts: that deletion may have been interrupted before it reached the indexes, and no
    plan finds these faces in the dataset any more.

    Returns:
        The number of `face_ids` that each index held, by the index's path.
    """
    counts = {str(index): 0 for index in indexes}
    earlier = read_deletions(source.path).pending
    if len(face_ids) == len(earlier) == 0:
        return counts
    before, after = add_deletions(source.path, face_ids.to_pylist())
    for index in indexes:
        with IndexWriter.open(index) as writer:
            previous = writer.require_previous()
            _require_its_contract(source, index, previous)
            segments = []
            for segment in open_segments(index, previous):
                rows = rows_in(segment.faces, "face_id", face_ids)
                counts[str(index)] += int((rows & segment.live()).sum())
                if len(earlier):
                    rows |= rows_in(segment.faces, "face_id", earlier)
                segments.append(replace(segment, deleted=rows | ~segment.live()))
            compared_with = previous.dataset_deletions
            writer.publish(
                replace(
                    previous,
                    deletions=writer.write_deletions(segments),
                    dataset_deletions=after if compared_with == before else compared_with,
                )
            )
    return counts
