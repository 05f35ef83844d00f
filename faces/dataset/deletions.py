"""What was deleted from a dataset on request and may never come back.

    DATASET/deletions.parquet   face_id of what is still to be taken out of the parts, and of
                                all that was ever deleted a digest, which names nobody

A face deleted is withheld from then on: from readers while its rows are still there, and from
every part that is written later, should its photo be embedded again. A content that lost all its
faces has a digest too, "content:" before it, and gets no faces any more: found again, they might be
numbered otherwise.
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
from faces.core.files import atomic_write, remove_temporaries, temporaries, writer_lock
from faces.dataset.layout import DELETIONS_FILE, DELETIONS_LOCK
from faces.dataset.schema import PhotoStatus, read_table, write_table

_OF_CONTENT = "content:"

_SCHEMA = pa.schema([pa.field("face_id", pa.string()), pa.field("digest", pa.string())])


@dataclass(frozen=True)
class Deletions:
    """What was deleted from a dataset.

    Attributes:
        pending: (n,) string, face ids whose rows may still be in the parts.
        digests: (m,) string, `face_digest` of every face ever deleted, sorted.
        emptied: (e,) string, `content_digest` of every content that lost all its faces so.
    """

    pending: pa.Array
    digests: pa.Array
    emptied: pa.Array

    def all_digests(self) -> list[str]:
        """Of faces and contents."""
        digests: list[str] = [*self.digests.to_pylist(), *self.emptied.to_pylist()]
        return digests

    @property
    def state(self) -> str:
        """Equal while nothing more is deleted."""
        return hashlib.sha256("".join(self.digests.to_pylist()).encode()).hexdigest()


def face_digest(face_id: str) -> str:
    """By which a deleted face is recognised again: hexadecimal, 64 characters."""
    return hashlib.sha256(f"facetrove deleted {face_id}".encode()).hexdigest()


def content_digest(photo_id: str) -> str:
    """By which a content that lost all its faces is recognised again."""
    digest = hashlib.sha256(f"facetrove emptied {photo_id}".encode()).hexdigest()
    return f"{_OF_CONTENT}{digest}"


def face_digests(face_ids: pa.Array | pa.ChunkedArray) -> pa.Array:
    """`face_digest` of each of (n,) face ids."""
    return pa.array(map(face_digest, face_ids.to_pylist()), pa.string())


def read_deletions(dataset_dir: Path) -> Deletions:
    """What was deleted from the dataset in a folder.

    Raises:
        CorruptFileError: the file cannot be read: what was deleted could come back.
    """
    path = dataset_dir / DELETIONS_FILE
    if not path.exists():
        return Deletions(*[pa.array([], pa.string())] * 3)
    try:
        rows = read_table(path, _SCHEMA)
    except CorruptFileError as error:
        raise CorruptFileError(
            f"{path} is corrupt, and without it deleted faces could come back; restore it from a "
            "backup, or embed into a new dataset without the photos that were deleted"
        ) from error
    digests = rows["digest"].combine_chunks()
    of_content = pc.starts_with(digests, _OF_CONTENT)
    return Deletions(
        rows["face_id"].drop_null().combine_chunks(),
        digests.filter(pc.invert(of_content)),
        digests.filter(of_content),
    )


def add_deletions(dataset_dir: Path, face_ids: Iterable[str]) -> tuple[str, str]:
    """Withhold faces from now on; their rows are still to be taken out of the parts.

    Returns:
        `Deletions.state` before and after.
    """
    with _sole_writer(dataset_dir):
        before = read_deletions(dataset_dir)
        pending = sorted({*before.pending.to_pylist(), *face_ids})
        digests = {*before.all_digests(), *map(face_digest, pending)}
        _write(dataset_dir, pending, digests)
        return before.state, read_deletions(dataset_dir).state


def copy_deletions(source_dir: Path, dataset_dir: Path) -> None:
    """Withhold from a dataset too what was ever deleted from another."""
    _add_digests(dataset_dir, read_deletions(source_dir).all_digests())


def add_emptied(dataset_dir: Path, photo_ids: pa.Array) -> None:
    """Give contents no faces from now on: all that they had were deleted."""
    _add_digests(dataset_dir, list(map(content_digest, photo_ids.to_pylist())))


def _add_digests(dataset_dir: Path, digests: Sequence[str]) -> None:
    if not digests:
        return
    with _sole_writer(dataset_dir):
        before = read_deletions(dataset_dir)
        _write(dataset_dir, before.pending.to_pylist(), {*before.all_digests(), *digests})


def settle_deletions(dataset_dir: Path, face_ids: pa.Array) -> None:
    """Say that the rows of pending faces are in no part any more; only their digests are kept."""
    with _sole_writer(dataset_dir):
        before = read_deletions(dataset_dir)
        pending = sorted({*before.pending.to_pylist()} - {*face_ids.to_pylist()})
        _write(dataset_dir, pending, before.all_digests())


def clear_leftovers(dataset_dir: Path) -> None:
    """Remove what killed writers left, which may name deleted faces; not while one is writing."""
    if temporaries(dataset_dir, of=DELETIONS_FILE):  # else the lock is left to those who write
        with suppress(BusyError), _sole_writer(dataset_dir):
            pass


@contextmanager
def _sole_writer(dataset_dir: Path) -> Iterator[None]:
    """Hold the lock under which deletions are written, beside whoever writes the parts."""
    with writer_lock(dataset_dir, what=f"the deletions of {dataset_dir}", name=DELETIONS_LOCK):
        remove_temporaries(dataset_dir, of=DELETIONS_FILE)
        yield


def _write(dataset_dir: Path, pending: list[str], digests: Iterable[str]) -> None:
    ids = {face_digest(face_id): face_id for face_id in pending}
    rows = [{"face_id": ids.get(digest), "digest": digest} for digest in sorted(digests)]
    with atomic_write(dataset_dir / DELETIONS_FILE) as temporary:
        write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), temporary)


def withhold_deleted(
    dataset_dir: Path, photos: pa.Table, faces: pa.Table
) -> tuple[pa.Table, pa.Table]:
    """A part's photos and faces without those faces that were deleted before."""
    deletions = read_deletions(dataset_dir)
    if not (len(deletions.digests) or len(deletions.emptied)) or not len(faces):
        return photos, faces
    deleted = pc.is_in(face_digests(faces["face_id"]), value_set=deletions.digests)
    if len(deletions.emptied):
        contents = pa.array(map(content_digest, faces["photo_id"].to_pylist()), pa.string())
        deleted = pc.or_(deleted, pc.is_in(contents, value_set=deletions.emptied))
    return without_faces(photos, faces, deleted)


def without_faces(
    photos: pa.Table, faces: pa.Table, deleted: pa.Array
) -> tuple[pa.Table, pa.Table]:
    """A part's photos and faces without some of the faces, the photos' counts being corrected.

    Args:
        photos: rows of photos.
        faces: rows of faces; those of a photo are all here, or none.
        deleted: (n,) bool, which faces to leave out.
    """
    touched = faces["photo_id"].filter(deleted).unique()
    faces = faces.filter(pc.invert(deleted))
    return with_face_counts(photos, touched, faces["photo_id"].value_counts()), faces


def with_face_counts(photos: pa.Table, touched: pa.Array, left: pa.StructArray) -> pa.Table:
    """Photos of which some have lost faces.

    Args:
        photos: rows of photos.
        touched: (n,) string, contents that have lost some.
        left: how many faces contents have now, as of `value_counts`; none if not listed.
    """
    affected = pc.is_in(photos["photo_id"], value_set=touched)
    if not pc.any(affected).as_py():
        return photos
    place = pc.index_in(photos["photo_id"], value_set=left.field("values"))
    counts = pc.fill_null(left.field("counts").take(place), 0).cast(pa.int32())
    counts = pc.if_else(affected, counts, photos["num_faces"])
    emptied = pc.and_(pc.equal(photos["status"], PhotoStatus.EMBEDDED.value), pc.equal(counts, 0))
    columns = {
        "num_faces": counts,
        "status": pc.if_else(emptied, PhotoStatus.DELETED.value, photos["status"]),
        "is_copy": pc.and_(photos["is_copy"], pc.invert(emptied)),
    }
    for name, column in columns.items():
        place = photos.schema.get_field_index(name)
        photos = photos.set_column(place, photos.schema.field(place), column)
    return photos
