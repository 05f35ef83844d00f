"""The faces that were deleted from a dataset on request, which must never come back.

    DATASET/deletions.parquet   a digest of every face_id ever deleted, which identifies nobody,
                                and the face_id itself while its rows are still in the parts

A deleted face is withheld from then on: from readers while its rows are still in the parts, and
from every part written later, in case its photo is embedded again. A content that lost all its
faces has a digest too, prefixed "content:", and gets no faces any more: if it were searched again,
its faces might be numbered differently and so have other face_ids. A face that is let in again on
request has its digest with the prefix "allowed:", and nothing withholds it any more.

How faces are recognised in edited copies of their photos: `faces.dataset.deleted_pictures`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from faces.core.errors import BusyError, CorruptFileError
from faces.core.files import atomic_write, remove_temporary_files, temporary_files, writer_lock
from faces.dataset.layout import DELETED_PICTURES_FILE, DELETIONS_FILE, DELETIONS_LOCK
from faces.dataset.schema import PhotoStatus, read_table, write_table

_CONTENT_PREFIX = "content:"
"""Prefix of the digests of contents, which tells them from the digests of faces."""

_ALLOWED_PREFIX = "allowed:"
"""Prefix of the digests of faces that were let in again."""

_FILES = (DELETIONS_FILE, DELETED_PICTURES_FILE)
"""The files that are written under one lock."""

_SCHEMA = pa.schema([pa.field("face_id", pa.string()), pa.field("digest", pa.string())])


@dataclass(frozen=True)
class Deletions:
    """The faces that were deleted from a dataset on request.

    Attributes:
        pending: (n,) string, the face_ids of deleted faces whose rows may still be in the parts.
        digests: (m,) string, sorted, the `face_digest` of every face ever deleted.
        emptied: (e,) string, the `content_digest` of every content all of whose faces were deleted.
        allowed: (a,) string, the `face_digest` of every face that was let in again.
    """

    pending: pa.Array
    digests: pa.Array
    emptied: pa.Array
    allowed: pa.Array

    def all_digests(self) -> list[str]:
        """Return what the file has in its column digest: all digests, with their prefixes."""
        allowed = [f"{_ALLOWED_PREFIX}{digest}" for digest in self.allowed.to_pylist()]
        return [*self.digests.to_pylist(), *self.emptied.to_pylist(), *allowed]

    @property
    def state(self) -> str:
        """A digest of all deleted faces, which changes only when further faces are deleted."""
        return hashlib.sha256("".join(self.digests.to_pylist()).encode()).hexdigest()


def face_digest(face_id: str) -> str:
    """Return the digest by which a deleted face is recognised: 64 hexadecimal characters."""
    return hashlib.sha256(f"facetrove deleted {face_id}".encode()).hexdigest()


def content_digest(photo_id: str) -> str:
    """Return the digest by which a content that lost all its faces is recognised."""
    digest = hashlib.sha256(f"facetrove emptied {photo_id}".encode()).hexdigest()
    return f"{_CONTENT_PREFIX}{digest}"


def face_digests(face_ids: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return the (n,) string `face_digest` of each of n face_ids."""
    return pa.array(map(face_digest, face_ids.to_pylist()), pa.string())


def read_deletions(dataset_dir: Path) -> Deletions:
    """Read which faces were deleted from a dataset.

    Raises:
        CorruptFileError: the file cannot be read, so deleted faces could come back.
    """
    path = dataset_dir / DELETIONS_FILE
    if not path.exists():
        return Deletions(*[pa.array([], pa.string())] * 4)
    try:
        rows = read_table(path, _SCHEMA)
    except CorruptFileError as error:
        raise CorruptFileError(
            f"{path} is corrupt, and without it deleted faces could come back; restore it from a "
            "backup, or embed into a new dataset without the photos that were deleted"
        ) from error
    digests = rows["digest"].combine_chunks()
    is_content = pc.starts_with(digests, _CONTENT_PREFIX)
    is_allowed = pc.starts_with(digests, _ALLOWED_PREFIX)
    return Deletions(
        rows["face_id"].drop_null().combine_chunks(),
        digests.filter(pc.invert(pc.or_(is_content, is_allowed))),
        digests.filter(is_content),
        pc.utf8_slice_codeunits(digests.filter(is_allowed), len(_ALLOWED_PREFIX)),
    )


def add_deletions(dataset_dir: Path, face_ids: Iterable[str]) -> tuple[str, str]:
    """Withhold faces from now on. Their rows are still to be removed from the parts.

    A face that had been let in again is withheld like any other.

    Returns:
        The values of `Deletions.state` before and after.

    Raises:
        BusyError: another process is writing the deletions.
    """
    with sole_writer(dataset_dir):
        before = read_deletions(dataset_dir)
        new = set(face_ids)
        pending = sorted({*before.pending.to_pylist(), *new})
        let_in = {f"{_ALLOWED_PREFIX}{face_digest(face_id)}" for face_id in new}
        digests = {*before.all_digests(), *map(face_digest, pending)} - let_in
        _write(dataset_dir, pending, digests)
        return before.state, read_deletions(dataset_dir).state


def allow_faces(dataset_dir: Path, digests: Iterable[str]) -> None:
    """Let faces in again: nothing withholds them from parts that are written from now on.

    Args:
        dataset_dir: the dataset's folder.
        digests: the `face_digest` of each face.

    Raises:
        BusyError: another process is writing the deletions.
    """
    let_in = set(digests)
    with sole_writer(dataset_dir):
        before = read_deletions(dataset_dir)
        pending = [face for face in before.pending.to_pylist() if face_digest(face) not in let_in]
        allowed = {f"{_ALLOWED_PREFIX}{digest}" for digest in let_in}
        _write(dataset_dir, pending, {*before.all_digests(), *allowed} - let_in)


def copy_deletions(source_dir: Path, dataset_dir: Path) -> None:
    """Withhold from a dataset all faces that were ever deleted from the dataset `source_dir`."""
    _add_digests(dataset_dir, read_deletions(source_dir).all_digests())


def add_emptied(dataset_dir: Path, photo_ids: pa.Array) -> None:
    """Record contents all of whose faces were deleted, so that they get no faces any more."""
    _add_digests(dataset_dir, list(map(content_digest, photo_ids.to_pylist())))


def _add_digests(dataset_dir: Path, digests: Sequence[str]) -> None:
    if not digests:
        return
    with sole_writer(dataset_dir):
        before = read_deletions(dataset_dir)
        _write(dataset_dir, before.pending.to_pylist(), {*before.all_digests(), *digests})


def settle_deletions(dataset_dir: Path, face_ids: pa.Array) -> None:
    """Record that pending faces are in no part any more, and keep only their digests."""
    with sole_writer(dataset_dir):
        before = read_deletions(dataset_dir)
        pending = sorted({*before.pending.to_pylist()} - {*face_ids.to_pylist()})
        _write(dataset_dir, pending, before.all_digests())


def clear_leftovers(dataset_dir: Path) -> None:
    """Remove temporary files of killed writers, which may hold face_ids, if no writer is active."""
    if any(temporary_files(dataset_dir, of=name) for name in _FILES):
        # Otherwise there is no need to compete for the lock.
        with suppress(BusyError), sole_writer(dataset_dir):
            pass


@contextmanager
def sole_writer(dataset_dir: Path) -> Iterator[None]:
    """Hold the lock of the files about deletions, which is apart from the lock of the dataset."""
    with writer_lock(dataset_dir, what=f"the deletions of {dataset_dir}", name=DELETIONS_LOCK):
        for name in _FILES:
            remove_temporary_files(dataset_dir, of=name)
        yield


def _write(dataset_dir: Path, pending: list[str], digests: Iterable[str]) -> None:
    ids = {face_digest(face_id): face_id for face_id in pending}
    rows = [{"face_id": ids.get(digest), "digest": digest} for digest in sorted(digests)]
    with atomic_write(dataset_dir / DELETIONS_FILE) as temporary:
        write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), temporary)


def without_faces(
    photos: pa.Table, faces: pa.Table, deleted: pa.Array
) -> tuple[pa.Table, pa.Table]:
    """Return photos and faces with some faces removed and the photos' face counts corrected.

    Args:
        photos: rows of photos.
        faces: n rows of faces, with all faces of a photo or none.
        deleted: (n,) bool, the mask of the faces to remove.
    """
    reduced = faces["photo_id"].filter(deleted).unique()
    faces = faces.filter(pc.invert(deleted))
    return with_face_counts(photos, reduced, faces["photo_id"].value_counts()), faces


def with_face_counts(photos: pa.Table, reduced: pa.Array, remaining: pa.StructArray) -> pa.Table:
    """Return photos with the face counts and statuses of contents that lost faces corrected.

    Args:
        photos: rows of photos.
        reduced: (n,) string, photo_ids of the contents that lost faces.
        remaining: numbers of faces that are left by photo_id, from Arrow's `value_counts`; a
            content that is not listed has none left.
    """
    affected = pc.is_in(photos["photo_id"], value_set=reduced)
    if not pc.any(affected).as_py():
        return photos
    content = pc.index_in(photos["photo_id"], value_set=remaining.field("values"))
    counts = pc.fill_null(remaining.field("counts").take(content), 0).cast(pa.int32())
    counts = pc.if_else(affected, counts, photos["num_faces"])
    emptied = pc.and_(pc.equal(photos["status"], PhotoStatus.EMBEDDED.value), pc.equal(counts, 0))
    columns = {
        "num_faces": counts,
        "status": pc.if_else(emptied, PhotoStatus.DELETED.value, photos["status"]),
        "is_copy": pc.and_(photos["is_copy"], pc.invert(emptied)),
    }
    for name, column in columns.items():
        position = photos.schema.get_field_index(name)
        photos = photos.set_column(position, photos.schema.field(position), column)
    return photos
