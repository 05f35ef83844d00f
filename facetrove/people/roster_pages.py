"""Pages of a roster's people: those that fit, in an order, from a cursor on.

A page is found among all people without sorting them. A cursor says the last one of the page before
by what the order is made of, so that it holds whatever is decided between two pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from facetrove.people.roster import Roster
from facetrove.people.roster_counts import Slots, doubts_of
from facetrove.people.roster_faces import NO_TIME, Rows

PeopleOrder = Literal["faces", "name", "doubts"]
"""An order of people: those with most faces first, by name (without a name last), or those with
most doubtful faces first."""

Cursor = tuple[int, int] | tuple[str, int]
"""The last person of a page: number of faces or of doubtful ones, or the name as it is compared
("" for none); and the person's number."""

_MOST = 1 << 31


@dataclass(frozen=True)
class PeopleQuery:
    """Which people are listed.

    Attributes:
        name: beginning of a word of their names; None: any.
        named: whether they have a name; None: either.
        hidden, ignored: whether hidden and ignored people are listed too.
        only: list hidden people alone, or ignored ones; None: whoever else fits.
        order: their order.
        limit: maximum number of people on a page.
        after: the last one of the page before; None: the first page.
    """

    name: str | None = None
    named: bool | None = None
    hidden: bool = False
    ignored: bool = False
    only: Literal["hidden", "ignored"] | None = None
    order: PeopleOrder = "faces"
    limit: int = 50
    after: Cursor | None = None


@dataclass(frozen=True)
class PeoplePage:
    """A page of people.

    Attributes:
        slots: the people, in order.
        after: the cursor of the next page; None: this is the last one.
        num_people: number of people on all pages.
    """

    slots: list[int]
    after: Cursor | None
    num_people: int


def people_page(roster: Roster, query: PeopleQuery) -> PeoplePage:
    """Return a page of the people who fit a query."""
    fitting = _fitting(roster, query)
    if query.order == "name":
        slots = list(islice(_by_name(roster, fitting, query), query.limit + 1))
    else:
        slots = _by_count(roster, fitting, query)
    after = None
    if len(slots) > query.limit:
        del slots[query.limit :]
        after = _cursor(roster, slots[-1], query.order)
    return PeoplePage(slots, after, int(np.count_nonzero(fitting)))


FaceOrder = Literal["doubt", "taken"]
"""An order of a person's faces: the most doubtful first, or by the time of the photo; those without
a doubt or time last, and equal ones by their ids."""

FaceCursor = tuple[float | int | None, str]
"""The last face of a page: its doubt or time, or None for none, and its id."""


def faces_page(
    roster: Roster, rows: Rows, *, order: FaceOrder, limit: int, after: FaceCursor | None
) -> Rows:
    """Return the rows of a page of faces, and one more if there is a further page.

    Args:
        roster: the people.
        rows: rows of the faces of a person.
        order: the order.
        limit: maximum number of faces on a page.
        after: the last face of the page before; None: the first page.
    """
    ranks = roster.faces.rows.ranks(rows)
    values: NDArray[Any]
    if order == "taken":
        values = roster.faces.taken[rows]
        values = np.where(values == NO_TIME, np.iinfo(np.int64).max, values)
    else:
        values = -np.nan_to_num(doubts_of(roster.faces, rows, roster.by_human), nan=-1.0)
    if after is not None:
        value = _largest(order) if after[0] is None else _sorted_by(order, after[0])
        place = roster.faces.rows.num_before(after[1])
        later = (values > value) | ((values == value) & (ranks >= place))
        rows, values, ranks = rows[later], values[later], ranks[later]
    return rows[np.lexsort([ranks, values])[: limit + 1]]


def face_cursor(roster: Roster, row: int, face_id: str, order: FaceOrder) -> FaceCursor:
    """Return the cursor of the page after a face."""
    if order == "taken":
        taken = int(roster.faces.taken[row])
        return (None if taken == NO_TIME else taken), face_id
    (doubt,) = doubts_of(roster.faces, np.array([row]), roster.by_human).tolist()
    return (None if np.isnan(doubt) else doubt), face_id


def _largest(order: FaceOrder) -> float | int:
    return int(np.iinfo(np.int64).max) if order == "taken" else 1.0


def _sorted_by(order: FaceOrder, value: float) -> float | int:
    return int(value) if order == "taken" else -value


def _fitting(roster: Roster, query: PeopleQuery) -> NDArray[np.bool_]:
    """Return (s,) bool: which people fit."""
    fitting = roster.counts.num_faces > 0
    if query.only is not None:
        fitting &= roster.hidden if query.only == "hidden" else roster.ignored
    if not (query.hidden or query.only == "hidden"):
        fitting &= ~roster.hidden
    if not (query.ignored or query.only == "ignored"):
        fitting &= ~roster.ignored
    if query.named is not None:
        fitting &= roster.named == query.named
    if query.name is not None:
        begins = np.zeros(len(fitting), bool)
        begins[roster.slots_among(roster.names.beginning_with(query.name))] = True
        fitting &= begins
    return fitting


def _by_count(roster: Roster, fitting: NDArray[np.bool_], query: PeopleQuery) -> list[int]:
    """Return one person more than fit on the page, those with the largest counts first."""
    slots = np.flatnonzero(fitting)
    ranks = ((_MOST - _counts(roster, query.order)[slots].astype(np.int64)) << 31) | slots
    if query.after is not None:
        count, number = query.after
        place = int(np.searchsorted(roster.numbers, number, side="right"))
        ranks = ranks[ranks >= (((_MOST - int(count)) << 31) | place)]
    size = query.limit + 1
    if len(ranks) > size:
        ranks = np.partition(ranks, size)[:size]
    return [int(rank) & (_MOST - 1) for rank in np.sort(ranks)]


def _by_name(roster: Roster, fitting: NDArray[np.bool_], query: PeopleQuery) -> Iterator[int]:
    """Yield the people of the page and those after it by name, then those without one."""
    name, number = ("", 0) if query.after is None else (str(query.after[0]), query.after[1])
    if query.after is None or name:
        for person in roster.names.after((name, number)):
            slot = roster.slot_of(person)
            if slot is not None and fitting[slot]:
                yield slot
        number = 0
    nameless: Slots = np.flatnonzero(fitting & ~roster.named).astype(np.int32)
    start = np.searchsorted(roster.numbers[nameless], number, side="right")
    yield from nameless[start : start + query.limit + 1].tolist()


def _counts(roster: Roster, order: PeopleOrder) -> NDArray[np.int32]:
    counts = roster.counts
    return counts.num_doubtful if order == "doubts" else counts.num_faces


def _cursor(roster: Roster, slot: int, order: PeopleOrder) -> Cursor:
    number = int(roster.numbers[slot])
    if order == "name":
        key = roster.names.key_of(number)
        return ("", number) if key is None else key
    return int(_counts(roster, order)[slot]), number
