"""Rows of an Arrow table in the format of PostgreSQL's binary COPY, made column by column.

    https://www.postgresql.org/docs/18/sql-copy.html, "Binary Format"

Row by row, Python takes longer than the server. The formats of values are those that PostgreSQL's
types, and pgvector's `vector`, send and receive.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.dataset.schema import matrix_of
from facetrove.export.gallery import EMBEDDING

SQL_TYPES = {
    "string": "text",
    "int64": "bigint",
    "double": "double precision",
    "float": "real",
    "bool": "boolean",
    "date32[day]": "date",
    "timestamp[us]": "timestamp",
}
"""PostgreSQL's type for each type of a column that an index has; lists become arrays of it."""

_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
_TRAILER = struct.pack("!h", -1)

_REAL, _TEXT = 700, 25
"""Object ids of the types real and text."""

_EPOCH_DAYS = 10_957
"""Days from 1970-01-01 to 2000-01-01, from which PostgreSQL counts."""

_BLOCK_ROWS = 8_192
"""Number of rows that are made at once: 8 MB with 128 dimensions, and ten times that meanwhile."""

Bytes = NDArray[np.uint8]


class _Values(NamedTuple):
    """The values of a column of n rows.

    Attributes:
        content: bytes of all values that are not null, one after the other.
        sizes: (n,) number of bytes of each value; 0 for null.
        is_null: (n,) bool.
    """

    content: Bytes
    sizes: NDArray[np.int64]
    is_null: NDArray[np.bool_]


def binary_rows(rows: pa.Table) -> Iterator[bytes]:
    """Yield the bytes of a COPY of rows, whose columns have the types of `SQL_TYPES` or are lists.

    The column `embedding` becomes a `vector`, other lists of numbers real[], lists of texts text[].
    """
    yield _HEADER
    for start in range(0, len(rows), _BLOCK_ROWS):
        yield _block(rows.slice(start, _BLOCK_ROWS))
    yield _TRAILER


def _block(rows: pa.Table) -> bytes:
    columns = [_values(name, rows[name].combine_chunks()) for name in rows.column_names]
    row_sizes = 2 + sum((4 + column.sizes for column in columns), np.zeros(len(rows), np.int64))
    at = np.cumsum(row_sizes) - row_sizes
    block = np.empty(int(row_sizes.sum()), np.uint8)
    _put(block, at, np.full(len(rows), len(columns), ">i2"))
    at += 2
    for content, sizes, is_null in columns:
        _put(block, at, np.where(is_null, -1, sizes).astype(">i4"))
        at += 4
        ends = np.cumsum(sizes)
        block[np.repeat(at - (ends - sizes), sizes) + np.arange(len(content))] = content
        at += sizes
    return block.tobytes()


def _put(block: Bytes, at: NDArray[np.int64], numbers: NDArray[np.signedinteger]) -> None:
    """Write (n,) big-endian numbers at n places."""
    width = numbers.dtype.itemsize
    block[at[:, np.newaxis] + np.arange(width)] = numbers.view(np.uint8).reshape(-1, width)


def _values(name: str, column: pa.Array) -> _Values:
    kind = column.type
    is_null = column.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_string(kind):
        return _texts(column, is_null)
    if name == EMBEDDING:
        return _fixed(_vectors(matrix_of(pa.chunked_array([column]))), is_null)
    if pa.types.is_fixed_size_list(kind):
        flat = column.flatten().to_numpy(zero_copy_only=False)
        numbers = np.zeros((len(column), kind.list_size), np.float32)
        numbers[~is_null] = flat.reshape(-1, kind.list_size)
        return _fixed(_real_arrays(numbers), is_null)
    if pa.types.is_list(kind):
        return _text_arrays(column, is_null)
    return _fixed(_scalars(column), is_null)


def _fixed(content: Bytes, is_null: NDArray[np.bool_]) -> _Values:
    """Return the values of a column of (n, width) bytes."""
    sizes = np.where(is_null, 0, content.shape[1])
    return _Values(content[~is_null].reshape(-1), sizes, is_null)


def _scalars(column: pa.Array) -> Bytes:
    """Return (n, width) bytes of numbers, truth values, dates or times; anything for null."""
    kind = column.type
    if pa.types.is_date32(kind):
        numbers = _filled(column.cast(pa.int32())) - _EPOCH_DAYS
    elif pa.types.is_timestamp(kind):
        numbers = _filled(column.cast(pa.int64())) - _EPOCH_DAYS * 86_400_000_000
    elif pa.types.is_boolean(kind):
        numbers = _filled(column.cast(pa.uint8()))
    else:
        numbers = _filled(column)
    return _as_bytes(numbers.reshape(-1, 1))


def _filled(column: pa.Array) -> NDArray[np.number]:
    return np.asarray(pc.fill_null(column, pa.scalar(0, column.type)).to_numpy())


def _as_bytes(numbers: NDArray[np.number]) -> Bytes:
    """Return (n, width) the big-endian bytes of (n, m) numbers."""
    big = np.ascontiguousarray(numbers.astype(numbers.dtype.newbyteorder(">")))
    return big.view(np.uint8).reshape(len(numbers), -1)


def _texts(column: pa.Array, is_null: NDArray[np.bool_]) -> _Values:
    """Return texts in UTF-8; PostgreSQL has no NUL, which becomes the replacement character."""
    content = np.frombuffer("".join(column.drop_null().to_pylist()).encode(), np.uint8)
    if not content.all():
        return _texts(pc.replace_substring(column, "\0", "\ufffd"), is_null)
    sizes = pc.fill_null(pc.binary_length(column), 0).to_numpy().astype(np.int64)
    return _Values(content, sizes, is_null)


def _vectors(matrix: NDArray[np.float32]) -> Bytes:
    """Return pgvector's form: number of dimensions, nothing, and the numbers."""
    head = np.tile(
        np.frombuffer(struct.pack("!hh", matrix.shape[1], 0), np.uint8), (len(matrix), 1)
    )
    return np.hstack([head, _as_bytes(matrix)])


def _real_arrays(matrix: NDArray[np.float32]) -> Bytes:
    """Return arrays of real: dimensions, no null, type, length, first number; then each number."""
    count, width = matrix.shape
    head = np.frombuffer(struct.pack("!iiiii", 1, 0, _REAL, width, 1), np.uint8)
    size = np.frombuffer(struct.pack("!i", 4), np.uint8)
    numbers = _as_bytes(matrix).reshape(count, width, 4)
    sized = np.concatenate([np.tile(size, (count, width, 1)), numbers], axis=2)
    return np.hstack([np.tile(head, (count, 1)), sized.reshape(count, -1)])


def _text_arrays(column: pa.Array, is_null: NDArray[np.bool_]) -> _Values:
    """Return arrays of text, most of which are empty."""
    contents = [b"" if texts is None else _text_array(texts) for texts in column.to_pylist()]
    sizes = np.array([len(content) for content in contents], np.int64)
    return _Values(np.frombuffer(b"".join(contents), np.uint8), sizes, is_null)


def _text_array(texts: list[str | None]) -> bytes:
    if not texts:
        return struct.pack("!iii", 0, 0, _TEXT)
    parts = [struct.pack("!iiiii", 1, int(None in texts), _TEXT, len(texts), 1)]
    for text in texts:
        content = b"" if text is None else text.replace("\0", "\ufffd").encode()
        parts += [struct.pack("!i", -1 if text is None else len(content)), content]
    return b"".join(parts)
