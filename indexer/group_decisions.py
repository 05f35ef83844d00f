"""What people said of faces, by face_id, as the constraints of a grouping."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.photos.uris import is_unicode
from indexer.group_numbers import NO_NUMBER
from indexer.group_rules import (
    NOBODY,
    Constraints,
    GroupRules,
    Pairs,
    chains,
    joined,
    meeting_in_photos,
)

MAX_NUMBER = 1 << 62
"""Numbers of groups and people are below this, so that there are always further ones."""

FacePairs = Sequence[tuple[str, str]]
"""Pairs of face_ids."""


@dataclass(frozen=True)
class Decisions:
    """What people said of faces. It holds always, and machines find the rest.

    Faces that are not in the index count too: if A is B, and B is C, then A is C, though B is
    deleted.

    Attributes:
        together: pairs of face_ids of one person.
        apart: pairs of face_ids of two people: nobody who is one of them is the other.
        fixed: number of the person by face_id, 0 to 2^62. All faces of one number are one group,
            which has this number; other faces may join it; no two numbers are one group.
        repeated_photos: photo_ids of photos that may show a person several times, such as those of
            mirrors and collages. In others, two faces are two people unless they are linked here.
    """

    together: FacePairs = ()
    apart: FacePairs = ()
    fixed: Mapping[str, int] = field(default_factory=dict)
    repeated_photos: Collection[str] = ()

    def __post_init__(self) -> None:
        """Check the numbers of people.

        Raises:
            WrongUsageError: a number is out of range.
        """
        wrong = [number for number in self.fixed.values() if not 0 <= number < MAX_NUMBER]
        if wrong:
            raise WrongUsageError(f"{wrong[0]} is no number of a person; give 0 to 2^62 - 1")


class DecidedFaces:
    """Decisions about the faces of an index, as constraints by row.

    Attributes:
        constraints: the constraints, of all n faces.
        start: (n,) the smallest row of the faces that each face is together with.
        fixed: (n,) the person of each face, by links too, or `indexer.group_rules.NOBODY`.
        people: (m,) numbers of people, of faces that are not in the index too.
        decided: (n,) bool, the faces that are linked or fixed.
        is_new: (n,) bool, faces without an earlier group, or whose earlier group is contradicted.

    Args:
        decisions: what people said.
        face_ids: (n,) string, the faces.
        photo_ids: (n,) string, their photos.
        earlier: (n,) number of each face's earlier group, which is kept together, or `NO_NUMBER`;
            None: groups are not kept.

    Raises:
        WrongUsageError: decisions contradict each other.
    """

    def __init__(
        self,
        decisions: Decisions,
        face_ids: pa.Array,
        photo_ids: pa.Array,
        *,
        earlier: NDArray[np.int64] | None = None,
    ) -> None:
        num_rows = len(face_ids)
        said = _Said.of(decisions, face_ids)
        total = len(said.names)
        rules = GroupRules(
            Constraints(said.together, said.apart, fixed=said.fixed), total, names=said.names
        )
        photos = _photos(photo_ids, decisions.repeated_photos)
        must = np.stack([rules.start, np.arange(total)], axis=1)
        self.is_new = np.ones(num_rows, bool)
        if earlier is not None:
            links, self.is_new = _kept(earlier, rules, said, photos)
            must = np.concatenate([must, links])
        start = joined(total, must)
        first_row = np.full(total, total)
        np.minimum.at(first_row, start[:num_rows], np.arange(num_rows))
        person = np.full(total, NOBODY)
        np.maximum.at(person, start, rules.person)
        group = first_row[start]
        self.start, self.fixed = group[:num_rows], person[start[:num_rows]]
        self.people = np.unique(said.fixed[said.fixed != NOBODY])
        rows = np.flatnonzero(self.start != np.arange(num_rows))
        apart = group[said.apart]
        self.constraints = Constraints(
            must=np.stack([group[rows], rows], axis=1),
            cannot=apart[(apart < num_rows).all(axis=1)],
            photos=photos,
            fixed=self.fixed,
            settled=None if earlier is None else ~self.is_new,
        )
        self.decided = said.fixed[:num_rows] != NOBODY
        linked = said.together.ravel()
        self.decided[linked[linked < num_rows]] = True


@dataclass(frozen=True)
class _Said:
    """Decisions by number: faces of the index by their rows, then others that are named.

    Attributes:
        names: (m,) string, all face_ids.
        together, apart: pairs of numbers.
        fixed: (m,) the person of each face, or `NOBODY`.
    """

    names: pa.Array
    together: Pairs
    apart: Pairs
    fixed: NDArray[np.int64]

    @classmethod
    def of(cls, decisions: Decisions, face_ids: pa.Array) -> _Said:
        pairs = [face for pair in (*decisions.together, *decisions.apart) for face in pair]
        named = [*pairs, *decisions.fixed]
        wrong = [face for face in named if not is_unicode(face)]
        if wrong:
            raise WrongUsageError(f"{wrong[0]!r} is no face_id; name faces of the index")
        mentioned = pa.array(named, pa.string())
        absent = mentioned.filter(pc.invert(pc.is_in(mentioned, value_set=face_ids))).unique()
        names = pa.concat_arrays([face_ids, absent])
        numbers = pc.index_in(mentioned, value_set=names).to_numpy().astype(np.int64)
        fixed = np.full(len(names), NOBODY)
        fixed[numbers[len(pairs) :]] = list(decisions.fixed.values())
        linked = numbers[: len(pairs)].reshape(-1, 2)
        count = len(decisions.together)
        return cls(names, linked[:count], linked[count:], fixed)


def _kept(
    earlier: NDArray[np.int64], rules: GroupRules, said: _Said, photos: NDArray[np.int64]
) -> tuple[Pairs, NDArray[np.bool_]]:
    """Return pairs that keep earlier groups together, and which faces are in none of these.

    A fixed face is kept with the group of its person's number. Where earlier groups, together with
    decisions and photos, would make two people one, the faces in them that nobody has fixed are set
    free.

    Returns:
        pairs of numbers, and (n,) bool.
    """
    total, num_rows = len(said.names), len(earlier)
    label = np.append(earlier, np.full(total - num_rows, NO_NUMBER))
    label = np.where(said.fixed != NOBODY, said.fixed, label)
    links = chains(label)
    start = joined(total, np.concatenate([links, np.stack([rules.start, np.arange(total)], 1)]))
    highest, lowest = np.full(total, NOBODY), np.full(total, MAX_NUMBER)
    known = np.flatnonzero(rules.person != NOBODY)
    np.maximum.at(highest, start[known], rules.person[known])
    np.minimum.at(lowest, start[known], rules.person[known])
    broken = (highest != NOBODY) & (highest != lowest)
    apart = start[said.apart]
    broken[apart[apart[:, 0] == apart[:, 1], 0]] = True
    broken[meeting_in_photos(start[:num_rows], rules.start[:num_rows], photos)] = True
    free = broken[start] & (said.fixed == NOBODY)
    label[free] = NO_NUMBER
    return chains(label), free[:num_rows] | (earlier == NO_NUMBER)


def _photos(photo_ids: pa.Array, repeated: Collection[str]) -> NDArray[np.int64]:
    """Return (n,) the number of each face's photo; faces in `repeated` have one each."""
    photos = np.array(photo_ids.dictionary_encode().indices, np.int64)
    names = pa.array([photo for photo in repeated if is_unicode(photo)], pa.string())
    alone = pc.is_in(photo_ids, value_set=names).to_numpy(zero_copy_only=False)
    photos[alone] = len(photos) + np.arange(int(alone.sum()))
    return photos


def restricted(constraints: Constraints, rows: NDArray[np.int64]) -> Constraints:
    """Return the constraints of some faces, by their places among (m,) `rows`, ascending.

    Args:
        constraints: constraints of all faces; each of `must` names a face and the smallest row of
            its group, and each of `cannot` two smallest rows.
        rows: faces, with whole groups of `must`.
    """
    photos, fixed, settled = constraints.photos, constraints.fixed, constraints.settled
    return replace(
        constraints,
        must=_pairs_among(constraints.must, rows),
        cannot=_pairs_among(constraints.cannot, rows),
        photos=None if photos is None else photos[rows],
        fixed=None if fixed is None else fixed[rows],
        settled=None if settled is None else settled[rows],
    )


def _pairs_among(pairs: Pairs, rows: NDArray[np.int64]) -> Pairs:
    places = np.searchsorted(rows, pairs).clip(max=max(0, len(rows) - 1))
    there = (rows[places] == pairs).all(axis=1) if len(rows) else np.zeros(len(pairs), bool)
    return np.asarray(places[there])
