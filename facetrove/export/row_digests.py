"""Digests of rows, by which a later export tells those that have changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexer.vectors import Vectors

_UNIT = "\x1f"
"""Between the texts of a list: Unicode's and ASCII's separator of units."""

FIXED = frozenset({"face_id", "photo_id"})
"""Columns that never change: a row is known by the first, and a face belongs to one content."""


def row_digests(table: pa.Table, embeddings: Vectors) -> NDArray[np.int64]:
    """Return a digest of each row, which is equal where all values are equal.

    A column in which a row has null makes no difference, so a column that is added changes only
    the rows that have a value in it. The digests are those of pandas, which are the same on every
    machine; they withstand chance, not people who look for two rows of one digest.

    Args:
        table: n rows.
        embeddings: (n, d) embeddings of the rows.

    Returns:
        (n,) int64.
    """
    total = _of_numbers(embeddings)
    for name in sorted(set(table.column_names) - FIXED):
        column = table[name]
        digests = _of_column(column) * _weights(f"{name} {column.type}", 1)
        total += np.where(column.is_null().to_numpy(), np.uint64(0), _hashed(digests))
    return total.view(np.int64)


def _of_column(column: pa.ChunkedArray) -> NDArray[np.uint64]:
    kind = column.type
    if pa.types.is_fixed_size_list(kind):
        flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
        width = kind.list_size
        numbers = np.zeros((len(column), width), np.float32)
        numbers[column.is_valid().to_numpy()] = flat.reshape(-1, width)
        return _of_numbers(numbers)
    if pa.types.is_list(kind):
        column = pc.binary_join(column.cast(pa.list_(pa.string())), _UNIT)
    if pa.types.is_string(column.type):
        texts = column.combine_chunks().dictionary_encode()
        of_texts = _hashed(texts.dictionary.to_numpy(False))
        rows = pc.fill_null(texts.indices, 0).to_numpy()
        return of_texts[rows] if len(of_texts) else np.zeros(len(column), np.uint64)
    if pa.types.is_date32(kind):
        column = column.cast(pa.int32())
    elif pa.types.is_timestamp(kind):
        column = column.cast(pa.int64())
    zero = pa.scalar(False if pa.types.is_boolean(kind) else 0, column.type)
    return _hashed(pc.fill_null(column, zero).to_numpy())


def _of_numbers(numbers: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Return a digest of each of n rows of float32 numbers, by their bits."""
    even = np.pad(numbers, ((0, 0), (0, 1))) if numbers.shape[1] % 2 else numbers
    bits = np.ascontiguousarray(even).view(np.uint64)
    return _hashed(np.einsum("ij,j->i", bits, _weights("", bits.shape[1])))


def _weights(name: str, count: int) -> NDArray[np.uint64]:
    """Return odd weights, so that equal values in two columns or places count differently."""
    texts = np.array([f"{name}{_UNIT}{number}" for number in range(count)], object)
    return _hashed(texts) | np.uint64(1)


def _hashed(values: NDArray[Any]) -> NDArray[np.uint64]:
    """Return a digest of each of n numbers or texts."""
    return np.asarray(pd.util.hash_array(values, categorize=False), np.uint64)
