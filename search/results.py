"""What a search answers with: probes with candidate lists of matches, which turn into tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.tables import Tabular
from faces.models.face import Box
from indexer.snapshot import Snapshot


@dataclass(frozen=True)
class Match:
    """One enrolled face that resembles a probe.

    Attributes:
        rank: place in the candidate list, from 1.
        similarity: inner product of the two unit embeddings, [-1, 1], higher is nearer.
        uri: the photo it is in.
        box: where in that photo.
        face_id: its name in dataset and index.
        photo_id: sha256 of the photo's content.
        score: how sure the detector was of the face, [0, 1].
        also_at: other places where the same file lies.
        person: who it is, where that is known: the photo's column `person`.
        metadata: the photo's other columns, from photo lists.
        fpir: the lowest false-positive identification rate at which it would still be returned,
            as far down as the index is calibrated; None where it is not.
    """

    rank: int
    similarity: float
    uri: str
    box: Box
    face_id: str
    photo_id: str
    score: float
    also_at: tuple[str, ...] = ()
    person: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    fpir: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Its fields, for machines; dates as ISO 8601."""
        metadata = {
            name: value.isoformat() if hasattr(value, "isoformat") else value
            for name, value in self.metadata.items()
        }
        return {**self.__dict__, "box": self.box._asdict(), "metadata": metadata}


class CandidateList(Tabular, Sequence[Match]):
    """The matches of one probe, best first. What they are is read when they are looked at.

    Attributes:
        similarities: (m,) float32, descending.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        similarities: NDArray[np.float32],
        places: NDArray[np.int64],
        first_rank: int = 1,
    ) -> None:
        self._snapshot = snapshot
        self.similarities = np.minimum(similarities, 1.0)  # rounding may exceed it
        self._places = places
        self._first_rank = first_rank

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> Match: ...
    @overload
    def __getitem__(self, place: slice) -> CandidateList: ...
    def __getitem__(self, place: int | slice) -> Match | CandidateList:
        if isinstance(place, slice):
            start, stop, step = place.indices(len(self))
            if step != 1:
                raise ValueError("a candidate list has no steps")
            some = slice(start, stop)
            return CandidateList(
                self._snapshot,
                self.similarities[some],
                self._places[some],
                self._first_rank + start,
            )
        number = range(len(self))[place]
        return self._match(number)

    def __iter__(self) -> Iterator[Match]:
        return map(self._match, range(len(self)))

    def __repr__(self) -> str:
        return f"CandidateList({list(self)!r})"

    @property
    def face_ids(self) -> list[str]:
        """(m,) of the matches; faster than to ask each."""
        return self._snapshot.values("face_id", self._places)

    def to_arrow(self) -> pa.Table:
        """The matches as an Arrow table, a row each.

        Returns:
            rank, similarity, uri, box (x, y, width, height), face_id, photo_id, score, also_at,
            fpir, and the photos' metadata, `person` among it. A column of metadata that is called
            like one of these is called `photo_<name>`.
        """
        return _matches_table(self._snapshot, [self]).drop_columns(["probe"])

    def _match(self, number: int) -> Match:
        names = self._snapshot.metadata.names
        face = self._snapshot.face(int(self._places[number]), (*_COLUMNS, *names))
        metadata = {name: face.get(name) for name in names}
        person = metadata.pop("person", None)
        similarity = float(self.similarities[number])
        return Match(
            rank=self._first_rank + number,
            similarity=similarity,
            uri=face["uri"],
            box=Box(*face["box"]),
            face_id=face["face_id"],
            photo_id=face["photo_id"],
            score=face["score"],
            also_at=tuple(face["also_at"]),
            person=None if person is None else str(person),
            metadata=metadata,
            fpir=self._snapshot.fpir_of(similarity),
        )


_COLUMN_TYPES = {
    "uri": pa.string(),
    "box": pa.list_(pa.float32(), 4),
    "face_id": pa.string(),
    "photo_id": pa.string(),
    "score": pa.float32(),
    "also_at": pa.list_(pa.string()),
}
_COLUMNS = tuple(_COLUMN_TYPES)


@dataclass(frozen=True)
class Probe:
    """One face of the photo asked about, and its matches.

    Attributes:
        box: where it is in the photo.
        score: how sure the detector is of it, [0, 1].
        matches: its candidate list.
    """

    box: Box
    score: float
    matches: CandidateList

    def to_json(self) -> dict[str, Any]:
        """Its fields, for machines."""
        return {
            "box": self.box._asdict(),
            "score": self.score,
            "matches": [match.to_json() for match in self.matches],
        }


_Item = TypeVar("_Item")


class _Results(Tabular, Sequence[_Item]):
    """Answers in the order of what was asked, which turn into one table.

    Attributes:
        snapshot: the version of the index that answered.
    """

    def __init__(self, items: Sequence[_Item], snapshot: Snapshot) -> None:
        self._items = list(items)
        self.snapshot = snapshot

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, number: int) -> _Item: ...
    @overload
    def __getitem__(self, number: slice) -> Self: ...
    def __getitem__(self, number: int | slice) -> _Item | Self:
        if isinstance(number, slice):
            return type(self)(self._items[number], self.snapshot)
        return self._items[number]

    def __eq__(self, other: object) -> bool:
        """Whether a sequence holds the same answers in the same order."""
        return isinstance(other, Sequence) and self._items == list(other)

    __hash__ = None  # type: ignore[assignment]  # as of lists

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._items!r})"


class Probes(_Results[Probe]):
    """The faces of the photo asked about, each with its matches, the surest detection first."""

    def to_arrow(self) -> pa.Table:
        """All matches as an Arrow table: `probe`, the face asked about, counted from 0, and the
        columns of `CandidateList.to_arrow`.
        """
        return _matches_table(self.snapshot, [probe.matches for probe in self])


class CandidateLists(_Results[CandidateList]):
    """A candidate list for each embedding asked about, in their order."""

    def to_arrow(self) -> pa.Table:
        """All matches as an Arrow table: `probe`, the embedding asked about, counted from 0, and
        the columns of `CandidateList.to_arrow`.
        """
        return _matches_table(self.snapshot, list(self))


def _matches_table(snapshot: Snapshot, lists: Sequence[CandidateList]) -> pa.Table:
    """The matches of many candidate lists of one snapshot, read column by column."""
    lengths = np.array([len(matches) for matches in lists], dtype=np.int64)
    ranks = [np.arange(len(m), dtype=np.int32) + np.int32(m._first_rank) for m in lists]
    similarities = np.concatenate([np.empty(0, np.float32), *(m.similarities for m in lists)])
    places = np.concatenate([np.empty(0, np.int64), *(m._places for m in lists)])
    columns: dict[str, pa.Array] = {
        "probe": pa.array(np.repeat(np.arange(len(lists), dtype=np.int32), lengths)),
        "rank": pa.array(np.concatenate([np.empty(0, np.int32), *ranks])),
        "similarity": pa.array(similarities),
    }
    for name, kind in _COLUMN_TYPES.items():
        columns[name] = pa.array(snapshot.values(name, places), kind)
    fpirs = snapshot.fpirs_of(similarities)
    columns["fpir"] = pa.nulls(len(places), pa.float64()) if fpirs is None else pa.array(fpirs)
    ours, theirs = set(columns), set(snapshot.metadata.names)
    for column in snapshot.metadata:
        name = column.name
        while name in ours or (name != column.name and name in theirs):
            name = f"photo_{name}"
        columns[name] = pa.array(snapshot.values(column.name, places), column.type)
    return pa.table(columns)
