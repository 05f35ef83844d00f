"""FAISS index files: the kinds of indexes that are read and written, and nothing else.

A FAISS file may say of itself that its inverted lists lie in another file, which FAISS then opens
for writing, or that it has terabytes. So on-disk lists are refused before FAISS acts on them, no
vector may be much larger than the file, and only indexes of the kinds below are used.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader

from faces.core.errors import CorruptFileError, first_line
from faces.core.storage import FileDigest, Folder
from indexer.faiss_library import faiss
from indexer.layout import REBUILD

FLAT = frozenset({"IndexFlat", "IndexFlatIP", "IndexFlatL2", "IndexScalarQuantizer"})
CODED = FLAT | {"IndexPQ", "IndexPQFastScan"}
"""Kinds of indexes that hold codes alone, which graphs are built over."""

GRAPHS = frozenset({"IndexHNSW", "IndexHNSWFlat", "IndexHNSWSQ", "IndexHNSWPQ"})
INVERTED = frozenset(
    {
        *("IndexIVFFlat", "IndexIVFFlatDedup", "IndexIVFScalarQuantizer"),
        *("IndexIVFPQ", "IndexIVFPQR", "IndexIVFPQFastScan"),
    }
)
LISTS = frozenset({"ArrayInvertedLists", "BlockInvertedLists"})
"""Kinds of inverted lists: those that lie in the file."""

TRANSFORMS = frozenset(
    {
        *("LinearTransform", "OPQMatrix", "PCAMatrix", "RandomRotationMatrix"),
        *("NormalizationTransform", "CenteringTransform", "RemapDimensionsTransform"),
    }
)

_ON_DISK_LISTS = b"ilod"
"""The four bytes that FAISS reads one by one before on-disk lists, whose file it then opens."""

_TABLE_FACTOR, _MAX_TABLE_BYTES = 256, 2 << 30
"""FAISS applies the limit of vectors to its table of distances to the centroids of a product
quantiser, too, which inner products do not use: at most 256 values, one for each centroid, for
every number that the file has of its lists. FAISS itself makes no table beyond 2 GiB."""

_limits = threading.Lock()
"""FAISS's limits on what it reads are those of the process."""


def write_codes(folder: Folder, name: str, codes: faiss.Index) -> None:
    """Write a FAISS index to a file, which appears whole or not at all."""
    with folder.put(name) as file:
        faiss.write_index(codes, faiss.PyCallbackIOWriter(file.write))


def read_codes(folder: Folder, name: str, digest: FileDigest | None = None) -> faiss.Index:
    """Read a FAISS index from a file.

    Args:
        folder: the folder of the file.
        name: name of the file.
        digest: size and sha256 that the file must have; None: they are not checked.

    Raises:
        CorruptFileError: the file is missing, cannot be read, or holds an index of another kind.
    """
    with folder.open(name, digest) as file, _limited_to(os.fstat(file.fileno()).st_size):
        try:
            codes = faiss.read_index(faiss.PyCallbackIOReader(_Reader(file).read))
            require_known_kind(codes)
        except (RuntimeError, MemoryError, ValueError) as error:
            raise CorruptFileError(
                f"{folder.at(name)} cannot be read ({first_line(error)}); {REBUILD}"
            ) from error
    return codes


def require_known_kind(index: faiss.Index) -> None:
    """Raise ValueError unless a FAISS index, and all that it consists of, is of a known kind."""
    index = faiss.downcast_index(index)
    kind = type(index).__name__
    if kind == "IndexPreTransform":
        for number in range(index.chain.size()):
            _require(faiss.downcast_VectorTransform(index.chain.at(number)), TRANSFORMS)
        index = faiss.downcast_index(index.index)
        kind = type(index).__name__
    if kind in INVERTED:
        _require(faiss.downcast_InvertedLists(index.invlists), LISTS)
        index = faiss.downcast_index(index.quantizer)
        kind = type(index).__name__
    if kind in GRAPHS:
        _require(faiss.downcast_index(index.storage), CODED)
        return
    _require(index, FLAT)


def _require(part: object, kinds: frozenset[str]) -> None:
    if type(part).__name__ not in kinds:
        raise ValueError(f"it has a {type(part).__name__}, which facetrove does not use")


class _Reader:
    """The content of a FAISS file up to where it would have another file opened."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file

    def read(self, num_bytes: int) -> bytes:
        """Return the next bytes; none instead of `_ON_DISK_LISTS`, so that FAISS gives up."""
        content = self._file.read(num_bytes)
        return b"" if content == _ON_DISK_LISTS else content


@contextmanager
def _limited_to(num_bytes: int) -> Iterator[None]:
    """Have FAISS refuse vectors, and numbers of lists, that a file of this size cannot hold."""
    with _limits:
        before = faiss.get_deserialization_vector_byte_limit()
        loops_before = faiss.get_deserialization_loop_limit()
        table_bytes = min(_TABLE_FACTOR * num_bytes, _MAX_TABLE_BYTES)
        faiss.set_deserialization_vector_byte_limit(max(num_bytes, table_bytes) + 1)
        faiss.set_deserialization_loop_limit(num_bytes + 1)
        try:
            yield
        finally:
            faiss.set_deserialization_vector_byte_limit(before)
            faiss.set_deserialization_loop_limit(loops_before)
