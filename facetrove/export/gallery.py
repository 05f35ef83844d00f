"""The faces of an index as rows of a table: what is sent to a database, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.dataset.deletions import Deletions
from faces.dataset.schema import column_of
from faces.photos.metadata import is_places_column
from facetrove.export.row_digests import row_digests
from indexer.changes import deleted_rows
from indexer.exact_search import nearest_rows
from indexer.segment import filter_tables, metadata_of
from indexer.snapshot import Snapshot
from indexer.vectors import RowMask, Vectors

FACE_ID, EMBEDDING, DIGEST = "face_id", "embedding", "facetrove_digest"

LEFT_OUT = frozenset({"landmarks"})
"""Columns of faces that are not sent: five points, which no search asks for."""


@dataclass(frozen=True, eq=False)
class Gallery:
    """The faces of one version of an index that may be sent to a database. Use `of`.

    Attributes:
        snapshot: the version, with the people of its faces.
        masks: for each segment (n,) bool, which of its n faces are neither deleted nor withheld.
    """

    snapshot: Snapshot
    masks: tuple[NDArray[np.bool_], ...]

    @classmethod
    def of(cls, snapshot: Snapshot, deletions: Deletions) -> Gallery:
        """Return the faces of a version, without those that its dataset has deleted.

        Args:
            snapshot: the version.
            deletions: what is deleted from the dataset, which the index may not know of yet.
        """
        masks = [segment.live() for segment in snapshot.segments]
        if snapshot.manifest.dataset_deletions != deletions.state:
            masks = [
                mask & ~deleted_rows(segment.faces, deletions)
                for mask, segment in zip(masks, snapshot.segments, strict=True)
            ]
        return cls(snapshot, tuple(masks))

    def __len__(self) -> int:
        return sum(int(np.count_nonzero(mask)) for mask in self.masks)

    @property
    def dimension(self) -> int:
        """The number of dimensions of an embedding."""
        return self.snapshot.manifest.contract.dimension

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns of a row: face_id, embedding and a digest of the row, then all others."""
        others = self._tables[0].schema
        return pa.schema(
            [
                pa.field(FACE_ID, pa.string(), nullable=False),
                pa.field(EMBEDDING, pa.list_(pa.float32(), self.dimension), nullable=False),
                pa.field(DIGEST, pa.int64(), nullable=False),
                *(pa.field(f.name, f.type) for f in others if f.name != FACE_ID),
            ]
        )

    def face_ids(self) -> Iterator[pa.ChunkedArray]:
        """Iterate over the (n,) face_ids of each segment, of all its rows."""
        return (table[FACE_ID] for table in self._tables)

    def batches(
        self, wanted: Callable[[int], NDArray[np.bool_]], num_rows: int
    ) -> Iterator[tuple[int, NDArray[np.int64], pa.Table]]:
        """Iterate over the rows of faces, batch by batch.

        Args:
            wanted: function of the number of a segment that returns (n,) bool, which of its faces.
            num_rows: maximum number of rows in a batch.

        Yields:
            The number of the segment, the rows in it, and these rows as `schema` has them.
        """
        for number, (table, segment) in enumerate(
            zip(self._tables, self.snapshot.segments, strict=False)
        ):
            rows = np.flatnonzero(wanted(number))
            for start in range(0, len(rows), num_rows):
                some = rows[start : start + num_rows]
                yield number, some, self._rows(table, segment.vectors, some)

    def _rows(self, table: pa.Table, vectors: Vectors, rows: NDArray[np.int64]) -> pa.Table:
        """Return some rows of a segment as `schema` has them."""
        first, last = int(rows[0]), int(rows[-1]) + 1
        if last - first == len(rows):  # nothing is copied
            found, embeddings = table.slice(first, len(rows)), vectors[first:last]
        else:
            found, embeddings = table.take(pa.array(rows)), vectors[rows]
        digests = row_digests(found, embeddings)
        found = found.append_column(EMBEDDING, column_of(np.ascontiguousarray(embeddings)))
        found = found.append_column(DIGEST, pa.array(digests))
        return found.select(self.schema.names).cast(self.schema)

    @cached_property
    def _tables(self) -> list[pa.Table]:
        """The faces of each segment with the columns that are sent; one without rows if none."""
        segments = self.snapshot.segments
        tables = filter_tables(segments, metadata_of(segments), self.snapshot.people)
        return [
            table.faces.select(
                [
                    name
                    for name in table.faces.column_names
                    if name not in LEFT_OUT and not is_places_column(name)
                ]
            )
            for table in tables
        ]

    def sample(self, count: int, *, seed: int) -> tuple[list[str], Vectors]:
        """Draw faces as probes: their face_ids, and their (count, d) embeddings.

        Args:
            count: number of faces; all if there are fewer.
            seed: seed of the draw.
        """
        live = np.flatnonzero(np.concatenate([np.zeros(0, bool), *self.masks]))
        rng = np.random.default_rng(seed)
        positions = np.sort(rng.choice(live, min(count, len(live)), replace=False))
        return self._ids(positions), self.snapshot.embeddings(positions)

    def nearest(
        self, probes: Vectors, k: int, *, exact: bool = False
    ) -> tuple[NDArray[np.float32], list[list[str]]]:
        """Find the k faces most similar to each probe, by the index.

        Args:
            probes: (p, d) embeddings of unit length.
            k: number of faces; there are at least as many.
            exact: whether to compare with every face.

        Returns:
            (p, k) similarities, descending, and the k face_ids of each probe.
        """
        masks = list(map(RowMask, self.masks))
        if not exact:
            similarities, positions = self.snapshot.nearest(probes, k, list(masks))
        else:
            start, found = 0, []
            for segment, mask in zip(self.snapshot.segments, masks, strict=True):
                near, rows = nearest_rows(segment.vectors, probes, k, mask)
                found.append((near, np.where(rows < 0, -1, rows + start)))
                start += len(segment.vectors)
            near, all_rows = (np.concatenate(part, axis=1) for part in zip(*found, strict=True))
            order = np.argsort(-near, axis=1, kind="stable")[:, :k]
            similarities = np.take_along_axis(near, order, 1)
            positions = np.take_along_axis(all_rows, order, 1)
        ids = self._ids(positions.reshape(-1))
        return similarities, [ids[at : at + k] for at in range(0, len(ids), k)]

    def _ids(self, positions: NDArray[np.int64]) -> list[str]:
        return [str(face_id) for face_id in self.snapshot.values(FACE_ID, positions)]
