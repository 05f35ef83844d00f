"""What a search answers with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, overload


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
        person: who it is, where that is known.
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

    def to_json(self) -> dict[str, Any]:
        """Its fields, for machines."""
        return {**self.__dict__, "box": self.box._asdict()}


class CandidateList(Sequence[Match]):
    """The matches of one probe, best first."""

    def __init__(self, matches: Sequence[Match]) -> None:
        self._matches = tuple(matches)

    def __len__(self) -> int:
        return len(self._matches)

    @overload
    def __getitem__(self, place: int) -> Match: ...
    @overload
    def __getitem__(self, place: slice) -> CandidateList: ...
    def __getitem__(self, place: int | slice) -> Match | CandidateList:
        if isinstance(place, slice):
            return CandidateList(self._matches[place])
        return self._matches[place]

    def __iter__(self) -> Iterator[Match]:
        return iter(self._matches)

    def __repr__(self) -> str:
        return f"CandidateList({list(self._matches)!r})"


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
