"""An index opened: the segments of one version as one gallery."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.errors import CorruptFileError, WrongUsageError
from faces.core.settings import Device
from indexer.changes import rows_in
from indexer.folder import open_segments
from indexer.manifest import Manifest, current_line, read_current
from indexer.segment import Segment, metadata_of
from indexer.vectors import RowMask, Vectors

OPEN_ATTEMPTS = 5
"""A writer may remove an old version while it is being opened: then CURRENT names a newer one."""

FILTERS_KEPT = 8
"""Filters whose result is kept, for a searcher that is asked the same again."""

RowMasks = list[RowMask | None]
"""For each segment the rows that a filter lets pass; None: all that were not deleted."""


class Snapshot:
    """One version of an index, opened: all its faces as one gallery. Use `open`.

    A *place* is a face's row, counted through all segments, deleted faces included.

    Attributes:
        line: the line of CURRENT by which the version was found; another line, another version.
        manifest: the version's manifest.
        segments: the version's segments, opened, oldest first.
        metadata: the columns of the photos' metadata, beside the columns that every face has.
        mask: called with a filter, or with None for no filter, gives which rows it lets pass, as
            `RowMasks`; the results of the last `FILTERS_KEPT` filters are kept.
    """

    def __init__(self, line: bytes, manifest: Manifest, segments: Sequence[Segment]) -> None:
        self.line = line
        self.manifest = manifest
        self.segments = segments
        self.metadata = metadata_of(segments)
        self._starts = np.cumsum([0, *(len(segment.vectors) for segment in segments)])
        self.masks = lru_cache(FILTERS_KEPT)(self._masks)

    @classmethod
    def open(cls, index: str | Path, device: Device, opened: Sequence[Segment] = ()) -> Snapshot:
        """Open the version of an index that is in force.

        Args:
            index: the index's folder.
            device: where its segments are to be searched.
            opened: segments that are open already and are used again.

        Raises:
            WrongUsageError: there is no index at that path.
            CorruptFileError: a file is missing, truncated or altered; names it.
        """
        index_dir = Path(index)
        for attempt in range(OPEN_ATTEMPTS):
            line = current_line(index_dir)
            try:
                manifest = read_current(index_dir)
                return cls(
                    line, manifest, open_segments(index_dir, manifest, opened, device=device)
                )
            except CorruptFileError:
                if attempt + 1 == OPEN_ATTEMPTS or current_line(index_dir) == line:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _masks(self, where: str | None) -> RowMasks:
        if where is None:
            return [None] * len(self.segments)
        return [RowMask(segment.mask(where, self.metadata)) for segment in self.segments]

    def num_selected(self, mask: RowMasks) -> int:
        """The number of faces that may be found, of a filter's result."""
        return sum(
            segment.num_live if rows is None else rows.count
            for segment, rows in zip(self.segments, mask, strict=True)
        )

    def nearest(
        self, probes: Vectors, k: int, mask: RowMasks
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The faces most similar to each probe.

        Args:
            probes: (p, d) embeddings of unit length.
            k: faces wanted for each probe.
            mask: which faces may be found, by segment; see `masks`.

        Returns:
            (p, k) similarities, descending, and (p, k) places; -inf and -1 where there are no more.
        """
        found = [
            (similarities, np.where(rows < 0, -1, rows + start))
            for segment, start, mask in zip(self.segments, self._starts, mask, strict=False)
            for similarities, rows in [segment.search(probes, k, mask)]
        ]
        if len(found) == 1:
            return found[0]
        similarities = np.concatenate([part[0] for part in found], axis=1)
        places = np.concatenate([part[1] for part in found], axis=1)
        order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(similarities, order, 1), np.take_along_axis(places, order, 1)

    def face(self, place: int, columns: Sequence[str]) -> dict[str, Any]:
        """The values of a face's columns; columns that its segment does not have are left out."""
        segment, row = self._segment(place)
        return segment.faces.row(row, columns)

    def embeddings(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """The (n, d) embeddings of the faces at (n,) places."""
        embeddings = np.empty((len(places), self.manifest.contract.dimension), np.float32)
        numbers = np.searchsorted(self._starts, places, side="right") - 1
        for number in np.unique(numbers).tolist():
            here = numbers == number
            embeddings[here] = self.segments[number].vectors[places[here] - self._starts[number]]
        return embeddings

    def fpirs_of(self, similarities: NDArray[np.floating]) -> NDArray[np.float64] | None:
        """(n,) the lowest FPIR at which matches of (n,) similarities would still be returned.

        None where the index is not calibrated for its present size.
        """
        calibration = self.manifest.calibration
        if calibration is None:
            return None
        try:
            return calibration.fpir_of(similarities, self.manifest.num_faces)
        except WrongUsageError:  # the index has grown or shrunk too much since
            return None

    def fpir_of(self, similarity: float) -> float | None:
        """The same of one match."""
        fpirs = self.fpirs_of(np.array([similarity]))
        return None if fpirs is None else float(fpirs[0])

    def live(self) -> NDArray[np.bool_]:
        """(n,) bool, whether the face at each place was not deleted."""
        return np.concatenate([np.zeros(0, bool), *(segment.live() for segment in self.segments)])

    def values(self, column: str, places: NDArray[np.int64]) -> list[Any]:
        """A column's values of the faces at (n,) places; None where a segment lacks the column."""
        values: list[Any] = [None] * len(places)
        numbers = np.searchsorted(self._starts, places, side="right") - 1
        for number in np.unique(numbers).tolist():
            faces, here = self.segments[number].faces, np.flatnonzero(numbers == number)
            if column in faces.schema.names:
                found = faces.values(column, places[here] - self._starts[number])
                for answer, value in zip(here.tolist(), found, strict=True):
                    values[answer] = value
        return values

    def place_of(self, face_id: str) -> int | None:
        """The place of a face that was not deleted, by its face id; None: there is none."""
        for segment, start in zip(self.segments, self._starts, strict=False):
            rows = np.flatnonzero(
                rows_in(segment.faces, "face_id", pa.array([face_id])) & segment.live()
            )
            if len(rows):
                return int(start + rows[0])
        return None

    def _segment(self, place: int) -> tuple[Segment, int]:
        number = int(np.searchsorted(self._starts, place, side="right")) - 1
        return self.segments[number], place - int(self._starts[number])
