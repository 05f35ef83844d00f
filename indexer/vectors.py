"""A segment's vectors.npy, memory-mapped: the embeddings of its faces.

The file has NumPy's own format, (n, d) float32 in rows. Only the rows that a search compares with
are read, so the file may be larger than memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import CorruptFileError, first_line
from faces.core.files import atomic_write

Vectors = NDArray[np.float32]
"""(n, d) float32 embeddings, in rows."""


@dataclass(frozen=True)
class RowMask:
    """A mask of rows: those of a segment's n rows that a search may find.

    Attributes:
        rows: (n,) bool, True for a row that may be found.
    """

    rows: NDArray[np.bool_]

    @cached_property
    def count(self) -> int:
        """The number of rows that may be found."""
        return int(np.count_nonzero(self.rows))

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        """The mask as (n / 8,) bytes, the lowest bit first, as FAISS's selectors expect it."""
        return np.packbits(self.rows, bitorder="little")


class VectorsWriter:
    """A writer that appends rows to a vectors.npy.

    Attributes:
        num_rows: number of rows written so far.
    """

    def __init__(self, path: Path, dimension: int) -> None:
        self._file = path.open("wb")
        self._dimension = dimension
        self.num_rows = 0
        self._write_header()

    def append(self, vectors: Vectors) -> None:
        """Append (m, d) float32 rows."""
        self._file.write(np.ascontiguousarray(vectors, dtype="<f4").data)
        self.num_rows += len(vectors)

    def close(self) -> None:
        """Write the number of rows into the header, for which NumPy leaves room, and close."""
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        shape = (self.num_rows, self._dimension)
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)


@contextmanager
def write_vectors(path: Path, dimension: int) -> Iterator[VectorsWriter]:
    """Write a vectors.npy; it appears under its name when it is complete, or not at all."""
    with atomic_write(path) as temporary:
        writer = VectorsWriter(temporary, dimension)
        try:
            yield writer
        finally:
            writer.close()


def load_vectors(path: Path) -> Vectors:
    """Map a vectors.npy of our own partial index into memory, without checking its shape."""
    mapped = np.load(path, mmap_mode=None if path.stat().st_size < 256 else "r")
    return np.asarray(mapped)


def open_vectors(path: Path, num_rows: int, dimension: int) -> Vectors:
    """Map a segment's vectors.npy into memory.

    Args:
        path: path of the file.
        num_rows: number of rows that the file must have.
        dimension: number of dimensions of an embedding.

    Returns:
        (num_rows, dimension) float32, read-only.

    Raises:
        CorruptFileError: the file is missing, cannot be read, or has another shape or type.
    """
    try:
        mapped = np.load(path, mmap_mode="r" if num_rows else None, allow_pickle=False)
    except Exception as error:  # NumPy raises many types for a corrupt header
        raise CorruptFileError(
            f"{path} cannot be read ({first_line(error)}); build the index again with --rebuild"
        ) from error
    expected = ((num_rows, dimension), np.dtype("<f4"))
    if (mapped.shape, mapped.dtype) != expected or not mapped.flags.c_contiguous:
        raise CorruptFileError(
            f"{path} holds {mapped.dtype} {mapped.shape} instead of {expected[1]} {expected[0]}; "
            "build the index again with --rebuild"
        )
    return np.asarray(mapped)
