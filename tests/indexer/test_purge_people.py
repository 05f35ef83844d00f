"""A purge leaves no byte of a deleted face or an erased name in the people book."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from faces.core.errors import CorruptFileError
from faces.core.machine import cache_dir
from faces.dataset import people_verbs as verbs
from faces.dataset.people_book import PeopleBook
from indexer.build import build_index
from indexer.delete import delete_faces
from indexer.purge import PurgeReport, purge
from search.searcher import FaceSearcher
from tests.support.command import run_facetrove
from tests.support.killed_work import killed_before_file
from tests.support.people import group
from tests.support.small_collections import Collection, Photo, files_with, many_photos

pytestmark = pytest.mark.usefixtures("own_folders")

ANN, BOB = 1, 2
NAME = "Ann Lee"


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    """A dataset with an index whose faces are Ann's and Bob's by turns, with decisions of both."""
    collection = Collection(tmp_path / "dataset")
    collection.embed(many_photos(6, faces=2), photos_per_part=2)
    build_index(collection.path, tmp_path / "index", recipe="exact")
    faces = sorted(collection.faces())
    people = {face: number % 2 + 1 for number, face in enumerate(faces)}
    group(collection.path, people, {faces[0]: NAME, faces[1]: "Bob Ray"})
    book = PeopleBook(collection.path, f"{NAME} herself")
    verbs.name_person(book, ANN, f"{NAME}, the painter")
    verbs.confirm_faces(book, ANN)
    verbs.move_faces(book, [faces[1], faces[2]], BOB)
    verbs.undo_decision(book, verbs.reject_faces(book, [faces[0]], BOB).decision_id)
    return collection


def faces_of(collection: Collection, person: int) -> set[str]:
    return set(PeopleBook(collection.path).view().faces_of(person)) & collection.faces().keys()


def traces(faces: set[str]) -> list[bytes]:
    return [NAME.encode(), *(face.encode() for face in sorted(faces))]


def erase(collection: Collection) -> tuple[set[str], PurgeReport]:
    """Delete and purge Ann's faces and name; return their ids, and the report."""
    ids = faces_of(collection, ANN)
    index = collection.path.with_name("index")
    delete_faces(collection.path, index, faces=sorted(ids))
    collection.deleted |= ids
    return ids, purge(collection.path, index, names=[NAME])


def test_no_byte_of_a_face_or_a_name_is_left_in_book_and_read_model(
    collection: Collection, tmp_path: Path
) -> None:
    ids, bob = faces_of(collection, ANN), faces_of(collection, BOB)
    PeopleBook(collection.path).view()
    everywhere = files_with(tmp_path, traces(ids)) | files_with(cache_dir() / "people", traces(ids))
    assert any(path.endswith(".json") for path in everywhere)
    assert any("groups-" in path for path in everywhere)
    assert any("sqlite" in path for path in everywhere)
    open_book = PeopleBook(collection.path)  # reads the old model, and goes on with the new one
    assert open_book.view().names == {ANN: f"{NAME}, the painter", BOB: "Bob Ray"}
    erased, report = erase(collection)
    assert erased == ids
    assert files_with(tmp_path, traces(ids)) == {}
    assert files_with(cache_dir() / "people", traces(ids)) == {}
    assert open_book.view().people_of(sorted(ids)) == [None] * len(ids)
    assert open_book.view().names == {ANN: "the painter", BOB: "Bob Ray"}
    assert files_with(cache_dir() / "people", traces(ids)) == {}
    assert faces_of(collection, BOB) == bob
    assert report.num_book_faces_removed > len(ids)
    assert report.num_book_names_removed >= 5  # in the author's name too
    assert report.num_models_removed >= 1
    assert report.unknown_files == ()
    again = purge(collection.path, tmp_path / "index", names=[NAME])
    assert (again.num_book_faces_removed, again.num_book_names_removed) == (0, 0)


def test_superseded_faces_leave_the_book_too(collection: Collection, tmp_path: Path) -> None:
    uri = "/photos/000000.jpg"
    old = set(collection.photos[uri].face_ids)
    book = PeopleBook(collection.path, "ann")
    verbs.move_faces(book, sorted(old), BOB)
    collection.embed({uri: Photo(99)})
    purge(collection.path, tmp_path / "index")
    assert files_with(tmp_path, [face.encode() for face in old]) == {}
    assert files_with(cache_dir() / "people", [face.encode() for face in old]) == {}


def test_a_name_that_is_left_is_told(collection: Collection, tmp_path: Path) -> None:
    ids = faces_of(collection, ANN)
    delete_faces(collection.path, tmp_path / "index", faces=sorted(ids))
    finished = run_facetrove("purge", collection.path, tmp_path / "index")
    assert finished.returncode == 0, finished.stderr
    assert f"  '{NAME}, the painter' in the people book" in finished.stdout
    assert "people book: removed " in finished.stdout


def test_a_trace_in_the_book_is_found(
    collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.purge.purge_book", lambda *_: None)
    with pytest.raises(CorruptFileError, match=r"people/decision-.* still holds removed data"):
        erase(collection)


def clean(folder: Path) -> object:
    return purge(folder / "dataset", folder / "index", names=[NAME])


@pytest.mark.lasting
@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["decision-", "groups-"])
def test_a_purge_of_the_book_that_is_killed_is_finished_by_the_next(
    collection: Collection, tmp_path: Path, prefix: str
) -> None:
    ids, bob = faces_of(collection, ANN), faces_of(collection, BOB)
    decisions = len(PeopleBook(collection.path).view().seen.decisions)
    delete_faces(collection.path, tmp_path / "index", faces=sorted(ids))
    number = -1
    while True:
        number += 2
        folder = tmp_path / "copies" / str(number)
        folder.mkdir(parents=True)
        for name in ("dataset", "index"):
            shutil.copytree(tmp_path / name, folder / name)
        if not killed_before_file(number, clean, folder, prefix=prefix):
            break
        assert [*(folder / "dataset" / "people").glob(".*.tmp")]
        view = PeopleBook(folder / "dataset").view()  # which opens whatever the state
        assert len(view.seen.decisions) == decisions
        clean(folder)
        assert files_with(folder, traces(ids)) == {}
        view = PeopleBook(folder / "dataset").view()
        assert set(view.faces_of(BOB)) == bob
        assert len(view.seen.decisions) == decisions
        FaceSearcher.open(folder / "index").list_faces("person = 'Bob Ray'")
        shutil.rmtree(folder)
    assert number > 1
