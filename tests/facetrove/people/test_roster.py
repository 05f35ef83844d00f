"""The roster: whatever is decided, it says the same as one that is made anew."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from random import Random

import numpy as np
import pytest

from faces.core.errors import WrongUsageError
from faces.dataset import people_verbs as verbs
from faces.dataset.people_book import PeopleBook
from faces.dataset.store import Dataset
from facetrove.people.roster import Roster
from facetrove.people.roster_pages import (
    PeopleOrder,
    PeopleQuery,
    face_cursor,
    faces_page,
    people_page,
)
from facetrove.people.tables import PeoplesFaces
from tests.support.people import album, group

pytestmark = pytest.mark.usefixtures("own_folders")

NAMES = ["Ann Lee", "ann lea", "Bob Ray", "Émile Zola", "李 小龙", "Zoe"]


def whole(dataset: Path, book: PeopleBook) -> Roster:
    return PeoplesFaces.of(Dataset.open(dataset), book.view()).roster


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """60 faces in 30 photos, of people 1 to 12 with several names by lists."""
    random = Random(3)
    dataset = album(
        tmp_path / "d",
        [(None, random.sample(range(9), random.choice([1, 2, 3]))) for _ in range(30)],
    )
    faces = [
        face for table in Dataset.open(dataset).faces(["face_id"]) for face in table["face_id"]
    ]
    people = {str(face): random.randint(1, 12) for face in faces[:-4]}
    group(dataset, people, {str(faces[0]): "Ann Lee", str(faces[1]): "Bob Ray"})
    return dataset


def same(one: Roster, other: Roster) -> None:
    """Check that two rosters say the same; one may know more numbers that nobody has."""
    people = [n for n in other.numbers.tolist() if other.slot_of(n) is not None]
    for number in people:
        slots = one.slot_of(number), other.slot_of(number)
        assert None not in slots
        a, b = int(slots[0] or 0), int(slots[1] or 0)
        assert one.numbers[a] == other.numbers[b]
        assert one.rows_of(a).tolist() == other.rows_of(b).tolist()
        for field in fields(one.counts):
            ours, theirs = getattr(one.counts, field.name)[a], getattr(other.counts, field.name)[b]
            assert ours == theirs, (field.name, number)
        for flags in ("named", "hidden", "ignored"):
            assert getattr(one, flags)[a] == getattr(other, flags)[b], (flags, number)
    assert (one.by_human == other.by_human).all()
    assert one.names.names == other.names.names
    for order in ("faces", "name", "doubts"):
        pages = [listed(roster, order) for roster in (one, other)]
        assert pages[0] == pages[1]


def listed(roster: Roster, order: PeopleOrder, **conditions: object) -> list[int]:
    """Return the numbers of the people on all pages of two."""
    numbers: list[int] = []
    after = None
    while True:
        query = PeopleQuery(order=order, limit=2, after=after, **conditions)  # type: ignore[arg-type]
        page = people_page(roster, query)
        numbers += roster.numbers[page.slots].tolist()
        after = page.after
        if after is None:
            assert len(numbers) == page.num_people
            return numbers


@pytest.mark.parametrize("seed", range(6))
def test_decisions_change_a_roster_as_if_it_were_made_anew(dataset: Path, seed: int) -> None:
    random = Random(seed)
    book = PeopleBook(dataset, "ann")
    roster = whole(dataset, book)
    faces = [str(f) for t in Dataset.open(dataset).faces(["face_id"]) for f in t["face_id"]]
    made: list[str] = []
    for _ in range(40):
        decided(random, book, faces, made)
        if random.random() < 0.3:
            continue  # several decisions at once
        updated = roster.updated(book.view())
        assert updated is not None
        roster = updated
        same(roster, whole(dataset, book))
    assert len(made) > 20


def decided(random: Random, book: PeopleBook, faces: list[str], made: list[str]) -> None:
    """Decide anything; what cannot be decided is left out."""
    view = book.view()
    numbers = sorted({n for n in view.people_of(faces) if n})
    one, other = random.sample(numbers, 2)
    some = random.sample(faces, random.randint(1, 3))
    theirs = view.faces_of(one)
    choices = [
        lambda: verbs.name_person(book, one, random.choice([*NAMES, None])),
        lambda: verbs.merge_people(book, [one, other]),
        lambda: verbs.separate_people(book, one, other),
        lambda: verbs.split_person(book, one, theirs[: max(1, len(theirs) // 2)]),
        lambda: verbs.move_faces(book, some, one),
        lambda: verbs.confirm_faces(book, one),
        lambda: verbs.reject_faces(book, [*theirs[:1], *some], one),
        lambda: verbs.flag_people(book, "hide", [one], on=random.random() < 0.6),
        lambda: verbs.flag_people(book, "ignore", [one, other], on=random.random() < 0.6),
        lambda: verbs.undo_decision(book, random.choice(made)),
        lambda: verbs.undo_decision(book, made[-1]),
    ]
    with suppress(WrongUsageError, IndexError):
        made.append(random.choice(choices)().decision_id)


def test_people_are_found_by_any_word_of_their_names(dataset: Path) -> None:
    book = PeopleBook(dataset, "ann")
    for number in book.view().names:
        verbs.name_person(book, number, None)
    for number, name in enumerate(["Ann Mary Lee", "ANNETTE", "Bob Ann", "Émile", "Mary"], start=2):
        verbs.name_person(book, number, name)
    roster = whole(dataset, book)
    assert listed(roster, "name", name="ann") == [2, 3, 4]
    assert listed(roster, "name", name="mary l") == [2]
    assert listed(roster, "name", name="E\u0301M") == [5]
    assert listed(roster, "faces", name="nobody") == []
    verbs.name_person(book, 2, "Lee")
    updated = roster.updated(book.view())
    assert updated is not None and listed(updated, "name", name="ann") == [3, 4]
    assert 2 not in listed(updated, "name", named=False)
    assert listed(updated, "name", named=True)[-1] == 5
    assert listed(roster, "name", name="ann") == [2, 3, 4]  # a roster itself never changes


def test_a_grouping_or_a_purged_decision_asks_for_a_new_roster(dataset: Path) -> None:
    book = PeopleBook(dataset, "ann")
    verbs.name_person(book, 2, "Ann")
    roster = whole(dataset, book)
    group(dataset, {})
    assert roster.updated(book.view()) is None


@pytest.mark.parametrize("order", ["doubt", "taken"])
def test_pages_of_faces_are_the_whole_in_order(dataset: Path, order: str) -> None:
    book = PeopleBook(dataset, "ann")
    verbs.merge_people(book, [1, 2, 3, 4])
    verbs.confirm_faces(book, 1, book.view().faces_of(1)[:2])
    roster = whole(dataset, book)
    slot = roster.slot_of(3)
    assert slot is not None
    rows = roster.rows_of(slot)
    ids = {row: i for i, row in zip(faces_ids(dataset), range(60), strict=False)}
    found: list[int] = []
    after = None
    while True:
        page = faces_page(roster, rows, order=order, limit=3, after=after)  # type: ignore[arg-type]
        found += page[:3].tolist()
        if len(page) <= 3:
            break
        after = face_cursor(roster, found[-1], ids[found[-1]], order)  # type: ignore[arg-type]
    assert sorted(found) == rows.tolist() and len(found) > 9
    values = roster.faces.taken[found] if order == "taken" else ~roster.by_human[found]
    assert (np.diff(values.astype(np.int64)) * (1 if order == "taken" else -1) >= 0).all()


def faces_ids(dataset: Path) -> list[str]:
    tables = Dataset.open(dataset).faces(["face_id"])
    return [face for table in tables for face in table["face_id"].to_pylist()]
