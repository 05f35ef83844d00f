"""A segment opened for searching."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.errors import CorruptFileError
from faces.core.settings import Device
from indexer.codes import best_of, open_codes, search_rows
from indexer.faces_file import FACES_SCHEMA, Faces, with_columns
from indexer.filters import rows_matching
from indexer.gpu import MAX_MATCHES, GpuVectors, on_gpu
from indexer.layout import segment_dir
from indexer.manifest import SegmentEntry
from indexer.segment_files import CODES_FILE, FACES_FILE, PHOTOS_FILE, VECTORS_FILE
from indexer.vectors import RowMask, Vectors, open_vectors

DIGESTED_BYTES = 64_000_000
"""Files up to this size are digested when they are opened, which takes 30 ms at most. So is
codes.faiss of any size, which FAISS reads in trust; the others are safe to read whatever is in
them, and `verify` digests them all."""


@dataclass(frozen=True)
class Segment:
    """A segment opened for searching.

    Attributes:
        path: its folder.
        entry: what the manifest says of it.
        vectors: (n, d) float32, memory-mapped.
        codes: FAISS index over the same rows; None if exact.
        faces: its n faces.
        deleted: (n,) bool, faces deleted since; None: none.
        gpu: the embeddings on a GPU, which then compares with all of them; None: not there.
    """

    path: Path
    entry: SegmentEntry
    vectors: Vectors
    codes: faiss.Index | None
    faces: Faces
    deleted: NDArray[np.bool_] | None = None
    gpu: GpuVectors | None = None

    @property
    def num_live(self) -> int:
        """Faces that were not deleted."""
        return len(self.vectors) if self._live is None else self._live.count

    @cached_property
    def _live(self) -> RowMask | None:
        return None if self.deleted is None else RowMask(~self.deleted)

    def rows(self) -> Iterator[tuple[pa.RecordBatch, Vectors]]:
        """All faces and their embeddings, some at a time, deleted ones too."""
        start = 0
        for batch in self.faces.batches():
            yield batch, self.vectors[start : start + len(batch)]
            start += len(batch)

    def mask(self, where: str, metadata: pa.Schema) -> NDArray[np.bool_]:
        """(n,) bool, which faces a filter lets pass and were not deleted.

        Args:
            where: as of `indexer.filters.rows_matching`.
            metadata: columns that may be asked for, null if this segment does not have them.
        """
        return rows_matching(with_columns(self.faces.table, metadata), where) & self.live()

    def live(self) -> NDArray[np.bool_]:
        """(n,) bool, which faces were not deleted."""
        if self.deleted is None:
            return np.ones(len(self.vectors), dtype=bool)
        return ~self.deleted

    def search(
        self, probes: Vectors, k: int, mask: RowMask | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The rows most similar to each probe.

        Args:
            probes: (p, d) of unit length.
            k: rows wanted.
            mask: which rows may be found; by default all that were not deleted.

        Returns:
            (p, k) exact similarities, descending, and (p, k) rows; -inf and -1 where fewer than
            k rows pass.

        Raises:
            CorruptFileError: vectors or codes are not what was written.
        """
        if mask is None:
            mask = self._live
        similarities, rows = self._search(probes, k, mask)
        if np.nanmax(similarities, initial=-1.0) > 1.001 or np.isnan(similarities).any():
            raise CorruptFileError(
                f"{self.path / VECTORS_FILE} is corrupt: it holds vectors that do not have length "
                "1; build the index again with --rebuild"
            )
        return similarities, rows

    def _search(
        self, probes: Vectors, k: int, mask: RowMask | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        num_unwanted = 0 if mask is None else len(self.vectors) - mask.count
        if self.gpu is None or k + num_unwanted > MAX_MATCHES:
            recipe = self.entry.recipe
            return search_rows(self.vectors, self.codes, recipe, probes, k=k, mask=mask)
        # The GPU knows no filter: it finds so many more that enough are left.
        found = self.gpu.nearest(probes, min(k + num_unwanted, len(self.vectors)))
        if mask is not None:
            found = np.where(mask.rows[found], found, -1)
        short = max(0, k - found.shape[1])
        found = np.pad(found, ((0, 0), (0, short)), constant_values=-1)
        return best_of(self.vectors, probes, found, k)


def open_segment(
    index_dir: Path, entry: SegmentEntry, dimension: int, device: Device = "cpu"
) -> Segment:
    """Open a segment, checking what is cheap to check (see `DIGESTED_BYTES`).

    Args:
        index_dir: of the index.
        entry: of the segment.
        dimension: numbers in an embedding.
        device: where it is to be searched.

    Raises:
        CorruptFileError: naming the file that is not what was written.
    """
    folder = segment_dir(index_dir, entry.segment_id)
    wanted = {VECTORS_FILE, FACES_FILE, PHOTOS_FILE}
    if entry.files.keys() != (wanted if entry.recipe.is_exact else {*wanted, CODES_FILE}):
        raise CorruptFileError(f"the manifest of {index_dir} lacks files of segment {folder.name}")
    for name, digest in entry.files.items():
        if digest.num_bytes <= DIGESTED_BYTES or name == CODES_FILE:
            digest.require(folder / name)
        else:
            digest.require_size(folder / name)
    vectors = open_vectors(folder / VECTORS_FILE, entry.num_faces, dimension)
    return Segment(
        folder,
        entry,
        vectors,
        None if entry.recipe.is_exact else open_codes(folder / CODES_FILE, entry, dimension),
        Faces(folder / FACES_FILE, entry.num_faces),
        gpu=on_gpu(vectors, device),
    )


def metadata_of(segments: Sequence[Segment]) -> pa.Schema:
    """The metadata columns of all segments' faces."""
    columns: dict[str, pa.Field] = {}
    for segment in segments:
        columns |= {
            column.name: column
            for column in segment.faces.schema
            if column.name not in FACES_SCHEMA.names
        }
    return pa.schema(columns.values())
