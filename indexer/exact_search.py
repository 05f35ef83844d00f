"""Exact search among embeddings, memory-mapped or not: each probe is compared with every row."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from indexer.faiss_library import faiss
from indexer.vectors import RowMask, Vectors

BLOCK_ROWS = 1 << 16
"""Rows compared at a time: 32 MB at 128 dimensions, which bounds memory and keeps BLAS busy."""

FEW_PROBES = 20
"""From this many probes on, FAISS compares by matrix multiplication, for which the rows that a mask
selects must be copied together; with fewer probes it compares row by row."""

FEW_PRODUCTS = 1 << 20
"""Up to this many pairs of a probe and a row are compared by NumPy, in a millisecond or two: FAISS
would take longer to be loaded, and to start its threads."""

GATHERED_ROWS = 4096
"""Up to this many rows of a single probe are compared by NumPy. FAISS would start threads, and
waiting for them takes milliseconds instead of 20 us where other programs keep the cores busy."""


def nearest_rows(
    vectors: Vectors, probes: Vectors, k: int, mask: RowMask | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Find the k rows most similar to each probe, by comparing with every row.

    Args:
        vectors: (n, d) embeddings of unit length.
        probes: (p, d) embeddings of unit length.
        k: number of rows to find for each probe.
        mask: the rows that may be found; None: all.

    Returns:
        (p, k) similarities, descending, and (p, k) rows. Where fewer than k rows may be found,
        they are padded with -inf and -1. Similarities may be NaN where an embedding is.
    """
    if len(probes) == 0 or len(vectors) == 0:
        shape = (len(probes), k)
        return np.full(shape, -np.inf, np.float32), np.full(shape, -1, np.int64)
    if len(probes) * len(vectors) <= FEW_PRODUCTS:
        return _nearest_by_numpy(vectors, probes, k, mask)
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


def _nearest_by_numpy(
    vectors: Vectors, probes: Vectors, k: int, mask: RowMask | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Find the nearest rows without FAISS; of rows that are equally similar, the first ones."""
    selected = None if mask is None else np.flatnonzero(mask.rows)
    some = vectors if selected is None else vectors[selected]
    similarities = np.full((len(probes), k), -np.inf, np.float32)
    rows = np.full((len(probes), k), -1, np.int64)
    kept = min(k, len(some))
    if kept == 0:
        return similarities, rows
    for number, products in enumerate(probes @ some.T):
        if np.isnan(products).any():
            similarities[number] = np.nan  # the embeddings are corrupt
            continue
        least = np.partition(products, len(some) - kept)[len(some) - kept]
        above, ties = np.flatnonzero(products > least), np.flatnonzero(products == least)
        best = np.sort(np.concatenate([above, ties[: kept - len(above)]]))
        best = best[np.argsort(-products[best], kind="stable")]
        similarities[number, : len(best)] = products[best]
        rows[number, : len(best)] = best if selected is None else selected[best]
    return similarities, rows


def _blocks(
    vectors: Vectors, mask: RowMask | None
) -> Iterator[tuple[Vectors, int | NDArray[np.int64]]]:
    """Yield blocks of the rows that may be found.

    Without a mask, each block comes with the number of its first row; with a mask, with the (m,)
    numbers of all its rows.
    """
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
    """Compute the similarities of each probe to rows of its own, without copying the rows.

    Args:
        vectors: (n, d) embeddings of unit length.
        probes: (p, d) embeddings of unit length.
        rows: (p, m) row numbers below n; negative numbers are padding.

    Returns:
        (p, m) similarities; -inf for padding.
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
    """Return a pointer for FAISS to an array's data; the array may be a read-only memory map."""
    if vectors.flags.writeable:
        return faiss.swig_ptr(vectors)
    return faiss.cast_integer_to_float_ptr(vectors.ctypes.data)
