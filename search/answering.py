"""Answer probes with candidate lists: fetch candidates until k of them are matches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.core.vectors import unit_length
from indexer.snapshot import Snapshot
from indexer.vectors import Vectors
from search.one_per import OnePer, first_of_each
from search.results import CandidateList, CandidateLists

DEFAULT_K = 10

PROBES_AT_ONCE = 4096  # bounds the memory of a batch of any size
FIRST_DEPTH, DEEPER = 64, 4
"""Candidates fetched first where any number may match, and the factor by which more are fetched."""


@dataclass(frozen=True)
class Query:
    """The conditions of a search, beside its probes.

    Attributes:
        k: number of matches for each probe; None: see `FaceSearcher.search`.
        where: a condition as in SQL's WHERE, over the columns of faces; see docs/search.md.
        min_similarity: smallest similarity of a match, [-1, 1].
        one_per: `photo` or `person`: only the best match from each; see `search.one_per`.
        fpir: share of searches for people who are not enrolled that may return a match, (0, 1);
            the stricter of this and `min_similarity` counts.
    """

    k: int | None = None
    where: str | None = None
    min_similarity: float | None = None
    one_per: OnePer | None = None
    fpir: float | None = None


def answer(
    snapshot: Snapshot, probes: Vectors, query: Query, *, without: int | None = None
) -> CandidateLists:
    """Find the matches of each probe.

    Args:
        snapshot: the version of the index to search.
        probes: (n, d) embeddings of unit length.
        query: the conditions, checked.
        without: position of a face that is no match; None: every face may be one.

    Returns:
        n candidate lists, in the order of the probes.
    """
    answers: list[CandidateList] = []
    for start in range(0, len(probes), PROBES_AT_ONCE):
        some = probes[start : start + PROBES_AT_ONCE]
        answers += _Answering(snapshot, some, query, without).lists()
    return CandidateLists(answers, snapshot)


class _Answering:
    """A search for one block of probes, which fetches more candidates until k are matches."""

    def __init__(
        self, snapshot: Snapshot, probes: Vectors, query: Query, without: int | None
    ) -> None:
        self.snapshot = snapshot
        self.probes = probes
        self.query = query
        self.without = without
        self.masks = snapshot.masks(query.where)
        self.available = snapshot.num_selected(self.masks)
        unlimited = query.k is None and query.min_similarity is not None
        self.k = self.available if unlimited else min(query.k or DEFAULT_K, self.available)

    def lists(self) -> list[CandidateList]:
        """Return a candidate list for each probe."""
        answers = [CandidateList(self.snapshot, _NO_SIMILARITIES, _NO_POSITIONS)] * len(self.probes)
        open_ = np.arange(len(self.probes))
        depth = self._first_depth()
        while len(open_) and depth:
            similarities, positions = self.snapshot.nearest(self.probes[open_], depth, self.masks)
            if self._takes_all:
                return [
                    CandidateList(self.snapshot, *pair)
                    for pair in zip(similarities, positions, strict=True)
                ]
            unfinished = []
            for number, row in enumerate(open_.tolist()):
                kept, is_finished = self._select(similarities[number], positions[number])
                if is_finished or depth >= self.available:
                    kept = kept[: self.k]
                    answers[row] = CandidateList(
                        self.snapshot, similarities[number, kept], positions[number, kept]
                    )
                else:
                    unfinished.append(row)
            open_ = np.array(unfinished, dtype=np.int64)
            depth = min(self.available, DEEPER * depth)
        return answers

    @property
    def _takes_all(self) -> bool:
        """Whether each of the k nearest faces is a match, as there is no further condition."""
        conditions = (self.query.min_similarity, self.query.one_per, self.without)
        return all(condition is None for condition in conditions)

    def _first_depth(self) -> int:
        depth = self.k + (self.without is not None)
        if self.query.one_per is not None:
            depth *= DEEPER
        if self.query.k is None and self.query.min_similarity is not None:
            depth = FIRST_DEPTH
        return min(depth, self.available)

    def _select(
        self, similarities: NDArray[np.float32], positions: NDArray[np.int64]
    ) -> tuple[NDArray[np.intp], bool]:
        """Return the numbers of the candidates that are matches, and whether these suffice."""
        is_match = positions >= 0  # negative positions are padding
        is_finished = False
        if self.query.min_similarity is not None:
            above = similarities >= self.query.min_similarity
            is_finished = not above.all()
            is_match &= above
        if self.without is not None:
            is_match &= positions != self.without
        kept = np.flatnonzero(is_match)
        if self.query.one_per is not None:
            kept = kept[[*first_of_each(self.snapshot, positions[kept], self.query.one_per)]]
        return kept, is_finished or len(kept) >= self.k


def joint_embedding(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the mean of (n, d) embeddings of one person, scaled to unit length, as (d,) float32.

    Raises:
        WrongUsageError: the embeddings cancel out.
    """
    try:
        joint: NDArray[np.float32] = unit_length(embeddings.mean(axis=0, keepdims=True))[0]
    except ValueError as error:
        raise WrongUsageError(
            "the faces of these photos have nothing in common; search for them one by one"
        ) from error
    return joint


_NO_SIMILARITIES = np.empty(0, np.float32)
_NO_POSITIONS = np.empty(0, np.int64)
