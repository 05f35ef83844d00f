"""One part of a dataset: a shard's photos and faces, two Parquet files. Their columns, and what
rows of many parts come to.

Faces belong to a content (photo_id), not to a place: of a photo that lies in five places, one
row has the faces in its part, and the others are copies.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from faces.core.errors import CorruptFileError, first_line
from faces.models.face import FaceQuality

_REPORT_KEY = b"facetrove_report"


class PhotoStatus(StrEnum):
    """How a photo ended. A closed set: it is stored."""

    EMBEDDED = "embedded"  # at least one face
    NO_FACE = "no_face"
    REJECTED = "rejected"  # see the row's reason, one of faces.photos.rejection.RejectReason
    GONE = "gone"  # the file vanished and its faces were dropped on request; such rows are hidden
    DELETED = "deleted"  # it had faces, and all were deleted on request


PHOTO_SCHEMA = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),  # see faces.photos.uris.photo_uri
        pa.field("num_bytes", pa.int64(), nullable=False),  # -1: could not be told
        pa.field("mtime_ns", pa.int64(), nullable=False),  # since 1970; -1: could not be told
        pa.field("photo_id", pa.string()),  # sha256 of the content; null when it was not read
        pa.field("width", pa.int32()),  # pixels of the upright photo; null when rejected
        pa.field("height", pa.int32()),
        pa.field("num_faces", pa.int32(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # PhotoStatus
        pa.field("reason", pa.string()),  # RejectReason; null unless rejected
        pa.field("is_copy", pa.bool_(), nullable=False),  # faces stand with another row of photo_id
    ]
)


def face_schema(dimension: int) -> pa.Schema:
    """The columns of a face, for embeddings of `dimension` numbers."""
    return pa.schema(
        [
            pa.field("face_id", pa.string(), nullable=False),  # unique in a dataset
            pa.field("photo_id", pa.string(), nullable=False),
            pa.field("uri", pa.string(), nullable=False),  # where the photo was when it was read
            pa.field("box", pa.list_(pa.float32(), 4), nullable=False),  # x, y, width, height
            pa.field("landmarks", pa.list_(pa.float32(), 10), nullable=False),  # x, y five times
            pa.field("score", pa.float32(), nullable=False),  # the detector's, 0 to 1
            *(pa.field(f.name, pa.float32(), nullable=False) for f in fields(FaceQuality)),
            pa.field("embedding_norm", pa.float32(), nullable=False),  # before it was made 1
            pa.field("embedding", pa.list_(pa.float32(), dimension), nullable=False),
        ]
    )


@dataclass(frozen=True)
class PartReport:
    """What making one part took; kept in the part itself.

    Attributes:
        num_photos, num_faces, num_rejected: rows of it.
        seconds: by stage.
    """

    num_photos: int
    num_faces: int
    num_rejected: int
    seconds: dict[str, float]


def faces_table(
    rows: Sequence[dict[str, Any]], embeddings: NDArray[np.float32], dimension: int
) -> pa.Table:
    """Face rows and their (n, dimension) embeddings as a table of `face_schema`."""
    schema = face_schema(dimension)
    without = pa.Table.from_pylist(list(rows), schema=schema.remove(len(schema) - 1))
    return without.append_column(schema.field("embedding"), column_of(embeddings))


def column_of(matrix: NDArray[np.float32]) -> pa.FixedSizeListArray:
    """A column of lists of d, of (n, d) numbers: `matrix_of` undoes it."""
    flat = pa.array(np.ascontiguousarray(matrix, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, matrix.shape[1])


def embedding_matrix(faces: pa.Table) -> NDArray[np.float32]:
    """The (n, d) float32 embeddings of a table of faces."""
    return matrix_of(faces["embedding"])


def matrix_of(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """The (n, d) float32 numbers of a column of lists of d."""
    dimension = column.type.list_size
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    joined = np.concatenate(flat) if flat else np.empty(0, dtype=np.float32)
    return np.asarray(joined.reshape(-1, dimension), dtype=np.float32)


def write_table(table: pa.Table, path: Path) -> None:
    """Write one of a part's two files."""
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def with_report(photos: pa.Table, num_faces: int, seconds: Mapping[str, float]) -> pa.Table:
    """A part's photos with its report in their schema."""
    rejected = pc.sum(pc.equal(photos["status"], PhotoStatus.REJECTED.value)).as_py() or 0
    report = PartReport(len(photos), num_faces, rejected, dict(seconds))
    return photos.replace_schema_metadata({_REPORT_KEY: json.dumps(asdict(report))})


def read_report(path: Path) -> PartReport:
    """The report in a file of photos."""
    try:
        return PartReport(**json.loads(pq.read_schema(path).metadata[_REPORT_KEY]))
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise _corrupt_part(path, error) from error


def read_table(path: Path, schema: pa.Schema) -> pa.Table:
    """Read columns of a part, checking its pages against their checksums.

    A column that may be null and is not there is one of metadata that came later.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            present = set(file.schema_arrow.names)
            table = file.read([name for name in schema.names if name in present])
        for field in schema:
            if (
                field.name not in present
                and field.nullable
                and field.name not in PHOTO_SCHEMA.names
            ):
                table = table.append_column(field, pa.nulls(len(table), field.type))
        return table.select(schema.names).cast(schema)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise _corrupt_part(path, error) from error


def _corrupt_part(path: Path, error: Exception) -> CorruptFileError:
    return CorruptFileError(
        f"{path} is corrupt ({first_line(error)}); delete it and run `facetrove embed` with the "
        "same photos again"
    )


def standing_photos(rows: pa.Table) -> pa.Table:
    """The photos as they now stand, of rows of `Dataset.photo_rows`, oldest part first.

    Some of the rows give the right answer for those contents whose every row is there, and every
    row of the places these ever had.
    """
    faces_part = _faces_parts(rows)
    rows = rows.take(last_rows(rows, "uri"))
    rows = rows.filter(pc.not_equal(rows["status"], PhotoStatus.GONE.value))
    place = pc.index_in(rows["photo_id"], value_set=faces_part["photo_id"])
    return rows.append_column("faces_part", faces_part["part"].take(place))


def last_rows(rows: pa.Table, key: str) -> pa.Array:
    """Numbers of the last row of each value of a column, ascending."""
    numbered = rows.select([key]).append_column("row", pa.array(np.arange(len(rows))))
    return numbered.group_by(key).aggregate([("row", "max")])["row_max"].combine_chunks().sort()


def _faces_parts(rows: pa.Table) -> pa.Table:
    """For each content with faces, the newest part that has them; of superseded rows too."""
    owners = rows.filter(
        pc.and_(pc.equal(rows["status"], PhotoStatus.EMBEDDED.value), pc.invert(rows["is_copy"]))
    )
    return owners.take(last_rows(owners, "photo_id")).select(["photo_id", "part"])


def places_of_contents(photos: pa.Table) -> pa.Table:
    """For each content: its first row, and in `also_at` a list of the other uris that have it.

    Takes rows sorted by photo_id and uri.
    """
    starts = np.array([start for _, start, _ in stretches(photos["photo_id"])], dtype=np.int64)
    uris = photos["uri"].combine_chunks()
    others = np.ones(len(photos), dtype=bool)
    others[starts] = False
    # Before each content's first place lie the other places of all contents before it.
    offsets = np.append(starts - np.arange(len(starts)), len(photos) - len(starts))
    also_at = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), uris.filter(pa.array(others)))
    return photos.take(starts).append_column("also_at", also_at)


def stretches(column: pa.ChunkedArray) -> Iterator[tuple[Any, int, int]]:
    """Value, first row and number of rows of each run of equal values in a column."""
    encoded = pc.run_end_encode(column.combine_chunks())
    start = 0
    for value, end in zip(encoded.values.to_pylist(), encoded.run_ends.to_pylist(), strict=True):
        yield value, start, end - start
        start = end
