"""Which two people may be one: the pairs where an answer joins or separates most faces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facetrove.people.roster import Roster
from facetrove.people.roster_counts import Slots
from facetrove.people.roster_faces import Rows
from indexer.vectors import Vectors

MAX_ASKED = 20_000
"""People with most faces among whom pairs are looked for: comparing all of them takes 2 s."""

NEAREST = 5
"""Most similar other people of each person that are looked at."""

MIN_SIMILARITY = 0.2
"""Similarity of two people's mean embeddings below which nobody would take them for one."""

BLOCK = 1024
"""People compared with all others at once."""

MAX_COMPARED, MAX_SHOWN = 256, 3
"""Faces of a person among which those are looked for that show best whether two are one, and how
many of them are told."""


@dataclass(frozen=True)
class Embeddings:
    """The embeddings of a roster's faces.

    Attributes:
        dimension: how many numbers an embedding has.
        blocks: yields (m,) rows and their (m, d) embeddings of unit length, until all faces were
            there.
        of: returns (m, d) the embeddings of (m,) rows.
    """

    dimension: int
    blocks: Callable[[], Iterable[tuple[Rows, Vectors]]]
    of: Callable[[Rows], Vectors]


@dataclass(frozen=True)
class Question:
    """Two people who may be one.

    Attributes:
        one, other: their slots.
        similarity: of the two faces that are most alike, [-1, 1].
        one_rows, other_rows: rows of their faces that are most alike, best first.
    """

    one: int
    other: int
    similarity: float
    one_rows: Rows
    other_rows: Rows


@dataclass(frozen=True, eq=False)
class SimilarPeople:
    """Pairs of similar people among those with most faces. Use `of`.

    They hold as long as people stay about what they were, so that a decision need not have all
    embeddings read again.

    Attributes:
        pairs: (m, 2) numbers of people.
        similarities: (m,) of their mean embeddings.
    """

    pairs: NDArray[np.int64]
    similarities: NDArray[np.float32]

    @classmethod
    def of(cls, roster: Roster, embeddings: Embeddings) -> SimilarPeople:
        """Find the pairs, for which all embeddings are read.

        Raises:
            CorruptFileError: a file with embeddings is corrupt.
        """
        people = _asked_about(roster)
        pairs, similarities = _similar_people(_means(roster, embeddings, people))
        return cls(roster.numbers[people[pairs]].reshape(-1, 2), similarities)

    def questions(self, roster: Roster, embeddings: Embeddings, k: int) -> list[Question]:
        """Return the pairs of people to ask about.

        People who are in one photo are not asked about: they are two. The order is by the number of
        faces of the smaller of the two, weighted by the similarity of their means: that many faces
        change their person, or are sure to keep it.

        Args:
            roster: the people as they are now.
            embeddings: the embeddings of their faces.
            k: maximum number of pairs.
        """
        asked: dict[tuple[int, int], None] = {}
        for one, other in self._in_order(roster):
            both = (one, other) if one < other else (other, one)
            if both not in asked and _may_be_one(roster, *both):
                asked[both] = None
            if len(asked) == k:
                break
        return _with_faces(roster, embeddings, list(asked))

    def _in_order(self, roster: Roster) -> Iterator[tuple[int, int]]:
        """Yield the pairs of people who are there, are two and are not left out, as slots."""
        numbers = roster.numbers
        if not len(numbers) or not len(self.pairs):
            return
        places = np.minimum(np.searchsorted(numbers, self.pairs), len(numbers) - 1)
        slots = roster.roots[places]
        sizes = roster.counts.num_faces[slots].min(axis=1)
        left_out = (roster.hidden | roster.ignored)[slots].any(axis=1)
        there = (numbers[places] == self.pairs).all(axis=1) & (slots[:, 0] != slots[:, 1])
        kept = np.flatnonzero(there & ~left_out & (sizes > 0))
        order = kept[np.argsort(-sizes[kept] * self.similarities[kept], kind="stable")]
        for pair in order:
            one, other = slots[pair].tolist()
            yield one, other


def _may_be_one(roster: Roster, one: int, other: int) -> bool:
    """Return whether no human tells two people apart, and no photo shows both."""
    view = roster.view
    numbers = [int(roster.numbers[slot]) for slot in (one, other)]
    names = [view.state.said_of(number).name for number in numbers]
    if numbers[1] in view.state.apart.get(numbers[0], {}):
        return False
    if None not in names and names[0] != names[1]:
        return False
    ours, theirs = (roster.faces.photos[roster.rows_of(slot)] for slot in (one, other))
    return not np.isin(ours, theirs).any()


def _with_faces(
    roster: Roster, embeddings: Embeddings, pairs: list[tuple[int, int]]
) -> list[Question]:
    """Return questions with the faces of each pair that are most alike."""
    rows = {slot: roster.rows_of(slot)[:MAX_COMPARED] for pair in pairs for slot in pair}
    if not rows:
        return []
    vectors = embeddings.of(np.concatenate([*rows.values()]))
    ends = np.cumsum([len(some) for some in rows.values()])[:-1]
    of_slot = dict(zip(rows, np.split(vectors, ends), strict=True))
    found = []
    for one, other in pairs:
        products = of_slot[one] @ of_slot[other].T
        best = [np.argsort(-products.max(axis=axis), kind="stable")[:MAX_SHOWN] for axis in (1, 0)]
        similarity = min(1.0, float(products.max()))
        found.append(Question(one, other, similarity, rows[one][best[0]], rows[other][best[1]]))
    return found


def _means(roster: Roster, embeddings: Embeddings, people: Slots) -> Vectors:
    """Return (p, d) the mean embeddings of people, of unit length."""
    places = np.full(len(roster.numbers) + 1, -1, np.int64)  # the last one is of nobody
    places[people] = np.arange(len(people))
    sums = np.zeros((len(people), embeddings.dimension), np.float32)
    for rows, vectors in embeddings.blocks():
        place = places[roster.people_of(rows)]
        known = np.flatnonzero(place >= 0)
        order = known[np.argsort(place[known], kind="stable")]
        if len(order):
            who, starts = np.unique(place[order], return_index=True)
            sums[who] += np.add.reduceat(vectors[order], starts, axis=0)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / np.maximum(lengths, 1e-9), np.float32)


def _asked_about(roster: Roster) -> Slots:
    """Return (p,) the people who are asked about."""
    sizes = np.where(roster.hidden | roster.ignored, 0, roster.counts.num_faces)
    people = np.flatnonzero(sizes)
    largest = np.argsort(-sizes[people], kind="stable")[:MAX_ASKED]
    return np.sort(people[largest]).astype(np.int32)


def _similar_people(means: Vectors) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return pairs of rows of similar means, each once, and their similarities."""
    count = min(NEAREST, len(means) - 1)
    if count < 1:
        return np.zeros((0, 2), np.int64), np.zeros(0, np.float32)
    pairs, similarities = [], []
    for start in range(0, len(means), BLOCK):
        products = means[start : start + BLOCK] @ means.T
        rows = np.arange(len(products))
        products[rows, rows + start] = -2
        nearest = np.argpartition(products, len(means) - count, axis=1)[:, -count:]
        pairs.append(np.stack([np.repeat(rows + start, count), nearest.ravel()], axis=1))
        similarities.append(np.take_along_axis(products, nearest, axis=1).ravel())
    found, alike = np.sort(np.concatenate(pairs), axis=1), np.concatenate(similarities)
    found, firsts = np.unique(found[alike >= MIN_SIMILARITY], axis=0, return_index=True)
    return found, alike[alike >= MIN_SIMILARITY][firsts]
