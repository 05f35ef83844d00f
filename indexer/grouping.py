"""Group faces by person: pure functions on a graph of similar faces.

An embedding is taken as a person's *identity* plus *scatter*, both Gaussian with equal variances in
all dimensions; the scatter of a poor face is larger. So how much better a group of faces is
explained by one identity than by none follows from two sums over its faces (`_evidence`), and how
much better two groups are explained by one person than by two is the *gain* of merging them. Groups
that are each other's best partner are merged, round by round, as long as a gain exceeds what must
be paid for it: reciprocal-nearest-neighbour agglomeration, by the likelihood ratio of probabilistic
linear discriminant analysis (Prince and Elder 2007; Heller and Ghahramani, "Bayesian hierarchical
clustering", 2005). Only groups that an edge of the graph joins are compared.

Poor faces weigh little in the sums, so that they join a group but do not bridge two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from faces.core.errors import WrongUsageError
from indexer.vectors import Vectors

Pairs = NDArray[np.int64]
"""(m, 2) pairs of row numbers."""

EDGES_AT_ONCE = 1 << 16
"""Edges whose gain is computed at a time, which bounds memory: 70 MB at 128 dimensions."""


@dataclass(frozen=True)
class Variances:
    """How embeddings of people vary.

    Attributes:
        mean: (d,) mean of the embeddings.
        between: variance of identities in each dimension, above 0.
        within: (n,) variance of the scatter of each face in each dimension, above 0.
        dimensions: number of independent dimensions by which gains are computed. It is not d:
            variances differ between dimensions, and within a person more than Gaussian ones would.
    """

    mean: NDArray[np.float32]
    between: float
    within: NDArray[np.float64]
    dimensions: float


@dataclass(frozen=True)
class Constraints:
    """What is known of pairs of faces, by their rows.

    Attributes:
        must: pairs of one person.
        cannot: pairs of two people.
        photos: (n,) number of each face's photo: two faces of one photo are two people's unless
            `must` says otherwise; None: nothing is known of photos.
    """

    must: Pairs = field(default_factory=lambda: np.empty((0, 2), np.int64))
    cannot: Pairs = field(default_factory=lambda: np.empty((0, 2), np.int64))
    photos: NDArray[np.int64] | None = None


class _Groups:
    """Groups of rows, each known by its smallest row, and the sums over their faces.

    Attributes:
        of_row: (n,) the group of each row.
    """

    def __init__(self, vectors: Vectors, variances: Variances, of_row: NDArray[np.int64]) -> None:
        weights = 1 / variances.within
        self._between, self._dimensions = variances.between, variances.dimensions
        self._sums = ((vectors - variances.mean) * weights[:, None]).astype(np.float32)
        self._weights = weights
        self.of_row = np.arange(len(vectors))
        others = np.flatnonzero(of_row != self.of_row)
        np.add.at(self._sums, of_row[others], self._sums[others])
        np.add.at(self._weights, of_row[others], self._weights[others])
        self.of_row = of_row
        self._squares = np.einsum("nd,nd->n", self._sums, self._sums, dtype=np.float64)
        self._evidence = self._evidence_of(self._weights, self._squares)

    def _evidence_of(
        self, weights: NDArray[np.float64], squares: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the log likelihood ratio of one identity against none, up to a constant a face.

        Args:
            weights: (m,) sum over a group's faces of 1 / within.
            squares: (m,) squared length of the sum of centred embedding / within.
        """
        spread = self._between * weights
        return 0.5 * (self._between * squares / (1 + spread) - self._dimensions * np.log1p(spread))

    def gains(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the gain of merging each of (m,) groups with another."""
        gains = np.empty(len(one))
        for start in range(0, len(one), EDGES_AT_ONCE):
            a, b = one[start : start + EDGES_AT_ONCE], other[start : start + EDGES_AT_ONCE]
            products = np.einsum("nd,nd->n", self._sums[a], self._sums[b])
            together = self._evidence_of(
                self._weights[a] + self._weights[b],
                self._squares[a] + self._squares[b] + 2.0 * products,
            )
            gains[start : start + EDGES_AT_ONCE] = together - self._evidence[a] - self._evidence[b]
        return gains

    def merge(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
        """Merge disjoint pairs of groups; return (n,) the group that each row's number is now."""
        self._sums[one] += self._sums[other]
        self._weights[one] += self._weights[other]
        self._squares[one] = np.einsum(
            "nd,nd->n", self._sums[one], self._sums[one], dtype=np.float64
        )
        self._evidence[one] = self._evidence_of(self._weights[one], self._squares[one])
        now = np.arange(len(self.of_row))
        now[other] = one
        self.of_row = now[self.of_row]
        return now


def group_faces(
    vectors: Vectors,
    edges: Pairs,
    variances: Variances,
    *,
    min_gain: float,
    constraints: Constraints | None = None,
) -> NDArray[np.int64]:
    """Group faces by person.

    Args:
        vectors: (n, d) embeddings of unit length.
        edges: pairs of similar faces; only groups that an edge joins are merged.
        variances: how embeddings vary.
        min_gain: smallest gain, a difference of log likelihoods, for which groups are merged.
        constraints: what is known of pairs of faces, which always holds.

    Returns:
        (n,) the smallest row of each face's group.

    Raises:
        WrongUsageError: constraints contradict each other.
    """
    constraints = constraints or Constraints()
    of_row = _joined(len(vectors), constraints.must)
    forbidden = _forbidden(constraints, of_row)
    groups = _Groups(vectors, variances, of_row)
    keys = _keys(of_row[edges[:, 0]], of_row[edges[:, 1]], len(vectors))
    gains = np.full(len(keys), np.nan)
    while True:
        one, other = np.divmod(keys, len(vectors))
        stale = np.flatnonzero(np.isnan(gains))
        gains[stale] = groups.gains(one[stale], other[stale])
        gains[stale[np.isin(keys[stale], forbidden)]] = -np.inf
        wanted = np.flatnonzero(gains > min_gain)
        if len(wanted) == 0:
            return groups.of_row
        merged = wanted[_mutual(one[wanted], other[wanted], gains[wanted], len(vectors))]
        now = groups.merge(one[merged], other[merged])
        forbidden = _keys(now[forbidden // len(vectors)], now[forbidden % len(vectors)], len(now))
        keys, gains = _contracted(one, other, gains, now, one[merged])


def _joined(num_rows: int, must: Pairs) -> NDArray[np.int64]:
    """Return (n,) the smallest row of each row's group, where all of `must` are joined."""
    if len(must) == 0:
        return np.arange(num_rows)
    graph = coo_array((np.ones(len(must), bool), (must[:, 0], must[:, 1])), (num_rows, num_rows))
    _, labels = connected_components(graph, directed=False)
    _, first = np.unique(labels, return_index=True)
    return np.asarray(first[labels], dtype=np.int64)


def _forbidden(constraints: Constraints, of_row: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the keys of pairs of groups that must not be merged."""
    cannot = constraints.cannot
    broken = of_row[cannot[:, 0]] == of_row[cannot[:, 1]]
    if broken.any():
        one, other = cannot[np.flatnonzero(broken)[0]].tolist()
        raise WrongUsageError(
            f"faces {one} and {other} are said to be one person, by themselves or with others, and "
            "to be two; take one of these back"
        )
    pairs = [of_row[cannot]]
    if constraints.photos is not None:
        pairs += [of_row[pair] for pair in _pairs_in_photos(constraints.photos)]
    both = np.concatenate(pairs)
    return _keys(both[:, 0], both[:, 1], len(of_row))


def _pairs_in_photos(photos: NDArray[np.int64]) -> Iterator[Pairs]:
    """Yield the pairs of rows of one photo, by the distance of the two among the photo's rows."""
    order = np.argsort(photos, kind="stable")
    for distance in range(1, len(photos)):
        same = np.flatnonzero(photos[order[distance:]] == photos[order[:-distance]])
        if len(same) == 0:
            return
        yield np.stack([order[same], order[same + distance]], axis=1)


def _keys(one: NDArray[np.int64], other: NDArray[np.int64], num_rows: int) -> NDArray[np.int64]:
    """Return pairs of different groups as single numbers, each once, ascending."""
    lower, upper = np.minimum(one, other), np.maximum(one, other)
    different = lower != upper
    return np.unique(lower[different] * num_rows + upper[different])


def _mutual(
    one: NDArray[np.int64], other: NDArray[np.int64], gains: NDArray[np.float64], num_rows: int
) -> NDArray[np.int64]:
    """Return the numbers of the edges that are the best of both their groups.

    Of equal gains the edge with the lower number is better, so there is always such an edge.
    """
    order = np.argsort(-gains, kind="stable")
    rank = np.empty(len(gains), np.int64)
    rank[order] = np.arange(len(gains))
    best = np.full(num_rows, len(gains))
    np.minimum.at(best, one, rank)
    np.minimum.at(best, other, rank)
    return np.flatnonzero((best[one] == rank) & (best[other] == rank))


def _contracted(
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    gains: NDArray[np.float64],
    now: NDArray[np.int64],
    changed: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return keys and gains of the edges after a merge; gains that must be computed are NaN."""
    is_changed = np.zeros(len(now), bool)
    is_changed[changed] = True
    one, other = now[one], now[other]
    stale = is_changed[one] | is_changed[other]
    fresh = _keys(one[stale], other[stale], len(now))
    kept = one[~stale] * len(now) + other[~stale]
    return np.append(kept, fresh), np.append(gains[~stale], np.full(len(fresh), np.nan))
