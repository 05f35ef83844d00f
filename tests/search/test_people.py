"""Searches, filters and deletions by person, where the dataset has a people book."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

import facetrove as ft
from faces.core.errors import FaceTroveError, WrongUsageError
from indexer.build import build_index
from search.searcher import FaceSearcher
from tests.support.command import run_facetrove
from tests.support.people import album, face_id, group
from tests.support.small_collections import Collection, many_photos

pytestmark = pytest.mark.usefixtures("own_folders")

ANN, BOB, CY = 1, 2, 3
PHOTOS = [
    ("Ann Lee", [ANN]),
    ("Ann Lee", [ANN, BOB]),
    ("Ann Lee", [BOB, CY]),  # it is not known whom the list means
    (None, [BOB]),
    ("Bob Ray", [CY, CY]),
    (None, [ANN]),
]
FACES = {face_id(n, k): who for n, (_, faces) in enumerate(PHOTOS) for k, who in enumerate(faces)}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset with an index beside it, whose faces are grouped by who is in them."""
    dataset = album(tmp_path / "d.dataset", PHOTOS)
    build_index(dataset, tmp_path / "d.index")
    group(dataset, FACES, {face_id(0): "Ann Lee", face_id(1): "Ann Lee"})
    return dataset


def index_of(dataset: Path) -> Path:
    return dataset.with_name("d.index")


def listed(searcher: FaceSearcher, where: str) -> set[str]:
    return {face.face_id for face in searcher.list_faces(where)}


def of(*people: int) -> set[str]:
    return {face for face, person in FACES.items() if person in people}


def test_a_filter_by_person_means_the_face_and_not_the_photo(dataset: Path) -> None:
    searcher = ft.open_index(index_of(dataset))
    assert searcher.names_from == "book"
    assert listed(searcher, "person = 'Ann Lee'") == of(ANN)
    assert listed(searcher, "person IS NULL") == of(BOB, CY)
    assert listed(searcher, "person_id IN (2, 3)") == of(BOB, CY)
    assert listed(searcher, "photo_person = 'Ann Lee' AND person_id = 2") == {
        face_id(1, 1),
        face_id(2, 0),
    }
    assert listed(searcher, "photo_person IS NULL") == {face_id(3), face_id(5)}
    assert {"person", "person_id", "photo_person"} <= set(searcher.columns)


def test_the_next_search_knows_what_was_decided(dataset: Path) -> None:
    searcher, people = ft.open_index(index_of(dataset)), ft.open_people(dataset)
    probe = searcher.search_face(face_id(0), k=9)
    assert {match.person for match in probe} == {"Ann Lee", None}
    done = people.name(BOB, "Bob Ray")
    assert listed(searcher, "person = 'Bob Ray'") == of(BOB)
    assert {match.person for match in probe} == {"Ann Lee", None}  # one read for each search
    again = searcher.search_face(face_id(0), k=9)
    assert {match.person for match in again} == {"Ann Lee", "Bob Ray", None}
    table = again.to_arrow()
    assert table["person"].to_pylist() == [match.person for match in again]
    assert table["person_id"].to_pylist() == [FACES[match.face_id] for match in again]
    merge = people.merge([BOB, CY])
    assert listed(searcher, "person = 'Bob Ray'") == of(BOB, CY)
    people.undo(merge.decision_id)
    people.undo(done.decision_id)
    assert listed(searcher, "person = 'Bob Ray'") == set()
    people.reject(face_id(0), ANN)
    people.move(face_id(3), ANN)
    assert listed(searcher, "person = 'Ann Lee'") == of(ANN) - {face_id(0)} | {face_id(3)}
    people.hide(ANN)
    assert listed(searcher, "person = 'Ann Lee'")  # hidden people are found


def test_one_match_of_each_person_with_or_without_a_name(dataset: Path) -> None:
    searcher = ft.open_index(index_of(dataset))
    matches = searcher.search_face(face_id(0), one_per="person", min_similarity=-1)
    assert sorted(match.person_id or 0 for match in matches) == [ANN, BOB, CY]
    faces = searcher.list_faces("score > 0", one_per="person")
    assert sorted(face.person_id or 0 for face in faces) == [ANN, BOB, CY]
    ft.open_people(dataset).reject(sorted(of(CY)), CY)
    faces = searcher.list_faces("score > 0", one_per="person")
    assert [face.person_id for face in faces].count(None) == len(of(CY))


def test_without_a_book_person_is_who_is_in_the_photo(tmp_path: Path) -> None:
    collection = Collection(tmp_path / "d")
    collection.embed(many_photos(4, faces=2))
    build_index(collection.path, tmp_path / "i")
    searcher = ft.open_index(tmp_path / "i")
    assert searcher.names_from == "lists"
    assert len(searcher.list_faces("person = 'person 1'")) == 2
    with pytest.raises(WrongUsageError, match="there is no column 'person_id'"):
        searcher.list_faces("person_id = 1")
    plan = ft.plan_deletion(collection.path, tmp_path / "i", where="person = 'person 1'")
    assert (plan.num_faces, plan.people) == (2, False)


def test_dataset_and_index_are_moved_together_or_named(dataset: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in (dataset, index_of(dataset)):
        shutil.move(path, moved)
    index = moved / "d.index"
    assert listed(ft.open_index(index), "person_id = 1") == of(ANN)
    shutil.move(moved / "d.dataset", tmp_path / "named")
    searcher = ft.open_index(index)
    assert searcher.names_from == "build"
    assert listed(searcher, "person = 'Ann Lee'") == {
        face_id(n, k)
        for n, (person, f) in enumerate(PHOTOS)
        if person == "Ann Lee"
        for k in range(len(f))
    }
    given = ft.open_index(index, dataset=tmp_path / "named")
    assert listed(given, "person_id = 1") == of(ANN)
    assert listed(pickle.loads(pickle.dumps(given)), "person_id = 1") == of(ANN)
    album(moved / "d.dataset", PHOTOS)  # another dataset at its place
    assert ft.open_index(index).names_from == "build"


def test_the_command_says_that_names_are_old(dataset: Path, tmp_path: Path) -> None:
    shutil.move(dataset, tmp_path / "named")
    arguments = ("search", index_of(dataset), "--where", "person = 'Ann Lee'")
    finished = run_facetrove(*arguments)
    assert finished.returncode == 0
    assert "names of people are those that photo lists gave when the index was built" in (
        finished.stderr
    )
    finished = run_facetrove(*arguments, "--dataset", tmp_path / "named", "--json")
    found = json.loads(finished.stdout)
    assert (found["names_from"], finished.stderr) == ("book", "")
    assert {face["face_id"] for face in found["faces"]} == of(ANN)


def test_a_corrupt_book_is_not_searched_without(dataset: Path) -> None:
    (dataset / "people" / f"decision-20260101T000000000000-{'0' * 12}.json").write_text("{")
    searcher = ft.open_index(index_of(dataset))
    with pytest.raises(FaceTroveError, match="is corrupt"):
        searcher.search_embeddings(np.eye(1, 128, dtype=np.float32))


def test_a_deletion_by_person_takes_this_persons_faces_and_nobody_elses(dataset: Path) -> None:
    index, where = index_of(dataset), "person = 'Ann Lee'"
    plan = ft.plan_deletion(dataset, index, where=where)
    assert set(plan.face_ids.to_pylist()) == of(ANN)
    (photo,) = plan.photo_person.to_pylist()
    assert (photo["uri"], photo["num_faces"]) == ("/p/2.jpg", 2)
    deleted = ft.delete_faces(dataset, index, where)
    assert deleted.num_faces == len(of(ANN))
    assert listed(ft.open_index(index), "score > 0") == of(BOB, CY)
    assert ft.open_people(dataset).faces(ANN).to_list() == []


def test_photos_named_after_a_person_can_be_taken_too(dataset: Path) -> None:
    ft.open_people(dataset).name(BOB, "Bob Ray")
    where = "person = 'Ann Lee'"
    plan = ft.plan_deletion(dataset, (), where=where, include_photo_person=True)
    # Bob is known, so that his face in that photo is not hers.
    assert set(plan.face_ids.to_pylist()) == of(ANN) | {face_id(2, 1)}
    arguments = ("delete", dataset, "--where", where, "--dry-run")
    finished = run_facetrove(*arguments)
    assert "1 photo named so by a list" in finished.stderr
    assert "1 face there of nobody known stay; --include-photo-person" in finished.stderr
    assert finished.stdout == f"would delete 3 faces of {dataset}\n"
    finished = run_facetrove(*arguments, "--include-photo-person", "--json")
    assert json.loads(finished.stdout)["num_faces"] == 4
    assert json.loads(finished.stdout)["photo_person"][0]["uri"] == "/p/2.jpg"


def test_names_are_compared_after_composing_letters(dataset: Path) -> None:
    ft.open_people(dataset).name(BOB, "Zoë")
    searcher = ft.open_index(index_of(dataset))
    assert listed(searcher, "person = 'Zoe\u0308'") == of(BOB)
