"""A process is killed right before each file that it puts in place: the same call finishes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from faces.dataset.store import Dataset
from indexer.build import build_index
from indexer.delete import delete_faces
from indexer.purge import purge
from indexer.undo import list_deletions, undo
from indexer.verify import verify_index
from tests.support.killed_work import Work, killed_before_file
from tests.support.small_collections import Collection, files_with, found_ids, many_photos

PERSON = "person = 'person 1'"


def delete(folder: Path) -> object:
    return delete_faces(folder / "dataset", [folder / "index"], PERSON)


def take_back(folder: Path) -> object:
    return undo(folder / "dataset", (folder / "id").read_text(), [folder / "index"])


def clean(folder: Path) -> object:
    deletion_id = (folder / "id").read_text()
    indexes = [folder / "index"]
    return purge(folder / "dataset", indexes, deletions=[deletion_id], names=["person 1"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset and an index, of which both have two people's faces."""
    folder = tmp_path / "whole"
    Collection(folder / "dataset").embed(
        {uri: photo for uri, photo in many_photos(20).items() if photo.content % 10 < 2},
        photos_per_part=2,
    )
    build_index(folder / "dataset", folder / "index", recipe="exact")
    return folder


def ids_of(folder: Path) -> tuple[set[str], set[str]]:
    """Return the face_ids that the dataset's readers see, and those that a search finds."""
    tables = Dataset.open(folder / "dataset").faces(["face_id"])
    in_dataset = {face_id for table in tables for face_id in table["face_id"].to_pylist()}
    return in_dataset, found_ids(folder / "index")


def kills(work: Work, folder: Path, *, step: int = 1) -> list[Path]:
    """Return a copy of the folder for each file, killed before that file was in place.

    Args:
        work: the work that is killed.
        folder: the folder that is copied.
        step: of how many files in a row one is taken.
    """
    killed = []
    for number in range(1, 100, step):
        copy = folder.with_name(f"killed-{number}")
        shutil.copytree(folder, copy)
        if not killed_before_file(number, work, copy):
            return killed
        killed.append(copy)
    raise AssertionError("the work did not end")


@pytest.mark.lasting
@pytest.mark.slow
def test_a_killed_delete_has_withheld_first_and_is_finished_by_the_same_call(folder: Path) -> None:
    everything = ids_of(folder)[0]
    left = {
        face_id
        for table in Dataset.open(folder / "dataset").faces(["face_id", "person"])
        for face_id, person in zip(*table.to_pydict().values(), strict=True)
        if person != "person 1"
    }
    copies = kills(delete, folder)
    assert len(copies) >= 4
    for number, copy in enumerate(copies, start=1):
        # Only before the first file is the dataset as it was; the index is marked with the last.
        assert ids_of(copy) == (left if number > 1 else everything, everything)
        delete(copy)
        assert ids_of(copy) == (left, left)
        assert len(list_deletions(copy / "dataset")) == 1
        assert verify_index(copy / "index", copy / "dataset").problems == ()


@pytest.mark.lasting
@pytest.mark.slow
def test_a_killed_undo_is_finished_by_the_same_call(folder: Path) -> None:
    everything = ids_of(folder)[0]
    (folder / "id").write_text(
        str(delete_faces(folder / "dataset", [folder / "index"], PERSON).deletion_id)
    )
    copies = kills(take_back, folder)
    assert len(copies) >= 4
    for copy in copies:
        take_back(copy)
        assert ids_of(copy) == (everything, everything)
        assert verify_index(copy / "index", copy / "dataset").problems == ()


@pytest.mark.lasting
@pytest.mark.slow
def test_a_killed_purge_is_finished_by_the_same_call(folder: Path) -> None:
    (folder / "id").write_text(
        str(delete_faces(folder / "dataset", [folder / "index"], PERSON).deletion_id)
    )
    Collection(folder / "dataset").embed({"/x.jpg": many_photos(1, first=50)["/photos/000050.jpg"]})
    left = ids_of(folder)[0]
    copies = kills(clean, folder, step=3)
    assert len(copies) >= 4
    for copy in copies:
        assert ids_of(copy)[0] == left
        report = clean(copy)
        assert len(report.deleted_face_digests) == 6  # type: ignore[attr-defined]
        assert ids_of(copy) == (left, left)
        assert list_deletions(copy / "dataset") == ()
        assert files_with(copy / "dataset", [b"person 1"]) == {}
        assert files_with(copy / "index", [b"person 1"]) == {}
        assert verify_index(copy / "index", copy / "dataset").problems == ()
