"""The results of a search: probes with candidate lists of matches, which convert to tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self, TypeVar, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.tables import Tabular
from faces.core.words import counted
from faces.models.face import Box
from indexer.snapshot import Snapshot
from indexer.stranger_rates import FpirBasis, StrangerRates

JOINT_GROWTH = 2
"""About how many times as often a probe of several photos of one stranger finds a match at the
threshold of a probe of one photo. On Labeled Faces in the Wild at an FPIR of 0.01: 1.7 times with 2
photos, 2.1 with 5 (at 0.1: 1.2 and 1.4); see benchmarks/README.md, "Searches for strangers"."""


PEOPLE_AT_ONCE = 256
"""Matches whose people are read from the people book at once."""


@dataclass(frozen=True)
class Match:
    """An enrolled face that is similar to a probe.

    Attributes:
        rank: rank in the candidate list, from 1 for the most similar.
        similarity: inner product of the two unit-length embeddings, [-1, 1]; higher is nearer.
        uri: uri of the photo that shows the face.
        box: box of the face: x, y, width, height in pixels of the upright photo.
        face_id: id of the face in the dataset and the index.
        photo_id: sha256 of the photo's content, in hexadecimal.
        score: the detector's confidence in the face, [0, 1].
        also_at: uris of the photo's other copies.
        person: name of the person whose face it is, by the people book of the dataset; without such
            a book, who the photo shows, from its metadata column `person`; None: not known.
        metadata: the photo's other metadata, from photo lists, by column; with a people book
            `photo_person`, who the photo shows, is among them.
        person_id: number of the person by the people book; None: not known, or there is no book.
        fpir: the lowest false-positive identification rate at which the match would still be
            returned: the share of searches for people who are not enrolled that find a match as
            similar, in (0, 1]; None: neither is the index calibrated, nor is there a figure for its
            models.
        fpir_basis: what `fpir` rests on: `index`, the index's calibration; `model`, figures that
            were measured for its models on other photos; None: there is no `fpir`.
        strangers: `fpir` in words, such as `1 in 27`; see `indexer.stranger_rates.odds`.
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
    fpir_basis: FpirBasis | None = None
    strangers: str | None = None
    person_id: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary for `json.dump`; dates are ISO 8601 strings."""
        return {
            **self.__dict__,
            "box": self.box._asdict(),
            "metadata": metadata_for_json(self.metadata),
        }


def metadata_for_json(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return a photo's metadata for `json.dump`; dates are ISO 8601 strings."""
    return {
        name: value.isoformat() if hasattr(value, "isoformat") else value
        for name, value in metadata.items()
    }


class CandidateList(Tabular, Sequence[Match]):
    """The matches of one probe, most similar first; a match's fields are read when it is accessed.

    A candidate list is a sequence of `Match`; a slice of it is a candidate list that keeps the
    ranks.

    Attributes:
        similarities: (m,) float32 similarities of the m matches, descending, [-1, 1].
    """

    def __init__(
        self,
        snapshot: Snapshot,
        similarities: NDArray[np.float32],
        positions: NDArray[np.int64],
        first_rank: int = 1,
    ) -> None:
        self._snapshot = snapshot
        self.similarities = np.minimum(similarities, 1.0)  # rounding can exceed 1
        self._positions = positions
        self._first_rank = first_rank
        self._people_read: set[int] = set()

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, index: int) -> Match: ...
    @overload
    def __getitem__(self, index: slice) -> CandidateList: ...
    def __getitem__(self, index: int | slice) -> Match | CandidateList:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                raise ValueError(f"step is {step}; a slice of a candidate list must have step 1")
            some = slice(start, stop)
            return CandidateList(
                self._snapshot,
                self.similarities[some],
                self._positions[some],
                self._first_rank + start,
            )
        number = range(len(self))[index]
        return self._match(number)

    def __iter__(self) -> Iterator[Match]:
        return map(self._match, range(len(self)))

    def __repr__(self) -> str:
        if not len(self):
            return "<candidate list: no faces>"
        best, last = self.similarities[[0, -1]].tolist()
        return (
            f"<candidate list: {counted(len(self), 'face')}, similarity {best:.3f} to {last:.3f}>"
        )

    @property
    def face_ids(self) -> list[str]:
        """The face ids of the m matches; faster than reading them match by match."""
        return self._snapshot.values("face_id", self._positions)

    def to_arrow(self) -> pa.Table:
        """Return the matches as an Arrow table with a row for each.

        Returns:
            Columns rank, similarity, uri, box (x, y, width, height in pixels), face_id, photo_id,
            score, also_at, fpir, fpir_basis, strangers, and the photos' metadata, `person`
            included. A metadata column that has one of these names is called `photo_<name>`.
        """
        return _matches_table(self._snapshot, [self]).drop_columns(["probe"])

    @cached_property
    def _rates(self) -> list[tuple[float, str]] | None:
        """The FPIR of each match, and the same in words; None: there are none."""
        rates = self._snapshot.rates
        fpirs = rates.fpir_of(self.similarities)
        return None if fpirs is None else [*zip(fpirs.tolist(), rates.in_words(fpirs), strict=True)]

    def _match(self, number: int) -> Match:
        block = number // PEOPLE_AT_ONCE
        if block not in self._people_read:
            some = self._positions[block * PEOPLE_AT_ONCE : (block + 1) * PEOPLE_AT_ONCE]
            self._snapshot.look_up_people(some)
            self._people_read.add(block)
        names = self._snapshot.metadata.names
        face = self._snapshot.face(int(self._positions[number]), (*FACE_COLUMNS, *names))
        fpir, strangers = (None, None) if self._rates is None else self._rates[number]
        return Match(
            rank=self._first_rank + number,
            similarity=float(self.similarities[number]),
            fpir=fpir,
            fpir_basis=self._snapshot.rates.basis,
            strangers=strangers,
            **stored_fields(face, names),
        )


def stored_fields(face: Mapping[str, Any], metadata: Iterable[str]) -> dict[str, Any]:
    """Return the fields of a `Match`, by name, that an index or dataset stores of a face.

    Args:
        face: the face's columns by name.
        metadata: names of the columns that are the photo's metadata.
    """
    values = {name: face.get(name) for name in metadata}
    person = values.pop("person", None)
    person_id = values.pop("person_id", None)
    return {
        "uri": face["uri"],
        "box": Box(*face["box"]),
        "face_id": face["face_id"],
        "photo_id": face["photo_id"],
        "score": face["score"],
        "also_at": tuple(face["also_at"] or ()),
        "person": None if person is None else str(person),
        "person_id": person_id,
        "metadata": values,
    }


_COLUMN_TYPES = {
    "uri": pa.string(),
    "box": pa.list_(pa.float32(), 4),
    "face_id": pa.string(),
    "photo_id": pa.string(),
    "score": pa.float32(),
    "also_at": pa.list_(pa.string()),
}
FACE_COLUMNS = tuple(_COLUMN_TYPES)


@dataclass(frozen=True)
class Probe:
    """A face of the photo that was searched for, and its matches.

    Attributes:
        box: box of the face: x, y, width, height in pixels of the upright photo.
        score: the detector's confidence in the face, [0, 1].
        matches: the face's candidate list.
        number: rank of the face by the area of its box among the photo's faces; 1 is the largest.
        num_faces: number of faces that were found in the photo.
    """

    box: Box
    score: float
    matches: CandidateList
    number: int = 1
    num_faces: int = 1

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary for `json.dump`."""
        return {
            "box": self.box._asdict(),
            "score": self.score,
            "number": self.number,
            "num_faces": self.num_faces,
            "matches": [match.to_json() for match in self.matches],
        }


@dataclass(frozen=True)
class ProbeFace:
    """A face of one of the photos that were searched for together.

    Attributes:
        box: box of the face: x, y, width, height in pixels of the upright photo.
        score: the detector's confidence in the face, [0, 1].
        number: rank of the face by the area of its box among the photo's faces; 1 is the largest.
        num_faces: number of faces that were found in the photo.
    """

    box: Box
    score: float
    number: int
    num_faces: int


@dataclass(frozen=True)
class JointProbe(Tabular):
    """Faces of one person in several photos, searched for as one probe, and its matches.

    The probe is the mean of the faces' embeddings, scaled to unit length. It misses fewer people
    than a face alone. But the rates of the index are those of probes of one face: a stranger's
    joint probe finds a match as similar more often (docs/evaluation.md has figures).

    Attributes:
        faces: the face of each photo, in the order of the photos.
        min_similarity: lowest similarity between two of these faces, [-1, 1]; a low one, as between
            strangers, may mean that the photos do not all show one person.
        matches: the probe's candidate list.
    """

    faces: tuple[ProbeFace, ...]
    min_similarity: float
    matches: CandidateList

    def to_arrow(self) -> pa.Table:
        """Return the matches as an Arrow table; see `CandidateList.to_arrow`."""
        return self.matches.to_arrow()

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary for `json.dump`."""
        return {
            "faces": [{**vars(face), "box": face.box._asdict()} for face in self.faces],
            "min_similarity": self.min_similarity,
            "matches": [match.to_json() for match in self.matches],
        }


_Item = TypeVar("_Item")


class _Results(Tabular, Sequence[_Item]):
    """A sequence of results in the order of the probes, which converts to one table.

    Attributes:
        snapshot: the version of the index that was searched.
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
        """Return whether another sequence holds equal results in the same order."""
        return isinstance(other, Sequence) and self._items == list(other)

    __hash__ = None  # type: ignore[assignment]  # a list has none either


class Probes(_Results[Probe]):
    """The faces of the photo that was searched for, with their matches, the largest face first."""

    def __repr__(self) -> str:
        found = sum(len(probe.matches) for probe in self)
        return f"<{counted(len(self), 'probe')}: {counted(found, 'similar face')}>"

    def to_arrow(self) -> pa.Table:
        """Return the matches of all probes as an Arrow table.

        Returns:
            Column `probe`, the number of the face in this sequence from 0, and the columns of
            `CandidateList.to_arrow`.
        """
        return _matches_table(self.snapshot, [probe.matches for probe in self])


class CandidateLists(_Results[CandidateList]):
    """The candidate lists of the embeddings that were searched for, in the order of these."""

    def __repr__(self) -> str:
        found = counted(sum(map(len, self)), "similar face")
        return f"<{counted(len(self), 'candidate list')}: {found}>"

    def to_arrow(self) -> pa.Table:
        """Return the matches of all embeddings as an Arrow table.

        Returns:
            Column `probe`, the number of the embedding from 0, and the columns of
            `CandidateList.to_arrow`.
        """
        return _matches_table(self.snapshot, list(self))


def _rate_columns(rates: StrangerRates, similarities: NDArray[np.float32]) -> dict[str, pa.Array]:
    """Return the columns fpir, fpir_basis and strangers of matches with given similarities."""
    count, fpirs = len(similarities), rates.fpir_of(similarities)
    if fpirs is None:
        kinds = {"fpir": pa.float64(), "fpir_basis": pa.string(), "strangers": pa.string()}
        return {name: pa.nulls(count, kind) for name, kind in kinds.items()}
    return {
        "fpir": pa.array(fpirs),
        "fpir_basis": pa.array([rates.basis] * count, pa.string()),
        "strangers": pa.array(rates.in_words(fpirs), pa.string()),
    }


def _matches_table(snapshot: Snapshot, lists: Sequence[CandidateList]) -> pa.Table:
    """Read the matches of several candidate lists of one snapshot, column by column."""
    lengths = np.array([len(matches) for matches in lists], dtype=np.int64)
    ranks = [np.arange(len(m), dtype=np.int32) + np.int32(m._first_rank) for m in lists]
    similarities = np.concatenate([np.empty(0, np.float32), *(m.similarities for m in lists)])
    positions = np.concatenate([np.empty(0, np.int64), *(m._positions for m in lists)])
    columns: dict[str, pa.Array] = {
        "probe": pa.array(np.repeat(np.arange(len(lists), dtype=np.int32), lengths)),
        "rank": pa.array(np.concatenate([np.empty(0, np.int32), *ranks])),
        "similarity": pa.array(similarities),
    }
    for name, kind in _COLUMN_TYPES.items():
        columns[name] = pa.array(snapshot.values(name, positions), kind)
    columns |= _rate_columns(snapshot.rates, similarities)
    taken, metadata_names = set(columns), set(snapshot.metadata.names)
    for column in snapshot.metadata:
        name = column.name
        while name in taken or (name != column.name and name in metadata_names):
            name = f"photo_{name}"
        columns[name] = pa.array(snapshot.values(column.name, positions), column.type)
    return pa.table(columns)
