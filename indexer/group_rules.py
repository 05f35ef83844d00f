"""Which groups of faces may be merged: what people said of faces, and what photos say."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from faces.core.errors import WrongUsageError

Pairs = NDArray[np.int64]
"""(m, 2) pairs of row numbers."""

NOBODY = -1
"""The number in `Constraints.fixed` of a face whose person nobody has said."""


def _no_pairs() -> Pairs:
    return np.empty((0, 2), np.int64)


@dataclass(frozen=True)
class Constraints:
    """What is known of faces and of pairs of faces, by their rows.

    Attributes:
        must: pairs of one person.
        cannot: pairs of two people.
        photos: (n,) number of each face's photo: two faces of one photo are two people's unless
            `must` says otherwise; None: nothing is known of photos.
        fixed: (n,) number of each face's person, or `NOBODY`: faces of one number are in one group,
            and faces of two numbers are in two; None: nobody is known.
        settled: (n,) bool, faces whose groups `must` gives completely: two groups that both have
            such a face are not merged; None: there are none.
    """

    must: Pairs = field(default_factory=_no_pairs)
    cannot: Pairs = field(default_factory=_no_pairs)
    photos: NDArray[np.int64] | None = None
    fixed: NDArray[np.int64] | None = None
    settled: NDArray[np.bool_] | None = None


class GroupRules:
    """Rules of which groups may be merged; they follow the groups as these are merged.

    A group is known by its smallest row.

    Attributes:
        start: (n,) the group of each row before any merge: `must` and `fixed` are followed.
        person: (n,) the person of each group, or `NOBODY`.

    Args:
        constraints: what is known of the faces.
        num_rows: number of faces.
        names: (n,) string, what the faces are called in messages; None: their rows.

    Raises:
        WrongUsageError: the constraints contradict each other.
    """

    def __init__(
        self, constraints: Constraints, num_rows: int, *, names: pa.Array | None = None
    ) -> None:
        fixed = constraints.fixed
        if fixed is None:
            fixed = np.full(num_rows, NOBODY)
        self.start = joined(num_rows, np.concatenate([constraints.must, chains(fixed)]))
        self.person = np.full(num_rows, NOBODY)
        known = np.flatnonzero(fixed != NOBODY)
        self.person[self.start[known]] = fixed[known]
        _require_consistent(constraints.cannot, self.person, fixed, self.start, names)
        self._settled = np.zeros(num_rows, bool)
        self._open: NDArray[np.bool_] | None = None
        if constraints.settled is not None:
            self._settled[self.start[constraints.settled]] = True
        cannot = self.start[constraints.cannot]
        self._forbidden = keys_of(cannot[:, 0], cannot[:, 1], num_rows)
        self._rows, self._photos = np.empty(0, np.int64), np.empty(0, np.int64)
        if constraints.photos is not None:
            _, photos, counts = np.unique(
                constraints.photos, return_inverse=True, return_counts=True
            )
            self._rows = np.flatnonzero(counts[photos] > 1)
            self._photos = photos[self._rows]

    def settle(self, groups: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Have the other groups join these, or people who are known, and merge no others.

        Returns:
            (n,) bool: the groups that others may join.
        """
        self._settled[groups] = True
        self._open = self.person != NOBODY
        self._open[groups] = True
        return self._open

    def forbid(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return (m,) bool: which pairs of groups must not be merged, but for their photos."""
        forbidden = self.apart(one, other) | (self._settled[one] & self._settled[other])
        if self._open is not None:
            forbidden |= ~(self._open[one] | self._open[other])
        return np.asarray(forbidden)

    def apart(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return (m,) bool: which pairs of groups are known to be two people, but for photos."""
        person, another = self.person[one], self.person[other]
        apart = (person != NOBODY) & (another != NOBODY) & (person != another)
        if len(self._forbidden):
            keys = np.minimum(one, other) * len(self.start) + np.maximum(one, other)
            rows = np.searchsorted(self._forbidden, keys).clip(max=len(self._forbidden) - 1)
            apart |= self._forbidden[rows] == keys
        return np.asarray(apart, bool)

    def forbid_in_photos(
        self, one: NDArray[np.int64], other: NDArray[np.int64], of_row: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return (m,) bool: which pairs have faces of one photo, and forbid these from now on.

        Pairs are checked when they are about to be merged: a photo of a thousand faces has half a
        million pairs, of which hardly any is ever looked at.

        Args:
            one, other: (m,) groups; no group is there twice.
            of_row: (n,) the group of each row.
        """
        target = np.full(len(of_row), -1)
        target[one], target[other] = one, one
        groups = of_row[self._rows]
        here = np.flatnonzero(target[groups] >= 0)
        meeting = meeting_in_photos(target[groups[here]], groups[here], self._photos[here])
        is_forbidden = np.isin(one, meeting)
        keys = keys_of(one[is_forbidden], other[is_forbidden], len(of_row))
        self._forbidden = np.union1d(self._forbidden, keys)
        return is_forbidden

    def merge(
        self, one: NDArray[np.int64], other: NDArray[np.int64], now: NDArray[np.int64]
    ) -> None:
        """Follow a merge of disjoint pairs of groups.

        Args:
            one, other: (m,) groups; the second becomes part of the first.
            now: (n,) the group that each group is afterwards.
        """
        self.person[one] = np.maximum(self.person[one], self.person[other])
        self._settled[one] |= self._settled[other]
        if self._open is not None:
            self._open[one] |= self._open[other]
        lower, upper = np.divmod(self._forbidden, len(now))
        self._forbidden = keys_of(now[lower], now[upper], len(now))


def meeting_in_photos(
    merged: NDArray[np.int64], groups: NDArray[np.int64], photos: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the merged groups that have faces of one photo from several groups.

    Args:
        merged: (m,) the group that each face would be in.
        groups: (m,) the group that it is in.
        photos: (m,) its photo.
    """
    order = np.lexsort((groups, photos, merged))
    merged, photos, groups = merged[order], photos[order], groups[order]
    meet = (np.diff(merged) == 0) & (np.diff(photos) == 0) & (np.diff(groups) != 0)
    return np.unique(merged[1:][meet])


def joined(num_rows: int, must: Pairs) -> NDArray[np.int64]:
    """Return (n,) the smallest row of each row's group, where all pairs of `must` are joined."""
    if len(must) == 0:
        return np.arange(num_rows)
    graph = coo_array((np.ones(len(must), bool), (must[:, 0], must[:, 1])), (num_rows, num_rows))
    _, labels = connected_components(graph, directed=False)
    _, first = np.unique(labels, return_index=True)
    return np.asarray(first[labels], dtype=np.int64)


def chains(fixed: NDArray[np.int64]) -> Pairs:
    """Return pairs that join all rows of each number but `NOBODY`."""
    known = np.flatnonzero(fixed != NOBODY)
    known = known[np.argsort(fixed[known], kind="stable")]
    same = fixed[known[1:]] == fixed[known[:-1]]
    return np.stack([known[:-1][same], known[1:][same]], axis=1)


def _require_consistent(
    cannot: Pairs,
    person: NDArray[np.int64],
    fixed: NDArray[np.int64],
    start: NDArray[np.int64],
    names: pa.Array | None,
) -> None:
    """Raise WrongUsageError if one group is said to be two people.

    Args:
        cannot: pairs of two people.
        person: (n,) a person of each group, or `NOBODY`.
        fixed: (n,) the person of each face, or `NOBODY`.
        start: (n,) the group of each face.
        names: (n,) string, what the faces are called; None: their rows.
    """
    called = range(len(start)) if names is None else names
    broken = np.flatnonzero(start[cannot[:, 0]] == start[cannot[:, 1]])
    if len(broken):
        one, other = (called[row] for row in cannot[broken[0]].tolist())
        raise WrongUsageError(
            f"faces {one} and {other} are said to be one person, by themselves or with others, and "
            "to be two; take one of these back"
        )
    broken = np.flatnonzero((fixed != NOBODY) & (person[start] != fixed))
    if len(broken):
        row = int(broken[0])
        raise WrongUsageError(
            f"face {called[row]} is said to be person {fixed[row]}, and by others to be person "
            f"{person[start[row]]}; take one of these back"
        )


def keys_of(one: NDArray[np.int64], other: NDArray[np.int64], num_rows: int) -> NDArray[np.int64]:
    """Return pairs of different groups as single numbers, each once, ascending."""
    lower, upper = np.minimum(one, other), np.maximum(one, other)
    different = lower != upper
    keys = np.sort(lower[different] * num_rows + upper[different])  # sooner than `np.unique`
    return np.asarray(keys[np.diff(keys, prepend=-1) > 0])
