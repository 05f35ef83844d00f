"""A segment of an index, opened for searching."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.errors import CorruptFileError
from faces.core.settings import Device
from faces.core.storage import FileDigest
from faces.photos.metadata import is_places_column
from indexer.codes import best_of, open_codes, search_rows
from indexer.faces_file import Faces, faces_schema, stored_schema, with_columns
from indexer.faiss_library import faiss
from indexer.filters import FilterTable, rows_matching
from indexer.gpu import MAX_MATCHES, GpuVectors, on_gpu
from indexer.layout import REBUILD, segment_folder
from indexer.manifest import SegmentEntry
from indexer.people_columns import PeopleColumns, mentions_people
from indexer.segment_files import CODES_FILE, FACES_FILE, PHOTOS_FILE, VECTORS_FILE
from indexer.vectors import RowMask, Vectors, open_vectors

DIGESTED_BYTES = 64_000_000
"""Size in bytes up to which a file's sha256 is checked when it is opened; that takes at most 30 ms.
The sha256 of codes.faiss is always checked, as FAISS trusts what it reads. Other large files are
safe to read whatever they hold, and only `verify` checks their sha256."""


@dataclass(frozen=True)
class Segment:
    """A segment of an index, opened for searching.

    Attributes:
        path: path of the segment's folder.
        entry: the segment's entry in the manifest.
        vectors: (n, d) float32 embeddings of unit length, memory-mapped.
        codes: FAISS index of the same rows; None: the segment is searched exactly.
        faces: the n faces, memory-mapped.
        deleted: (n,) bool, rows that are deleted; None: none is.
        gpu: copy of the embeddings on a GPU, for exact search there; None: there is none.
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
        """The number of faces that are not deleted."""
        return len(self.vectors) if self._live is None else self._live.count

    @cached_property
    def _live(self) -> RowMask | None:
        return None if self.deleted is None else RowMask(~self.deleted)

    def rows(self) -> Iterator[tuple[pa.RecordBatch, Vectors]]:
        """Iterate over all faces, deleted ones included, and their embeddings, batch by batch."""
        start = 0
        for batch in self.faces.batches():
            yield batch, self.vectors[start : start + len(batch)]
            start += len(batch)

    def live(self) -> NDArray[np.bool_]:
        """Return (n,) bool: which faces are not deleted."""
        if self.deleted is None:
            return np.ones(len(self.vectors), dtype=bool)
        return ~self.deleted

    def search(
        self, probes: Vectors, k: int, mask: RowMask | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the k rows most similar to each probe.

        Args:
            probes: (p, d) embeddings of unit length.
            k: number of rows to find for each probe.
            mask: the rows that may be found; None: all that are not deleted.

        Returns:
            (p, k) exact similarities, descending, and (p, k) rows. Where fewer than k rows may be
            found, they are padded with -inf and -1.

        Raises:
            CorruptFileError: the vectors or codes are not what was written.
        """
        if mask is None:
            mask = self._live
        similarities, rows = self._search(probes, k, mask)
        require_similarities(self, similarities)
        return similarities, rows

    def _search(
        self, probes: Vectors, k: int, mask: RowMask | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        num_masked = 0 if mask is None else len(self.vectors) - mask.count
        if self.gpu is None or k + num_masked > MAX_MATCHES:
            recipe = self.entry.recipe
            return search_rows(self.vectors, self.codes, recipe, probes, k=k, mask=mask)
        # FAISS's GPU index takes no mask: find so many more rows that k are left after masking.
        found = self.gpu.nearest(probes, min(k + num_masked, len(self.vectors)))
        if mask is not None:
            found = np.where(mask.rows[found], found, -1)
        short = max(0, k - found.shape[1])
        found = np.pad(found, ((0, 0), (0, short)), constant_values=-1)
        return best_of(self.vectors, probes, found, k)


def require_similarities(segment: Segment, similarities: NDArray[np.float32]) -> None:
    """Raise CorruptFileError if similarities to a segment's faces cannot be those of unit vectors.

    Args:
        segment: the segment.
        similarities: (p, k) inner products with its vectors; -inf is padding.
    """
    if np.nanmax(similarities, initial=-1.0) > 1.001 or np.isnan(similarities).any():
        raise CorruptFileError(
            f"{segment.path / VECTORS_FILE} is corrupt: it holds vectors that do not have length "
            f"1; {REBUILD}"
        )


def open_segment(
    index_dir: Path, entry: SegmentEntry, dimension: int, device: Device = "cpu"
) -> Segment:
    """Open a segment, and check its files as far as that is quick (see `DIGESTED_BYTES`).

    Args:
        index_dir: path of the index's folder.
        entry: the segment's entry in the manifest.
        dimension: number of dimensions of an embedding.
        device: where the segment will be searched: `cpu`, `cuda`, or `auto` (a GPU if FAISS sees
            one whose memory the embeddings fit).

    Raises:
        WrongUsageError: `device` is `cuda`, and FAISS sees no GPU or they do not fit its memory.
        CorruptFileError: a file is not what was written; the message names it.
    """
    folder = segment_folder(index_dir, entry.segment_id)
    expected = {VECTORS_FILE, FACES_FILE, PHOTOS_FILE}
    if entry.files.keys() != (expected if entry.recipe.is_exact else {*expected, CODES_FILE}):
        raise CorruptFileError(
            f"the manifest of {index_dir} names other files for segment {entry.segment_id} "
            f"({', '.join(entry.files)}) than its recipe needs; {REBUILD}"
        )
    photos, of_vectors, of_faces = (
        entry.files[name] for name in (PHOTOS_FILE, VECTORS_FILE, FACES_FILE)
    )
    with folder.open(PHOTOS_FILE, photos, size_only=_is_large(photos)):
        pass  # only an update reads it
    vectors = open_vectors(
        folder,
        VECTORS_FILE,
        (entry.num_faces, dimension),
        of_vectors,
        size_only=_is_large(of_vectors),
    )
    return Segment(
        folder.at(),
        entry,
        vectors,
        None if entry.recipe.is_exact else open_codes(folder, entry, dimension),
        Faces(folder, FACES_FILE, entry.num_faces, of_faces, size_only=_is_large(of_faces)),
        gpu=on_gpu(vectors, device),
    )


def _is_large(digest: FileDigest) -> bool:
    return digest.num_bytes > DIGESTED_BYTES


def masks_of(
    segments: Sequence[Segment],
    where: str,
    metadata: pa.Schema,
    *,
    people: PeopleColumns | None = None,
) -> list[NDArray[np.bool_]]:
    """Return for each segment (n,) bool: which faces match a filter and are not deleted.

    Args:
        segments: segments of one index.
        where: a condition, as in `indexer.filters.rows_matching`.
        metadata: columns that the filter may use; null in a segment that does not have them.
        people: the people of the faces by a people book, which the filter may use too.

    Raises:
        WrongUsageError: the filter cannot be applied; see `indexer.filters.rows_matching`.
    """
    if not mentions_people(where):
        people = None  # their columns take longer than the filter
    return rows_matching(filter_tables(segments, metadata, people), where)[: len(segments)]


def filter_tables(
    segments: Sequence[Segment], metadata: pa.Schema, people: PeopleColumns | None = None
) -> list[FilterTable]:
    """Return what a filter sees of each segment; a table without faces if there is no segment.

    Args:
        segments: segments of one index.
        metadata: columns that are stored of faces; null in a segment that does not have them.
        people: the people of the faces by a people book; None: `person` is who is in the photo.
    """
    columns = faces_schema(metadata)
    tables = [
        (with_columns(s.faces.table, columns).select(columns.names), s.deleted, s.entry.segment_id)
        for s in segments
    ] or [(columns.empty_table(), None, "")]
    if people is None:
        return [FilterTable(faces, deleted) for faces, deleted, _ in tables]
    return [FilterTable(people.table(faces, name), deleted) for faces, deleted, name in tables]


def metadata_of(segments: Sequence[Segment]) -> pa.Schema:
    """Return the metadata columns that any of the segments has.

    Raises:
        CorruptFileError: a column has another type in another segment.
    """
    columns: dict[str, pa.Field] = {}
    for segment in segments:
        for column in segment.faces.schema:
            if column.name in stored_schema(pa.schema([])).names or is_places_column(column.name):
                continue
            if columns.setdefault(column.name, column).type != column.type:
                raise CorruptFileError(
                    f"{segment.faces.path} has a column {column.name!r} of type {column.type}, and "
                    f"another segment one of {columns[column.name].type}; {REBUILD}"
                )
    return pa.schema(columns.values())
