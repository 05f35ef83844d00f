"""What humans can decide of who is who: each verb is checked against the book, then written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from faces.core.errors import ContradictionError, WrongUsageError
from faces.dataset.deletions import face_digests, read_deletions
from faces.dataset.people_book import PeopleBook, PeopleView, shown_person
from faces.dataset.people_contradictions import (
    merged_by,
    reason_against_merge,
    reason_against_undo,
)
from faces.dataset.people_decisions import (
    MAX_FACE_ID,
    MAX_FACES,
    MAX_PEOPLE,
    Decision,
    Verb,
    checked_name,
    id_of,
    time_of,
)
from faces.photos.uris import is_unicode

PersonName = int | str
"""A person's number, or the name that one person has."""


def name_person(book: PeopleBook, person: PersonName, name: str | None) -> Decision:
    """Give a person a name.

    Args:
        book: the people book.
        person: the person.
        name: the name; None or "": the person has none any more.

    Raises:
        WrongUsageError: there is no such person, or it is no name.
    """
    checked = checked_name(name) if name else None
    with book.writing() as view:
        number = view.find(person)
        return book.write(_said(book, view, "name", people=(number,), name=checked))


def merge_people(book: PeopleBook, people: Sequence[PersonName]) -> Decision:
    """Say that people are one, who keeps number and name of the first of them.

    Raises:
        WrongUsageError: there is no such person, fewer than two are given, or somebody said that
            two of them are different.
    """
    with book.writing() as view:
        numbers = _different(view, people)
        if len(numbers) < 2:
            raise WrongUsageError(f"{_listed(people)} are one person already; name two or more")
        decision = _said(book, view, "merge", people=tuple(numbers))
        reason = reason_against_merge(view, decision)
        if reason is not None:
            raise ContradictionError(f"{_listed(numbers)} cannot be merged: {reason}")
        return book.write(decision)


def separate_people(book: PeopleBook, one: PersonName, other: PersonName) -> Decision:
    """Say that two people are not one.

    Raises:
        WrongUsageError: there is no such person, or the two were merged.
    """
    with book.writing() as view:
        numbers = _found(view, [one, other])
        decision = _said(book, view, "apart", people=tuple(numbers))
        if numbers[0] == numbers[1]:
            raise ContradictionError(
                f"a person is not different from itself: {_listed([one, other])} are "
                f"{shown_person(view, numbers[0])}{merged_by(view, numbers[0])}"
            )
        return book.write(decision)


def split_person(book: PeopleBook, person: PersonName, faces: Iterable[str]) -> Decision:
    """Say that some faces of a person are somebody else, who gets a new number.

    Raises:
        WrongUsageError: there is no such person or face, or a face is not this person's.
    """
    with book.writing() as view:
        number = view.find(person)
        face_ids = _faces(book, view, faces)
        _require_faces_of(view, number, face_ids)
        people = (number, book.next_person(view))
        return book.write(_said(book, view, "split", people=people, faces=tuple(face_ids)))


def move_faces(book: PeopleBook, faces: Iterable[str], person: PersonName) -> Decision:
    """Say whose faces some faces are.

    Raises:
        WrongUsageError: there is no such person or face.
    """
    with book.writing() as view:
        number = view.find(person)
        face_ids = _faces(book, view, faces)
        people = view.people_of(face_ids)
        verb: Verb = "confirm" if set(people) == {number} else "move"
        return book.write(_said(book, view, verb, people=(number,), faces=tuple(face_ids)))


def confirm_faces(book: PeopleBook, person: PersonName, faces: Iterable[str] = ()) -> Decision:
    """Say that faces are the person whom they are taken for.

    Args:
        book: the people book.
        person: the person.
        faces: the faces; none: all of the person.

    Raises:
        WrongUsageError: there is no such person or face, or a face is not taken for this person.
    """
    with book.writing() as view:
        number = view.find(person)
        given = list(faces)
        face_ids = _faces(book, view, given) if given else view.faces_of(number)
        if not face_ids:
            raise WrongUsageError(f"{shown_person(view, number)} has no face to confirm")
        _require_faces_of(view, number, face_ids)
        return book.write(_said(book, view, "confirm", people=(number,), faces=tuple(face_ids)))


def reject_faces(book: PeopleBook, faces: Iterable[str], person: PersonName) -> Decision:
    """Say that faces are not a person's, whoever they are.

    Raises:
        WrongUsageError: there is no such person or face.
    """
    with book.writing() as view:
        number = view.find(person)
        face_ids = _faces(book, view, faces)
        return book.write(_said(book, view, "reject", people=(number,), faces=tuple(face_ids)))


def flag_people(
    book: PeopleBook, verb: Verb, people: Sequence[PersonName], *, on: bool = True
) -> Decision:
    """Ignore or hide people, or no longer.

    Args:
        book: the people book.
        verb: `ignore` or `hide`.
        people: the people.
        on: whether they are ignored or hidden from now on.

    Raises:
        WrongUsageError: there is no such person, or none is named.
    """
    with book.writing() as view:
        numbers = _different(view, people)
        if not numbers:
            raise WrongUsageError(f"name the people to {verb}")
        return book.write(_said(book, view, verb, people=tuple(numbers), on=on))


def assign_faces(
    book: PeopleBook,
    view: PeopleView,
    people_of_faces: Mapping[str, int],
    names: Mapping[int, str],
) -> Decision:
    """Say of many faces at once whose they are, as one decision; the caller is in `writing`.

    Args:
        book: the people book.
        view: what `writing` yields.
        people_of_faces: number of the person by face_id; numbers may be new.
        names: names of people by number.

    Raises:
        WrongUsageError: there are too many faces, or a face does not exist.
    """
    face_ids = _faces(book, view, people_of_faces, needed=False)
    numbers = list(dict.fromkeys([*people_of_faces.values(), *names]))
    if len(numbers) > MAX_PEOPLE:
        raise WrongUsageError(
            f"{len(numbers):,} people are named; at most {MAX_PEOPLE:,} may be at once: divide the "
            "list"
        )
    row_of = {number: row for row, number in enumerate(numbers)}
    decision = _said(
        book,
        view,
        "assign",
        people=tuple(numbers),
        faces=tuple(face_ids),
        names=tuple(checked_name(names[n]) if n in names else None for n in numbers),
        rows=tuple(row_of[people_of_faces[face]] for face in face_ids),
    )
    return book.write(decision)


def undo_decision(book: PeopleBook, decision_id: str) -> Decision:
    """Take a decision back, an undo too.

    Raises:
        WrongUsageError: there is no such decision in force, or others rest on it or would
            contradict.
    """
    with book.writing() as view:
        found = view.by_id.get(decision_id)
        if found is None:
            raise WrongUsageError(
                f"there is no decision {decision_id}; `facetrove undo {book.dataset_dir}` lists "
                "what can be taken back"
            )
        reason = reason_against_undo(view, found)
        if reason is not None:
            raise ContradictionError(f"decision {decision_id} {reason}")
        return book.write(_said(book, view, "undo", undoes=decision_id))


def _said(
    book: PeopleBook,
    view: PeopleView,
    verb: Verb,
    *,
    people: tuple[int, ...] = (),
    faces: tuple[str, ...] = (),
    name: str | None = None,
    on: bool = True,
    undoes: str = "",
    names: tuple[str | None, ...] = (),
    rows: tuple[int, ...] = (),
) -> Decision:
    """Return a decision of now, which comes after all that the book has."""
    key = book.next_key(view)
    return Decision(
        *(id_of(key), time_of(key), book.author, verb, people, faces, name, on, undoes, names),
        rows,
    )


def _found(view: PeopleView, people: Sequence[PersonName]) -> list[int]:
    return [view.find(person) for person in people]


def _different(view: PeopleView, people: Sequence[PersonName]) -> list[int]:
    return list(dict.fromkeys(_found(view, people)))


def _listed(people: Iterable[PersonName]) -> str:
    return " and ".join(map(str, people))


def _faces(
    book: PeopleBook, view: PeopleView, faces: Iterable[str], *, needed: bool = True
) -> list[str]:
    """Return face ids, each once, all of which are faces of the dataset that nobody deleted."""
    face_ids = list(dict.fromkeys(map(str, faces)))
    if needed and not face_ids:
        raise WrongUsageError("no face is named; name some by face_id")
    if len(face_ids) > MAX_FACES:
        raise WrongUsageError(
            f"{len(face_ids):,} faces are named; at most {MAX_FACES:,} may be at once: name them "
            "in several calls"
        )
    if (missing := _missing_faces(book, view, face_ids)) is not None:
        raise WrongUsageError(
            f"{book.dataset_dir} has no face {missing[:MAX_FACE_ID]!r}, or it is deleted; "
            "`facetrove search --json` prints face_ids"
        )
    return face_ids


def _missing_faces(book: PeopleBook, view: PeopleView, face_ids: list[str]) -> str | None:
    """Return the first of some face ids that the dataset does not have; None: it has all.

    Faces of the grouping are faces of the dataset unless they were deleted since; only of others is
    the dataset read.
    """
    odd = [face for face in face_ids if not is_unicode(face) or len(face) > MAX_FACE_ID]
    if odd:
        return odd[0]
    ids = pa.array(face_ids, pa.string())
    deletions = read_deletions(book.dataset_dir)
    gone = pc.is_in(ids, value_set=deletions.pending)
    if len(deletions.final_digests):
        gone = pc.or_(gone, pc.is_in(face_digests(ids), value_set=deletions.final_digests))
    deleted = ids.filter(gone).to_pylist()
    if deleted:
        return str(deleted[0])
    unknown = set(face_ids) - view.model.grouped(face_ids).keys()
    unknown -= set(book.faces_among(unknown))
    return next((face for face in face_ids if face in unknown), None)


def _require_faces_of(view: PeopleView, person: int, face_ids: Sequence[str]) -> None:
    """Raise WrongUsageError unless all of some faces are taken for a person."""
    for face, found in zip(face_ids, view.people_of(face_ids), strict=True):
        if found != person:
            whose = "nobody's" if found is None else f"that of {shown_person(view, found)}"
            raise WrongUsageError(
                f"face {face} is not of {shown_person(view, person)}, but {whose}; `facetrove "
                f"people move DATASET {face} {person}` says that it is"
            )
