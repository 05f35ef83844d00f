"""A segment's faces.arrow, memory-mapped: row by row, the faces that the embeddings belong to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.arrow_checks import require_values
from faces.core.arrow_files import open_arrow
from faces.core.errors import CorruptFileError, first_line
from faces.core.storage import FileDigest, Folder
from faces.dataset.picture_hash import HASH_BYTES
from faces.dataset.schema import FINITE_COLUMNS, face_schema
from faces.photos.metadata import METADATA_TYPES, is_places_column, places_columns
from indexer.layout import REBUILD

BATCH_ROWS = 1 << 14
"""Rows in each record batch of faces.arrow; a batch is checked as a whole when it is first read."""

FEW_ROWS = 64
"""Up to this many rows are read one by one (3 us each); more are taken from their record batches at
once (10 us for each batch)."""

FACES_SCHEMA = pa.schema(
    [
        *(column for column in face_schema(1) if column.name != "embedding"),
        pa.field("also_at", pa.list_(pa.string())),
    ]
)
"""The columns that faces.arrow has for every face: those of the dataset but the embedding, and
`also_at`, the uris of the photo's other copies. The photo's metadata columns follow them."""


PICTURE_HASH = pa.field("picture_hash", pa.binary(HASH_BYTES))
"""The column of faces.arrow with the hash of the face's photo, see `faces.dataset.picture_hash`;
null where the dataset has none. Segments of earlier versions lack it, and no filter sees it."""


def with_columns(table: pa.Table, columns: pa.Schema) -> pa.Table:
    """Add the columns that a table lacks, with null in every row."""
    for column in columns:
        if column.name not in table.column_names:
            table = table.append_column(column, pa.nulls(len(table), column.type))
    return table


def faces_schema(metadata: pa.Schema) -> pa.Schema:
    """Return the columns of faces.arrow for a dataset with the given metadata columns.

    Those of `faces.photos.metadata.places_columns` follow the metadata. Segments of earlier
    versions lack them. `stored_schema` has one more.
    """
    return pa.schema([*FACES_SCHEMA, *metadata, *places_columns(metadata)])


def stored_schema(metadata: pa.Schema) -> pa.Schema:
    """Return the columns of `faces_schema`, and `PICTURE_HASH`: all that is written."""
    return faces_schema(metadata).append(PICTURE_HASH)


class Faces:
    """A segment's faces.arrow, memory-mapped; each record batch is checked when it is first read.

    Attributes:
        path: path of the file, for messages.
        schema: columns of the file: `FACES_SCHEMA`, then metadata.

    Args:
        folder: the segment's folder.
        name: name of the file.
        num_faces: number of rows that the file must have.
        digest: size and sha256 that the file must have; None: they are not checked.
        size_only: whether the size alone is checked.

    Raises:
        CorruptFileError: the file is corrupt; raised when it is opened or when a batch is read.
    """

    def __init__(
        self,
        folder: Folder,
        name: str,
        num_faces: int,
        digest: FileDigest | None = None,
        *,
        size_only: bool = False,
    ) -> None:
        self.path = folder.at(name)
        self._num_faces = num_faces
        self._checked: dict[int, pa.RecordBatch] = {}
        content = folder.mapped(name, digest, size_only=size_only)
        with self._corruption_named():
            self._reader = open_arrow(content)
            self.schema: pa.Schema = self._reader.schema
            self._names = frozenset(self.schema.names)
            expected = {column.name: column.type for column in FACES_SCHEMA}
            types = dict(zip(self.schema.names, self.schema.types, strict=True))
            expected |= {PICTURE_HASH.name: PICTURE_HASH.type} if PICTURE_HASH.name in types else {}
            if types | expected != types or not _are_metadata(types.keys() - expected, types):
                raise pa.ArrowInvalid("a column is missing or has another type")
            if self._reader.num_record_batches != -(-num_faces // BATCH_ROWS):
                raise pa.ArrowInvalid(
                    f"it has {self._reader.num_record_batches} batches for {num_faces} rows"
                )

    def __len__(self) -> int:
        return self._num_faces

    def row(self, row: int, columns: Sequence[str]) -> dict[str, Any]:
        """Return the given columns of one face; columns that the file lacks are left out."""
        batch, row_in_batch = self._batch(row // BATCH_ROWS), row % BATCH_ROWS
        return {n: batch.column(n)[row_in_batch].as_py() for n in columns if n in self._names}

    @cached_property
    def table(self) -> pa.Table:
        """All faces of the segment, in the order of its rows."""
        numbers = range(self._reader.num_record_batches)
        return pa.Table.from_batches(map(self._batch, numbers), self.schema)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Iterate over the segment's faces in record batches of `BATCH_ROWS` rows."""
        return map(self._batch, range(self._reader.num_record_batches))

    def values(self, column: str, rows: NDArray[np.int64]) -> list[Any]:
        """Return the values of one column for the faces in (m,) rows, in the order of `rows`."""
        if len(rows) <= FEW_ROWS:
            return [self.row(row, (column,))[column] for row in rows.tolist()]
        values: list[Any] = [None] * len(rows)
        numbers = rows // BATCH_ROWS
        for number in np.unique(numbers).tolist():
            here = np.flatnonzero(numbers == number)
            picked = self._batch(number).column(column).take(pa.array(rows[here] % BATCH_ROWS))
            for position, value in zip(here.tolist(), picked.to_pylist(), strict=True):
                values[position] = value
        return values

    def _batch(self, number: int) -> pa.RecordBatch:
        if number not in self._checked:
            with self._corruption_named():
                batch = self._reader.get_batch(number)
                batch.validate(full=True)  # an offset out of range would read foreign memory
                require_values(batch, FACES_SCHEMA, finite=FINITE_COLUMNS)
                expected = min(BATCH_ROWS, self._num_faces - number * BATCH_ROWS)
                if batch.num_rows != expected:
                    raise pa.ArrowInvalid(
                        f"batch {number} has {batch.num_rows} rows instead of {expected}"
                    )
            self._checked[number] = batch
        return self._checked[number]

    @contextmanager
    def _corruption_named(self) -> Iterator[None]:
        try:
            yield
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            raise CorruptFileError(
                f"{self.path} is corrupt ({first_line(error)}); {REBUILD}"
            ) from error


def _are_metadata(names: Iterable[str], types: Mapping[str, pa.DataType]) -> bool:
    """Return whether columns have types of metadata columns, or are lists of their values."""
    kinds = list(METADATA_TYPES.values())
    lists = [pa.list_(kind) for kind in kinds]
    return all(types[name] in (lists if is_places_column(name) else kinds) for name in names)
