"""Group faces by person: pure functions on a graph of similar faces.

An embedding is taken as a person's *identity* plus *scatter*, both Gaussian with equal variances in
all dimensions; the scatter of a poor face is larger. So how much better a group of faces is
explained by one identity than by none follows from two sums over its faces
(`Variances.evidence`), and how much better two groups are explained by one person than by two is
the *gain* of merging them. Groups that are each other's best partner are merged, round by round, as
long as a gain exceeds what must be paid for it: reciprocal-nearest-neighbour agglomeration, by the
likelihood ratio of probabilistic linear discriminant analysis (Prince and Elder 2007; Heller and
Ghahramani, "Bayesian hierarchical clustering", 2005). Only groups that an edge of the graph joins
are compared.

Poor faces are left out at first. When the others are grouped, each poor face may join a group, but
the groups of the others stay as they are: no poor face bridges two of them. Poor faces alone make
no group: blurred faces of strangers look like each other, more than the variances have it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexer.group_rules import Constraints, GroupRules, Pairs, keys_of
from indexer.vectors import Vectors

EDGES_AT_ONCE = 1 << 14
"""Edges whose gain is computed at a time: 17 MB at 128 dimensions, which fits a processor's cache
better than more."""

SHARE_GONE = 0.2
"""Share of the edges that are gone from which on the others are moved together."""

ROWS_AT_ONCE = 1 << 16
"""Faces that are centred and weighted at a time, which bounds memory."""


@dataclass(frozen=True)
class Variances:
    """How embeddings of people vary.

    Attributes:
        means: (k, d) mean of the embeddings of each class of quality: poor faces have more in
            common than good ones.
        between: variance of identities in each dimension, above 0.
        within: (n,) variance of the scatter of each face in each dimension, above 0.
        dimensions: number of independent dimensions by which gains are computed. It is not d:
            variances differ between dimensions, and within a person more than Gaussian ones would.
        poor_from: value of `within` from which on a face is poor.
        classes: (n,) each face's class of quality; None: all have the first.
    """

    means: NDArray[np.float32]
    between: float
    within: NDArray[np.float64]
    dimensions: float
    poor_from: float = np.inf
    classes: NDArray[np.intp] | None = None

    @property
    def poor(self) -> NDArray[np.bool_]:
        """(n,) bool: which faces are poor."""
        return self.within >= self.poor_from

    def weighted(self, vectors: Vectors, rows: NDArray[np.int64] | slice) -> Vectors:
        """Return the (m, d) centred embeddings of some rows, divided by `within`."""
        weighted = vectors[rows] - self.means[0 if self.classes is None else self.classes[rows]]
        weighted /= self.within[rows].astype(np.float32)[:, None]
        return weighted

    def evidence(
        self, weights: NDArray[np.float64], squares: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the log likelihood ratio of one identity against none, up to a constant a face.

        Args:
            weights: (m,) sum over a group's faces of 1 / within.
            squares: (m,) squared length of the sum of the group's `weighted` embeddings.
        """
        spread = self.between * weights
        return 0.5 * (self.between * squares / (1 + spread) - self.dimensions * np.log1p(spread))


class GroupSums:
    """Groups of rows, each known by its smallest row, and the sums over their faces.

    Poor faces are not in the sums of a group that has others: what many poor faces have in common,
    such as blur, would make them look like one person.

    Attributes:
        of_row: (n,) the group of each row.
        counted: (n,) bool, the faces that are in the sums of their group.
        sums: (n, d) sum of the `Variances.weighted` embeddings of each group.
        weights: (n,) sum of 1 / within.
        squares: (n,) squared length of `sums`.
        evidence: (n,) evidence of each group.
        good: (n,) bool, the groups with a face that is not poor.
    """

    def __init__(self, vectors: Vectors, variances: Variances, of_row: NDArray[np.int64]) -> None:
        self._variances = variances
        self._open: NDArray[np.bool_] | None = None
        self.of_row = of_row
        self.good = np.zeros(len(vectors), bool)
        self.good[of_row[~variances.poor]] = True
        self.counted = ~variances.poor | ~self.good[of_row]
        self.weights = np.where(self.counted, 1 / variances.within, 0.0)
        self.sums = np.empty(vectors.shape, np.float32)
        for start in range(0, len(vectors), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            self.sums[rows] = variances.weighted(vectors, rows)
        self.sums[~self.counted] = 0
        others = np.flatnonzero(of_row != np.arange(len(vectors)))
        np.add.at(self.sums, of_row[others], self.sums[others])
        np.add.at(self.weights, of_row[others], self.weights[others])
        self.squares = _squares(self.sums)
        self.evidence = variances.evidence(self.weights, self.squares)

    def keep_sums(self, of: NDArray[np.bool_]) -> None:
        """Leave the sums of some groups as they are from now on, whichever others join them.

        Args:
            of: (n,) bool, these groups.
        """
        self._open = of.copy()

    def gains(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the gain of merging each of (m,) groups with another."""
        gains = np.empty(len(one))
        for start in range(0, len(one), EDGES_AT_ONCE):
            a, b = one[start : start + EDGES_AT_ONCE], other[start : start + EDGES_AT_ONCE]
            products = np.einsum("nd,nd->n", self.sums[a], self.sums[b])
            together = self._variances.evidence(
                self.weights[a] + self.weights[b],
                self.squares[a] + self.squares[b] + 2.0 * products,
            )
            gains[start : start + EDGES_AT_ONCE] = together - self.evidence[a] - self.evidence[b]
        return gains

    def merge(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
        """Merge disjoint pairs of groups; return (n,) the group that each row's number is now."""
        now = np.arange(len(self.of_row))
        now[other] = one
        if self._open is None:
            self.sums[one] += self.sums[other]
            self.weights[one] += self.weights[other]
            self.squares[one] = _squares(self.sums[one])
            self.evidence[one] = self._variances.evidence(self.weights[one], self.squares[one])
        else:
            is_open = self._open[one]
            joins = np.zeros(len(self.of_row), bool)
            joins[np.where(is_open, other, one)] = True
            self.counted[joins[self.of_row]] = False
            to, kept = one[~is_open], other[~is_open]
            for values in (self.sums, self.weights, self.squares, self.evidence):
                values[to] = values[kept]
            self._open[one] = True
        self.of_row = now[self.of_row]
        return now


def _squares(vectors: Vectors) -> NDArray[np.float64]:
    """Return the (n,) squared lengths of vectors."""
    return np.asarray(np.einsum("nd,nd->n", vectors, vectors), np.float64)


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
        variances: how embeddings vary, and which faces are poor.
        min_gain: smallest gain, a difference of log likelihoods, for which groups are merged.
        constraints: what is known of faces, which always holds.

    Returns:
        (n,) the smallest row of each face's group.

    Raises:
        WrongUsageError: constraints contradict each other.
    """
    rules = GroupRules(constraints or Constraints(), len(vectors))
    return merge_groups(vectors, edges, variances, min_gain=min_gain, rules=rules).of_row


def merge_groups(
    vectors: Vectors, edges: Pairs, variances: Variances, *, min_gain: float, rules: GroupRules
) -> GroupSums:
    """Group faces by person as `group_faces` does, from where rules start; they follow."""
    groups = GroupSums(vectors, variances, rules.start)
    ends = groups.of_row[edges]
    _merge_all(groups, rules, ends[groups.good[ends].all(axis=1)], min_gain)
    if variances.poor.any():
        groups.keep_sums(rules.settle(groups.of_row[~variances.poor]))
        _merge_all(groups, rules, groups.of_row[ends], min_gain)
    return groups


class _Edges:
    """Edges between groups, each once, with the gain of merging the two.

    Attributes:
        one, other: (m,) groups.
        gains: (m,) gains; -inf: the groups must not be merged, or the edge is gone.
    """

    def __init__(self, edges: Pairs, num_rows: int) -> None:
        self._num_rows = num_rows
        self.one, self.other = np.divmod(keys_of(edges[:, 0], edges[:, 1], num_rows), num_rows)
        self.gains = np.full(len(self.one), -np.inf)
        self._num_gone = 0

    def merge(
        self, one: NDArray[np.int64], other: NDArray[np.int64], now: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Follow a merge of disjoint pairs of groups.

        Most merges touch few edges, so the others are left where they are, and the places of those
        that are gone are kept until there are many.

        Args:
            one, other: (m,) groups; the second becomes part of the first.
            now: (n,) the group that each group is afterwards.

        Returns:
            The places of the edges whose gain must be computed.
        """
        is_merged = np.zeros(self._num_rows, bool)
        is_merged[one] = is_merged[other] = True
        touched = np.flatnonzero(is_merged[self.one] | is_merged[self.other])
        keys = keys_of(now[self.one[touched]], now[self.other[touched]], self._num_rows)
        fresh, gone = np.split(touched, [len(keys)])
        self.one[fresh], self.other[fresh] = np.divmod(keys, self._num_rows)
        self.one[gone] = self.other[gone] = 0
        self.gains[touched] = -np.inf
        self._num_gone += len(gone)
        if self._num_gone <= SHARE_GONE * len(self.one):
            return fresh
        is_fresh = np.zeros(len(self.one), bool)
        is_fresh[fresh] = True
        kept = self.one != self.other
        self.one, self.other, self.gains = self.one[kept], self.other[kept], self.gains[kept]
        self._num_gone = 0
        return np.flatnonzero(is_fresh[kept])


def _merge_all(groups: GroupSums, rules: GroupRules, edges: Pairs, min_gain: float) -> None:
    """Merge groups that edges join, as long as a gain exceeds `min_gain` and the rules allow it."""
    between = _Edges(edges, len(groups.of_row))
    stale = np.arange(len(between.one))
    while True:
        one, other = between.one[stale], between.other[stale]
        gains = groups.gains(one, other)
        between.gains[stale] = np.where(rules.forbid(one, other), -np.inf, gains)
        wanted = np.flatnonzero(between.gains > min_gain)
        if len(wanted) == 0:
            return
        one, other = between.one[wanted], between.other[wanted]
        merged = _mutual(one, other, between.gains[wanted], len(groups.of_row))
        one, other = one[merged], other[merged]
        in_photo = rules.forbid_in_photos(one, other, groups.of_row)
        between.gains[wanted[merged[in_photo]]] = -np.inf
        one, other = one[~in_photo], other[~in_photo]
        now = groups.merge(one, other)
        rules.merge(one, other, now)
        stale = between.merge(one, other, now)


def _mutual(
    one: NDArray[np.int64], other: NDArray[np.int64], gains: NDArray[np.float64], num_rows: int
) -> NDArray[np.int64]:
    """Return the numbers of the edges that are the best of both their groups.

    No two edges have the same rank, whatever their gains, so there is always such an edge.
    """
    order = np.argsort(-gains)
    rank = np.empty(len(gains), np.int64)
    rank[order] = np.arange(len(gains))
    best = np.full(num_rows, len(gains))
    np.minimum.at(best, one, rank)
    np.minimum.at(best, other, rank)
    return np.flatnonzero((best[one] == rank) & (best[other] == rank))
