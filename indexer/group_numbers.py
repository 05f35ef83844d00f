"""Numbers of groups that stay the same when faces are grouped again."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexer.group_rules import NOBODY

NO_NUMBER = -1
"""The previous number of a face that was not there, and the number of a group that has none yet."""


def numbered(
    groups: NDArray[np.int64],
    face_ids: pa.Array,
    *,
    fixed: NDArray[np.int64],
    previous: NDArray[np.int64],
    first_new: int,
    reserved: NDArray[np.int64],
) -> tuple[NDArray[np.int64], int]:
    """Number groups: each takes the number of the earlier group with which it shares most faces.

    An earlier number goes to the group that shares most faces with it; of equals, to the one with
    the face_id that comes first. A group that gets none has a new number: larger groups come first.

    Args:
        groups: (n,) the smallest row of each face's group.
        face_ids: (n,) string.
        fixed: (n,) number of each face's person, which is its group's number, or `NOBODY`.
        previous: (n,) number of each face's earlier group, or `NO_NUMBER`.
        first_new: the smallest new number.
        reserved: numbers of people, which no other group gets.

    Returns:
        (n,) the number of each face's group, and the smallest number that is free afterwards.
    """
    number_of = np.full(len(groups), NO_NUMBER)
    known = np.flatnonzero(fixed != NOBODY)
    number_of[groups[known]] = fixed[known]
    first_id = _first_ids(groups, face_ids)
    shared = (previous != NO_NUMBER) & (number_of[groups] == NO_NUMBER)
    shared &= ~np.isin(previous, reserved)
    numbers, places = np.unique(previous[shared], return_inverse=True)
    keys, counts = np.unique(groups[shared] * len(numbers) + places, return_counts=True)
    sharing, places = np.divmod(keys, max(1, len(numbers)))
    order = np.lexsort((first_id[sharing], places, -counts))
    taken: set[int] = set()
    for group, number in zip(sharing[order].tolist(), numbers[places[order]].tolist(), strict=True):
        if number_of[group] == NO_NUMBER and number not in taken:
            number_of[group] = number
            taken.add(number)
    without = np.flatnonzero((number_of == NO_NUMBER) & (groups == np.arange(len(groups))))
    sizes = np.bincount(groups, minlength=len(groups))
    without = without[np.lexsort((first_id[without], -sizes[without]))]
    number_of[without] = first_new + np.arange(len(without))
    return number_of[groups], first_new + len(without)


def _first_ids(groups: NDArray[np.int64], face_ids: pa.Array) -> NDArray[np.int64]:
    """Return (n,) the rank of each group's first face_id among all, in the groups' places."""
    order = pc.sort_indices(face_ids).to_numpy().astype(np.int64)
    rank = np.empty(len(groups), np.int64)
    rank[order] = np.arange(len(groups))
    first = np.full(len(groups), len(groups))
    np.minimum.at(first, groups, rank)
    return first
