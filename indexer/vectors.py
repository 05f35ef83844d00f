"""A segment's vectors.npy: its embeddings, memory-mapped, and exact search among them.

The file is NumPy's own format: (n, d) float32 in rows. Nothing of it is read but the rows that a
search touches, so it may be larger than memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import DamagedFileError, first_line
from faces.core.files import atomic_write

Vectors = NDArray[np.float32]

BLOCK_ROWS = 1 << 16
"""Rows compared at a time: 32 MB of 128 numbers, which bounds memory and keeps BLAS busy."""

FEW_PROBES = 20
"""Below, FAISS goes through the rows one by one; from here on it multiplies matrices, which needs
the rows of a filter copied together."""

GATHERED_ROWS = 4096
"""Up to so many rows of one probe are multiplied here. FAISS would start threads for it, and where
other programs keep the cores busy, waiting for these takes milliseconds instead of 20 us."""


@dataclass(frozen=True)
class Passing:
    """Which of n rows may be found.

    Attributes:
        rows: (n,) bool.
    """

    rows: NDArray[np.bool_]

    @cached_property
    def count(self) -> int:
        """How many may."""
        return int(np.count_nonzero(self.rows))

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        """One bit for each row, lowest first, as FAISS wants them."""
        return np.packbits(self.rows, bitorder="little")


class VectorsWriter:
    """Appends rows to a vectors.npy."""

    def __init__(self, path: Path, dimension: int) -> None:
        self._file = path.open("wb")
        self._dimension = dimension
        self.num_rows = 0
        self._write_header()

    def append(self, vectors: Vectors) -> None:
        """Add (m, d) rows."""
        self._file.write(np.ascontiguousarray(vectors, dtype="<f4").data)
        self.num_rows += len(vectors)

    def close(self) -> None:
        """Say how many rows there are, where NumPy leaves room for it at the start."""
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        shape = (self.num_rows, self._dimension)
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)


@contextmanager
def write_vectors(path: Path, dimension: int) -> Iterator[VectorsWriter]:
    """Write a vectors.npy that is whole or not there."""
    with atomic_write(path) as temporary:
        writer = VectorsWriter(temporary, dimension)
        try:
            yield writer
        finally:
            writer.close()


def load_vectors(path: Path) -> Vectors:
    """Map a vectors.npy into memory, whatever its size."""
    mapped = np.load(path, mmap_mode=None if path.stat().st_size < 256 else "r")
    return np.asarray(mapped)


def open_vectors(path: Path, num_rows: int, dimension: int) -> Vectors:
    """Map a vectors.npy into memory.

    Raises:
        DamagedFileError: it is not there, or holds something else.
    """
    try:
        mapped = np.load(path, mmap_mode="r" if num_rows else None, allow_pickle=False)
    except Exception as error:  # of a damaged header NumPy says it in many ways
        raise DamagedFileError(
            f"{path} cannot be read ({first_line(error)}); build the index again with --rebuild"
        ) from error
    wanted = ((num_rows, dimension), np.dtype("<f4"))
    if (mapped.shape, mapped.dtype) != wanted or not mapped.flags.c_contiguous:
        raise DamagedFileError(
            f"{path} holds {mapped.dtype} {mapped.shape} instead of {wanted[1]} {wanted[0]}; build "
            "the index again with --rebuild"
        )
    return np.asarray(mapped)


def nearest_rows(
    vectors: Vectors, probes: Vectors, k: int, passing: Passing | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The rows nearest each probe, by comparing with all of them.

    Args:
        vectors: (n, d).
        probes: (p, d).
        k: rows wanted.
        passing: which rows may be found; all by default.

    Returns:
        (p, k) similarities, descending, and (p, k) rows; -inf and -1 where there are no more.
    """
    import faiss

    if len(probes) == 0 or len(vectors) == 0:
        shape = (len(probes), k)
        return np.full(shape, -np.inf, np.float32), np.full(shape, -1, np.int64)
    if passing is not None and len(probes) < FEW_PROBES:
        return _nearest_one_by_one(vectors, probes, k, passing)
    heap = faiss.ResultHeap(len(probes), k, keep_max=True)
    for block, first_rows in _blocks(vectors, passing):
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
    vectors: Vectors, passing: Passing | None
) -> Iterator[tuple[Vectors, int | NDArray[np.int64]]]:
    """Stretches of rows with the number of their first; or passing rows with their numbers."""
    if passing is None:
        for start in range(0, len(vectors), BLOCK_ROWS):
            yield vectors[start : start + BLOCK_ROWS], start
        return
    rows = np.flatnonzero(passing.rows)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        yield vectors[block], block


def _nearest_one_by_one(
    vectors: Vectors, probes: Vectors, k: int, passing: Passing
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    import faiss

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
        faiss.IDSelectorBitmap(passing.bits),
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
    import faiss

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
    import faiss

    if vectors.flags.writeable:
        return faiss.swig_ptr(vectors)
    return faiss.cast_integer_to_float_ptr(vectors.ctypes.data)
