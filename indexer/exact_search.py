"""Exact search among embeddings, memory-mapped or not: FAISS compares with every row."""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray

from indexer.vectors import RowMask, Vectors

BLOCK_ROWS = 1 << 16
"""Rows compared at a time: 32 MB of 128 numbers, which bounds memory and keeps BLAS busy."""

FEW_PROBES = 20
"""Below, FAISS goes through the rows one by one; from here on it multiplies matrices, which needs
the rows of a filter copied together."""

GATHERED_ROWS = 4096
"""Up to so many rows of one probe are multiplied here. FAISS would start threads for it, and where
other programs keep the cores busy, waiting for these takes milliseconds instead of 20 us."""


def nearest_rows(
    vectors: Vectors, probes: Vectors, k: int, mask: RowMask | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The rows nearest each probe, by comparing with all of them.

    Args:
        vectors: (n, d).
        probes: (p, d).
        k: rows wanted.
        mask: which rows may be found; all by default.

    Returns:
        (p, k) similarities, descending, and (p, k) rows; -inf and -1 where there are no more.
    """
    if len(probes) == 0 or len(vectors) == 0:
        shape = (len(probes), k)
        return np.full(shape, -np.inf, np.float32), np.full(shape, -1, np.int64)
    if mask is not None and len(probes) < FEW_PROBES:
        return _nearest_one_by_one(vectors, probes, k, mask)
    heap = faiss.ResultHeap(len(probes), k, keep_max=True)
    for block, first_rows in _blocks(vectors, mask):
        similarities, rows = faiss.knn(
            probes, block, min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT
        )
        rows = first_rows + rows if isinstance(first_rows, int) else first_rows[rows]
        heap.add_result(similarities, rows)
    heap.finalize()
    similarities, rows = np.asarray(heap.D), np.asarray(heap.I, dtype=np.int64)
    similarities[rows < 0] = -np.inf
    return similarities, rows


def _blocks(
    vectors: Vectors, mask: RowMask | None
) -> Iterator[tuple[Vectors, int | NDArray[np.int64]]]:
    """Stretches of rows with the number of their first; or passing rows with their numbers."""
    if mask is None:
        for start in range(0, len(vectors), BLOCK_ROWS):
            yield vectors[start : start + BLOCK_ROWS], start
        return
    rows = np.flatnonzero(mask.rows)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        yield vectors[block], block


def _nearest_one_by_one(
    vectors: Vectors, probes: Vectors, k: int, mask: RowMask
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    similarities = np.empty((len(probes), k), np.float32)
    rows = np.empty((len(probes), k), np.int64)
    probes = np.ascontiguousarray(probes)
    faiss.knn_inner_product(
        faiss.swig_ptr(probes),
        _pointer(vectors),
        vectors.shape[1],
        len(probes),
        len(vectors),
        k,
        faiss.swig_ptr(similarities),
        faiss.swig_ptr(rows),
        faiss.IDSelectorBitmap(mask.bits),
    )
    similarities[rows < 0] = -np.inf
    return similarities, rows


def inner_products(
    vectors: Vectors, probes: Vectors, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Similarities of each probe with rows of its own, read where they lie.

    Args:
        vectors: (n, d).
        probes: (p, d).
        rows: (p, m) numbers of rows, below n; negative ones are none.

    Returns:
        (p, m) similarities, -inf for none.
    """
    if len(probes) == 1 and rows.size <= GATHERED_ROWS:
        near = np.einsum("md,d->m", vectors[np.maximum(rows[0], 0)], probes[0])
        return np.where(rows >= 0, near, np.float32(-np.inf))
    products = np.empty(rows.shape, np.float32)
    probes, rows = np.ascontiguousarray(probes), np.ascontiguousarray(rows)
    faiss.fvec_inner_products_by_idx(
        faiss.swig_ptr(products),
        faiss.swig_ptr(probes),
        _pointer(vectors),
        faiss.swig_ptr(rows),
        vectors.shape[1],
        len(probes),
        rows.shape[1],
    )
    return products


def _pointer(vectors: Vectors) -> object:
    """FAISS's pointer to an array that may be read only, as a memory map is."""
    if vectors.flags.writeable:
        return faiss.swig_ptr(vectors)
    return faiss.cast_integer_to_float_ptr(vectors.ctypes.data)
