"""The people of a dataset as a CSV file, out and in: face_id, person_id, person, said_by."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from faces.core.errors import WrongUsageError, cause_of
from faces.dataset.people_book import PeopleBook, PeopleView
from faces.dataset.people_decisions import MAX_FACES, MAX_PERSON, Decision, checked_name
from faces.dataset.people_groups import GROUPS_SCHEMA, Groups
from faces.dataset.people_verbs import assign_faces
from facetrove.people.tables import PeoplesFaces

CSV_COLUMNS = ("face_id", "person_id", "person", "said_by")

MACHINE = "machine"
"""What `said_by` has where nobody has said whose face it is."""

MAX_FIELD = 2_000
"""Maximum number of characters of a value of a CSV file that is read."""


@dataclass(frozen=True)
class ImportedPeople:
    """What an import of people changed.

    Attributes:
        num_faces: number of faces whose person was said by a human, and is now this dataset's.
        num_grouped: number of faces whose person a machine said elsewhere and none here.
        num_people: number of people of all these faces.
        decision: the decision that says it, which can be taken back; None: nothing had to be said.
    """

    num_faces: int
    num_grouped: int
    num_people: int
    decision: Decision | None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary for `json.dump`, without the decision's faces."""
        found = {**self.__dict__, "decision_id": None}
        del found["decision"]
        if self.decision is not None:
            found["decision_id"] = self.decision.decision_id
        return found


@dataclass(frozen=True)
class _Row:
    """A row of a CSV file of people: the face, and its person by number, by name or both."""

    face_id: str
    person_id: int | None
    person: str | None
    by_machine: bool


def export_table(faces: PeoplesFaces) -> pa.Table:
    """Return the rows of an export: face_id, person_id, person and said_by of known faces."""
    table = faces.faces_table(None)
    return table.filter(pc.is_valid(table["person_id"])).select(CSV_COLUMNS)


def import_people(book: PeopleBook, path: Path) -> ImportedPeople:
    """Take over who is who from a CSV file.

    Rows that say `machine` in the column `said_by` are taken for a grouping, and count only for
    faces that no grouping has here. All others are one decision.

    Args:
        book: the people book.
        path: path of the file.

    Raises:
        WrongUsageError: the file cannot be read, lacks a column, or names a face that the dataset
            does not have.
        BusyError: another process is writing the book.
    """
    rows = {row.face_id: row for row in _rows(path)}
    if not rows:
        raise WrongUsageError(f"{path} names the person of no face")
    with book.writing() as view:
        numbers, names = _numbers(book, view, rows)
        said = {face: numbers[face] for face, row in rows.items() if not row.by_machine}
        said = _changed(view, said, rows)
        decision = None
        new_names = {n: name for n, name in names.items() if view.name_of(n) != name}
        if said or new_names:
            decision = assign_faces(book, view, said, new_names)
    with book.writing() as view:
        grouped = view.model.grouped(list(rows))
        machine = {
            face: numbers[face]
            for face, row in rows.items()
            if row.by_machine and face not in grouped
        }
        if machine:
            _add_to_groups(book, view, machine)
    return ImportedPeople(
        len(said), len(machine), len({*said.values(), *machine.values()}), decision
    )


def _rows(path: Path) -> Iterator[_Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.DictReader(file, strict=True)
            fields = set(lines.fieldnames or ())
            if "face_id" not in fields or not fields & {"person_id", "person"}:
                raise WrongUsageError(
                    f"{path} needs a column face_id, and a column person_id or person"
                )
            for line in lines:
                row = _row(line, path, lines.line_num)
                if row is not None:
                    yield row
                if lines.line_num > 2 * MAX_FACES:
                    raise WrongUsageError(f"{path} has more than {2 * MAX_FACES:,} lines")
    except (OSError, csv.Error, UnicodeError) as error:
        raise WrongUsageError(f"{path} cannot be read as CSV ({cause_of(error)})") from error


def _row(line: Mapping[str | None, Any], path: Path, number: int) -> _Row | None:
    """Return what a line says; None where it names no person."""
    values = {key: _text(line.get(key)) for key in CSV_COLUMNS}
    if not values["face_id"] or not (values["person_id"] or values["person"]):
        return None
    person_id = None
    if values["person_id"]:
        with suppress(ValueError):
            person_id = int(values["person_id"][:20])
        if person_id is None or not 1 <= person_id <= MAX_PERSON:
            raise WrongUsageError(
                f"{path}, line {number}: {values['person_id'][:20]!r} is no number of a person"
            )
    name = checked_name(values["person"]) if values["person"] else None
    return _Row(values["face_id"], person_id, name, values["said_by"] == MACHINE)


def _text(value: Any) -> str:
    """Return a cell's text, without the apostrophe that an export puts before `=` and its like."""
    text = value.strip()[:MAX_FIELD] if isinstance(value, str) else ""
    return text[1:] if text[:1] == "'" and text[1:2] in set("=+-@") else text


def _numbers(
    book: PeopleBook, view: PeopleView, rows: Mapping[str, _Row]
) -> tuple[dict[str, int], dict[int, str]]:
    """Return the number of the person of each row's face, and names by number.

    A name without a number is that of the one person who has it, else of a new person.
    """
    names = {row.person_id: row.person for row in rows.values() if row.person_id and row.person}
    named: dict[int, str] = {number: name for number, name in names.items() if number and name}
    by_name = {name.casefold(): number for number, name in named.items()}
    next_person = max([book.next_person(view), *(r.person_id or 0 for r in rows.values())]) + 1
    numbers = {}
    for face, row in rows.items():
        number = row.person_id
        if number is None:
            assert row.person is not None
            key = row.person.casefold()
            if key not in by_name:
                known = view.with_name(row.person)
                if len(known) == 1:
                    by_name[key] = known[0]
                else:
                    by_name[key], next_person = next_person, next_person + 1
                    named[by_name[key]] = row.person
            number = by_name[key]
        numbers[face] = number
    return numbers, named


def _changed(view: PeopleView, said: Mapping[str, int], rows: Mapping[str, _Row]) -> dict[str, int]:
    """Return those of some faces whose person no human has said to be this one."""
    words = view.model.words_about(list(said))
    kept = {}
    for face, number in said.items():
        placed = words[face].placed if face in words else None
        if placed is None or view.state.root(placed[0]) != view.state.root(number):
            kept[face] = number
    return kept


def _add_to_groups(book: PeopleBook, view: PeopleView, people: Mapping[str, int]) -> None:
    """Add faces to the grouping."""
    added = pa.table(
        {
            "face_id": pa.array(list(people), pa.string()),
            "person": pa.array(list(people.values()), pa.int64()),
            "doubt": pa.array([0.0] * len(people), pa.float32()),
            "listed": pa.nulls(len(people), pa.string()),
        },
        schema=GROUPS_SCHEMA,
    )
    table = pa.concat_tables([view.groups.table.cast(GROUPS_SCHEMA), added])
    book.replace_groups(Groups.of(table), view)
