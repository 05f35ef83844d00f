"""A segment's faces.arrow: row by row what the embeddings are of, memory-mapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.errors import CorruptFileError, first_line
from faces.dataset.schema import face_schema
from indexer.manifest import REBUILD

BATCH_ROWS = 1 << 14

FEW_ROWS = 64
"""So many rows are faster read one by one (3 us each) than picked out of their batches (10 us)."""

FACES_SCHEMA = pa.schema(
    [
        *(column for column in face_schema(1) if column.name != "embedding"),
        pa.field("also_at", pa.list_(pa.string())),
    ]
)
"""What faces.arrow holds of each face: what the dataset does but the embedding, and the other
places where its photo lies. The metadata columns of the photo follow."""


def with_columns(table: pa.Table, columns: pa.Schema) -> pa.Table:
    """A table with further columns, null where it does not have them yet."""
    for column in columns:
        if column.name not in table.column_names:
            table = table.append_column(column, pa.nulls(len(table), column.type))
    return table


def faces_schema(metadata: pa.Schema) -> pa.Schema:
    """Columns of faces.arrow for a dataset with metadata columns."""
    return pa.schema([*FACES_SCHEMA, *metadata])


class Faces:
    """A faces.arrow, memory-mapped. What is read of it is checked when it is first read."""

    def __init__(self, path: Path, num_faces: int) -> None:
        self.path = path
        self._num_faces = num_faces
        self._checked: dict[int, pa.RecordBatch] = {}
        with self._corruption_named():
            self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
            self.schema: pa.Schema = self._reader.schema
            self._names = frozenset(self.schema.names)
            wanted = {column.name: column.type for column in FACES_SCHEMA}
            types = dict(zip(self.schema.names, self.schema.types, strict=True))
            if types | wanted != types:
                raise pa.ArrowInvalid("it has other columns")
            if self._reader.num_record_batches != -(-num_faces // BATCH_ROWS):
                raise pa.ArrowInvalid("it has another number of rows")

    def __len__(self) -> int:
        return self._num_faces

    def row(self, row: int, columns: Sequence[str]) -> dict[str, Any]:
        """Columns of one face; those that are not there are left out."""
        batch, place = self._batch(row // BATCH_ROWS), row % BATCH_ROWS
        return {n: batch.column(n)[place].as_py() for n in columns if n in self._names}

    @cached_property
    def table(self) -> pa.Table:
        """All rows."""
        numbers = range(self._reader.num_record_batches)
        return pa.Table.from_batches(map(self._batch, numbers), self.schema)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, some at a time."""
        return map(self._batch, range(self._reader.num_record_batches))

    def values(self, column: str, rows: NDArray[np.int64]) -> list[Any]:
        """One column of some faces."""
        if len(rows) <= FEW_ROWS:
            return [self.row(row, (column,))[column] for row in rows.tolist()]
        values: list[Any] = [None] * len(rows)
        numbers = rows // BATCH_ROWS
        for number in np.unique(numbers).tolist():
            here = np.flatnonzero(numbers == number)
            picked = self._batch(number).column(column).take(pa.array(rows[here] % BATCH_ROWS))
            for place, value in zip(here.tolist(), picked.to_pylist(), strict=True):
                values[place] = value
        return values

    def _batch(self, number: int) -> pa.RecordBatch:
        if number not in self._checked:
            with self._corruption_named():
                batch = self._reader.get_batch(number)
                batch.validate(full=True)  # offsets that point outside would be read as memory
                expected = min(BATCH_ROWS, self._num_faces - number * BATCH_ROWS)
                if batch.num_rows != expected or _has_unwanted_nulls(batch):
                    raise pa.ArrowInvalid("a batch does not hold what it should")
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


def _has_unwanted_nulls(batch: pa.RecordBatch) -> bool:
    return any(
        batch.column(column.name).null_count for column in batch.schema if not column.nullable
    )
