"""Searches of labelled faces of an index, as probes, in a gallery of others of them."""

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
"""Maximum number of people in a candidate list. NIST's FRTE uses 50. Fewer are used here because
people look at fewer, and because an index proposes more candidates the more are asked for, so a
longer list would flatter it."""

PROBES_AT_ONCE = 4_096
"""Number of probes searched for in one call, which bounds memory."""

NOBODY = -1
"""Row or person number of a candidate list's unused entry."""


@dataclass(frozen=True)
class Searches:
    """The results of n searches, as columns.

    Attributes:
        faces: (n,) position of the probe among the labelled faces.
        people: (n,) number of the probe's person.
        mated: (n,) bool, whether the probe's person is enrolled.
        ranks: (n,) rank of the probe's person among the people in the candidate list, from 1; 0
            where the person is not in the list.
        right: (n,) highest similarity to the probe's person, -inf where the person is not in the
            list.
        wrong: (n,) highest similarity to any other person, -inf where no other is in the list.
        wrong_faces: (n,) position among the labelled faces of the face with the similarity `wrong`,
            -1 where there is none.
    """

    faces: NDArray[np.int64]
    people: NDArray[np.int64]
    mated: NDArray[np.bool_]
    ranks: NDArray[np.int64]
    right: NDArray[np.float32]
    wrong: NDArray[np.float32]
    wrong_faces: NDArray[np.int64]

    def where(self, rows: NDArray[np.bool_]) -> Searches:
        """Select the searches where an (n,) mask is True."""
        return Searches(**{name: values[rows] for name, values in self.__dict__.items()})

    @classmethod
    def joined(cls, parts: Sequence[Searches]) -> Searches:
        """Concatenate the searches of several splits, one or more."""
        names = parts[0].__dict__
        return cls(**{name: np.concatenate([p.__dict__[name] for p in parts]) for name in names})

    @property
    def deciding(self) -> NDArray[np.float32]:
        """(n,) similarity that is held against a threshold.

        In a mated search it is the one to the probe's person, in a non-mated one the highest.
        """
        return np.where(self.mated, self.right, self.wrong)


class _CodesOnly(Segment):
    """A segment that is always searched through its codes, to measure what its codes miss.

    A plain segment compares the probe with every face where a mask leaves few, as it does here.
    """

    def search(
        self, probes: Vectors, k: int, mask: RowMask | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        if self.codes is None or mask is None:
            return super().search(probes, k, mask)
        recipe = self.entry.recipe
        return search_codes(self.vectors, self.codes, recipe, probes, k=k, mask=mask)


class Gallery:
    """The labelled faces of an index, of which each search enrols some.

    Args:
        version: the version of the index that is open.
        faces: the labelled faces of that version.
        through_codes: compare the probe only with the candidates that the index's codes propose,
            instead of every enrolled face.
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
        # The extra last entry is what row -1, which means no face, looks up.
        self._position_of = np.full(sum(self._lengths) + 1, NOBODY)
        self._position_of[faces.index_rows] = np.arange(len(faces.index_rows))

    def search(
        self, enrolled: NDArray[np.int64], probes: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the enrolled faces most similar to each probe.

        Args:
            enrolled: (e,) positions of the enrolled faces among the labelled faces.
            probes: (p, d) embeddings of unit length.
            k: number of faces to return for each probe; at most e are returned.

        Returns:
            (p, k) similarities, descending, and (p, k) positions of these faces among the labelled
            faces; -inf and -1 where fewer than k were found.
        """
        mask = np.zeros(sum(self._lengths), dtype=bool)
        mask[self.faces.index_rows[enrolled]] = True
        masks: list[RowMask | None] = [
            RowMask(part) for part in np.split(mask, np.cumsum(self._lengths)[:-1])
        ]
        k = min(k, len(enrolled))
        similarities = np.empty((len(probes), k), np.float32)
        positions = np.empty((len(probes), k), np.int64)
        for start in range(0, len(probes), PROBES_AT_ONCE):
            batch = slice(start, start + PROBES_AT_ONCE)
            similarities[batch], index_rows = self.version.nearest(probes[batch], k, masks)
            positions[batch] = self._position_of[index_rows]
        return similarities, positions


def search_all(
    gallery: Gallery,
    enrolled: NDArray[np.int64],
    probes: NDArray[np.int64],
    embeddings: NDArray[np.float32] | None = None,
) -> Searches:
    """Search for labelled faces among the enrolled ones.

    Args:
        gallery: the labelled faces of an index.
        enrolled: (e,) positions of the enrolled faces among the labelled faces.
        probes: (p,) positions of the probes among the labelled faces.
        embeddings: (p, d) embeddings of the probes; by default those in the index.
    """
    people = gallery.faces.people
    if embeddings is None:
        embeddings = gallery.version.embeddings(gallery.faces.index_rows[probes])
    _, photos_each = np.unique(people[enrolled], return_counts=True)
    # So many faces are of at least `CANDIDATES` people.
    k = CANDIDATES * int(photos_each.max(initial=1))
    similarities, rows = gallery.search(enrolled, embeddings, k)
    candidates = np.where(rows < 0, NOBODY, people[rows])
    own = people[probes]
    is_right = candidates == own[:, None]
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
        ranks=np.where(found, 1 + _people_before(candidates, first_right), 0),
        right=np.where(found, similarities[every, first_right], -np.inf).astype(np.float32),
        wrong=np.where(any_wrong, similarities[every, first_wrong], -np.inf).astype(np.float32),
        wrong_faces=np.where(any_wrong, rows[every, first_wrong], NOBODY),
    )


def _people_before(people: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the different people in each row of (p, k) before a column, one of (p,) per row."""
    earlier = np.arange(people.shape[1])[None, :] < columns[:, None]
    ordered = np.sort(np.where(earlier, people, NOBODY), axis=1)
    is_new = np.diff(ordered, axis=1, prepend=NOBODY) != 0
    return np.asarray(is_new.sum(axis=1))
