"""What is counted of people, from the rows of their faces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from facetrove.people.roster_faces import NO_TIME, RosterFaces, Rows

MIN_DOUBT = 0.1
"""Doubt from which a face is doubtful: of others, a look is not worth the time."""

Slots = NDArray[np.int32]
"""Places of people in a roster's numbers; -1 stands for nobody."""


@dataclass(frozen=True, eq=False)
class PeopleCounts:
    """What is counted of p people.

    Attributes:
        num_faces, num_photos: (p,) int32.
        num_doubtful: (p,) int32, faces with a doubt of `MIN_DOUBT` or more of whom no human spoke.
        first, last: (p,) int64, when photos of the person were taken, as `RosterFaces.taken`.
        cover: (p,) int64, row of the face that is least doubtful; -1: the person has no face.
    """

    num_faces: NDArray[np.int32]
    num_photos: NDArray[np.int32]
    num_doubtful: NDArray[np.int32]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    cover: Rows

    @classmethod
    def of(
        cls,
        faces: RosterFaces,
        rows: Rows,
        people: Slots,
        *,
        by_human: NDArray[np.bool_],
        num_people: int,
    ) -> PeopleCounts:
        """Count the faces of people.

        Args:
            faces: all n faces.
            rows: (m,) the rows of the faces of these people.
            people: (m,) which of the people each of them is, from 0 on.
            by_human: (n,) bool: whether a human said whose face it is.
            num_people: p.
        """
        doubts = doubts_of(faces, rows, by_human)
        sure = np.where(by_human[rows], -1.0, np.nan_to_num(doubts, nan=2.0))
        least = np.full(num_people, np.inf)
        np.minimum.at(least, people, sure)
        best = np.flatnonzero(sure == least[people])
        cover = np.full(num_people, len(faces))
        np.minimum.at(cover, people[best], rows[best])
        photos = int(faces.photos.max(initial=0)) + 1
        pairs = np.unique(people.astype(np.int64) * photos + faces.photos[rows])
        first = np.full(num_people, np.iinfo(np.int64).max)
        last = np.full(num_people, NO_TIME)
        dated = np.flatnonzero(faces.taken[rows] != NO_TIME)
        np.minimum.at(first, people[dated], faces.taken[rows[dated]])
        np.maximum.at(last, people[dated], faces.taken[rows[dated]])
        return cls(
            num_faces=_counted(people, num_people),
            num_photos=_counted(pairs // photos, num_people),
            num_doubtful=_counted(people[doubts >= MIN_DOUBT], num_people),
            first=np.where(last == NO_TIME, NO_TIME, first),
            last=last,
            cover=np.where(cover == len(faces), -1, cover),
        )

    def with_some(self, slots: Slots, some: PeopleCounts, num_people: int) -> PeopleCounts:
        """Return the counts of `num_people` people, those of some of them replaced."""
        changed = {}
        for field in fields(self):
            values, nothing = getattr(self, field.name), getattr(_NOTHING, field.name)
            values = np.concatenate([values, np.repeat(nothing, num_people - len(values))])
            values[slots] = getattr(some, field.name)
            changed[field.name] = values
        return PeopleCounts(**changed)


_ZERO, _NEVER = np.zeros(1, np.int32), np.full(1, NO_TIME)
_NOTHING = PeopleCounts(_ZERO, _ZERO, _ZERO, _NEVER, _NEVER, np.full(1, -1))


def doubts_of(faces: RosterFaces, rows: Rows, by_human: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return (m,) how doubtful faces are; NaN where a human said whose they are, or nobody did.

    Args:
        faces: all n faces.
        rows: (m,) rows.
        by_human: (n,) bool: whether a human said whose face it is.
    """
    return np.where(by_human[rows], np.float32(np.nan), faces.doubts[rows])


def _counted(people: NDArray[np.integer], num_people: int) -> NDArray[np.int32]:
    return np.bincount(people, minlength=num_people).astype(np.int32)


@dataclass(frozen=True, eq=False)
class OwnRows:
    """The rows of the faces that have each number themselves.

    Attributes:
        order, starts: all rows by number as they were at first.
        changed: the rows of the numbers that have changed since, by slot.
    """

    order: Rows
    starts: Rows
    changed: Mapping[int, Rows]

    @classmethod
    def by_number(cls, own: Slots, num_people: int) -> OwnRows:
        """Return the rows of each number.

        Args:
            own: (n,) the number of each face, as a slot.
            num_people: how many numbers there are.
        """
        known = np.flatnonzero(own >= 0)
        order = known[np.argsort(own[known], kind="stable")]
        return cls(order, np.searchsorted(own[order], np.arange(num_people + 1)), {})

    def of(self, slot: int) -> Rows:
        """Return the rows of a number."""
        found = self.changed.get(int(slot))
        if found is not None:
            return found
        start, end = self.starts[slot : slot + 2] if slot + 1 < len(self.starts) else (0, 0)
        return self.order[start:end]

    def moved(self, rows: Rows, before: Slots, after: Slots) -> OwnRows:
        """Return these after some rows got another number; -1 stands for none."""
        changed = dict(self.changed)
        for slot in {*before.tolist(), *after.tolist()} - {-1}:
            kept = np.setdiff1d(self.of(slot), rows[before == slot], assume_unique=True)
            changed[slot] = np.sort(np.concatenate([kept, rows[after == slot]]))
        return replace(self, changed=changed)
