from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faces.core.errors import (
    CorruptFileError,
    FaceTroveError,
    LinkFoundError,
    WrongUsageError,
)
from faces.core.machine import cache_dir
from faces.dataset import people_verbs as verbs
from faces.dataset.layout import BookFile
from faces.dataset.names import PersonName
from faces.dataset.people_book import PeopleBook
from faces.dataset.people_decisions import Decision, write_decision
from faces.dataset.people_following import follow_book
from faces.dataset.people_purge import purge_book
from tests.support.people import group, grouped_collection
from tests.support.small_collections import Collection, files_with

pytestmark = pytest.mark.usefixtures("own_folders")

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload([__name__])


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    """24 faces, of people 1 to 4 by turns."""
    return grouped_collection(tmp_path / "d")


def people(collection: Collection, *faces: str, author: str = "ann") -> list[int | None]:
    """Return whose some faces are, or all, in a book that is opened anew."""
    ids = list(faces) or sorted(collection.faces())
    view = PeopleBook(collection.path, author).view()
    found = view.people_of(ids)
    assert view.numbers_of(pa.chunked_array([ids])).tolist() == [n or 0 for n in found]
    return found


def decision_files(collection: Collection) -> list[Path]:
    return sorted((collection.path / "people").glob("decision-*"))


def read_model() -> Path:
    (found,) = (cache_dir() / "people").glob("*/book.sqlite")
    return found


def test_a_merge_is_taken_back_even_after_another_grouping(collection: Collection) -> None:
    book = PeopleBook(collection.path, "ann")
    faces = sorted(collection.faces())
    verbs.name_person(book, 2, "Ann Lee")
    merge = verbs.merge_people(book, [2, 3])
    verbs.name_person(book, 3, "Ann Lea")  # the person who stayed gets the name
    assert people(collection, *faces[:4]) == [1, 2, 2, 4]
    assert book.view().names == {2: "Ann Lea"}
    group(collection.path, dict(zip(faces, [1, 2, 3, 3, 1, 2] * 4, strict=True)))
    assert people(collection, *faces[:4]) == [1, 2, 2, 2]
    verbs.undo_decision(book, merge.decision_id)
    assert people(collection, *faces[:4]) == [1, 2, 3, 3]
    assert book.view().names == {2: "Ann Lea"}


def test_a_grouping_contradicts_no_human(collection: Collection) -> None:
    book = PeopleBook(collection.path, "ann")
    faces = sorted(collection.faces())
    verbs.move_faces(book, [faces[0]], 4)
    verbs.reject_faces(book, [faces[1]], 2)
    split = verbs.split_person(book, 3, [faces[2]])
    assert split.people == (3, 5)
    assert people(collection, *faces[:4]) == [4, None, 5, 4]
    group(collection.path, dict.fromkeys(faces, 2))
    assert people(collection, *faces[:4]) == [4, None, 5, 2]
    group(collection.path, dict.fromkeys(faces, 3))
    assert people(collection, *faces[:4]) == [4, 3, 5, 3]


def test_the_later_word_about_a_face_counts(collection: Collection) -> None:
    book = PeopleBook(collection.path, "ann")
    face = sorted(collection.faces())[0]
    assert people(collection, face) == [1]
    verbs.reject_faces(book, [face], 1)
    verbs.move_faces(book, [face], 2)
    assert people(collection, face) == [2]
    rejected = verbs.reject_faces(book, [face], 2)
    assert people(collection, face) == [None]
    moved = verbs.move_faces(book, [face], 1)
    assert people(collection, face) == [1]
    verbs.undo_decision(book, moved.decision_id)
    assert people(collection, face) == [None]
    verbs.undo_decision(book, rejected.decision_id)
    assert people(collection, face) == [2]
    merge = verbs.merge_people(book, [3, 2])
    assert people(collection, face) == [3]
    verbs.reject_faces(book, [face], 3)
    verbs.undo_decision(book, merge.decision_id)
    assert people(collection, face) == [2]  # it was said not to be person 3


def test_numbers_of_people_are_never_used_again(collection: Collection) -> None:
    book = PeopleBook(collection.path, "ann")
    faces = sorted(collection.faces())
    first = verbs.split_person(book, 1, [faces[0]])
    verbs.undo_decision(book, first.decision_id)
    group(collection.path, dict.fromkeys(faces, 1))
    assert verbs.split_person(book, 1, [faces[0]]).people == (1, 6)


def test_what_rests_on_a_split_is_taken_back_first(collection: Collection) -> None:
    book = PeopleBook(collection.path, "ann")
    faces = sorted(collection.faces())
    split = verbs.split_person(book, 1, [faces[0]])
    name = verbs.name_person(book, 5, "Bob Ray")
    with pytest.raises(WrongUsageError, match=f"take these back first: {name.decision_id}"):
        verbs.undo_decision(book, split.decision_id)
    undone = verbs.undo_decision(book, name.decision_id)
    verbs.undo_decision(book, split.decision_id)
    assert people(collection, faces[0]) == [1]
    with pytest.raises(WrongUsageError, match="has been taken back already"):
        verbs.undo_decision(book, split.decision_id)
    verbs.undo_decision(book, undone.decision_id)
    assert book.view().names == {5: "Bob Ray"}


def test_people_whom_somebody_set_apart_are_not_merged(collection: Collection) -> None:
    book, other = PeopleBook(collection.path, "ann"), PeopleBook(collection.path, "bob")
    apart = verbs.separate_people(book, 1, 2)
    merge = verbs.merge_people(book, [2, 3])
    with pytest.raises(WrongUsageError, match=f"they are not one: {apart.decision_id} .apart by"):
        verbs.merge_people(other, [3, 1])
    with pytest.raises(WrongUsageError, match=f"merged by {merge.decision_id}"):
        verbs.separate_people(other, 3, 2)
    undone = verbs.undo_decision(book, apart.decision_id)
    verbs.merge_people(other, [3, 1])
    with pytest.raises(WrongUsageError, match="these decisions would contradict each other then"):
        verbs.undo_decision(book, undone.decision_id)


def test_a_face_that_is_one_persons_and_not_anothers_keeps_them_apart(
    collection: Collection,
) -> None:
    book = PeopleBook(collection.path, "ann")
    face = sorted(collection.faces())[0]
    verbs.move_faces(book, [face], 2)
    verbs.reject_faces(book, [face], 1)
    with pytest.raises(WrongUsageError, match=r"1 and 2 cannot be merged: face .* is of person 2"):
        verbs.merge_people(book, [1, 2])


def test_contradictions_of_two_authors_are_shown(collection: Collection) -> None:
    ann, bob = PeopleBook(collection.path, "ann"), PeopleBook(collection.path, "bob")
    face = sorted(collection.faces())[0]
    verbs.name_person(ann, 1, "Ann Lee")
    verbs.name_person(bob, 1, "Anne Lee")
    verbs.move_faces(ann, [face], 2)
    verbs.move_faces(bob, [face], 3)
    found = [(conflict.kind, conflict.people) for conflict in ann.view().conflicts()]
    assert found == [("name", (1,)), ("face", (2, 3))]
    assert ann.view().names == {1: "Anne Lee"}
    verbs.move_faces(ann, [face], 3)
    assert [c.kind for c in ann.view().conflicts()] == ["name", "face"]


def test_decisions_that_could_not_see_each_other_are_void_and_shown(
    collection: Collection, tmp_path: Path
) -> None:
    """As when two copies of a dataset are put together again."""
    book = PeopleBook(collection.path, "ann")
    merge = verbs.merge_people(book, [1, 2])
    apart = Decision("0" * 12, "2100-01-01T00:00:00.000000+00:00", "bob", "apart", (2, 1))
    write_decision(book.model.folder, apart)
    (conflict,) = book.view().conflicts()
    assert (conflict.kind, conflict.earlier, conflict.later) == ("apart", merge.key, apart.key)
    assert set(people(collection)) == {1, 3, 4}
    later = verbs.undo_decision(book, merge.decision_id)
    assert later.key > apart.key  # although the other machine's clock is wrong
    assert book.view().conflicts() == []
    assert set(people(collection)) == {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda b: verbs.name_person(b, 77, "X"), "there is no person 77"),
        (lambda b: verbs.name_person(b, "9" * 5000, "X"), "there is no person 9"),
        (lambda b: verbs.name_person(b, "Cy Ott", "X"), "nobody is called 'Cy Ott'"),
        (lambda b: verbs.name_person(b, 1, "a\0b"), "is no name"),
        (lambda b: verbs.name_person(b, 1, "x" * 501), "is no name"),
        (lambda b: verbs.merge_people(b, [1]), "are one person already; name two or more"),
        (lambda b: verbs.separate_people(b, 1, 1), "a person is not different from itself"),
        (lambda b: verbs.move_faces(b, [], 1), "no face is named"),
        (lambda b: verbs.move_faces(b, ["nobody's"], 1), 'has no face "nobody\'s"'),
        (lambda b: verbs.move_faces(b, ["\ud800"], 1), "has no face"),
        (lambda b: verbs.undo_decision(b, "0" * 12), "there is no decision 0000"),
        (lambda b: verbs.name_person(PeopleBook(b.dataset_dir, "\n"), 1, "X"), "is no author"),
    ],
)
def test_what_makes_no_sense_is_refused_and_not_written(
    collection: Collection, work: Callable[[PeopleBook], object], message: str
) -> None:
    with pytest.raises(WrongUsageError, match=message):
        work(PeopleBook(collection.path, "ann"))
    assert decision_files(collection) == []


def test_two_people_of_one_name_are_named_by_number(collection: Collection) -> None:
    book = PeopleBook(collection.path, "ann")
    verbs.name_person(book, 1, "Ann  Lee")
    verbs.name_person(book, "ANN LEE", "Ann Lee")
    verbs.name_person(book, 2, "ann lee")
    with pytest.raises(WrongUsageError, match="2 people are called 'Ann Lee': 1, 2"):
        verbs.merge_people(book, ["Ann Lee", 3])


def test_the_read_model_can_be_thrown_away_and_is_private(collection: Collection) -> None:
    book = PeopleBook(collection.path, "ann")
    verbs.merge_people(book, [1, 2])
    assert people(collection).count(1) == 12
    path = read_model()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.unlink()
    assert people(collection).count(1) == 12
    assert book.view().people_of(sorted(collection.faces())).count(1) == 12
    book.model.close()
    for content in (b"no database at all" * 100, b""):
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        path.write_bytes(content)
        assert people(collection).count(1) == 12
    with sqlite3.connect(read_model()) as database:
        database.execute("DROP TABLE placed")
    database.close()
    assert people(collection).count(1) == 12


def test_without_a_cache_the_read_model_is_in_memory(
    collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FACETROVE_CACHE", str(tmp_path / "file"))
    verbs.merge_people(PeopleBook(collection.path, "ann"), [1, 2])
    assert people(collection).count(1) == 12


def test_a_decision_that_vanishes_is_no_longer_known(collection: Collection) -> None:
    book = PeopleBook(collection.path, "ann")
    verbs.merge_people(book, [1, 2])
    assert people(collection).count(1) == 12
    decision_files(collection)[0].unlink()
    assert people(collection).count(1) == 6
    assert book.view().people_of(sorted(collection.faces())).count(1) == 6


def written(collection: Collection, **changes: object) -> Path:
    """Write a decision of person 1 by hand."""
    document = {
        "format_version": 1,
        "decision_id": "0" * 12,
        "decided_at": "2026-01-01T00:00:00.000000+00:00",
        "author": "ann",
        "verb": "name",
        "people": [1],
        "name": "Ann",
        **changes,
    }
    path = collection.path / "people" / f"decision-20260101T000000000000-{'0' * 12}.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"people": [1, 2]},
        {"people": [0]},
        {"people": [10**13]},
        {"faces": ["x"]},
        {"verb": "obey"},
        {"name": ""},
        {"name": "x" * 10_000},
        {"decision_id": "1" * 12},
        {"decided_at": "2026-01-01T00:00:00+00:00"},
        {"decided_at": "2026-13-01T00:00:00.000000+00:00"},
        {"undoes": "2" * 12},
        {"rows": [5]},
        {"more": 1},
        {"format_version": 0},
        {"verb": "assign", "name": None, "names": [None], "faces": ["x"], "rows": [1]},
        {"verb": "merge", "name": None, "people": [1, 1]},
    ],
)
def test_a_decision_that_cannot_be_is_refused_by_name(
    collection: Collection, changes: dict[str, object]
) -> None:
    path = written(collection, **changes)
    with pytest.raises(CorruptFileError, match=f"{path.name} is corrupt"):
        PeopleBook(collection.path).view()


def test_a_decision_in_the_documented_form_is_read(collection: Collection) -> None:
    written(collection)
    assert PeopleBook(collection.path).view().names == {1: "Ann"}


def test_a_book_of_a_newer_format_is_refused(collection: Collection) -> None:
    written(collection, format_version=2, more={"of": "it"})
    with pytest.raises(FaceTroveError, match="written by a newer facetrove") as caught:
        PeopleBook(collection.path).view()
    assert not isinstance(caught.value, WrongUsageError)


def test_a_link_in_the_book_is_not_followed(collection: Collection, tmp_path: Path) -> None:
    path = written(collection)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LinkFoundError):
        PeopleBook(collection.path).view()


@pytest.mark.parametrize("what", ["cut", "unsorted", "null", "number", "no_header", "newer"])
def test_a_grouping_that_cannot_be_is_refused_by_name(collection: Collection, what: str) -> None:
    (path,) = (collection.path / "people").glob("groups-*")
    table = pq.read_table(path)
    match what:
        case "cut":
            path.write_bytes(path.read_bytes()[:-20])
        case "unsorted":
            pq.write_table(table.take(list(range(len(table)))[::-1]), path)
        case "null":
            nulls = pa.nulls(len(table), pa.int64())
            pq.write_table(table.set_column(1, "person", nulls), path)
        case "number":
            zeros = pa.array([0] * len(table), pa.int64())
            pq.write_table(table.set_column(1, "person", zeros), path)
        case "no_header":
            pq.write_table(table.replace_schema_metadata({}), path)
        case "newer":
            header = b'{"format_version": 2, "next_person": 5}'
            pq.write_table(table.replace_schema_metadata({b"facetrove.groups": header}), path)
    with pytest.raises(FaceTroveError, match=path.name):
        PeopleBook(collection.path).view()


def test_a_number_is_not_used_again_although_its_person_has_vanished(
    collection: Collection,
) -> None:
    face, other, *_ = faces = sorted(collection.faces())
    group(collection.path, dict.fromkeys(faces, 1))  # people 2 to 4 are no more
    book = PeopleBook(collection.path, "ann")
    assert verbs.split_person(book, 1, [face]).people == (1, 5)
    group(collection.path, {})
    assert verbs.move_faces(book, [other], 1).people == (1,)
    assert verbs.split_person(book, 1, [other]).people == (1, 6)


def test_names_of_files_of_the_book_say_what_they_hold() -> None:
    stem = "20260101T000000000000-0123456789ab"
    assert BookFile.of(f"decision-{stem}.json") == BookFile(stem, 0, "decision")
    assert BookFile.of(f"groups-{stem}.3.parquet") == BookFile(stem, 3, "groups")
    for name in (f"decision-{stem}.parquet", f"groups-{stem}.03.parquet", f".decision-{stem}.json"):
        assert BookFile.of(name) is None


@pytest.mark.slow
def test_two_processes_decide_at_once_and_nothing_is_lost(collection: Collection) -> None:
    before = PeopleBook(collection.path).view()
    third = before.faces_of(3)
    faces = [(before.faces_of(n + 1) + third[3 * n :][:3])[:8] for n in range(2)]
    workers = [
        processes.Process(target=_decide, args=(collection.path, n, faces[n])) for n in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    view = PeopleBook(collection.path, "ann").view()
    assert len(view.seen.decisions) == 32
    made = [d.people[1] for d in view.seen.decisions if d.verb == "split"]
    assert sorted(made) == list(range(5, 21))  # no number twice
    # Two authors gave person 4 different names; this is shown.
    assert "name" in {conflict.kind for conflict in view.conflicts()}


def _decide(dataset: Path, number: int, faces: Sequence[str]) -> None:
    book = PeopleBook(dataset, f"author {number}")
    for face in faces:
        whose = book.view().people_of([face])[0]
        assert whose is not None
        verbs.split_person(book, whose, [face])
        verbs.name_person(book, 4, f"name {number}")


@pytest.mark.slow
@pytest.mark.parametrize("point", ["fsync", "rename", "unlink"])
def test_a_killed_decision_is_there_or_not_and_the_book_opens(
    collection: Collection, point: str
) -> None:
    faces, before = sorted(collection.faces()), people(collection)
    number = 0
    while True:
        number += 1
        process = processes.Process(target=_killed, args=(collection.path, point, number))
        process.start()
        process.join(60)
        assert process.exitcode in (0, -signal.SIGKILL)
        found = people(collection)
        assert found in (before, [4, *before[1:]])
        if process.exitcode == 0:
            break
        book = PeopleBook(collection.path, "ann")
        verbs.move_faces(book, [faces[0]], 4)  # the same again completes it
        assert people(collection) == [4, *before[1:]]
        for decision in reversed(book.view().seen.decisions):
            if decision.verb != "undo" and decision.key in book.view().state.in_force:
                verbs.undo_decision(book, decision.decision_id)
        assert people(collection) == before
        assert not [*(collection.path / "people").glob(".*.tmp")]
    assert number > 1 or point == "unlink"


@pytest.mark.slow
@pytest.mark.parametrize("point", ["fsync", "rename", "unlink"])
def test_a_killed_grouping_leaves_the_earlier_or_the_new_one(
    collection: Collection, point: str
) -> None:
    verbs.merge_people(PeopleBook(collection.path, "ann"), [1, 2])
    before, after = people(collection), [7] * 24
    for number in range(1, 9):
        process = processes.Process(target=_killed, args=(collection.path, point, number, True))
        process.start()
        process.join(60)
        assert process.exitcode in (0, -signal.SIGKILL)
        assert people(collection) in (before, after)
        if process.exitcode == 0:
            break
        group(collection.path, dict.fromkeys(sorted(collection.faces()), 7))
        assert people(collection) == after
        names = [path.name for path in (collection.path / "people").iterdir()]
        assert len([name for name in names if name.startswith("groups-")]) == 1
        assert not [name for name in names if name.endswith(".tmp")]
    assert process.exitcode == 0 and number > 1


def _killed(dataset: Path, point: str, number: int, groups: bool = False) -> None:
    real, count = getattr(os, point), 0

    def counted(*arguments: object, **named: object) -> object:
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)

    setattr(os, point, counted)
    book = PeopleBook(dataset, "ann")
    if groups:
        group(dataset, dict.fromkeys(book.view().groups.table["face_id"].to_pylist(), 7))
        return
    verbs.move_faces(book, [sorted(book.view().faces_of(1))[0]], 4)


def test_a_dataset_that_follows_another_has_its_people(
    collection: Collection, tmp_path: Path
) -> None:
    new = Collection(tmp_path / "new")
    new.embed(collection.photos)
    book = PeopleBook(collection.path, "ann")
    assert follow_book(collection.path, new.path) == 0
    verbs.name_person(book, 1, "Ann Lee")
    merge = verbs.merge_people(book, [1, 2])
    assert follow_book(collection.path, new.path) == 2
    assert people(new) == people(collection)
    verbs.undo_decision(book, merge.decision_id)
    purge_book(collection.path, lambda ids: pa.array([False] * len(ids)), [PersonName("Lee")])
    follow_book(collection.path, new.path)
    assert PeopleBook(new.path).view().names == {1: "Ann"}
    assert files_with(new.path, [b"Lee"]) == {}
    verbs.name_person(PeopleBook(new.path, "bob"), 1, "Annie")
    verbs.name_person(book, 3, "Cy")
    assert follow_book(collection.path, new.path) == 0  # it goes its own way now
    assert PeopleBook(new.path).view().names == {1: "Annie"}
