"""A segment's vectors.npy: its embeddings, memory-mapped.

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

from faces.core.errors import CorruptFileError, first_line
from faces.core.files import atomic_write

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class RowMask:
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
        CorruptFileError: it is not there, or holds something else.
    """
    try:
        mapped = np.load(path, mmap_mode="r" if num_rows else None, allow_pickle=False)
    except Exception as error:  # of a corrupt header NumPy says it in many ways
        raise CorruptFileError(
            f"{path} cannot be read ({first_line(error)}); build the index again with --rebuild"
        ) from error
    wanted = ((num_rows, dimension), np.dtype("<f4"))
    if (mapped.shape, mapped.dtype) != wanted or not mapped.flags.c_contiguous:
        raise CorruptFileError(
            f"{path} holds {mapped.dtype} {mapped.shape} instead of {wanted[1]} {wanted[0]}; build "
            "the index again with --rebuild"
        )
    return np.asarray(mapped)
