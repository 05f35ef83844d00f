"""A snapshot of an index: one version, opened, with all its segments as one gallery."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.errors import CorruptFileError
from faces.core.forks import starting_threads
from faces.core.settings import Device
from faces.photos.metadata import PERSON
from faces.photos.uris import is_unicode
from indexer.changes import rows_in
from indexer.faces_file import faces_schema, with_columns
from indexer.filters import FilterTable, rows_matching
from indexer.folder import open_segments
from indexer.manifest import Manifest, current_line, read_current
from indexer.people_columns import PERSON_ID, PHOTO_PERSON, PeopleColumns, mentions_people
from indexer.segment import Segment, masks_of, metadata_of
from indexer.stranger_rates import StrangerRates
from indexer.vectors import RowMask, Vectors

OPEN_ATTEMPTS = 5
"""How often opening a version is tried: meanwhile a writer may remove it and publish another."""

FILTERS_KEPT = 8
"""Number of recent filters whose masks are kept, for searches that repeat a filter."""

RowMasks = list[RowMask | None]
"""A mask for each segment; None in place of one selects all rows that are not deleted."""


class Snapshot:
    """One version of an index, opened, with all its faces as one gallery. Use `open`.

    The *position* of a face is its row number counted through all segments, oldest first, deleted
    rows included.

    Attributes:
        line: content of CURRENT when the version was opened; it differs for another version.
        manifest: the version's manifest.
        segments: the version's segments, opened, oldest first.
        metadata: the columns of the photos' metadata, beside the columns that every face has.
        rates: how often searches for strangers find a match, by similarity.
        people: the people of the faces by the people book; None: there is none, and `person` is who
            is in the photo.
        masks: function of a filter, or of None for no filter, that returns its `RowMasks`. The
            results for the last `FILTERS_KEPT` filters are kept.
    """

    def __init__(
        self,
        line: bytes | None,
        manifest: Manifest,
        segments: Sequence[Segment],
        people: PeopleColumns | None = None,
    ) -> None:
        self.line = line
        self.manifest = manifest
        self.segments = segments
        self.people = people
        self._stored = metadata_of(segments)
        self.metadata = self._stored if people is None else people.metadata(self._stored)
        self.rates = StrangerRates(manifest)
        self._starts = np.cumsum([0, *(len(segment.vectors) for segment in segments)])
        self.masks = lru_cache(FILTERS_KEPT)(self._masks)

    @classmethod
    def open(cls, index: str | Path, device: Device, opened: Sequence[Segment] = ()) -> Snapshot:
        """Open the current version of an index.

        Args:
            index: path of the index's folder.
            device: where the segments will be searched: `cpu`, `cuda`, or `auto` (a GPU if FAISS
                sees one whose memory the embeddings fit).
            opened: segments that are open already and are used again.

        Raises:
            WrongUsageError: there is no index at that path, or no such device.
            CorruptFileError: a file is missing, truncated or altered; the message names it.
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

    def with_people(self, people: PeopleColumns | None) -> Snapshot:
        """Return this version with the people of its faces by a people book."""
        return Snapshot(self.line, self.manifest, self.segments, people)

    def _masks(self, where: str | None) -> RowMasks:
        if where is None:
            return [None] * len(self.segments)
        masks = masks_of(self.segments, where, self._stored, people=self.people)
        return list(map(RowMask, masks))

    def num_selected(self, mask: RowMasks) -> int:
        """Return the number of faces that masks select."""
        return sum(
            segment.num_live if rows is None else rows.count
            for segment, rows in zip(self.segments, mask, strict=True)
        )

    def nearest(
        self, probes: Vectors, k: int, mask: RowMasks
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the k faces most similar to each probe.

        Args:
            probes: (p, d) embeddings of unit length.
            k: number of faces to find for each probe.
            mask: the faces that may be found, as from `masks`.

        Returns:
            (p, k) similarities, descending, and (p, k) positions. Where fewer than k faces may be
            found, they are padded with -inf and -1.

        Raises:
            CorruptFileError: vectors or codes are not what was written.
            WrongUsageError: this process was forked from one that had computed.
        """
        starting_threads()
        found = [
            (similarities, np.where(rows < 0, -1, rows + start))
            for segment, start, mask in zip(self.segments, self._starts, mask, strict=False)
            for similarities, rows in [segment.search(probes, k, mask)]
        ]
        if len(found) == 1:
            return found[0]
        similarities = np.concatenate([part[0] for part in found], axis=1)
        positions = np.concatenate([part[1] for part in found], axis=1)
        order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(similarities, order, 1), np.take_along_axis(positions, order, 1)

    def face(self, position: int, columns: Sequence[str]) -> dict[str, Any]:
        """Return the values of a face's columns; columns that its segment lacks are left out."""
        segment, row = self._segment(position)
        if self.people is None:
            return segment.faces.row(row, columns)
        face = segment.faces.row(row, [*columns, "face_id", PERSON])
        face[PHOTO_PERSON] = face.get(PERSON)
        for name in (PERSON, PERSON_ID):
            (face[name],) = self.people.values(name, [face["face_id"]])
        return {name: face[name] for name in columns if name in face}

    def look_up_people(self, positions: NDArray[np.int64]) -> None:
        """Read at once who the faces at (m,) positions are, before `face` is asked one by one."""
        if self.people is not None:
            self.people.look_up(self.values("face_id", positions))

    def embeddings(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the (n, d) float32 embeddings of the faces at (n,) positions."""
        embeddings = np.empty((len(positions), self.manifest.contract.dimension), np.float32)
        numbers = np.searchsorted(self._starts, positions, side="right") - 1
        for number in np.unique(numbers).tolist():
            here = numbers == number
            embeddings[here] = self.segments[number].vectors[positions[here] - self._starts[number]]
        return embeddings

    def live(self) -> NDArray[np.bool_]:
        """Return (n,) bool: whether the face at each position is not deleted."""
        return np.concatenate([np.zeros(0, bool), *(segment.live() for segment in self.segments)])

    def values(self, column: str, positions: NDArray[np.int64]) -> list[Any]:
        """Return a column's values for the faces at (n,) positions; None where it is missing."""
        if self.people is not None:
            if column in (PERSON, PERSON_ID):
                return list(self.people.values(column, self.values("face_id", positions)))
            column = PERSON if column == PHOTO_PERSON else column
        values: list[Any] = [None] * len(positions)
        numbers = np.searchsorted(self._starts, positions, side="right") - 1
        for number in np.unique(numbers).tolist():
            faces, here = self.segments[number].faces, np.flatnonzero(numbers == number)
            if column in faces.schema.names:
                found = faces.values(column, positions[here] - self._starts[number])
                for answer, value in zip(here.tolist(), found, strict=True):
                    values[answer] = value
        return values

    def position_of(self, face_id: str) -> int | None:
        """Return the position of the live face with a face id; None if there is no such face."""
        if not is_unicode(face_id):
            return None
        for segment, start in zip(self.segments, self._starts, strict=False):
            rows = np.flatnonzero(
                rows_in(segment.faces, "face_id", pa.array([face_id])) & segment.live()
            )
            if len(rows):
                return int(start + rows[0])
        return None

    def positions_of(self, face_ids: Sequence[str]) -> NDArray[np.int64]:
        """Return (n,) int64, the positions of the live faces with n face ids; -1: there is none."""
        wanted = pa.array(face_ids, pa.string())
        found = np.full(len(face_ids), -1, np.int64)
        for segment, start in zip(self.segments, self._starts, strict=False):
            rows = np.flatnonzero(rows_in(segment.faces, "face_id", wanted) & segment.live())
            ids = pa.array(segment.faces.values("face_id", rows), pa.string())
            places = pc.index_in(wanted, value_set=ids)
            here = places.is_valid().to_numpy(zero_copy_only=False)
            found[here] = start + rows[places.drop_null().to_numpy()]
        return found

    def matching(self, where: str, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return (n,) bool: which of the faces at (n,) positions match a filter.

        Args:
            where: the filter; see `indexer.filters.rows_matching`.
            positions: positions of live faces.

        Raises:
            WrongUsageError: the filter cannot be applied.
        """
        numbers = np.searchsorted(self._starts, positions, side="right") - 1
        matching = np.zeros(len(positions), bool)
        columns = faces_schema(self._stored)
        tables, rows = [], []
        for number in np.unique(numbers).tolist():
            here = np.flatnonzero(numbers == number)
            faces = self.segments[number].faces.table.take(positions[here] - self._starts[number])
            tables.append(with_columns(faces, columns).select(columns.names))
            rows.append(here)
        if not tables:
            return matching
        if self.people is not None and mentions_people(where):
            tables = [self.people.table(faces) for faces in tables]
        found = rows_matching(list(map(FilterTable, tables)), where)
        for here, mask in zip(rows, found, strict=True):
            matching[here] = mask
        return matching

    def _segment(self, position: int) -> tuple[Segment, int]:
        number = int(np.searchsorted(self._starts, position, side="right")) - 1
        return self.segments[number], position - int(self._starts[number])
