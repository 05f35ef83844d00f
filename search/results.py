"""What a search answers with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from indexer.snapshot import Snapshot


class Box(NamedTuple):
    """A face's place in its upright photo, in pixels, origin top left."""

    x: float
    y: float
    width: float
    height: float


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


class CandidateList(Sequence[Match]):
    """The matches of one probe, best first. What they are is read when they are looked at.

    Attributes:
        similarities: (m,) float32, descending.
    """

    def __init__(
        self,
        version: Snapshot,
        similarities: NDArray[np.float32],
        places: NDArray[np.int64],
        first_rank: int = 1,
    ) -> None:
        self._version = version
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
                self._version,
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
        return self._version.values("face_id", self._places)

    def _match(self, number: int) -> Match:
        names = self._version.metadata.names
        face = self._version.face(int(self._places[number]), (*_COLUMNS, *names))
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
            fpir=self._version.fpir_of(similarity),
        )


_COLUMNS = ("uri", "box", "face_id", "photo_id", "score", "also_at")


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
