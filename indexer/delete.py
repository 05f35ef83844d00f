"""Delete faces from a dataset and its indexes: make a plan of the faces, then carry it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from faces.core.contract import require_same_contract
from faces.core.errors import FaceTroveError
from faces.core.named import as_list
from faces.core.progress import OnProgress, Progress, ignore_progress
from faces.dataset.contradictions import CONTRADICTIONS_SCHEMA, contradictions
from faces.dataset.deleted_pictures import add_deleted_pictures, num_recognisable, pictures_of
from faces.dataset.deletion_records import DeletionRequest
from faces.dataset.deletion_steps import Withheld, withhold
from faces.dataset.deletions import face_digest, read_deletions
from faces.dataset.people_book import PeopleBook
from faces.dataset.store import Dataset
from indexer.changes import rows_in
from indexer.folder import IndexWriter, open_segments
from indexer.manifest import NEVER_COMPARED, Manifest, read_current
from indexer.people_columns import PeopleColumns
from indexer.selection import (
    Selection,
    faces_in_dataset,
    faces_in_indexes,
    photos_named,
)
from indexer.siblings import unnamed_indexes


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
        deletion_id: id by which `undo` takes the deletion back until a purge. If an earlier
            deletion of the same request withholds the faces already, its id; None if there is
            nothing to take back.
        unnamed_indexes: paths of indexes of the dataset that were found beside it, or beside the
            indexes named, and that were not named: they find the faces until their next update.
    """

    num_faces: int
    face_digests: tuple[str, ...]
    num_faces_of_index: dict[str, int]
    num_recognisable: int
    deletion_id: str | None
    unnamed_indexes: tuple[str, ...]


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
        request: the faces that were asked for.
        unnamed_indexes: paths of further indexes of the dataset; see `DeletionResult`.
        contradictory: the labels of these faces' photos that differ from place to place, rows of
            `faces.dataset.contradictions.CONTRADICTIONS_SCHEMA`; without rows if no filter was
            given.
        photo_person: photos that the filter selects by who is in them, of whose faces it selects
            none, because nobody knows which face is meant; rows of
            `indexer.selection.NAMED_PHOTOS_SCHEMA`: uri, photo_id and num_faces, of the faces
            without a named person, which `include_photo_person` selects.
        people: whether the dataset has a people book, so that `person` is who a face is.
    """

    dataset: Dataset
    indexes: tuple[Path, ...]
    in_indexes: pa.Array
    in_dataset: pa.Array
    pictures: pa.Table
    unhashed: pa.Table
    request: DeletionRequest
    unnamed_indexes: tuple[Path, ...]
    contradictory: pa.Table
    photo_person: pa.Table
    people: bool

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
        index, which is opened for writing once. If this is interrupted, carrying out the same plan
        again, or a new one for the same faces, finishes it. Until a purge, `undo` takes it back.

        Args:
            on_progress: called with each step and how far it is.

        Raises:
            WrongUsageError: an index no longer exists.
            ContractMismatchError: an index now holds embeddings of another model.
            BusyError: another process is writing an index.
        """
        face_ids = self.face_ids
        on_progress(Progress("withholding the faces"))
        contents, emptied = _contents_of(self.dataset, self.indexes, face_ids)
        pictures = self.pictures
        add_deleted_pictures(self.dataset.path, pictures)
        withheld = withhold(self.dataset.path, contents, emptied, self.request)
        on_progress(Progress("marking the faces in the indexes"))
        counts = _mark_in_indexes(self.dataset, self.indexes, face_ids, withheld)
        if len(self.unhashed):
            read = _read_pictures(self.unhashed, on_progress)
            add_deleted_pictures(self.dataset.path, read)
            pictures = pa.concat_tables([pictures, read])
        return DeletionResult(
            num_faces=len(face_ids),
            face_digests=tuple(map(face_digest, face_ids.to_pylist())),
            num_faces_of_index=counts,
            num_recognisable=num_recognisable(pictures),
            deletion_id=withheld.deletion_id,
            unnamed_indexes=tuple(map(str, self.unnamed_indexes)),
        )


def plan_deletion(
    dataset: str | Path,
    indexes: str | Path | Sequence[str | Path],
    *,
    faces: str | Sequence[str] = (),
    photos: str | Path | Sequence[str | Path] = (),
    where: str | None = None,
    include_photo_person: bool = False,
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
        where: a condition as in SQL's WHERE, over the columns of faces and the photos' metadata. In
            a dataset with a people book, `person` is who the face is.
        include_photo_person: select also the faces of `DeletionPlan.photo_person`.
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
    people = people_of_dataset(source)
    in_indexes = faces_in_indexes(opened, selection, source, people, on_progress)
    on_progress(Progress("looking through the dataset"))
    places = faces_in_dataset(source, selection, people)
    named = photos_named(source, where, people)
    if include_photo_person:
        new = pc.invert(pc.is_in(named.faces["face_id"], value_set=places["face_id"]))
        places = pa.concat_tables([places, named.faces.filter(new)])
    pictures, unhashed = pictures_of(source, places)
    return DeletionPlan(
        dataset=source,
        indexes=tuple(path for path, _ in opened),
        in_indexes=in_indexes,
        in_dataset=places["face_id"].combine_chunks(),
        pictures=pictures,
        unhashed=unhashed,
        request=DeletionRequest.of(as_list(faces), as_list(photos), where),
        unnamed_indexes=unnamed_indexes(source, [path for path, _ in opened]),
        contradictory=CONTRADICTIONS_SCHEMA.empty_table()
        if where is None
        else contradictions(source, places["photo_id"].unique()),
        photo_person=named.table,
        people=people is not None,
    )


def people_of_dataset(source: Dataset) -> PeopleColumns | None:
    """Return the people of a dataset's faces; None if it has no people book.

    Raises:
        CorruptFileError: a file of the book is corrupt.
    """
    view = PeopleBook(source.path).view()
    return None if view.is_empty else PeopleColumns(view)


def delete_faces(
    dataset: str | Path,
    indexes: str | Path | Sequence[str | Path],
    where: str | None = None,
    *,
    faces: str | Sequence[str] = (),
    photos: str | Path | Sequence[str | Path] = (),
    include_photo_person: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> DeletionResult:
    """Delete faces from a dataset and its indexes, so that no search finds them any more.

    The faces are withheld from all readers, and stay so if their photos, or edited copies of these,
    are embedded again. Until `purge`, their rows stay in the files, and `undo` takes the deletion
    back. If this is interrupted, the same call finishes it.

    Args:
        dataset: path of the dataset.
        indexes: paths of the indexes that were built from the dataset.
        where: a condition on the faces' columns, as in SQL's WHERE; None: no condition. In a
            dataset with a people book, `person` is who the face is.
        faces: face ids.
        photos: paths, uris or photo ids of photos, of which all faces are deleted.
        include_photo_person: delete also faces without a named person in photos whose list matches
            the condition, and of whose faces none does; see `DeletionPlan.photo_person`.
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
        dataset,
        indexes,
        faces=faces,
        photos=photos,
        where=where,
        include_photo_person=include_photo_person,
        on_progress=on_progress,
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


def _read_pictures(faces: pa.Table, on_progress: OnProgress) -> pa.Table:
    """Return what is kept of the photos of faces that an older version of facetrove embedded."""
    from faces.dataset.picture_reading import pictures_read

    return pictures_read(faces, on_progress)


def _contents_of(
    source: Dataset, indexes: Sequence[Path], face_ids: pa.Array
) -> tuple[dict[str, str | None], list[str]]:
    """Return the photo_id of each face, and the photo_ids of contents that lose all their faces.

    Args:
        source: the dataset.
        indexes: paths of indexes, which may have faces that the dataset has no longer.
        face_ids: ids of the faces that are to be deleted.
    """
    contents: dict[str, str | None] = dict.fromkeys(face_ids.to_pylist())
    if not contents:
        return {}, []
    faces = source.faces(["face_id", "photo_id"]).to_arrow()
    selected = pc.is_in(faces["face_id"], value_set=face_ids)
    lost, left = (faces.filter(mask) for mask in (selected, pc.invert(selected)))
    contents |= dict(zip(lost["face_id"].to_pylist(), lost["photo_id"].to_pylist(), strict=True))
    photo_ids = lost["photo_id"].unique()
    stays = pc.is_in(photo_ids, value_set=left["photo_id"].combine_chunks())
    missing = pa.array([i for i, photo_id in contents.items() if photo_id is None], pa.string())
    for index in indexes if len(missing) else ():
        for segment in open_segments(index, read_current(index)):
            table = segment.faces.table.select(["face_id", "photo_id"])
            rows = table.filter(pa.array(rows_in(segment.faces, "face_id", missing)))
            contents |= dict(zip(*(column.to_pylist() for column in rows.columns), strict=True))
    return contents, photo_ids.filter(pc.invert(stays)).to_pylist()


def _mark_in_indexes(
    source: Dataset, indexes: Sequence[Path], face_ids: pa.Array, withheld: Withheld
) -> dict[str, int]:
    """Mark faces that the dataset withholds as deleted in the indexes.

    The indexes also lose the faces of earlier deletions: such a deletion may have been interrupted
    before it reached the indexes, and no plan finds these faces in the dataset any more. An index
    that cannot be written does not keep the others from being marked.

    Returns:
        The number of `face_ids` that each index held, by the index's path.
    """
    counts = {str(index): 0 for index in indexes}
    pending = read_deletions(source.path).pending
    errors: list[Exception] = []
    for index in indexes if len(face_ids) or len(pending) else ():
        try:
            counts[str(index)] = _mark_in_index(source, index, face_ids, pending, withheld)
        except (FaceTroveError, OSError) as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return counts


def _mark_in_index(
    source: Dataset, index: Path, face_ids: pa.Array, pending: pa.Array, withheld: Withheld
) -> int:
    count = 0
    with IndexWriter.open(index) as writer:
        previous = writer.require_previous()
        _require_its_contract(source, index, previous)
        segments = []
        for segment in open_segments(index, previous):
            rows = rows_in(segment.faces, "face_id", face_ids)
            count += int((rows & segment.live()).sum())
            if len(pending):
                rows |= rows_in(segment.faces, "face_id", pending)
            segments.append(replace(segment, deleted=rows | ~segment.live()))
        # An index that had not seen an earlier change is compared with the dataset at its next
        # update, even if the change and this deletion have been taken back by then.
        was_compared = previous.dataset_deletions == withheld.before
        writer.publish(
            replace(
                previous,
                deletions=writer.write_deletions(segments),
                dataset_deletions=withheld.after if was_compared else NEVER_COMPARED,
            )
        )
    return count
