"""Rewriting a dataset's parts without deleted faces, superseded rows and dropped photos."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.progress import OnProgress, Progress, ignore_progress
from faces.core.storage import Folder
from faces.dataset.deletion_steps import (
    add_emptied,
    forget_restored,
    seal,
    settle_deletions,
)
from faces.dataset.deletions import (
    Deletions,
    faces_among,
)
from faces.dataset.face_counts import with_face_counts
from faces.dataset.layout import WORK_DIR, part_file
from faces.dataset.schema import (
    PhotoStatus,
    current_photos,
    embedding_matrix,
    face_schema,
    forgotten_uris,
    is_forgotten,
    last_rows,
    one_row_per_content,
    read_report,
    read_table,
    with_column,
    with_report,
    write_table,
)
from faces.dataset.store import Dataset, FaceTables
from faces.dataset.writing import DatasetWriter


def remove_deleted_faces(
    dataset: Dataset,
    deletion_ids: Collection[str] | None = (),
    on_progress: OnProgress = ignore_progress,
) -> int:
    """Make deletions final: take the rows of their faces out of all parts.

    If it is stopped at any point, the next call finishes it; readers do not see deleted faces in
    the meantime.

    Args:
        dataset: the dataset.
        deletion_ids: ids of the deletions that become final, beside those that are final already
            and have rows in the parts; None: all of them.
        on_progress: called before each part is searched.

    Returns:
        The number of rows of faces that were removed.

    Raises:
        WrongUsageError: there is no deletion with one of the ids.
        BusyError: another process is writing the dataset.
    """
    with dataset.folder.lease(what=f"dataset {dataset.path}"):
        deletions = seal(dataset.path, deletion_ids)
        if not (len(deletions.sealed) or len(deletions.sealed_contents)):
            return 0
        faces, affected = _faces_beside(dataset, deletions, on_progress)
        is_gone = _is_sealed(faces, deletions)
        reduced = faces["photo_id"].filter(is_gone).unique()
        # Grouping counts a face once that several parts have.
        remaining = faces.filter(pc.invert(is_gone)).group_by(faces.column_names).aggregate([])
        add_emptied(dataset.path, reduced.filter(_not_in(reduced, remaining["photo_id"])))
        # Photos first: while the faces are still there, a stopped call can be repeated.
        _correct_counts(dataset, reduced, remaining["photo_id"].value_counts())
        for part in affected:
            name = part_file("faces", part)
            table = read_table(dataset.folder, name, dataset.face_schema)
            kept = table.filter(pc.invert(_is_sealed(table, deletions)))
            replace_faces(dataset.folder, name, kept)
        settle_deletions(dataset.path, deletions.sealed)
        return int(pc.sum(is_gone).as_py() or 0)


def _is_sealed(faces: pa.Table, deletions: Deletions) -> pa.Array:
    """Return an (n,) bool mask of the faces whose deletion is final."""
    return faces_among(faces, deletions.sealed, deletions.sealed_contents)


def _faces_beside(
    dataset: Dataset, deletions: Deletions, on_progress: OnProgress
) -> tuple[pa.Table, list[str]]:
    """Return the ids of all faces of the contents that lose faces, and the parts that lose some.

    Returns:
        A table of face_id and photo_id, which may have faces of other contents too, and the names
        of the parts.
    """
    columns = pa.schema([face_schema(1).field(name) for name in ("face_id", "photo_id")])
    parts = dataset.committed_parts()
    affected, tables = [], [columns.empty_table()]
    for number, part in enumerate(parts):
        on_progress(Progress("looking for deleted faces", number, len(parts)))
        faces = read_table(dataset.folder, part_file("faces", part), columns)
        if pc.any(_is_sealed(faces, deletions)).as_py():
            affected.append(part)
        else:
            contents = deletions.contents_of_sealed
            faces = faces.filter(pc.is_in(faces["photo_id"], value_set=contents))
        tables.append(faces)
    return pa.concat_tables(tables), affected


def _correct_counts(dataset: Dataset, reduced: pa.Array, remaining: pa.StructArray) -> None:
    """Rewrite the rows of photos that lost faces, copies included; see `with_face_counts`."""
    for part in dataset.committed_parts():
        name = part_file("photos", part)
        photos = read_table(dataset.folder, name, dataset.photo_schema)
        counted = with_face_counts(photos, reduced, remaining)
        if counted is not photos:
            replace_photos(dataset.folder, name, counted)


@dataclass(frozen=True)
class Leftovers:
    """The rows that a purge removed because they were not part of the current dataset.

    Attributes:
        num_faces, num_photos: numbers of rows removed.
        face_ids: (n,) string, removed faces that no part has any more.
        embeddings: (n,) binary, the `embedding_digests` of the faces `face_ids`.
        photo_ids: (m,) string, contents that no row of photos has any more.
        uris: (u,) string, uris that no row of photos has any more.
    """

    num_faces: int
    num_photos: int
    face_ids: pa.Array
    embeddings: pa.Array
    photo_ids: pa.Array
    uris: pa.Array


def embedding_digests(vectors: NDArray[np.float32]) -> pa.Array:
    """Return an (n,) binary digest of the bytes of each of (n, d) float32 embeddings."""
    rows = np.ascontiguousarray(vectors, dtype="<f4")
    return pa.array([hashlib.blake2b(row, digest_size=16).digest() for row in rows], pa.binary())


def purge_dataset(dataset: Dataset, on_progress: OnProgress = ignore_progress) -> Leftovers:
    """Remove from all parts the rows and uris that are not part of the current dataset.

    These are superseded rows of photos and faces, rows of photos that vanished and were dropped,
    rows of photos all of whose faces were deleted, and uris at which a photo is no longer. If it is
    stopped at any point, the next call finishes it.

    Args:
        dataset: the dataset.
        on_progress: called before each part is read.

    Raises:
        BusyError: another process is writing the dataset.
    """
    with DatasetWriter.open(dataset.path, dataset.settings) as writer:
        dataset.folder.remove_folder(WORK_DIR)  # a killed job left it
        rows = dataset.photo_rows()
        if _give_rows_to_orphans(writer, rows):
            rows = dataset.photo_rows()
        current = _is_current(rows)
        gone_rows, kept_rows = rows.filter(pa.array(~current)), rows.filter(pa.array(current))
        if pc.any(_not_in(gone_rows["uri"], kept_rows["uri"])).as_py():
            writer.begin_purge()
        rewritten = _rewrite_parts(dataset, current, _contents(kept_rows), on_progress)
        forget_restored(dataset.path, rewritten.kept_ids)
        writer.finish(None)
    gone_faces = rewritten.gone_faces
    nowhere = gone_faces.filter(_not_in(gone_faces["face_id"], rewritten.kept_ids))
    uris = pa.chunked_array([*gone_rows["uri"].chunks, *gone_faces["uri"].chunks]).unique()
    photo_ids = gone_rows["photo_id"].drop_null().unique()
    return Leftovers(
        num_faces=len(gone_faces),
        num_photos=len(gone_rows),
        face_ids=nowhere["face_id"].combine_chunks(),
        embeddings=embedding_digests(embedding_matrix(nowhere)),
        photo_ids=photo_ids.filter(_not_in(photo_ids, kept_rows["photo_id"])),
        uris=uris.filter(_not_in(uris, kept_rows["uri"])),
    )


def superseded_faces(dataset: Dataset) -> pa.Array:
    """Return the ids of faces that parts have and `purge_dataset` removes: (n,) string."""
    columns = pa.schema([face_schema(1).field("face_id")])
    ids = [pa.array([], pa.string())]
    for part in dataset.committed_parts():
        table = read_table(dataset.folder, part_file("faces", part), columns)
        ids += table["face_id"].chunks
    there = pa.concat_arrays(ids).unique()
    current = [table["face_id"] for table in FaceTables(dataset, ["face_id"], with_withheld=True)]
    kept = pa.chunked_array([chunk for column in current for chunk in column.chunks], pa.string())
    return there.filter(_not_in(there, kept))


def _contents(current_rows: pa.Table) -> pa.Table:
    """Return photo_id, first uri, and faces_part of each content that has faces."""
    embedded = current_photos(current_rows)
    embedded = embedded.filter(pc.equal(embedded["status"], PhotoStatus.EMBEDDED.value))
    embedded = embedded.sort_by([("photo_id", "ascending"), ("uri", "ascending")])
    return one_row_per_content(embedded.select(["photo_id", "uri", "faces_part"]))


class _Rewritten(NamedTuple):
    """The result of rewriting all parts: what was removed, and the ids of the faces kept."""

    gone_faces: pa.Table
    kept_ids: pa.ChunkedArray


def _rewrite_parts(
    dataset: Dataset, current: NDArray[np.bool_], contents: pa.Table, on_progress: OnProgress
) -> _Rewritten:
    """Keep only current rows in the parts. A part whose rows are all current is not rewritten.

    Args:
        dataset: the dataset.
        current: (n,) bool, whether each row of photos is current, in the order of the parts.
        contents: the contents that have faces, from `_contents`.
        on_progress: called before each part is read.
    """
    removed = [dataset.face_schema.empty_table()]
    kept_ids: list[pa.Array] = []
    start = 0
    folder, parts = dataset.folder, dataset.committed_parts()
    for number, part in enumerate(parts):
        on_progress(Progress("purging the dataset", number, len(parts)))
        photos = read_table(folder, part_file("photos", part), dataset.photo_schema)
        current_here = current[start : start + len(photos)]
        start += len(photos)
        faces_file = part_file("faces", part)
        faces = read_table(folder, faces_file, dataset.face_schema)
        kept, gone = _split_faces(faces, contents, part)
        kept_ids += kept["face_id"].chunks
        # Only these columns can differ. Whole tables are never equal where they have NaN.
        same = all(kept[name].equals(faces[name]) for name in ("face_id", "uri"))
        if not same:
            removed.append(gone)
            replace_faces(folder, faces_file, kept)
        if not current_here.all():
            left = [photos.filter(pa.array(current_here))]
            left.append(_forgotten(photos.filter(pa.array(~current_here))))
            replace_photos(folder, part_file("photos", part), pa.concat_tables(left))
    return _Rewritten(pa.concat_tables(removed), pa.chunked_array(kept_ids, pa.string()))


def _not_in(values: pa.Array | pa.ChunkedArray, kept: pa.ChunkedArray) -> pa.Array:
    """Return an (n,) bool mask of the values that are not in the column `kept`."""
    return pc.invert(pc.is_in(values, value_set=kept.combine_chunks()))


def _is_current(rows: pa.Table) -> NDArray[np.bool_]:
    """Return an (n,) bool mask of the rows that a purge keeps.

    These are the newest rows of each uri that are neither gone nor deleted, and the rows that
    earlier purges left of photos that were dropped.
    """
    current = np.zeros(len(rows), dtype=bool)
    current[last_rows(rows, "uri").to_numpy()] = True
    gone = pa.array([PhotoStatus.GONE.value, PhotoStatus.DELETED.value])
    current &= ~pc.is_in(rows["status"], value_set=gone).to_numpy()
    current |= is_forgotten(rows["uri"]).to_numpy()
    return current


def _forgotten(removed: pa.Table) -> pa.Table:
    """Return what stays of rows that are removed: of photos that were dropped, a digest."""
    gone = removed.filter(pc.equal(removed["status"], PhotoStatus.GONE.value))
    return with_column(gone, "uri", forgotten_uris(gone["uri"]))


def _give_rows_to_orphans(writer: DatasetWriter, rows: pa.Table) -> bool:
    """Write a part for contents whose faces are owned by a row that is no longer current.

    Such a content was at two uris: the uri whose row owned the faces now has another photo or
    vanished. The other uri's row is only a copy, or its part has the faces no longer since an
    earlier purge kept them in one part only. The new part makes that row the owner.

    Args:
        writer: the run that writes the part.
        rows: all rows of photos, superseded ones too.

    Returns:
        Whether there was any such content.
    """
    dataset = writer.dataset
    current = current_photos(rows.filter(pa.array(_is_current(rows))))
    current = current.filter(pc.equal(current["status"], PhotoStatus.EMBEDDED.value))
    owned = current_photos(rows)
    row = pc.index_in(current["photo_id"], value_set=owned["photo_id"].combine_chunks())
    part = owned["faces_part"].take(row)
    is_owner = pc.fill_null(pc.equal(current["faces_part"], part), False)
    orphaned = pc.and_(pc.is_valid(part), pc.invert(is_owner))
    orphans = current.filter(orphaned).sort_by([("photo_id", "ascending"), ("uri", "ascending")])
    if len(orphans) == 0:
        return False
    photos = owned.filter(
        pc.is_in(owned["photo_id"], value_set=orphans["photo_id"].combine_chunks())
    )
    columns = dataset.face_schema.names
    faces = pa.concat_tables(FaceTables(dataset, columns, photos, with_withheld=True))
    owners_now = one_row_per_content(orphans).select(dataset.photo_schema.names)
    owners_now = with_column(owners_now, "is_copy", pa.array([False] * len(owners_now)))
    hashed = rows.filter(pc.is_valid(rows["picture_hash"]))
    content = pc.index_in(owners_now["photo_id"], value_set=hashed["photo_id"].combine_chunks())
    owners_now = with_column(owners_now, "picture_hash", hashed["picture_hash"].take(content))
    writer.write_part(writer.part_name(0), owners_now, faces, {})
    return True


def _split_faces(faces: pa.Table, contents: pa.Table, part: str) -> tuple[pa.Table, pa.Table]:
    """Split a part's faces into current ones, with the first uri of their content, and others."""
    here = contents.filter(pc.equal(contents["faces_part"], part))
    content = pc.index_in(faces["photo_id"], value_set=here["photo_id"].combine_chunks())
    kept, gone = faces.filter(pc.is_valid(content)), faces.filter(pc.is_null(content))
    return with_column(kept, "uri", here["uri"].take(content.drop_null())), gone


def replace_faces(folder: Folder, name: str, faces: pa.Table) -> None:
    """Replace the faces of a part, whole and at once."""
    with folder.put(name) as file:
        write_table(faces, file)


def replace_photos(folder: Folder, name: str, photos: pa.Table) -> None:
    """Replace the photos of a part, whole and at once, keeping its number of faces and times."""
    report = read_report(folder, name)
    with folder.put(name) as file:
        write_table(with_report(photos, report.num_faces, report.seconds), file)
