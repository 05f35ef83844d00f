"""The faces of an index or a dataset as arrays, by which people are counted.

Nothing here changes by what humans decide: it is made anew when faces come or go, or are grouped
anew, and takes about a second for a million faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.dataset.people_book import PeopleView
from faces.photos.metadata import TAKEN

Rows = NDArray[np.int64]

NO_TIME = np.iinfo(np.int64).min
"""In place of the time of a photo that has none."""

_TIMES = pa.timestamp("us")


@dataclass(frozen=True, eq=False)
class RosterFaces:
    """The n faces that people are counted by. Use `of`.

    Attributes:
        uris: (n,) string, where the photos lie.
        photo_ids: (n,) string, the photos' contents.
        taken_type: type of the column `taken`; a timestamp where there is none.
        rows: finds the rows of faces by their ids.
        is_live: (n,) bool: whether a face is there; rows of deleted ones are kept in an index.
        photos: (n,) int32, the same number for all faces of one photo.
        taken: (n,) int64, when the photo was taken in microseconds since 1970, or `NO_TIME`.
        grouped: (n,) int64, number of the person by the machine's grouping; 0: it has none.
        doubts: (n,) float32, how doubtful the grouping is, 0 to 1; NaN: it does not have the face.
        is_listed: (n,) bool: whether a photo list says whose face it is.
    """

    uris: pa.ChunkedArray
    photo_ids: pa.ChunkedArray
    taken_type: pa.DataType
    rows: FaceRows
    is_live: NDArray[np.bool_]
    photos: NDArray[np.int32]
    taken: NDArray[np.int64]
    grouped: NDArray[np.int64]
    doubts: NDArray[np.float32]
    is_listed: NDArray[np.bool_]

    @classmethod
    def of(
        cls, faces: pa.Table, view: PeopleView, is_live: NDArray[np.bool_] | None = None
    ) -> RosterFaces:
        """Make the arrays.

        Args:
            faces: n faces: face_id, photo_id, uri, and taken where photos have it.
            view: the people book, of whose grouping they are.
            is_live: (n,) bool: which faces are there; None: all.
        """
        live = np.ones(len(faces), bool) if is_live is None else is_live
        taken, taken_type = _taken(faces)
        groups = view.groups.table.combine_chunks()
        row = pc.index_in(faces["face_id"], value_set=groups["face_id"].combine_chunks())
        doubts = groups["doubt"].take(row).cast(pa.float64()).to_numpy()
        return cls(
            uris=faces["uri"],
            photo_ids=faces["photo_id"],
            taken_type=taken_type,
            rows=FaceRows(faces["face_id"], np.flatnonzero(live)),
            is_live=live,
            photos=_codes(faces["photo_id"]),
            taken=taken,
            grouped=np.asarray(pc.fill_null(groups["person"].take(row), 0).to_numpy(), np.int64),
            doubts=np.asarray(doubts, np.float32),
            is_listed=np.asarray(pc.is_valid(groups["listed"].take(row)).to_numpy(), bool),
        )

    def __len__(self) -> int:
        return len(self.is_live)

    def time(self, taken: int) -> Any:
        """Return a time of `taken` as a date or datetime; None for `NO_TIME`."""
        if taken == NO_TIME:
            return None
        return pa.scalar(taken, pa.int64()).cast(_TIMES).cast(self.taken_type).as_py()

    def times(self, taken: NDArray[np.int64]) -> pa.Array:
        """Return (m,) times of `taken` in the type of the column; null for `NO_TIME`."""
        known = pa.array(taken, mask=taken == NO_TIME)
        return known.cast(_TIMES).cast(self.taken_type)

    def in_photos(self, photos: NDArray[np.int32]) -> Rows:
        """Return the rows of the faces in some photos, photo by photo.

        Args:
            photos: numbers of photos, each once.
        """
        order, starts = self._by_photo
        counts = starts[photos + 1] - starts[photos]
        ends = np.cumsum(counts)
        places = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
        rows: Rows = order[np.repeat(starts[photos], counts) + places]
        return rows

    def first_rows(self, photos: NDArray[np.int32]) -> Rows:
        """Return the row of the first face of each of some photos."""
        order, starts = self._by_photo
        return order[starts[photos]]

    @cached_property
    def live_photos(self) -> NDArray[np.int32]:
        """The numbers of the photos that show a face that is there."""
        _, starts = self._by_photo
        return np.flatnonzero(np.diff(starts)).astype(np.int32)

    @cached_property
    def photo_ranks(self) -> NDArray[np.int64]:
        """The place of each photo when they are sorted by uri; of all photos, by their numbers."""
        photos = self.live_photos
        uris = self.uris.take(pa.array(self.first_rows(photos)))
        order = pc.sort_indices(uris).to_numpy()
        ranks = np.full(len(self._by_photo[1]) - 1, -1, np.int64)
        ranks[photos[order]] = np.arange(len(order))
        return ranks

    @cached_property
    def _by_photo(self) -> tuple[Rows, Rows]:
        """The rows of faces sorted by photo, and where each photo begins."""
        rows = np.flatnonzero(self.is_live)
        photos = self.photos[rows]
        order = rows[np.argsort(photos, kind="stable")]
        count = int(self.photos.max(initial=-1)) + 1
        return order, np.concatenate([[0], np.cumsum(np.bincount(photos, minlength=count))])


class FaceRows:
    """The rows of faces by their ids.

    Args:
        face_ids: (n,) string.
        rows: the rows that are found; no two of them have one id.
    """

    def __init__(self, face_ids: pa.ChunkedArray, rows: Rows) -> None:
        ids = _as_bytes(face_ids.take(pa.array(rows)).to_pylist())
        order = np.argsort(ids, kind="stable")
        self._ids, self._rows = ids[order], rows[order]
        self._ranks = np.full(len(face_ids), -1, np.int32)
        self._ranks[self._rows] = np.arange(len(order))

    def ranks(self, rows: Rows) -> NDArray[np.int32]:
        """Return (m,) the place of each face when all are sorted by their ids."""
        return self._ranks[rows]

    def num_before(self, face_id: str) -> int:
        """Return how many faces come before an id, or are it, when all are sorted."""
        return int(np.searchsorted(self._ids, _as_bytes([face_id])[0], side="right"))

    def of(self, face_ids: Sequence[str]) -> Rows:
        """Return (m,) the row of each of m faces; -1 where there is no such face."""
        if not len(self._ids):
            return np.full(len(face_ids), -1, np.int64)
        wanted = _as_bytes(face_ids)
        places = np.minimum(np.searchsorted(self._ids, wanted), len(self._ids) - 1)
        return np.where(self._ids[places] == wanted, self._rows[places], -1)


def _as_bytes(face_ids: Sequence[str]) -> NDArray[np.bytes_]:
    return np.array([face.encode("utf-8", "surrogatepass") for face in face_ids], np.bytes_)


def _codes(values: pa.ChunkedArray) -> NDArray[np.int32]:
    """Return (n,) a number for each value, the same for equal ones."""
    chunks = [chunk.indices.to_numpy() for chunk in values.dictionary_encode().chunks]
    return np.concatenate([np.zeros(0, np.int32), *chunks]).astype(np.int32)


def _taken(faces: pa.Table) -> tuple[NDArray[np.int64], pa.DataType]:
    """Return when photos were taken, and the type of that; not where it is no date or time."""
    if TAKEN not in faces.column_names or not pa.types.is_temporal(faces[TAKEN].type):
        return np.full(len(faces), NO_TIME, np.int64), _TIMES
    column = faces[TAKEN]
    times = pc.fill_null(column.cast(_TIMES, safe=False).cast(pa.int64()), NO_TIME)
    return np.asarray(times.to_numpy(), np.int64), column.type
