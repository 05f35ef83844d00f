"""A purge removes every byte of deleted faces from all files, and changes nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from faces.core.errors import BusyError
from faces.dataset.deletions import face_digest
from faces.dataset.header import DatasetSettings
from faces.dataset.store import Dataset
from faces.dataset.writing import DatasetWriter
from indexer.build import build_index
from indexer.delete import delete_faces
from indexer.purge import purge
from indexer.verify import verify_index
from search.searcher import FaceSearcher
from tests.support.small_collections import (
    CONTRACT,
    METADATA,
    Collection,
    Photo,
    files_with,
    found_ids,
    many_photos,
    part_tables,
    traces_of,
)


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    """Sixty photos with two faces each, in six parts; one photo has a copy under another path."""
    collection = Collection(tmp_path / "dataset")
    collection.embed(many_photos(60, faces=2), photos_per_part=10)
    collection.embed({"/elsewhere/copy.jpg": collection.photos["/photos/000007.jpg"]})
    return collection


@pytest.fixture
def index(collection: Collection, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    recipe = getattr(request, "param", "IVF4,SQ8")
    build_index(collection.path, tmp_path / "index", recipe=recipe)
    return tmp_path / "index"


def assert_gone(folder: Path, collection: Collection, before: Collection) -> None:
    """Check that no file holds traces of faces that are gone, and that all others are found."""
    faces = collection.faces()
    gone = [face for face_id, face in before.faces().items() if face_id not in faces]
    there = set(traces_of(faces.values())) | {uri.encode() for uri in collection.photos}
    traces = [trace for trace in traces_of(gone) if trace not in there]
    assert gone and files_with(folder, traces) == {}
    assert files_with(folder, sorted(there)[:3])  # the search itself finds what is there
    assert found_ids(folder / "index") == set(faces)
    assert verify_index(folder / "index", folder / "dataset").problems == ()


def snapshot(collection: Collection) -> Collection:
    return Collection(collection.path, dict(collection.photos), set(collection.deleted))


def delete(collection: Collection, index: Path, face_ids: set[str]) -> None:
    deleted = delete_faces(collection.path, [index], faces=sorted(face_ids))
    assert deleted.num_faces == len(face_ids)
    assert set(deleted.face_digests) == set(map(face_digest, face_ids))
    collection.deleted |= face_ids


def faces_of(collection: Collection, person: str) -> set[str]:
    return {i for i, face in collection.faces().items() if face.person == person}


@pytest.mark.parametrize("index", ["exact", "IVF4,SQ8", "HNSW8"], indirect=True)
def test_no_file_holds_traces_of_deleted_people(collection: Collection, index: Path) -> None:
    before, person = snapshot(collection), faces_of(collection, "person 7")
    delete(collection, index, person)
    one_of_two = Photo(3, 2).face_ids[0]
    delete(collection, index, {one_of_two})
    report = purge(collection.path, [index])
    assert_gone(index.parent, collection, before)
    assert files_with(index.parent, [b"person 7", one_of_two.encode()]) == {}
    assert report.num_faces_removed == len(person) + 1
    assert report.num_photos_removed == 7
    assert report.num_index_rows_removed == {str(index): len(person) + 1}
    assert set(report.deleted_face_digests) == set(map(face_digest, collection.deleted))
    assert report.faces_checked == 2 * len(collection.faces())
    assert report.unknown_files == ()
    told = json.dumps(report.to_json()).encode()
    assert not [trace for trace in traces_of(before.faces().values()) if trace in told]
    assert b"person 7" not in told


def test_the_other_face_of_a_photo_stays(collection: Collection, index: Path) -> None:
    first, second = Photo(3, 2).face_ids
    delete(collection, index, {first})
    purge(collection.path, [index])
    match = FaceSearcher.open(index).search_embeddings(Photo(3, 2).vectors[1:], k=1)[0][0]
    assert (match.face_id, match.uri, match.person) == (second, "/photos/000003.jpg", "person 3")
    assert match.similarity == pytest.approx(1, abs=1e-5)
    photos = Dataset.open(collection.path).photos(["num_faces"]).to_pylist()
    assert {row["num_faces"] for row in photos if row["photo_id"] == Photo(3).photo_id} == {1}


def test_no_file_holds_traces_of_superseded_and_vanished_photos(
    collection: Collection, index: Path
) -> None:
    before = snapshot(collection)
    changed = {"/photos/000001.jpg": Photo(901, 1, "person 1", 1)}
    collection.embed(changed, gone=["/photos/000002.jpg", "/photos/000055.jpg"])
    assert found_ids(index) == set(before.faces())
    report = purge(collection.path, [index])
    assert_gone(index.parent, collection, before)
    assert (report.num_faces_removed, report.num_photos_removed) == (6, 5)
    assert report.num_index_rows_removed[str(index)] >= 6
    assert report.deleted_face_digests == ()


def test_a_copy_takes_over_when_the_first_path_is_superseded(
    collection: Collection, index: Path
) -> None:
    before = snapshot(collection)
    collection.embed({"/photos/000007.jpg": Photo(907, 2, "person 0", 1)})
    purge(collection.path, [index])
    (match,) = FaceSearcher.open(index).search_embeddings(Photo(7, 2).vectors[:1], k=1)[0]
    assert (match.face_id, match.uri) == (Photo(7, 2).face_ids[0], "/elsewhere/copy.jpg")
    assert match.also_at == ()
    assert (
        found_ids(index)
        == set(collection.faces())
        == set(before.faces()) | set(Photo(907, 2).face_ids)
    )
    assert verify_index(index, collection.path).problems == ()
    vanished = snapshot(collection)
    collection.embed({}, gone=["/elsewhere/copy.jpg"])
    purge(collection.path, [index])
    assert_gone(index.parent, collection, vanished)
    assert files_with(index.parent, [b"/elsewhere"]) == {}


def test_no_file_holds_the_former_path_of_a_photo(collection: Collection, index: Path) -> None:
    collection.embed({}, gone=["/elsewhere/copy.jpg"])
    purge(collection.path, [index])
    assert files_with(index.parent, [b"/elsewhere"]) == {}
    assert found_ids(index) == set(collection.faces())
    assert verify_index(index, collection.path).problems == ()


def test_no_file_holds_the_former_metadata_of_a_photo(collection: Collection, index: Path) -> None:
    for uri, photo in list(collection.photos.items()):
        if photo.person == "person 4":
            collection.embed({uri: Photo(photo.content, 2, "somebody else", photo.year)})
    purge(collection.path, [index])
    assert files_with(index.parent, [b"person 4"]) == {}
    assert faces_of(collection, "somebody else") == found_ids(
        index, where="person = 'somebody else'"
    )
    assert verify_index(index, collection.path).problems == ()


def test_a_purge_finds_nothing_the_second_time(collection: Collection, index: Path) -> None:
    delete(collection, index, faces_of(collection, "person 7"))
    purge(collection.path, [index])
    stamps = {path: path.stat().st_mtime_ns for path in index.rglob("*.arrow")}
    report = purge(collection.path, [index])
    assert (report.num_faces_removed, report.num_photos_removed) == (0, 0)
    assert report.num_index_rows_removed == {str(index): 0}
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_an_index_that_a_purge_did_not_name_loses_the_faces_in_its_next_update(
    collection: Collection, index: Path
) -> None:
    before = snapshot(collection)
    other = index.with_name("other")
    shutil.copytree(index, other)
    delete(collection, index, faces_of(collection, "person 7"))
    collection.embed({}, gone=["/photos/000002.jpg"])
    purge(collection.path, [index])
    assert found_ids(other) == set(before.faces())
    build_index(collection.path, other)
    assert found_ids(other) == set(collection.faces())
    purge(collection.path, [index, other])
    assert_gone(index.parent, collection, before)
    assert verify_index(other, collection.path).problems == ()


def test_partial_indexes_of_a_killed_build_are_purged(collection: Collection, index: Path) -> None:
    before = snapshot(collection)
    (index / "work").mkdir()
    (segment,) = (index / "segments").iterdir()
    shutil.copytree(segment, index / "work" / "piece-000000.d")
    delete(collection, index, faces_of(collection, "person 7"))
    report = purge(collection.path, [index])
    assert report.unknown_files == ()
    assert_gone(index.parent, collection, before)


def test_no_file_holds_traces_when_all_faces_are_deleted(
    collection: Collection, index: Path
) -> None:
    before = snapshot(collection)
    delete(collection, index, set(collection.faces()))
    purge(collection.path, [index])
    assert files_with(index.parent, traces_of(before.faces().values())) == {}
    assert len(FaceSearcher.open(index)) == 0
    assert found_ids(index) == set()
    assert verify_index(index, collection.path).problems == ()
    collection.embed({"/new.jpg": Photo(950, 1)})
    build_index(collection.path, index)
    assert found_ids(index) == set(Photo(950, 1).face_ids)


def test_a_file_that_is_not_facetroves_is_reported(collection: Collection, index: Path) -> None:
    (segment,) = (index / "segments").iterdir()
    for path in (collection.path / "notes.txt", segment / "notes.txt"):
        path.write_text("notes")
        assert purge(collection.path, [index]).unknown_files == (str(path),)
        path.unlink()


def test_while_a_job_runs_faces_are_withheld_and_a_purge_waits(
    collection: Collection, index: Path
) -> None:
    before, person = snapshot(collection), faces_of(collection, "person 7")
    with DatasetWriter.open(collection.path, DatasetSettings(CONTRACT, metadata=METADATA)) as job:
        with pytest.raises(BusyError, match="another process is writing dataset"):
            purge(collection.path, [index])
        deleted = delete_faces(collection.path, [index], "person = 'person 7'")
        assert deleted.num_faces == len(person)
        collection.deleted |= person
        assert found_ids(index) == set(collection.faces())
        with pytest.raises(BusyError, match="another process is writing dataset"):
            purge(collection.path, [index])
        late = ("/photos/late.jpg", Photo(7, 2, "person 7"))  # the job finds the faces again
        tables = part_tables([late], job.dataset.photo_schema, set())
        job.write_part(job.part_name(0), *tables, {})
    assert verify_index(index, collection.path).problems == ()
    purge(collection.path, [index])
    assert_gone(index.parent, collection, before)
    assert files_with(index.parent, [b"late.jpg"]) == {}


def test_a_deleted_photo_that_is_embedded_again_stays_away(
    collection: Collection, index: Path
) -> None:
    before, person = snapshot(collection), faces_of(collection, "person 7")
    again = {uri: photo for uri, photo in collection.photos.items() if photo.person == "person 7"}
    delete(collection, index, person)
    for is_purged in (False, True):
        if is_purged:
            purge(collection.path, [index])
            assert_gone(index.parent, collection, before)
        collection.embed({**again, "/third/place.jpg": Photo(7, 2)})
        build_index(collection.path, index)
        assert found_ids(index) == set(collection.faces())
        assert verify_index(index, collection.path).problems == ()
        counts = Dataset.open(collection.path).counts()
        assert counts.by_status == {"embedded": 54, "deleted": 8}
        assert counts.num_faces == len(collection.faces())
