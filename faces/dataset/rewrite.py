"""Take faces out of a dataset's files: what was deleted, and what nobody refers to any more."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.files import atomic_write, writer_lock
from faces.dataset.deletions import (
    add_deletions,
    add_emptied,
    face_digests,
    read_deletions,
    settle_deletions,
    with_face_counts,
)
from faces.dataset.layout import WORK_DIR
from faces.dataset.schema import (
    PhotoStatus,
    embedding_matrix,
    face_schema,
    last_rows,
    places_of_contents,
    read_report,
    read_table,
    standing_photos,
    with_report,
    write_table,
)
from faces.dataset.store import Dataset
from faces.dataset.writing import DatasetWriter

OnPart = Callable[[str, int, int], None]


def take_out_deleted(dataset: Dataset, on_part: OnPart = lambda *_: None) -> int:
    """Take the rows of faces that were deleted out of every part; gives the parts rewritten.

    Stopped at any point, it is finished by the next call; meanwhile readers do not see the faces.

    Raises:
        BusyError: a job is writing the dataset.
    """
    with writer_lock(dataset.path, what=f"dataset {dataset.path}"):
        pending = read_deletions(dataset.path).pending
        if len(pending) == 0:
            return 0
        parts = dataset.committed_parts()
        columns = pa.schema([face_schema(1).field(name) for name in ("face_id", "photo_id")])
        concerned, tables = [], []
        for number, part in enumerate(parts):
            on_part("looking for deleted faces", number, len(parts))
            faces = read_table(dataset.part_path("faces", part), columns)
            if pc.any(pc.is_in(faces["face_id"], value_set=pending)).as_py():
                concerned.append(part)
                tables.append(faces)
        if tables:
            faces = pa.concat_tables(tables)
            deleted = pc.is_in(faces["face_id"], value_set=pending)
            touched = faces["photo_id"].filter(deleted).unique()
            left = faces.filter(pc.invert(deleted)).group_by(columns.names).aggregate([])
            emptied = touched.filter(_not_in(touched, [left["photo_id"]]))
            add_emptied(dataset.path, emptied)
            # Photos first: as long as the faces are there, all this can be found out again.
            _count_again(dataset, parts, touched, left["photo_id"].value_counts())
            for part in concerned:
                path = dataset.part_path("faces", part)
                table = read_table(path, face_schema(dataset.contract.dimension))
                gone = pc.is_in(table["face_id"], value_set=pending)
                replace_faces(path, table.filter(pc.invert(gone)))
        settle_deletions(dataset.path, pending)
        return len(concerned)


def follow_deletions(dataset: Dataset, source_dir: Path) -> None:
    """Delete from a dataset what was deleted from the one that its faces were taken from.

    Stopped at any point, it is finished by the next call.

    Raises:
        BusyError: a job is writing the dataset.
    """
    theirs = read_deletions(source_dir).digests
    if not len(theirs):
        return
    concerned: list[str] = []
    for table in dataset.faces(["face_id"]):
        deleted = pc.is_in(face_digests(table["face_id"]), value_set=theirs)
        concerned += table["face_id"].filter(deleted).to_pylist()
    if concerned:
        add_deletions(dataset.path, concerned)
    take_out_deleted(dataset)


def _count_again(
    dataset: Dataset, parts: Iterable[str], touched: pa.Array, left: pa.StructArray
) -> None:
    """Correct the rows of photos that lost faces, copies included."""
    for part in parts:
        path = dataset.part_path("photos", part)
        photos = read_table(path, dataset.photo_schema)
        counted = with_face_counts(photos, touched, left)
        if counted is not photos:
            replace_photos(path, counted)


@dataclass(frozen=True)
class Leftovers:
    """What lay in a dataset's files without being part of it, and was taken out.

    Attributes:
        num_faces, num_photos: rows.
        num_parts: parts rewritten.
        face_ids: faces that are nowhere in the dataset any more.
        embeddings: theirs, as `embedding_digests` gives them.
        photo_ids, uris: contents and photos that are named nowhere in the dataset any more.
    """

    num_faces: int
    num_photos: int
    num_parts: int
    face_ids: pa.Array
    embeddings: pa.Array
    photo_ids: pa.Array
    uris: pa.Array


def embedding_digests(vectors: NDArray[np.float32]) -> pa.Array:
    """A digest of each of (n, d) embeddings' bytes, by which it is recognised exactly."""
    rows = np.ascontiguousarray(vectors, dtype="<f4")
    return pa.array([hashlib.blake2b(row, digest_size=16).digest() for row in rows], pa.binary())


def purge_dataset(dataset: Dataset, on_part: OnPart = lambda *_: None) -> Leftovers:
    """Take out of every part what is not part of the dataset as it stands.

    That is superseded rows of photos and faces, rows of photos that vanished and were dropped,
    rows of photos all of whose faces were deleted, and names of places where a photo was before.
    Stopped at any point, it is finished by the next call.

    Raises:
        BusyError: a job is writing the dataset.
    """
    with DatasetWriter.open(dataset.path, dataset.settings) as writer:
        work_dir = dataset.path / WORK_DIR
        if work_dir.is_dir():  # of a job that was killed
            shutil.rmtree(work_dir)
        rows = dataset.photo_rows()
        if _give_rows_to_orphans(writer, rows):
            rows = dataset.photo_rows()
        stands = _stands(rows)
        gone_rows, kept_rows = rows.filter(pa.array(~stands)), rows.filter(pa.array(stands))
        if pc.any(_not_in(gone_rows["uri"], [kept_rows["uri"]])).as_py():
            writer.begin_purge()
        rewritten = _rewrite_parts(dataset, stands, _places(kept_rows), on_part)
        writer.finish(None)
    gone_faces = rewritten.gone_faces
    nowhere = gone_faces.filter(_not_in(gone_faces["face_id"], rewritten.kept_ids))
    uris = pa.chunked_array([*gone_rows["uri"].chunks, *gone_faces["uri"].chunks]).unique()
    photo_ids = gone_rows["photo_id"].drop_null().unique()
    return Leftovers(
        num_faces=len(gone_faces),
        num_photos=len(gone_rows),
        num_parts=rewritten.num_parts,
        face_ids=nowhere["face_id"].combine_chunks(),
        embeddings=embedding_digests(embedding_matrix(nowhere)),
        photo_ids=photo_ids.filter(_not_in(photo_ids, [kept_rows["photo_id"]])),
        uris=uris.filter(_not_in(uris, [kept_rows["uri"]])),
    )


def _places(standing_rows: pa.Table) -> pa.Table:
    """For each content with faces: its first place, and the part that has its faces."""
    embedded = standing_photos(standing_rows)
    embedded = embedded.filter(pc.equal(embedded["status"], PhotoStatus.EMBEDDED.value))
    embedded = embedded.sort_by([("photo_id", "ascending"), ("uri", "ascending")])
    return places_of_contents(embedded.select(["photo_id", "uri", "faces_part"]))


class _Rewritten(NamedTuple):
    """What rewriting all parts took out, and the ids of the faces that were kept."""

    num_parts: int
    gone_faces: pa.Table
    kept_ids: list[pa.ChunkedArray]


def _rewrite_parts(
    dataset: Dataset, stands: NDArray[np.bool_], places: pa.Table, on_part: OnPart
) -> _Rewritten:
    """Leave only the rows in the parts that stand; parts of which all rows do stay as they are.

    Args:
        dataset: the dataset.
        stands: (n,) whether each row of photos stands, through all parts.
        places: contents with faces, as of `_places`.
        on_part: called before each part.
    """
    removed = [face_schema(dataset.contract.dimension).empty_table()]
    kept_ids, num_parts, start = [], 0, 0
    parts = dataset.committed_parts()
    for number, part in enumerate(parts):
        on_part("purging the dataset", number, len(parts))
        photos = read_table(dataset.part_path("photos", part), dataset.photo_schema)
        stand_here = stands[start : start + len(photos)]
        start += len(photos)
        faces_path = dataset.part_path("faces", part)
        faces = read_table(faces_path, face_schema(dataset.contract.dimension))
        kept, gone = _kept_faces(faces, places, part)
        kept_ids.append(kept["face_id"])
        # Rows are left out or named otherwise. (Whole tables with NaN are never equal.)
        same = all(kept[name].equals(faces[name]) for name in ("face_id", "uri"))
        if not same:
            removed.append(gone)
            replace_faces(faces_path, kept)
        if not stand_here.all():
            replace_photos(dataset.part_path("photos", part), photos.filter(pa.array(stand_here)))
        num_parts += int(not stand_here.all() or not same)
    return _Rewritten(num_parts, pa.concat_tables(removed), kept_ids)


def _not_in(values: pa.Array | pa.ChunkedArray, kept: Sequence[pa.ChunkedArray]) -> pa.Array:
    """(n,) bool: which values are in none of some columns."""
    value_set = pa.concat_arrays(
        [pa.array([], pa.string()), *(chunk for column in kept for chunk in column.chunks)]
    )
    return pc.invert(pc.is_in(values, value_set=value_set))


def _stands(rows: pa.Table) -> NDArray[np.bool_]:
    """(n,) bool: which rows of photos say how a photo now stands, deleted ones apart."""
    stands = np.zeros(len(rows), dtype=bool)
    stands[last_rows(rows, "uri").to_numpy()] = True
    gone = pa.array([PhotoStatus.GONE.value, PhotoStatus.DELETED.value])
    stands &= ~pc.is_in(rows["status"], value_set=gone).to_numpy()
    return stands


def _give_rows_to_orphans(writer: DatasetWriter, rows: pa.Table) -> bool:
    """Write contents anew whose faces belong to a row that does not stand any more.

    Takes all rows of photos; gives whether any was added.

    Such are photos that lay in two places: the place that had the faces in its part was given
    to another photo, or vanished, and the other place is but a copy.
    """
    dataset = writer.dataset
    standing = rows.filter(pa.array(_stands(rows)))
    owners = standing.filter(pc.invert(standing["is_copy"]))["photo_id"].drop_null()
    copies = pc.and_(standing["is_copy"], pc.equal(standing["status"], PhotoStatus.EMBEDDED.value))
    orphaned = pc.and_(
        copies, pc.invert(pc.is_in(standing["photo_id"], value_set=owners.combine_chunks()))
    )
    orphans = standing.filter(orphaned).sort_by([("photo_id", "ascending"), ("uri", "ascending")])
    if len(orphans) == 0:
        return False
    photos = standing_photos(rows)
    photos = photos.filter(
        pc.is_in(photos["photo_id"], value_set=orphans["photo_id"].combine_chunks())
    )
    columns = face_schema(dataset.contract.dimension).names
    faces = pa.concat_tables(dataset.faces(columns, photos=photos))
    firsts = places_of_contents(orphans).select(dataset.photo_schema.names)
    place = firsts.schema.get_field_index("is_copy")
    is_owner = pa.array([False] * len(firsts))
    firsts = firsts.set_column(place, firsts.schema.field(place), is_owner)
    writer.write_part(writer.part_name(0), firsts, faces, {})
    return True


def _kept_faces(faces: pa.Table, places: pa.Table, part: str) -> tuple[pa.Table, pa.Table]:
    """Faces of a part that stand, named after the first place of their photo; and the others."""
    here = places.filter(pc.equal(places["faces_part"], part))
    place = pc.index_in(faces["photo_id"], value_set=here["photo_id"].combine_chunks())
    kept, gone = faces.filter(pc.is_valid(place)), faces.filter(pc.is_null(place))
    column = faces.schema.get_field_index("uri")
    uris = here["uri"].take(place.drop_null())
    return kept.set_column(column, faces.schema.field(column), uris), gone


def replace_faces(path: Path, faces: pa.Table) -> None:
    """Put other faces into a part, whole or not at all."""
    with atomic_write(path) as temporary:
        write_table(faces, temporary)


def replace_photos(path: Path, photos: pa.Table) -> None:
    """Put other photos into a part; what making it took stays on record."""
    report = read_report(path)
    with atomic_write(path) as temporary:
        write_table(with_report(photos, report.num_faces, report.seconds), temporary)
