"""Searches for labelled faces of an index among those of them that are enrolled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from facetrove.evaluation.labels import LabelledFaces
from indexer.codes import search_codes
from indexer.segment import Segment
from indexer.snapshot import Snapshot
from indexer.vectors import RowMask, Vectors

CANDIDATES = 20
"""People in a candidate list. FRTE has 50; here more that are wanted are more that an index's codes
propose, and people look at fewer."""

PROBES_AT_ONCE = 4_096
"""Probes searched for in one call, which bounds the memory of a batch of any size."""

UNKNOWN = -1


@dataclass(frozen=True)
class Searches:
    """What the searches of all splits found, some columns to each search.

    Attributes:
        faces: (n,) row of the probe among the labelled faces.
        people: (n,) number of the probe's person.
        mated: (n,) bool, whether that person is enrolled.
        ranks: (n,) rank of the right person among the people in the candidate list, from 1; 0
            where the person is not in the list.
        right: (n,) similarity to the right person, -inf where not in the list.
        wrong: (n,) highest similarity to anybody else, -inf where nobody else is in the list.
        wrong_faces: (n,) row of the labelled face that has the similarity `wrong`; -1: none.
    """

    faces: NDArray[np.int64]
    people: NDArray[np.int64]
    mated: NDArray[np.bool_]
    ranks: NDArray[np.int64]
    right: NDArray[np.float32]
    wrong: NDArray[np.float32]
    wrong_faces: NDArray[np.int64]

    def where(self, rows: NDArray[np.bool_]) -> Searches:
        """Select the searches at the True rows of a mask."""
        return Searches(**{name: values[rows] for name, values in self.__dict__.items()})

    @classmethod
    def joined(cls, parts: Sequence[Searches]) -> Searches:
        """Join the searches of several splits."""
        names = parts[0].__dict__
        return cls(**{name: np.concatenate([p.__dict__[name] for p in parts]) for name in names})

    @property
    def deciding(self) -> NDArray[np.float32]:
        """(n,) similarity that decides: to the right person, or of strangers to anybody."""
        return np.where(self.mated, self.right, self.wrong)


class _CodesOnly(Segment):
    """A segment that is searched among the candidates of its codes, however few they are.

    An index compares all faces where few are enrolled; what is asked here is what its codes miss.
    """

    def search(
        self, probes: Vectors, k: int, mask: RowMask | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        if self.codes is None or mask is None:
            return super().search(probes, k, mask)
        recipe = self.entry.recipe
        return search_codes(self.vectors, self.codes, recipe, probes, k=k, mask=mask)


class Gallery:
    """The labelled faces of an index, any of which may be enrolled.

    Args:
        version: the index's version that is open.
        faces: the labelled faces in it.
        through_codes: search only among the candidates that the index's codes propose; else every
            enrolled face is compared.
    """

    def __init__(
        self, version: Snapshot, faces: LabelledFaces, *, through_codes: bool = False
    ) -> None:
        self.faces = faces
        segments = [
            _CodesOnly(s.path, s.entry, s.vectors, s.codes, s.faces, s.deleted)
            if through_codes
            else replace(s, codes=None)
            for s in version.segments
        ]
        self.version = Snapshot(version.line, version.manifest, segments)
        self._lengths = [len(segment.vectors) for segment in segments]
        self._row_of = np.full(sum(self._lengths) + 1, UNKNOWN)  # the last for a place of -1
        self._row_of[faces.places] = np.arange(len(faces.places))

    def search(
        self, enrolled: NDArray[np.int64], probes: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the enrolled faces most similar to each probe.

        Args:
            enrolled: (e,) rows of labelled faces.
            probes: (p, d) embeddings of unit length.
            k: number of faces wanted for each probe.

        Returns:
            (p, k) similarities, descending, and (p, k) rows of labelled faces; -inf, -1: none.
        """
        mask = np.zeros(sum(self._lengths), dtype=bool)
        mask[self.faces.places[enrolled]] = True
        filters: list[RowMask | None] = [
            RowMask(part) for part in np.split(mask, np.cumsum(self._lengths)[:-1])
        ]
        k = min(k, len(enrolled))
        similarities = np.empty((len(probes), k), np.float32)
        rows = np.empty((len(probes), k), np.int64)
        for start in range(0, len(probes), PROBES_AT_ONCE):
            some = slice(start, start + PROBES_AT_ONCE)
            similarities[some], places = self.version.nearest(probes[some], k, filters)
            rows[some] = self._row_of[places]
        return similarities, rows


def search_all(
    gallery: Gallery,
    enrolled: NDArray[np.int64],
    probes: NDArray[np.int64],
    embeddings: NDArray[np.float32] | None = None,
) -> Searches:
    """Search for labelled faces among the enrolled ones.

    Args:
        gallery: the labelled faces of an index.
        enrolled, probes: rows of labelled faces.
        embeddings: (p, d) embeddings of the probes, where these are not the index's own.
    """
    people = gallery.faces.people
    if embeddings is None:
        embeddings = gallery.version.embeddings(gallery.faces.places[probes])
    _, photos_each = np.unique(people[enrolled], return_counts=True)
    k = CANDIDATES * int(photos_each.max(initial=1))
    similarities, rows = gallery.search(enrolled, embeddings, k)
    theirs = np.where(rows < 0, UNKNOWN, people[rows])
    own = people[probes]
    is_right = theirs == own[:, None]
    found = is_right.any(axis=1)
    first_right = np.argmax(is_right, axis=1)
    is_wrong = (rows >= 0) & ~is_right
    first_wrong = np.argmax(is_wrong, axis=1)
    any_wrong = is_wrong.any(axis=1)
    every = np.arange(len(probes))
    return Searches(
        faces=probes,
        people=own,
        mated=np.isin(own, people[enrolled]),
        ranks=np.where(found, 1 + _people_before(theirs, first_right), 0),
        right=np.where(found, similarities[every, first_right], -np.inf).astype(np.float32),
        wrong=np.where(any_wrong, similarities[every, first_wrong], -np.inf).astype(np.float32),
        wrong_faces=np.where(any_wrong, rows[every, first_wrong], UNKNOWN),
    )


def _people_before(people: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the different people that stand before a place in each row of (p, k): (p,)."""
    earlier = np.arange(people.shape[1])[None, :] < places[:, None]
    ordered = np.sort(np.where(earlier, people, UNKNOWN), axis=1)
    is_new = np.diff(ordered, axis=1, prepend=UNKNOWN) != 0
    return np.asarray(is_new.sum(axis=1))
