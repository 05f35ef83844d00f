"""The Parquet files of a dataset's parts: columns, reading, writing, and combining their rows.

A part is one shard's photos and faces. Faces belong to a photo's content (photo_id), not to its
uri: of five photos with the same content, one row owns the faces in its part, and the other four
are copies.
"""

# Over 400 lines: columns, their files, and the rules by which rows are combined change together.
from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from faces.core.arrow_checks import require_values
from faces.core.documents import Count, Duration, json_text, parse
from faces.core.errors import CorruptFileError, first_line
from faces.core.storage import Folder
from faces.models.face import FaceQuality
from faces.photos.metadata import places_column

_REPORT_KEY = b"facetrove_report"
"""Key of a part's report in the schema metadata of its photos file."""


class PhotoStatus(StrEnum):
    """The outcome of a photo. A closed set, because datasets store these values."""

    EMBEDDED = "embedded"  # at least one face
    NO_FACE = "no_face"
    REJECTED = "rejected"  # see the row's reason, one of faces.photos.rejection.RejectReason
    GONE = "gone"  # the file vanished and its faces were dropped on request; such rows are hidden
    DELETED = "deleted"  # it had faces, and all were deleted on request


class Certainty(StrEnum):
    """How sure it is that a face that was kept away is a deleted one. Datasets store these values.

    `faces.dataset.withholding` says what makes it so.
    """

    SAME_BYTES = "same_bytes"  # the very file that it was deleted from
    SAME_PICTURE = "same_picture"  # its place in an edited copy of the photo
    UNCERTAIN = "uncertain"  # its place in a photo that may be a copy, or one of the same moment


KEPT_AWAY = pa.struct(
    [
        pa.field("digest", pa.string(), nullable=False),  # face_digest of the face_id it would have
        pa.field("deletion", pa.string(), nullable=False),  # the digest that it was withheld by
        pa.field("certainty", pa.string(), nullable=False),  # Certainty
        pa.field("box", pa.list_(pa.float32(), 4), nullable=False),  # as in `face_schema`
    ]
)
"""A face that was found in a photo and kept away, because it was deleted on request before."""

PICTURE_HASH = pa.field("picture_hash", pa.binary())
"""The column of photos that `faces.dataset.picture_hash` describes."""

PHOTO_SCHEMA = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),  # see faces.photos.uris.photo_uri
        pa.field("num_bytes", pa.int64(), nullable=False),  # -1: unknown
        pa.field("mtime_ns", pa.int64(), nullable=False),  # since 1970; -1: unknown
        pa.field("photo_id", pa.string()),  # sha256 of the content; null when it was not read
        pa.field("width", pa.int32()),  # pixels of the upright photo; null when rejected
        pa.field("height", pa.int32()),
        pa.field("num_faces", pa.int32(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # PhotoStatus
        pa.field("reason", pa.string()),  # RejectReason; null unless rejected
        pa.field("is_copy", pa.bool_(), nullable=False),  # another row of photo_id owns the faces
        # A hash of what is around the faces, see faces.dataset.picture_hash; null without faces,
        # and in most rows of copies.
        PICTURE_HASH,
        pa.field("kept_away", pa.list_(KEPT_AWAY)),  # null: none
        # What of the file was not looked at: rejection.PartlyRead, joined by commas; null: nothing.
        pa.field("partly_read", pa.string()),
        # EXIF's DateTimeOriginal, see faces.photos.taken; null where the photo does not say it.
        pa.field("exif_taken", pa.timestamp("us")),
        # Where the file system was mounted that the file was on; null: unknown, or no file.
        pa.field("mount", pa.string()),
    ]
)

ADDED_COLUMNS = ("picture_hash", "kept_away", "partly_read", "exif_taken", "mount")
"""Columns that photos got after the first release of the format: null in parts without them."""


FINITE_COLUMNS = ("box", "score")
"""Columns of faces that are finite numbers. Others are NaN where they are unknown, such as all that
older formats did not have."""

ADDED_ON_READING = ("part", "faces_part", "also_at")
"""Columns that reading a dataset adds to those of photos and faces."""


def face_schema(dimension: int) -> pa.Schema:
    """Return the columns of a face whose embedding has `dimension` dimensions."""
    return pa.schema(
        [
            pa.field("face_id", pa.string(), nullable=False),  # unique in a dataset
            pa.field("photo_id", pa.string(), nullable=False),
            pa.field("uri", pa.string(), nullable=False),  # where the photo was read
            pa.field("box", pa.list_(pa.float32(), 4), nullable=False),  # x, y, width, height
            pa.field("landmarks", pa.list_(pa.float32(), 10), nullable=False),  # x, y five times
            pa.field("score", pa.float32(), nullable=False),  # the detector's, 0 to 1
            *(pa.field(f.name, pa.float32(), nullable=False) for f in fields(FaceQuality)),
            pa.field("embedding_norm", pa.float32(), nullable=False),  # before scaling to 1
            pa.field("embedding", pa.list_(pa.float32(), dimension), nullable=False),
        ]
    )


MEASURED_NAME = re.compile(r"[a-z][a-z0-9_]{0,50}")
"""Pattern of the name of a measured column."""


def measured_fields(labels: Iterable[str]) -> list[pa.Field]:
    """Return the columns that measuring labels adds to faces; null where a face is not measured.

    Args:
        labels: what was measured, such as `expression`. Each has two columns: the label itself, and
            `expression_score`, the probability that the classifier gave it, [0, 1].
    """
    return [
        field
        for label in labels
        for field in (pa.field(label, pa.string()), pa.field(f"{label}_score", pa.float64()))
    ]


@dataclass(frozen=True)
class PartReport:
    """Counts and times of one part, stored in the part's photos file.

    Attributes:
        num_photos: number of photos, rejected ones included.
        num_faces: number of faces.
        num_rejected: number of photos with status rejected.
        seconds: seconds spent on the part, by stage.
    """

    num_photos: Count
    num_faces: Count
    num_rejected: Count
    seconds: dict[str, Duration]


def faces_table(
    rows: Sequence[dict[str, Any]], embeddings: NDArray[np.float32], dimension: int
) -> pa.Table:
    """Return a table of `face_schema`.

    Args:
        rows: n faces, each a dict of all columns but the embedding.
        embeddings: (n, dimension) float32, row-aligned with `rows`.
        dimension: number of dimensions of an embedding.
    """
    schema = face_schema(dimension)
    without = pa.Table.from_pylist(list(rows), schema=schema.remove(len(schema) - 1))
    return without.append_column(schema.field("embedding"), column_of(embeddings))


def column_of(matrix: NDArray[np.float32]) -> pa.FixedSizeListArray:
    """Return an (n, d) matrix as an Arrow column of n lists of d float32; see `matrix_of`."""
    flat = pa.array(np.ascontiguousarray(matrix, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, matrix.shape[1])


def embedding_matrix(faces: pa.Table) -> NDArray[np.float32]:
    """Return the (n, d) float32 embeddings of a table of n faces."""
    return matrix_of(faces["embedding"])


def matrix_of(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """Return an Arrow column of n lists of d values as an (n, d) float32 matrix."""
    dimension = column.type.list_size
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    joined = np.concatenate(flat) if flat else np.empty(0, dtype=np.float32)
    return np.asarray(joined.reshape(-1, dimension), dtype=np.float32)


def write_table(table: pa.Table, file: IO[bytes]) -> None:
    """Write a table as a Parquet file, compressed and with a checksum for each page."""
    pq.write_table(table, file, compression="zstd", write_page_checksum=True)


def with_report(photos: pa.Table, num_faces: int, seconds: Mapping[str, float]) -> pa.Table:
    """Return a part's photos with the part's report in their schema metadata."""
    rejected = pc.sum(pc.equal(photos["status"], PhotoStatus.REJECTED.value)).as_py() or 0
    report = PartReport(len(photos), num_faces, rejected, dict(seconds))
    return photos.replace_schema_metadata({_REPORT_KEY: json_text(asdict(report))})


def read_report(folder: Folder, name: str) -> PartReport:
    """Read a part's report from its photos file.

    Args:
        folder: the dataset's folder.
        name: name of the file.

    Raises:
        CorruptFileError: the file cannot be read.
    """
    try:
        schema = pq.read_schema(pa.BufferReader(pa.py_buffer(folder.mapped(name))))
        return parse(schema.metadata[_REPORT_KEY], PartReport)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise _corrupt_part(folder, name, error) from error


def read_table(folder: Folder, name: str, schema: pa.Schema) -> pa.Table:
    """Read columns of a Parquet file, checking its pages against their checksums, and its values.

    A nullable column that the file lacks is filled with nulls if it is one of `ADDED_COLUMNS`, or
    none of `PHOTO_SCHEMA`: a metadata column that the dataset got after the part was written.

    Args:
        folder: the dataset's folder.
        name: name of the file.
        schema: the columns to read.

    Raises:
        CorruptFileError: the file cannot be read, or lacks another column.
    """
    content = folder.mapped(name)
    try:
        buffer = pa.BufferReader(pa.py_buffer(content))
        with pq.ParquetFile(buffer, page_checksum_verification=True) as file:
            present = set(file.schema_arrow.names)
            table = file.read([column for column in schema.names if column in present])
        table.validate(full=True)
        require_values(table, schema, finite=FINITE_COLUMNS)
        for field in schema:
            if (
                field.name not in present
                and field.nullable
                and (field.name in ADDED_COLUMNS or field.name not in PHOTO_SCHEMA.names)
            ):
                table = table.append_column(field, pa.nulls(len(table), field.type))
        return table.select(schema.names).cast(schema)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise _corrupt_part(folder, name, error) from error


def present_columns(folder: Folder, name: str, schema: pa.Schema) -> pa.Schema:
    """Return those columns of a schema that a part's file has.

    Args:
        folder: the dataset's folder.
        name: name of the file.
        schema: the columns to look for.

    Raises:
        CorruptFileError: the file cannot be read.
    """
    try:
        names = set(pq.read_schema(pa.BufferReader(pa.py_buffer(folder.mapped(name)))).names)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _corrupt_part(folder, name, error) from error
    return pa.schema([field for field in schema if field.name in names])


def _corrupt_part(folder: Folder, name: str, error: Exception) -> CorruptFileError:
    return CorruptFileError(
        f"{folder.at(name)} is corrupt ({first_line(error)}); delete it and run `facetrove embed` "
        "with the same photos again"
    )


def current_photos(rows: pa.Table) -> pa.Table:
    """Return the current photos: the newest row of each uri, without photos that are gone.

    Args:
        rows: rows of `Dataset.photo_rows`, oldest part first. A subset gives the right answer for
            a content if it has all rows of that content and all rows of every uri that the content
            ever had.

    Returns:
        The current rows with the column `faces_part`: the name of the part that has the faces of
        the row's content, null where there is none.
    """
    faces_part = faces_parts(rows)
    rows = rows.take(last_rows(rows, "uri"))
    rows = rows.filter(pc.not_equal(rows["status"], PhotoStatus.GONE.value))
    content = pc.index_in(rows["photo_id"], value_set=faces_part["photo_id"])
    return rows.append_column("faces_part", faces_part["part"].take(content))


def dropped_uris(rows: pa.Table) -> pa.Array:
    """Return the uris of photos that were dropped because they were gone: (n,) string.

    Of those that were dropped before a purge, it is `forgotten_uris`.

    Args:
        rows: rows of `Dataset.photo_rows`, oldest part first.
    """
    rows = rows.take(last_rows(rows, "uri"))
    return rows["uri"].filter(pc.equal(rows["status"], PhotoStatus.GONE.value)).combine_chunks()


def gone_rows(uris: pa.Array | pa.ChunkedArray, schema: pa.Schema) -> pa.Table:
    """Return rows that say that photos are no longer at their uris.

    Args:
        uris: (n,) string.
        schema: the dataset's `photo_schema`.
    """
    values: dict[str, Any] = {"num_bytes": -1, "mtime_ns": -1, "num_faces": 0, "is_copy": False}
    values["status"] = PhotoStatus.GONE.value
    columns = [
        uris
        if field.name == "uri"
        else pa.repeat(pa.scalar(values.get(field.name), field.type), len(uris))
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def owns_faces(rows: pa.Table) -> pa.ChunkedArray:
    """Return (n,) bool: which photos have faces in the part of their row."""
    return pc.and_not(pc.equal(rows["status"], PhotoStatus.EMBEDDED.value), rows["is_copy"])


_FORGOTTEN = "gone:"
"""Beginning of the uri of a row that a purge leaves of a photo that was dropped: a digest follows.
So a photo list that still names the photo does not bring it back."""


def forgotten_uris(uris: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return what a purge leaves of the uris of photos that were dropped: (n,) string."""
    digests = (hashlib.sha256(uri.encode()).hexdigest() for uri in uris.to_pylist())
    return pa.array([_FORGOTTEN + digest for digest in digests], pa.string())


def is_forgotten(uris: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return (n,) bool: which uris are those of `forgotten_uris`."""
    return pc.starts_with(uris, _FORGOTTEN)


def last_rows(rows: pa.Table, key: str) -> pa.Array:
    """Return the row numbers, ascending, of the last row of each value of the column `key`."""
    numbered = rows.select([key]).append_column("row", pa.array(np.arange(len(rows))))
    return numbered.group_by(key).aggregate([("row", "max")])["row_max"].combine_chunks().sort()


def faces_parts(rows: pa.Table) -> pa.Table:
    """Return the newest part with the faces of each content, by superseded rows too."""
    owners = rows.filter(owns_faces(rows))
    return owners.take(last_rows(owners, "photo_id")).select(["photo_id", "part"])


def one_row_per_content(photos: pa.Table, filled: Sequence[str] = ()) -> pa.Table:
    """Return the first row of each content, and its other uris as lists in the column `also_at`.

    Args:
        photos: rows sorted by photo_id, then by uri.
        filled: names of columns whose value, where the first row has none, is that of the next row
            of the content that has one: a label stays when an unlabelled copy is found. For each of
            them the result has a column `faces.photos.metadata.places_column`, too.
    """
    starts = np.array([start for _, start, _ in value_runs(photos["photo_id"])], dtype=np.int64)
    uris = photos["uri"].combine_chunks()
    others = np.ones(len(photos), dtype=bool)
    others[starts] = False
    # A content's list begins after the other uris of all contents before it.
    offsets = np.append(starts - np.arange(len(starts)), len(photos) - len(starts))
    also_at = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), uris.filter(pa.array(others)))
    first = photos.take(starts)
    for name in filled:
        column = photos[name].combine_chunks()
        rows = _first_rows_with_value(column, starts)
        first = with_column(first, name, column.take(pa.array(rows)))
        first = first.append_column(places_column(name), _values_of_places(column, starts, rows))
    return first.append_column("also_at", also_at)


def _values_of_places(
    column: pa.Array, starts: NDArray[np.int64], first: NDArray[np.int64]
) -> pa.ListArray:
    """Return the values of each group whose values differ, as a list; null for other groups.

    Args:
        column: (n,) values.
        starts: (g,) the first row of each group, ascending.
        first: (g,) a row of each group with a value, which stands for the nulls of the group.
    """
    counts = np.diff(np.append(starts, len(column)))
    groups = np.repeat(np.arange(len(starts)), counts)
    is_null = column.is_null().to_numpy(zero_copy_only=False)
    rows = np.where(is_null, first[groups], np.arange(len(column)))
    codes = column.dictionary_encode().indices.fill_null(-1).to_numpy()[rows]
    differs = np.zeros(len(starts), dtype=bool)
    differs[groups[codes != codes[starts][groups]]] = True
    offsets = np.append(0, np.cumsum(np.where(differs, counts, 0)))
    values = column.take(pa.array(rows[differs[groups]]))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, mask=pa.array(~differs))


def with_column(table: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    """Return a table with other values in a column, which keeps its position and its type."""
    position = table.schema.get_field_index(name)
    return table.set_column(position, table.schema.field(position), values)


def _first_rows_with_value(column: pa.Array, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each group's first row whose value is not null, or its first row: (g,) int64.

    Args:
        column: (n,) values.
        starts: (g,) the first row of each group, ascending.
    """
    with_value = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    groups = np.searchsorted(starts, with_value, side="right") - 1
    groups, firsts = np.unique(groups, return_index=True)
    rows = starts.copy()
    rows[groups] = with_value[firsts]
    return rows


def value_runs(column: pa.ChunkedArray) -> Iterator[tuple[Any, int, int]]:
    """Yield the value, first row and number of rows of each run of equal values in a column."""
    encoded = pc.run_end_encode(column.combine_chunks())
    start = 0
    for value, end in zip(encoded.values.to_pylist(), encoded.run_ends.to_pylist(), strict=True):
        yield value, start, end - start
        start = end
