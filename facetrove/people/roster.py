"""The roster: all people with their faces, kept up to date decision by decision.

It is made once of all faces (`roster_faces`). A decision then changes the few people whom it is
about, in some milliseconds, whatever the number of faces. A roster itself never changes: what is
new is another roster, which shares with the earlier one what has stayed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.dataset.people_book import PeopleView
from faces.dataset.people_decisions import Decision
from faces.dataset.people_rules import Conflict
from facetrove.people.roster_counts import OwnRows, PeopleCounts, Slots
from facetrove.people.roster_faces import RosterFaces, Rows
from facetrove.people.roster_names import NameOrder

MANY_CHANGED = 20_000
"""From this number of faces on that decisions are about, the roster is made anew."""

_MERGING = frozenset({"merge", "split", "apart", "undo"})
"""Verbs after which others may be one, or no longer be."""


@dataclass(frozen=True, eq=False)
class Roster:
    """All people of some faces. Use `of`.

    Attributes:
        faces: the n faces.
        view: what the people book says.
        numbers: (s,) int64, ascending: the numbers that faces have, or that decisions are about.
        roots: (s,) int32, the slot of the person who stayed of those whom a number was merged with.
        own: (n,) int32, the slot of the number that each face has itself.
        own_rows: the same by number.
        by_human: (n,) bool: whether a human said whose face it is.
        counts: what is counted of each slot; nothing of numbers that were merged into others.
        names: the names of people.
        named, hidden, ignored: (s,) bool: who has a name, or is hidden or ignored.
    """

    faces: RosterFaces
    view: PeopleView
    numbers: NDArray[np.int64]
    roots: Slots
    own: Slots
    own_rows: OwnRows
    by_human: NDArray[np.bool_]
    counts: PeopleCounts
    names: NameOrder
    named: NDArray[np.bool_]
    hidden: NDArray[np.bool_]
    ignored: NDArray[np.bool_]

    @classmethod
    def of(cls, faces: RosterFaces, face_ids: pa.ChunkedArray, view: PeopleView) -> Roster:
        """Make the roster of faces.

        Args:
            faces: the faces, by the grouping of `view`.
            face_ids: (n,) string, their ids.
            view: what the people book says.
        """
        state = view.state
        given = view.all_own_numbers(face_ids, faces.grouped)
        given[~faces.is_live] = 0
        told = [0, *state.mentioned, *state.roots, *state.roots.values()]
        numbers = np.unique(np.concatenate([given, faces.grouped, np.array(told, np.int64)]))[1:]
        own = (np.searchsorted(numbers, given, side="right") - 1).astype(np.int32)
        roots = np.arange(len(numbers), dtype=np.int32)
        roots[_slots(numbers, state.roots)] = _slots(numbers, state.roots.values())
        by_human = np.zeros(len(faces), bool)
        placed = view.model.query("SELECT face, person FROM placed")
        rows = faces.rows.of([face for face, _ in placed])
        people = np.array([person for _, person in placed], np.int64)[rows >= 0]
        rows = rows[rows >= 0]
        by_human[rows] = given[rows] == people
        known = np.flatnonzero(own >= 0)
        count = len(numbers)
        counts = PeopleCounts.of(
            faces, known, roots[own[known]], by_human=by_human, num_people=count
        )
        own_rows, nobody = OwnRows.by_number(own, count), np.zeros(count, bool)
        names = NameOrder(view.names)
        roster = cls(
            *(faces, view, numbers, roots, own, own_rows, by_human, counts, names),
            *(nobody.copy(), nobody.copy(), nobody.copy()),
        )
        roster.named[roster.slots_among(names.names)] = True
        said = state.people.items()
        roster.hidden[roster.slots_among(n for n, person in said if person.hidden)] = True
        roster.ignored[roster.slots_among(n for n, person in said if person.ignored)] = True
        return roster

    def slot_of(self, person: int) -> int | None:
        """Return the slot of the person whom a number means; None: there is no such person."""
        slot = int(np.searchsorted(self.numbers, person))
        if slot == len(self.numbers) or self.numbers[slot] != person:
            return None
        return int(self.roots[slot])

    def rows_of(self, slot: int) -> Rows:
        """Return the rows of the faces of a person, ascending."""
        number = int(self.numbers[slot])
        slots = _slots(self.numbers, self.view.state.numbers(number)).tolist()
        return np.sort(np.concatenate([self.own_rows.of(slot) for slot in slots]))

    def people_of(self, rows: Rows) -> Slots:
        """Return (m,) the person of each face; -1: nobody knows."""
        own = self.own[rows]
        return np.where(own < 0, np.int32(-1), self.roots[own] if len(self.roots) else own)

    def slots_among(self, people: Iterable[int]) -> Slots:
        """Return the slots of those numbers that there are; they are not mapped to roots."""
        wanted = np.array([*people], np.int64)
        if not len(self.numbers):
            return np.zeros(0, np.int32)
        slots = np.minimum(np.searchsorted(self.numbers, wanted), len(self.numbers) - 1)
        there: Slots = slots[self.numbers[slots] == wanted].astype(np.int32)
        return there

    def shown_name(self, person: int) -> str:
        """Return the name of a person, or the number where there is none."""
        return self.names.names.get(person, str(person))

    @cached_property
    def conflicts(self) -> dict[int, Conflict]:
        """The last contradiction about each person of whom there is one, by number."""
        root = self.view.state.root
        return {root(p): found for found in self.view.conflicts() for p in found.people}

    def updated(self, view: PeopleView) -> Roster | None:
        """Return the roster by a later state of the people book; None: it is to be made anew.

        Args:
            view: what the people book says now.
        """
        if view is self.view:
            return self
        new = _new_decisions(self.view, view)
        if new is None:
            return None
        return _Update(self, view, new).roster()


class _Update:
    """What some decisions that came, or were taken back, change in a roster."""

    def __init__(self, before: Roster, view: PeopleView, changed: list[Decision]) -> None:
        self.before = before
        self.view = view
        self.changed = changed
        self.turned: set[int] = set()
        states = before.view.state, view.state
        if any(decision.verb in _MERGING for decision in changed):
            merged = states[0].roots.keys() | states[1].roots.keys()
            turned = [n for n in merged if states[0].root(n) != states[1].root(n)]
            self.turned = {n for one in turned for n in (one, *(s.root(one) for s in states))}
        said = {number for decision in changed for number in decision.people}
        self.people = self.turned | {state.root(number) for number in said for state in states}

    def roster(self) -> Roster | None:
        before, state = self.before, self.view.state
        face_ids = self._faces()
        if len(face_ids) + len(self.people) > MANY_CHANGED:
            return None
        given = self.view.own_numbers_of(face_ids)
        rows = before.faces.rows.of(face_ids)
        there = rows >= 0
        new = {*self.people, *(number for number in given if number)}
        numbers = _extended(before.numbers, new)
        if numbers is None:
            return None
        after = np.array([number or 0 for number in given], np.int64)[there]
        rows = rows[there]
        own_before = before.own[rows]
        own_after = (np.searchsorted(numbers, after, side="right") - 1).astype(np.int32)
        own, by_human = before.own, before.by_human
        if len(rows):
            own, by_human = own.copy(), by_human.copy()
            own[rows] = own_after
            placed = self.view.model.query_many(
                "SELECT face, person FROM placed WHERE face IN (*)", face_ids
            )
            by_face = dict(placed)
            by_human[rows] = [
                number is not None and by_face.get(face) == number
                for face, number, is_there in zip(face_ids, given, there, strict=True)
                if is_there
            ]
        roots = np.concatenate(
            [before.roots, np.arange(len(before.roots), len(numbers), dtype=np.int32)]
        )
        turned = sorted(self.turned)
        roots[_slots(numbers, turned)] = _slots(numbers, map(state.root, turned))
        touched = np.unique(np.concatenate([own_before, own_after, _slots(numbers, self.people)]))
        touched = touched[touched >= 0]
        touched = np.union1d(touched, roots[touched]).astype(np.int32)
        own_rows = before.own_rows
        if len(rows):
            own_rows = own_rows.moved(rows, own_before, own_after)
        return self._counted(numbers, roots, own, own_rows, by_human, touched)

    def _counted(
        self,
        numbers: NDArray[np.int64],
        roots: Slots,
        own: Slots,
        own_rows: OwnRows,
        by_human: NDArray[np.bool_],
        touched: Slots,
    ) -> Roster:
        """Return the roster, once what is counted of the people who have changed is known."""
        before, view, count = self.before, self.view, len(numbers)
        rows, people = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)]
        named, hidden, ignored = (
            np.concatenate([flags, np.zeros(count - len(flags), bool)])
            for flags in (before.named, before.hidden, before.ignored)
        )
        names: dict[int, str | None] = {}
        for place, slot in enumerate(touched.tolist()):
            number = int(numbers[slot])
            if roots[slot] != slot:
                names[number], named[slot] = None, False
                continue
            names[number] = view.name_of(number)
            said = view.state.said_of(number)
            named[slot] = names[number] is not None
            hidden[slot], ignored[slot] = said.hidden, said.ignored
            theirs = [own_rows.of(one) for one in _slots(numbers, view.state.numbers(number))]
            rows += theirs
            people.append(np.full(sum(map(len, theirs)), place, np.int32))
        found = PeopleCounts.of(
            before.faces,
            np.concatenate(rows),
            np.concatenate(people),
            by_human=by_human,
            num_people=len(touched),
        )
        counts = before.counts.with_some(touched, found, count)
        return Roster(
            *(before.faces, view, numbers, roots, own, own_rows, by_human, counts),
            *(before.names.changed(names), named, hidden, ignored),
        )

    def _faces(self) -> list[str]:
        """Return the faces whose person may be another one by now."""
        model, keys = self.view.model, [decision.key for decision in self.changed]
        found = model.query_many("SELECT DISTINCT face FROM word WHERE key IN (*)", keys)
        # A face that is not a person may be nobody's once that person is merged with another.
        sql = "SELECT DISTINCT face FROM rejected WHERE person IN (*)"
        found += model.query_many(sql, sorted(self.turned))
        return sorted({face for (face,) in found})


def _new_decisions(before: PeopleView, after: PeopleView) -> list[Decision] | None:
    """Return the decisions that are in force only in one of two states of a people book.

    None: a decision is not what it was, as after a purge, or faces were grouped anew.
    """
    old, new = before.seen.decisions, after.seen.decisions
    if before.seen.groups != after.seen.groups:
        return None
    if new[: len(old)] != old:
        by_key = {decision.key: decision for decision in new}
        if any(by_key.get(decision.key) != decision for decision in old):
            return None
    changed = before.state.in_force ^ after.state.in_force
    return [decision for decision in new if decision.key in changed]


def _slots(numbers: NDArray[np.int64], people: Iterable[int]) -> Slots:
    """Return the slots of numbers that are all there."""
    return np.searchsorted(numbers, np.array([*people], np.int64)).astype(np.int32)


def _extended(numbers: NDArray[np.int64], people: Collection[int]) -> NDArray[np.int64] | None:
    """Return numbers with those added that are new; None: one is not larger than all others."""
    wanted = np.unique(np.array([*people], np.int64))
    new = np.setdiff1d(wanted, numbers, assume_unique=True)
    if len(new) and len(numbers) and new[0] < numbers[-1]:
        return None
    return np.concatenate([numbers, new])
