"""A deletion carries out a plan: exactly the planned faces go, whatever happened since."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from faces.core.errors import BusyError, ContractMismatchError, WrongUsageError
from faces.core.storage import Folder
from faces.dataset.store import Dataset
from faces.photos.uris import photo_uri
from indexer.build import build_index
from indexer.compact import compact_index
from indexer.delete import delete_faces, plan_deletion
from indexer.folder import IndexWriter
from indexer.manifest import read_current
from indexer.purge import purge
from indexer.verify import verify_index
from tests.support.parts import write
from tests.support.small_collections import CONTRACT, Collection, Photo, found_ids, many_photos

PERSON = "person = 'person 7'"


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    collection = Collection(tmp_path / "dataset")
    collection.embed(many_photos(30))
    return collection


@pytest.fixture
def index(collection: Collection, tmp_path: Path) -> Path:
    build_index(collection.path, tmp_path / "index")
    return tmp_path / "index"


def faces_of(collection: Collection, person: str) -> set[str]:
    return {i for i, face in collection.faces().items() if face.person == person}


def dataset_ids(dataset: Path) -> set[str]:
    return {i for t in Dataset.open(dataset).faces(["face_id"]) for i in t["face_id"].to_pylist()}


def test_a_plan_finds_the_faces_and_deletes_nothing(collection: Collection, index: Path) -> None:
    plan = plan_deletion(collection.path, [index], where=PERSON)
    assert set(plan.face_ids.to_pylist()) == faces_of(collection, "person 7")
    assert plan.num_faces == 9
    assert plan.indexes == (index,)
    assert found_ids(index) == dataset_ids(collection.path) == set(collection.faces())
    assert read_current(index).version == 1


def test_a_plan_is_for_the_faces_that_any_of_its_conditions_names(
    collection: Collection, index: Path
) -> None:
    one, photo = Photo(3, 3).face_ids[0], Photo(4, 3)
    plan = plan_deletion(
        collection.path, [index], faces=[one], photos=["/photos/000004.jpg"], where=PERSON
    )
    meant = {one, *photo.face_ids} | faces_of(collection, "person 7")
    assert set(plan.face_ids.to_pylist()) == meant
    with pytest.raises(WrongUsageError, match="say which faces"):
        plan_deletion(collection.path, [index])


def test_a_photo_is_named_by_a_path_that_is_no_unicode_or_a_file_uri(
    collection: Collection,
) -> None:
    path = os.fsdecode(b"/photos/caf\xe9.jpg")
    collection.embed({photo_uri(path): Photo(300, 2)})
    for named in (path, Path(path), photo_uri(path)):
        plan = plan_deletion(collection.path, [], photos=named)
        assert set(plan.face_ids.to_pylist()) == set(Photo(300, 2).face_ids)
    assert plan_deletion(collection.path, [], photos="file:///photos/000004.jpg").num_faces == 3
    assert plan_deletion(collection.path, [], photos=path, faces="\udcff").num_faces == 2


def test_one_name_is_a_name_and_not_its_letters(collection: Collection, index: Path) -> None:
    photo, face_id = Path("/photos/000004.jpg"), Photo(3, 3).face_ids[0]
    for named in (photo, str(photo), [photo]):
        plan = plan_deletion(collection.path, index, photos=named)
        assert set(plan.face_ids.to_pylist()) == set(Photo(4, 3).face_ids)
    assert plan_deletion(collection.path, str(index), faces=face_id).num_faces == 1
    deleted = delete_faces(str(collection.path), str(index), photos=str(photo), faces=face_id)
    assert (deleted.num_faces, deleted.num_faces_of_index) == (4, {str(index): 4})
    assert purge(collection.path, index).indexes == (str(index),)


def test_a_plan_writes_each_index_once(collection: Collection, index: Path) -> None:
    collection.embed({"/new.jpg": Photo(900, 2, "person 7")})  # not in the index yet
    plan = plan_deletion(collection.path, [index], where=PERSON)
    assert (len(plan.in_indexes), len(plan.in_dataset), plan.num_faces) == (9, 11, 11)
    deleted = plan.execute()
    assert (deleted.num_faces, deleted.num_faces_of_index) == (11, {str(index): 9})
    assert read_current(index).version == 2
    collection.deleted |= set(plan.face_ids.to_pylist())
    assert found_ids(index) == dataset_ids(collection.path) == set(collection.faces())


def test_planned_faces_go_from_an_index_that_has_moved_on(
    collection: Collection, index: Path
) -> None:
    plan = plan_deletion(collection.path, [index], where=PERSON)
    collection.embed({"/new.jpg": Photo(900, 2, "person 7"), "/copy.jpg": Photo(7, 3, "Ann")})
    build_index(collection.path, index)
    compact_index(index)
    deleted = plan.execute()
    assert (deleted.num_faces, deleted.num_faces_of_index) == (9, {str(index): 9})
    collection.deleted |= set(plan.face_ids.to_pylist())
    assert set(Photo(900, 2).face_ids) <= found_ids(index)  # nobody has confirmed their deletion
    assert found_ids(index) == dataset_ids(collection.path) == set(collection.faces())
    assert verify_index(index, collection.path).problems == ()


def test_planned_faces_stay_away_when_they_are_embedded_again_meanwhile(
    collection: Collection, index: Path
) -> None:
    plan = plan_deletion(collection.path, [index], where=PERSON)
    collection.embed({"/again.jpg": Photo(7, 3, "person 7")}, again=True)
    plan.execute()
    collection.deleted |= set(plan.face_ids.to_pylist())
    build_index(collection.path, index)
    assert found_ids(index) == dataset_ids(collection.path) == set(collection.faces())


def test_a_plan_is_not_carried_out_on_an_index_of_another_model(
    collection: Collection, index: Path, tmp_path: Path
) -> None:
    plan = plan_deletion(collection.path, [index], where=PERSON)
    write(tmp_path / "other", replace(CONTRACT, embedder="another"), {"a": 2})
    index.rename(tmp_path / "aside")
    build_index(tmp_path / "other", index)
    with pytest.raises(ContractMismatchError, match="name the indexes that were built"):
        plan.execute()
    assert read_current(index).version == 1


def test_a_plan_makes_no_index_where_one_has_vanished(collection: Collection, index: Path) -> None:
    plan = plan_deletion(collection.path, [index], where=PERSON)
    index.rename(index.with_name("aside"))
    with pytest.raises(WrongUsageError, match="is not a facetrove index"):
        plan.execute()
    assert not index.exists()


def test_a_plan_that_met_a_busy_index_is_finished_by_the_same_call(
    collection: Collection, index: Path
) -> None:
    plan = plan_deletion(collection.path, [index], where=PERSON)
    with Folder(index).lease(what="index"), pytest.raises(BusyError, match="another process"):
        plan.execute()
    collection.deleted |= set(plan.face_ids.to_pylist())
    assert dataset_ids(collection.path) == set(collection.faces())
    deleted = delete_faces(collection.path, [index], PERSON)
    assert (deleted.num_faces, deleted.num_faces_of_index) == (9, {str(index): 9})
    assert found_ids(index) == set(collection.faces())


def test_a_deletion_stopped_before_the_indexes_is_finished_though_no_filter_finds_its_faces(
    collection: Collection, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index lacks the faces' new metadata, and the dataset withholds them: no match."""
    collection.embed({"/photos/000001.jpg": Photo(1, 3, "Ann")})

    @contextmanager
    def stopped(path: Path) -> Iterator[IndexWriter]:
        raise KeyboardInterrupt
        yield

    with monkeypatch.context() as patch:
        patch.setattr(IndexWriter, "open", stopped)
        with pytest.raises(KeyboardInterrupt):
            delete_faces(collection.path, [index], "person = 'Ann'")
    collection.deleted |= set(Photo(1, 3).face_ids)
    deleted = delete_faces(collection.path, [index], "person = 'Ann'")
    assert (deleted.num_faces, deleted.num_faces_of_index) == (0, {str(index): 0})
    assert found_ids(index) == dataset_ids(collection.path) == set(collection.faces())
