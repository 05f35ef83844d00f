"""A segment's vectors.npy, memory-mapped: the embeddings of its faces.

The file has NumPy's own format, (n, d) float32 in rows. Only the rows that a search compares with
are read, so the file may be larger than memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BufferedWriter, BytesIO
from mmap import mmap

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import CorruptFileError, first_line
from faces.core.storage import FileDigest, Folder
from indexer.layout import REBUILD

MAX_HEADER_BYTES = 4096
"""Largest size of the header of a vectors.npy, which has 128 bytes."""

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

    def __init__(self, file: BufferedWriter, dimension: int) -> None:
        self._file = file
        self._dimension = dimension
        self.num_rows = 0
        self._write_header()

    def append(self, vectors: Vectors) -> None:
        """Append (m, d) float32 rows."""
        self._file.write(np.ascontiguousarray(vectors, dtype="<f4").data)
        self.num_rows += len(vectors)

    def finish(self) -> None:
        """Write the number of rows into the header, for which NumPy leaves room."""
        self._file.seek(0)
        self._write_header()

    def _write_header(self) -> None:
        shape = (self.num_rows, self._dimension)
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)


@contextmanager
def write_vectors(folder: Folder, name: str, dimension: int) -> Iterator[VectorsWriter]:
    """Write a vectors.npy; it appears under its name when it is complete, or not at all."""
    with folder.put(name) as file:
        writer = VectorsWriter(file, dimension)
        yield writer
        writer.finish()


def load_vectors(folder: Folder, name: str) -> Vectors:
    """Map a vectors.npy of our own partial index into memory, whatever its number of rows.

    Raises:
        CorruptFileError: the file is missing or cannot be read.
    """
    return _array_in(folder, name, folder.mapped(name))


def open_vectors(
    folder: Folder,
    name: str,
    shape: tuple[int, int],
    digest: FileDigest | None = None,
    *,
    size_only: bool = False,
) -> Vectors:
    """Map a segment's vectors.npy into memory.

    Args:
        folder: the segment's folder.
        name: name of the file.
        shape: number of rows, and of dimensions of an embedding, that the file must have.
        digest: size and sha256 that the file must have; None: they are not checked.
        size_only: whether the size alone is checked.

    Returns:
        float32 of this shape, read-only.

    Raises:
        CorruptFileError: the file is missing, cannot be read, or has another shape or type.
    """
    vectors = _array_in(folder, name, folder.mapped(name, digest, size_only=size_only))
    if vectors.shape != shape:
        raise CorruptFileError(
            f"{folder.at(name)} holds float32 {vectors.shape} instead of {shape}; {REBUILD}"
        )
    return vectors


def _array_in(folder: Folder, name: str, content: mmap | bytes) -> Vectors:
    """Return the array in the content of a .npy file, of which nothing is copied."""
    try:
        header = BytesIO(content[:MAX_HEADER_BYTES])
        version = np.lib.format.read_magic(header)
        if version != (1, 0):
            raise ValueError(f"it has version {version} of NumPy's format instead of (1, 0)")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(header)
        if dtype != np.dtype("<f4") or fortran_order or len(shape) != 2:
            raise ValueError(f"it holds {dtype} {shape} instead of rows of float32")
        return np.ndarray(shape, dtype, content, header.tell())
    except Exception as error:  # NumPy raises many types for a corrupt header
        raise CorruptFileError(
            f"{folder.at(name)} cannot be read ({first_line(error)}); {REBUILD}"
        ) from error
