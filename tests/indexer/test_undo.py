"""A deletion is taken back, as long as no purge has made it final."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faces.core.errors import BusyError, WrongUsageError
from faces.core.storage import Folder
from faces.dataset.deletions import face_digest, read_deletions
from faces.dataset.layout import DELETIONS_FILE
from faces.dataset.store import Dataset
from indexer.build import build_index
from indexer.compact import compact_index
from indexer.delete import delete_faces, plan_deletion
from indexer.manifest import read_current
from indexer.purge import purge
from indexer.undo import list_deletions, undo
from indexer.verify import verify_index
from tests.support.small_collections import (
    Collection,
    Photo,
    files_with,
    found_ids,
    many_photos,
)

PERSON = "person = 'person 7'"


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    collection = Collection(tmp_path / "dataset")
    collection.embed(many_photos(30), photos_per_part=10)
    return collection


@pytest.fixture
def index(collection: Collection, tmp_path: Path) -> Path:
    build_index(collection.path, tmp_path / "index")
    return tmp_path / "index"


def dataset_ids(dataset: Path) -> set[str]:
    return {i for t in Dataset.open(dataset).faces(["face_id"]) for i in t["face_id"].to_pylist()}


def delete(collection: Collection, where: str = PERSON, *indexes: Path) -> str:
    deleted = delete_faces(collection.path, indexes, where)
    assert deleted.deletion_id is not None
    return deleted.deletion_id


def assert_whole(collection: Collection, index: Path) -> None:
    """Check that a search and the dataset have every face, and that both agree."""
    assert found_ids(index) == dataset_ids(collection.path) == set(collection.faces())
    assert verify_index(index, collection.path).problems == ()
    assert Dataset.open(collection.path).counts().num_faces == len(collection.faces())


def test_a_deletion_is_listed_with_its_request_and_taken_back(
    collection: Collection, index: Path
) -> None:
    deletion_id = delete(collection, PERSON, index)
    assert len(found_ids(index)) == 81
    (listed,) = list_deletions(collection.path)
    assert (listed.deletion_id, listed.num_faces, listed.request.where) == (deletion_id, 9, PERSON)
    done = undo(collection.path, deletion_id, index)
    assert (done.num_faces, done.indexes) == (9, (str(index),))
    assert list_deletions(collection.path) == ()
    assert_whole(collection, index)


def test_a_delete_changes_no_part(collection: Collection, index: Path) -> None:
    def parts() -> dict[str, bytes]:
        folder = collection.path
        return {str(path): path.read_bytes() for path in folder.glob("*/part-*.parquet")}

    before = parts()
    deletion_id = delete(collection, PERSON, index)
    assert parts() == before
    undo(collection.path, deletion_id, index)
    assert parts() == before


def test_an_index_that_is_not_named_follows_when_it_is_brought_up_to_date(
    collection: Collection, index: Path
) -> None:
    undo(collection.path, delete(collection, PERSON, index))
    assert len(found_ids(index)) == 81
    build_index(collection.path, index)
    assert_whole(collection, index)
    version = read_current(index).version
    build_index(collection.path, index)
    assert read_current(index).version == version


def test_an_index_that_was_compacted_and_updated_meanwhile_has_the_faces_again(
    collection: Collection, index: Path
) -> None:
    deletion_id = delete(collection, PERSON, index)
    compact_index(index)
    collection.embed({"/new.jpg": Photo(900, 2), "/copy.jpg": Photo(7, 3, "Ann")})
    build_index(collection.path, index)
    undo(collection.path, deletion_id, index)
    assert_whole(collection, index)


def test_an_index_that_missed_an_earlier_deletion_has_all_faces_again(
    collection: Collection, index: Path
) -> None:
    """The second deletion marks the faces of both; the state of the dataset ends as it began."""
    first = delete(collection)
    second = delete(collection, "person = 'person 3'", index)
    for deletion_id in (first, second):
        undo(collection.path, deletion_id)
    build_index(collection.path, index)
    assert_whole(collection, index)


def test_photos_embedded_again_while_their_faces_are_withheld_have_them_again(
    collection: Collection, index: Path
) -> None:
    deletion_id = delete(collection, PERSON, index)
    withheld = {uri: photo for uri, photo in collection.photos.items() if photo.content % 10 == 7}
    collection.deleted = {i for photo in withheld.values() for i in photo.face_ids}
    collection.embed({**withheld, "/third/place.jpg": Photo(7, 3, "person 7")}, again=True)
    build_index(collection.path, index)
    assert found_ids(index) == dataset_ids(collection.path) == set(collection.faces())
    assert Dataset.open(collection.path).counts().by_status == {"embedded": 27, "deleted": 4}
    collection.deleted.clear()
    undo(collection.path, deletion_id, index)
    assert_whole(collection, index)


def test_photos_count_the_faces_that_are_left(collection: Collection) -> None:
    one, two = Photo(3, 3).face_ids[:2]
    delete_faces(collection.path, [], faces=[one, two])
    photos = Dataset.open(collection.path).photos(["num_faces"]).to_pylist()
    (row,) = [row for row in photos if row["photo_id"] == Photo(3).photo_id]
    assert (row["num_faces"], row["status"]) == (1, "embedded")
    delete_faces(collection.path, [], faces=Photo(3, 3).face_ids)
    photos = Dataset.open(collection.path).photos(["num_faces"]).to_pylist()
    (row,) = [row for row in photos if row["photo_id"] == Photo(3).photo_id]
    assert (row["num_faces"], row["status"]) == (0, "deleted")


def test_a_face_that_two_deletions_asked_for_comes_back_with_the_second(
    collection: Collection, index: Path
) -> None:
    face_id = Photo(7, 3).face_ids[0]
    first = delete(collection)  # the index still has the faces, so the next deletion finds one
    second = delete(collection, f"face_id = '{face_id}'", index)
    assert undo(collection.path, first, index).num_faces == 8
    assert found_ids(index) == set(collection.faces()) - {face_id}
    assert undo(collection.path, second, index).num_faces == 1
    assert_whole(collection, index)


def test_the_same_request_again_is_the_same_deletion(collection: Collection, index: Path) -> None:
    first = delete(collection)
    again = delete_faces(collection.path, [index], PERSON)
    assert (again.deletion_id, again.num_faces) == (first, 9)
    nothing = delete_faces(collection.path, [index], PERSON)
    assert (nothing.deletion_id, nothing.num_faces) == (first, 0)
    assert len(list_deletions(collection.path)) == 1
    collection.embed({"/new.jpg": Photo(900, 2, "person 7")})
    later = delete_faces(collection.path, [index], PERSON)
    assert later.deletion_id != first and later.num_faces == 2


def test_a_deletion_that_matches_nothing_leaves_nothing_to_take_back(
    collection: Collection, index: Path
) -> None:
    deleted = delete_faces(collection.path, [index], "person = 'nobody'")
    assert (deleted.num_faces, deleted.deletion_id) == (0, None)
    assert not (collection.path / DELETIONS_FILE).exists()
    assert read_current(index).version == 1


def test_a_purge_is_final_and_keeps_no_record(collection: Collection, index: Path) -> None:
    deletion_id = delete(collection, PERSON, index)
    record = collection.path / DELETIONS_FILE
    assert files_with(collection.path, [PERSON.encode()]).keys() == {str(record)}
    purge(collection.path, [index])
    assert files_with(index.parent, [b"person 7"]) == {}
    assert list_deletions(collection.path) == ()
    with pytest.raises(WrongUsageError, match="a purge has made it final"):
        undo(collection.path, deletion_id)
    for unknown in ("nonsense", "\udcff"):
        with pytest.raises(WrongUsageError, match="has no deletion"):
            undo(collection.path, unknown)


def test_a_purge_of_one_deletion_reports_it_alone_and_leaves_the_others(
    collection: Collection, index: Path
) -> None:
    ann = {i for i, face in collection.faces().items() if face.person == "person 7"}
    other = delete(collection, "person = 'person 3'", index)
    one = delete(collection, PERSON, index)
    report = purge(collection.path, [index], deletions=[one])
    assert set(report.deleted_face_digests) == set(map(face_digest, ann))
    assert report.num_faces_removed == 9
    assert files_with(index.parent, [b"person 7", *(i.encode() for i in ann)]) == {}
    assert [deletion.deletion_id for deletion in list_deletions(collection.path)] == [other]
    repeated = purge(collection.path, [index], deletions=[one])
    assert repeated.deleted_face_digests == report.deleted_face_digests
    undo(collection.path, other, index)
    collection.deleted |= ann
    assert_whole(collection, index)
    for unknown in ("nonsense", "\udcff"):
        with pytest.raises(WrongUsageError, match="has no deletion"):
            purge(collection.path, [index], deletions=[unknown])


def test_a_photo_whose_faces_two_deletions_took_keeps_what_is_not_purged(
    collection: Collection, index: Path
) -> None:
    first, *others = Photo(3, 3).face_ids
    one = delete(collection, f"face_id = '{first}'", index)
    two = delete(collection, f"face_id IN {tuple(others)}", index)
    purge(collection.path, [index], deletions=[two])
    undo(collection.path, one, index)
    collection.deleted |= set(others)
    assert_whole(collection, index)


def test_faces_taken_back_leave_no_trace_when_their_photo_vanishes_and_is_purged(
    collection: Collection, index: Path
) -> None:
    undo(collection.path, delete(collection, PERSON, index), index)
    gone = [uri for uri, photo in collection.photos.items() if photo.person == "person 7"]
    ids = [i.encode() for photo in map(collection.photos.get, gone) for i in photo.face_ids]  # type: ignore[union-attr]
    collection.embed({}, gone=gone)
    purge(collection.path, [index])
    assert files_with(index.parent, ids) == {}
    assert_whole(collection, index)


def test_indexes_that_were_not_named_are_told(collection: Collection, index: Path) -> None:
    sibling = index.with_name("sibling")
    shutil.copytree(index, sibling)
    other = Collection(index.with_name("other dataset"))
    other.embed(many_photos(2))
    build_index(other.path, index.with_name("other index"))
    assert plan_deletion(collection.path, [index], where=PERSON).unnamed_indexes == (sibling,)
    deleted = delete_faces(collection.path, [index], PERSON)
    assert deleted.unnamed_indexes == (str(sibling),)
    assert len(found_ids(sibling)) == 90
    done = undo(collection.path, str(deleted.deletion_id), [])
    assert set(done.unnamed_indexes) == {str(index), str(sibling)}


def test_an_index_that_cannot_be_written_does_not_keep_the_others_from_being_marked(
    collection: Collection, index: Path
) -> None:
    sibling = index.with_name("sibling")
    shutil.copytree(index, sibling)
    with Folder(index).lease(what="index"), pytest.raises(BusyError):
        delete_faces(collection.path, [index, sibling], PERSON)
    assert len(found_ids(sibling)) == len(dataset_ids(collection.path)) == 81


def test_an_unlabelled_copy_hides_no_label(collection: Collection, index: Path) -> None:
    collection.embed({"/a/copy.jpg": Photo(3, 3), "/a/other.jpg": Photo(4, 3, "Ann")})
    build_index(collection.path, index)
    assert found_ids(index, where="person = 'person 3'") >= set(Photo(3, 3).face_ids)
    assert plan_deletion(collection.path, [], where="person IS NULL").num_faces == 0
    # Where two places name different people, a delete looks at both.
    assert found_ids(index, where="person = 'Ann'") == set(Photo(4, 3).face_ids)
    for person in ("Ann", "person 4"):
        plan = plan_deletion(collection.path, [], where=f"person = '{person}'")
        assert set(plan.face_ids.to_pylist()) >= set(Photo(4, 3).face_ids)
    assert_whole(collection, index)


def test_a_photo_embedded_at_two_places_keeps_its_faces_when_one_vanishes_between_two_purges(
    collection: Collection, index: Path
) -> None:
    collection.embed({"/z.jpg": Photo(3, 3)}, again=True)
    purge(collection.path, [index])
    collection.embed({}, gone=["/z.jpg"])
    purge(collection.path, [index])
    assert_whole(collection, index)


def test_an_index_that_read_a_copy_before_its_owner_is_updated_after_all_faces_went(
    collection: Collection, index: Path
) -> None:
    collection.embed({uri: Photo(3, 3, "person 3") for uri in ("/b.jpg", "/c.jpg", "/d.jpg")})
    build_index(collection.path, index)
    collection.embed({"/photos/000003.jpg": Photo(903, 1)})
    purge(collection.path, [index])  # gives the faces a new owner, which the index has not read
    delete_faces(collection.path, [index], "len(also_at) > 0")
    collection.deleted |= set(Photo(3, 3).face_ids)
    collection.embed({"/c.jpg": Photo(904, 1)})
    purge(collection.path, [index])
    assert found_ids(index) == dataset_ids(collection.path) == set(collection.faces())


def test_deletions_of_the_first_release_are_final(collection: Collection, index: Path) -> None:
    face_id = Photo(3, 3).face_ids[0]
    rows = {"face_id": [face_id], "digest": [face_digest(face_id)]}
    pq.write_table(pa.table(rows), collection.path / DELETIONS_FILE)
    collection.deleted.add(face_id)
    assert dataset_ids(collection.path) == set(collection.faces())
    assert list_deletions(collection.path) == ()
    purge(collection.path, [index])
    assert files_with(index.parent, [face_id.encode()]) == {}
    assert read_deletions(collection.path).final_digests.to_pylist() == [face_digest(face_id)]
    assert_whole(collection, index)
