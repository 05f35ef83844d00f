"""The commands about people, as a user types them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import facetrove as ft
from indexer.build import build_index
from tests.support.command import require_message, run_facetrove
from tests.support.people import album, face_id, group

pytestmark = pytest.mark.usefixtures("own_folders")

PHOTOS = [
    ("Ann Lee", [0]),
    ("Ann Lee", [0]),
    ("Ann Lee", [1, 0, 2]),  # Ann among others
    ("Bob Ray", [1, 3]),
    ("Bob Ray", [2, 1]),
    (None, [3]),
    (None, [4]),
    (None, [1, 0]),
    (None, [4]),
    ("Cy Ott", [5, 6]),  # one of two whom nobody knows
]
ANN = {face_id(0), face_id(1), face_id(2, 1), face_id(7, 1)}
BOB = {face_id(2), face_id(3), face_id(4, 1), face_id(7)}


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[Path]:
    """A dataset with its index beside it, whose faces are grouped."""
    dataset = album(tmp_path / "d.dataset", PHOTOS)
    build_index(dataset, tmp_path / "d.index")
    grouped = run(dataset, "group", tmp_path / "d.index")
    assert grouped.startswith("16 faces of 7 people: 2 with one face alone, 7 new, 2 with a name")
    yield dataset


def run(dataset: Path, command: str, *arguments: str | Path) -> str:
    """Run a command about people, and return what it prints."""
    finished = run_facetrove("people", command, dataset, *arguments)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def as_json(dataset: Path, command: str, *arguments: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(dataset, command, *arguments, "--json"))
    return found


def faces_of(dataset: Path, person: str | int) -> set[str]:
    return set(ft.open_people(dataset).faces(person).to_arrow()["face_id"].to_pylist())


def number_of(dataset: Path, face: str) -> int:
    rows = ft.open_people(dataset).faces().to_list()
    (number,) = (row["person_id"] for row in rows if row["face_id"] == face)
    return int(number)


def test_a_list_names_the_face_that_it_means(dataset: Path) -> None:
    assert faces_of(dataset, "Ann Lee") == ANN
    assert faces_of(dataset, "bob ray") == BOB  # no photo shows him alone, but all show him
    require_message(
        *("people", "name", dataset, "Cy Ott", "X"), exit_code=2, says=["nobody is called 'Cy Ott'"]
    )


def test_new_faces_join_people_who_else_stay_as_they_are(dataset: Path) -> None:
    rows = ft.open_people(dataset).faces().to_list()
    numbers = {row["face_id"]: row["person_id"] for row in rows}
    new, apart = face_id(7, 1), face_id(8)
    assert numbers[apart] == numbers[face_id(6)]
    listed = dict.fromkeys(ANN, "Ann Lee") | dict.fromkeys(BOB, "Bob Ray")
    earlier = {face: number for face, number in numbers.items() if face != new}
    group(dataset, {**earlier, apart: 99}, listed)
    index = dataset.with_name("d.index")
    assert run(dataset, "group", index, "--only-new").startswith("16 faces of 8 people")
    assert faces_of(dataset, "Ann Lee") == ANN
    assert number_of(dataset, apart) == 99
    assert run(dataset, "group", index).startswith("16 faces of 7 people")
    assert number_of(dataset, apart) == number_of(dataset, face_id(6))


def test_a_precision_out_of_range_is_refused(dataset: Path) -> None:
    index = dataset.with_name("d.index")
    words = ("people", "group", dataset, index, "--precision", "1.5")
    require_message(*words, exit_code=2, says=["precision"])


def test_people_are_listed_with_their_photos_and_times(dataset: Path) -> None:
    lines = run(dataset, "list").splitlines()
    assert lines[0].split() == ["person", "name", "faces", "photos", "from", "to"]
    assert lines[1].split()[1:] == ["Ann", "Lee", "4", "4", "2000-01-01", "2007-01-01"]
    assert lines[2].split()[1:] == ["Bob", "Ray", "4", "4", "2002-01-01", "2007-01-01"]
    assert len(lines) == 8
    assert run(dataset, "list", "-k", "2").splitlines()[3] == "and 5 more; -k lists them"
    found = as_json(dataset, "list", "-k", "1")
    assert (found["num_people"], found["people"][0]["named_by"]) == (7, "list")


def test_names_survive_another_grouping_and_other_lists(dataset: Path) -> None:
    ann = number_of(dataset, face_id(0))
    run(dataset, "name", "Ann Lee", "Ann Lea")
    run(dataset, "name", str(number_of(dataset, face_id(6))), "Di Fox")
    run(dataset, "group", dataset.with_name("d.index"))
    assert faces_of(dataset, "Ann Lea") == ANN
    assert number_of(dataset, face_id(0)) == ann
    assert faces_of(dataset, "Di Fox") == {face_id(6), face_id(8)}


def test_decisions_are_made_listed_and_taken_back(dataset: Path) -> None:
    ann, bob = number_of(dataset, face_id(0)), number_of(dataset, face_id(2))
    before = faces_of(dataset, ann), faces_of(dataset, bob)
    run(dataset, "merge", str(ann), str(bob))
    assert faces_of(dataset, bob) == ANN | BOB
    run(dataset, "split", "Ann Lee", face_id(0), face_id(1))
    run(dataset, "move", face_id(6), "Ann Lee")
    run(dataset, "reject", face_id(7), "Ann Lee")
    run(dataset, "confirm", "Ann Lee")
    run(dataset, "ignore", str(number_of(dataset, face_id(9))))
    run(dataset, "hide", "Ann Lee", "--author", "Eve")
    assert "Ann Lee" not in run(dataset, "list")
    assert "hidden" in run(dataset, "list", "--hidden")
    run(dataset, "hide", "Ann Lee", "--no")
    run(dataset, "separate", str(ann), str(number_of(dataset, face_id(8))))
    listed = run_facetrove("undo", dataset).stdout
    for verb in ("merge", "split", "move", "reject", "confirm", "ignore", "hide", "apart"):
        assert f" {verb} " in listed
    decisions = json.loads(run_facetrove("undo", dataset, "--json").stdout)["decisions"]
    assert [d["author"] for d in decisions].count("Eve") == 1
    for decision in decisions[::2] + decisions[1::2]:  # in another order
        finished = run_facetrove("undo", dataset, decision["decision_id"])
        assert finished.returncode == 0, finished.stderr
    assert (faces_of(dataset, ann), faces_of(dataset, bob)) == before


def test_photos_are_found_by_who_is_in_them(dataset: Path) -> None:
    run(dataset, "name", str(number_of(dataset, face_id(3, 1))), "Di Fox")
    found = as_json(dataset, "photos", "--with", "Ann Lee", "--with", "Bob Ray")
    assert [row["uri"] for row in found["photos"]] == ["/p/2.jpg", "/p/7.jpg"]
    assert {"Ann Lee", "Bob Ray"} <= set(found["photos"][0]["people"])
    found = as_json(dataset, "photos", "--with", "Bob Ray", "--without", "Ann Lee")
    assert [row["uri"] for row in found["photos"]] == ["/p/3.jpg", "/p/4.jpg"]
    assert "Di Fox" in [row["person"] for row in found["companions"]]
    printed = run(dataset, "photos", "--with", "Bob Ray", "--without", "Ann Lee")
    assert printed.startswith("2 photos\n  /p/3.jpg: Bob Ray, Di Fox\n")


def test_questions_are_about_people_who_are_alike(dataset: Path) -> None:
    ann = number_of(dataset, face_id(0))
    new = ft.open_people(dataset).split(ann, [face_id(0), face_id(1)]).people[1]
    assert as_json(dataset, "same")["questions"] == []  # a human has said so
    (split,) = ft.open_people(dataset).decisions().to_list()
    ft.undo(dataset, split["decision_id"])
    ft.open_people(dataset).move([face_id(0), face_id(1)], number_of(dataset, face_id(9)))
    first = as_json(dataset, "same")["questions"][0]
    assert {first["person_id"], first["other_id"]} == {ann, number_of(dataset, face_id(9))}
    assert first["num_faces"] == 2
    assert new not in {first["person_id"], first["other_id"]}
    ft.open_people(dataset).move(face_id(7), number_of(dataset, face_id(9)))
    ft.open_people(dataset).move(face_id(7, 1), ann)  # the two are in one photo now
    asked = as_json(dataset, "same")["questions"]
    assert {ann, number_of(dataset, face_id(9))} not in [
        {question["person_id"], question["other_id"]} for question in asked
    ]
    require_message(*("people", "same", dataset), exit_code=2, says=["give --json"], json_too=False)


def test_mistakes_are_told_in_one_line(dataset: Path, tmp_path: Path) -> None:
    index = dataset.with_name("d.index")
    for arguments, says in (
        (("name", dataset, "99", "X"), "there is no person 99"),
        (("name", dataset, "1", "a\x07b"), "is no name"),
        (("merge", dataset, "1"), "are one person already"),
        (("move", dataset, "nobody", "1"), "has no face 'nobody'"),
        (("split", dataset, "Ann Lee", face_id(6)), f"face {face_id(6)} is not of person"),
        (("group", dataset, tmp_path / "none"), "does not exist"),
        (("list", index), "is an index"),
        (("photos", dataset, "--with", "Zoe"), "nobody is called 'Zoe'"),
    ):
        require_message("people", *arguments, exit_code=2, says=[says])
    ft.delete_faces(dataset, index, faces=face_id(6))
    require_message(
        *("people", "move", dataset, face_id(6), "1"), exit_code=2, says=["or it is deleted"]
    )
    (dataset / "people" / f"decision-20260101T000000000000-{'0' * 12}.json").write_text(
        '{"format_version": 2}'
    )
    require_message("people", "list", dataset, exit_code=1, says=["written by a newer facetrove"])
