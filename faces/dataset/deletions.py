"""The faces that were deleted from a dataset on request: the file that lists them.

    DATASET/deletions.parquet   the faces that are withheld, the deletions that can be taken back,
                                and a digest of every face that was ever deleted

A deleted face is *withheld*: its rows stay in the parts, and readers do not see them. Until a purge
the deletion can be taken back. A purge makes it *final*: it first drops the record of the deletion,
which may hold a name, then takes the face's rows out of the parts, and last drops the face_id. What
stays is the face's digest, which identifies nobody, and which keeps the face out of every part
that is written later, in case its photo is embedded again.

A content that lost all its faces is withheld as a whole, and has a digest too, prefixed "content:":
if it were searched again, its faces might be numbered differently and so have other face_ids.

A face that is let in again on request has its digest with the prefix "allowed:", and nothing
withholds it any more.

How faces are recognised in edited copies of their photos: `faces.dataset.deleted_pictures`.

The rows of the file are of five kinds:

    of        face_id          digest        content    deletion        record
    a face    until the purge  always        photo_id   id, final:id
    a content                  content:...   photo_id   id, final:id
    a face that was taken back face_id only  photo_id   id
    a face that was let in          allowed:...
    a deletion                                          id              JSON

A face has a row for each deletion that asked for it. In files of the first release all deletions
were final, and the columns content, deletion and record are missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from faces.core.errors import BusyError, CorruptFileError, LinkFoundError
from faces.dataset.deletion_records import Deletion, read_record
from faces.dataset.layout import (
    DELETED_PICTURES_FILE,
    DELETIONS_FILE,
    DELETIONS_LOCK,
    dataset_folder,
)
from faces.dataset.schema import read_table, write_table
from faces.photos.uris import is_unicode

_CONTENT_PREFIX = "content:"
"""Prefix of the digests of contents, which tells them from the digests of faces."""

ALLOWED_PREFIX = "allowed:"
"""Prefix of the digests of faces that were let in again."""

_FILES = (DELETIONS_FILE, DELETED_PICTURES_FILE)
"""The files that are written under one lock."""

FINAL_PREFIX = "final:"
"""Prefix of the ids of deletions that a purge has made final."""

OF_SOURCE = "of-source"
"""Id in the rows of faces that are withheld because the dataset that they were embedded from
withholds them."""

_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("face_id", "digest", "content", "deletion", "record")]
)


class DeletionRow(NamedTuple):
    """A row of the file; the module's docstring describes its kinds."""

    face_id: str | None = None
    digest: str | None = None
    content: str | None = None
    deletion: str | None = None
    record: str | None = None

    @property
    def is_content(self) -> bool:
        """Whether the row is of a content that lost all its faces."""
        return self.digest is not None and self.digest.startswith(_CONTENT_PREFIX)

    @property
    def is_face(self) -> bool:
        """Whether the row is of a deleted face."""
        return self.digest is not None and not (self.is_content or self.is_allowed)

    @property
    def is_allowed(self) -> bool:
        """Whether the row is of a face that was let in again."""
        return self.digest is not None and self.digest.startswith(ALLOWED_PREFIX)

    @property
    def is_final(self) -> bool:
        """Whether a deleted face or content cannot be taken back any more."""
        return self.digest is not None and (
            self.deletion is None or self.deletion.startswith(FINAL_PREFIX)
        )

    @property
    def is_withheld(self) -> bool:
        """Whether a deleted face or content can still be taken back."""
        return self.digest is not None and not self.is_final

    @property
    def is_restored(self) -> bool:
        """Whether the row is of a face that was taken back."""
        return self.digest is None and self.face_id is not None


def faces_among(faces: pa.Table, face_ids: pa.Array, photo_ids: pa.Array) -> pa.ChunkedArray:
    """Return an (n,) bool mask of the faces that have one of the ids, or are of one of the photos.

    Args:
        faces: n rows with the columns face_id and photo_id.
        face_ids: (f,) string.
        photo_ids: (p,) string.
    """
    return pc.or_(
        pc.is_in(faces["face_id"], value_set=face_ids),
        pc.is_in(faces["photo_id"], value_set=photo_ids),
    )


@dataclass(frozen=True, eq=False)
class Deletions:
    """The faces that were deleted from a dataset on request.

    Attributes:
        table: the rows of the file as an Arrow table, with the columns of `DeletionRow`.
    """

    table: pa.Table

    @cached_property
    def rows(self) -> tuple[DeletionRow, ...]:
        """The rows of the file, for changing them."""
        columns = [self.table[name].to_pylist() for name in _SCHEMA.names]
        return tuple(map(DeletionRow, *columns))

    @cached_property
    def _is_content(self) -> pa.ChunkedArray:
        return pc.fill_null(pc.starts_with(self.table["digest"], _CONTENT_PREFIX), False)

    @cached_property
    def _is_allowed(self) -> pa.ChunkedArray:
        return pc.fill_null(pc.starts_with(self.table["digest"], ALLOWED_PREFIX), False)

    @cached_property
    def _is_face(self) -> pa.ChunkedArray:
        return pc.and_not(
            pc.is_valid(self.table["digest"]), pc.or_(self._is_content, self._is_allowed)
        )

    @cached_property
    def _is_final(self) -> pa.ChunkedArray:
        deletion = self.table["deletion"]
        final = pc.or_(pc.is_null(deletion), pc.starts_with(deletion, FINAL_PREFIX))
        return pc.and_(pc.is_valid(self.table["digest"]), pc.fill_null(final, True))

    def _values(self, column: str, *masks: pa.ChunkedArray) -> pa.Array:
        """Return the different values of a column in the rows of all masks, sorted."""
        return self.table[column].filter(reduce(pc.and_, masks)).drop_null().unique().sort()

    @cached_property
    def pending(self) -> pa.Array:
        """The (n,) string face_ids of deleted faces whose rows may still be in the parts."""
        return self._values("face_id", self._is_face)

    @cached_property
    def sealed(self) -> pa.Array:
        """Those of `pending` that a purge has begun to take out of the parts."""
        return self._values("face_id", self._is_face, self._is_final)

    @cached_property
    def withheld(self) -> pa.Array:
        """Those of `pending` whose deletion can be taken back."""
        return self.pending.filter(pc.invert(pc.is_in(self.pending, value_set=self.sealed)))

    @cached_property
    def hidden_contents(self) -> pa.Array:
        """The (c,) string photo_ids of contents of which every face in the parts is deleted."""
        return self._values("content", self._is_content)

    @cached_property
    def withheld_contents(self) -> pa.Array:
        """Those of `hidden_contents` whose deletion can be taken back."""
        sealed = pc.is_in(self.hidden_contents, value_set=self.sealed_contents)
        return self.hidden_contents.filter(pc.invert(sealed))

    @cached_property
    def sealed_contents(self) -> pa.Array:
        """Those of `hidden_contents` that a purge has begun to take out of the parts."""
        return self._values("content", self._is_content, self._is_final)

    @cached_property
    def contents_of_sealed(self) -> pa.Array:
        """The (c,) string photo_ids of the faces in `sealed`, as far as they are known."""
        return self._values("content", self._is_face, self._is_final)

    @cached_property
    def digests(self) -> pa.Array:
        """The `face_digest` of every deleted face, (m,) string, sorted."""
        return self._values("digest", self._is_face)

    @cached_property
    def final_digests(self) -> pa.Array:
        """Those of `digests` whose deletion cannot be taken back, sorted."""
        return self._values("digest", self._is_face, self._is_final)

    @cached_property
    def final_contents(self) -> pa.Array:
        """The `content_digest` of every content that lost all its faces for good, sorted."""
        return self._values("digest", self._is_content, self._is_final)

    @cached_property
    def emptied(self) -> pa.Array:
        """The `content_digest` of every content that lost all its faces, (e,) string, sorted."""
        return self._values("digest", self._is_content)

    @cached_property
    def allowed(self) -> pa.Array:
        """The `face_digest` of every face that was let in again, (a,) string, sorted."""
        digests = self._values("digest", self._is_allowed)
        return pc.utf8_slice_codeunits(digests, len(ALLOWED_PREFIX))

    @cached_property
    def restored(self) -> pa.Table:
        """The faces that were taken back since the last purge: face_id and photo_id."""
        is_restored = pc.and_(pc.is_null(self.table["digest"]), pc.is_valid(self.table["face_id"]))
        faces = self.table.filter(is_restored).group_by(["face_id", "content"]).aggregate([])
        return faces.sort_by("face_id").rename_columns(["face_id", "photo_id"])

    @cached_property
    def withheld_per_content(self) -> pa.StructArray:
        """The number of `pending` faces by photo_id, from Arrow's `value_counts`."""
        is_known = pc.and_(pc.is_valid(self.table["face_id"]), pc.is_valid(self.table["content"]))
        faces = self.table.filter(pc.and_(self._is_face, is_known))
        faces = faces.group_by(["face_id", "content"]).aggregate([])
        return faces["content"].combine_chunks().value_counts()

    @cached_property
    def undoable(self) -> tuple[Deletion, ...]:
        """The deletions that can be taken back, oldest first."""
        counted = self.table["deletion"].filter(self._is_face).value_counts().to_pylist()
        counts = {entry["values"]: entry["counts"] for entry in counted}
        records = self.table.filter(pc.is_valid(self.table["record"])).select(
            ["deletion", "record"]
        )
        found = [
            read_record(row["deletion"], row["record"], counts.get(row["deletion"], 0))
            for row in records.to_pylist()
        ]
        return tuple(sorted(found, key=lambda d: (d.deleted_at, d.deletion_id)))

    def contents_to_purge(self, deletion_ids: Collection[str] | None) -> pa.Array:
        """Return the photo_ids of the faces that a purge takes out of the parts: (c,) string.

        Args:
            deletion_ids: ids of the deletions that it makes final; None: all.
        """
        is_deleted = pc.is_valid(self.table["digest"])
        if deletion_ids is None:
            return self._values("content", is_deleted)
        ids = pa.array(filter(is_unicode, deletion_ids), pa.string())
        named = pc.is_in(self.table["deletion"], value_set=ids)
        return self._values("content", is_deleted, pc.or_(self._is_final, named))

    def digests_of(self, deletion_ids: Iterable[str]) -> pa.Array:
        """Return the digests of the faces of some deletions, final or not: (n,) string, sorted."""
        ids = [name for i in filter(is_unicode, deletion_ids) for name in (i, FINAL_PREFIX + i)]
        named = pc.is_in(self.table["deletion"], value_set=pa.array(ids, pa.string()))
        return self._values("digest", self._is_face, named)

    @cached_property
    def state(self) -> str:
        """A digest that changes when faces are deleted and when they are taken back."""
        restored = self.restored["face_id"].to_pylist()
        text = "".join([*self.digests.to_pylist(), *restored])
        return hashlib.sha256(text.encode()).hexdigest()


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
    folder = dataset_folder(dataset_dir)
    if not folder.exists(DELETIONS_FILE):
        return Deletions(_SCHEMA.empty_table())
    try:
        deletions = Deletions(read_table(folder, DELETIONS_FILE, _SCHEMA))
        _ = deletions.undoable  # parses the records
    except LinkFoundError:
        raise
    except (CorruptFileError, ValueError) as error:
        raise CorruptFileError(
            f"{folder.at(DELETIONS_FILE)} is corrupt, and without it deleted faces could come "
            "back; restore it from a backup, or embed into a new dataset without the photos that "
            "were deleted"
        ) from error
    return deletions


def clear_leftovers(dataset_dir: Path) -> None:
    """Remove temporary files of killed writers, which may hold face_ids, if no writer is active."""
    folder = dataset_folder(dataset_dir)
    if any(folder.temporary_files(of=name) for name in _FILES):
        # Otherwise there is no need to compete for the lock.
        with suppress(BusyError), sole_writer(dataset_dir):
            pass


@contextmanager
def sole_writer(dataset_dir: Path) -> Iterator[None]:
    """Hold the lock of the files about deletions, which is apart from the lock of the dataset."""
    folder = dataset_folder(dataset_dir)
    with folder.lease(what=f"the deletions of {dataset_dir}", name=DELETIONS_LOCK):
        for name in _FILES:
            folder.remove_temporary_files(of=name)
        yield


def write_deletions(dataset_dir: Path, rows: Iterable[DeletionRow]) -> None:
    """Replace the rows of the file; the caller is in `sole_writer`."""
    table = deletions_of_rows(rows).table
    with dataset_folder(dataset_dir).put(DELETIONS_FILE) as file:
        write_table(table, file)


def deletions_of_rows(rows: Iterable[DeletionRow]) -> Deletions:
    """Return the deletions that some rows of the file say, each once and sorted."""
    ordered = sorted(set(rows), key=lambda row: tuple(value or "" for value in row[::-1]))
    columns = [pa.array(list(values), pa.string()) for values in zip(*ordered, strict=True)]
    return Deletions(pa.table(columns, schema=_SCHEMA) if ordered else _SCHEMA.empty_table())
