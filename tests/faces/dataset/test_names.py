"""A person's name is found in the rows of photos, and a purge removes it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from faces.core.errors import CorruptFileError
from faces.dataset.names import PersonName
from faces.dataset.store import Dataset
from indexer.build import build_index
from indexer.delete import delete_faces
from indexer.faces_file import FACES_SCHEMA
from indexer.folder import open_segments
from indexer.manifest import read_current
from indexer.purge import purge
from indexer.traces import Traces, TraceSearch
from indexer.undo import list_deletions, undo
from indexer.verify import verify_index
from tests.support.small_collections import Collection, Photo, files_with, found_ids

COMPOSED, DECOMPOSED = "Jos\u00e9 Lee", "Jose\u0301 Lee"


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    collection = Collection(tmp_path / "dataset")
    collection.embed(
        {
            "/party.jpg": Photo(1, 2, "Ann Lee"),
            "/Ann Lee/alone.jpg": Photo(2, 1, "Ann Lee"),
            "/both.jpg": Photo(3, 2, "Ann Lee, Bob"),
            "/annual.jpg": Photo(4, 1, "Joann Leeds"),
            "/jose.jpg": Photo(5, 2, DECOMPOSED),
        }
    )
    return collection


@pytest.fixture
def index(collection: Collection, tmp_path: Path) -> Path:
    build_index(collection.path, tmp_path / "index")
    return tmp_path / "index"


def people(collection: Collection) -> dict[str, str | None]:
    photos = Dataset.open(collection.path).photos(["person"])
    return {row["uri"]: row["person"] for row in photos.to_pylist()}


def test_a_purge_lists_the_rows_in_which_the_name_is_left(
    collection: Collection, index: Path
) -> None:
    delete_faces(collection.path, [index], faces=Photo(1, 2).face_ids[0])
    report = purge(collection.path, [index])
    left = [(row.name, row.uri, row.column) for row in report.names_left]
    assert left == [
        ("Ann Lee", "/Ann Lee/alone.jpg", "person"),
        ("Ann Lee", "/Ann Lee/alone.jpg", "uri"),
        ("Ann Lee", "/both.jpg", "person"),
        ("Ann Lee", "/party.jpg", "person"),
    ]
    assert report.num_name_rows_left == 3
    assert "Ann Lee" not in json.dumps(report.to_json())


def test_a_name_that_only_one_place_of_a_photo_has_is_seen_in_an_index(tmp_path: Path) -> None:
    collection = Collection(tmp_path / "dataset")
    collection.embed({"/a.jpg": Photo(1, 1, "Bob"), "/b.jpg": Photo(1, 1, "Ann Lee")})
    build_index(collection.path, tmp_path / "index")
    none = pa.array([], pa.string())
    search = TraceSearch(Traces(none, none, none, none, none, [PersonName("ann lee")]))
    (segment,) = open_segments(tmp_path / "index", read_current(tmp_path / "index"))
    ((faces, _),) = segment.rows()
    metadata = pa.Table.from_batches([faces]).drop_columns(FACES_SCHEMA.names)
    assert metadata["person"].to_pylist() == ["Bob"]
    with pytest.raises(CorruptFileError, match="facetrove_places_person"):
        search._look_for_names(segment.faces.path, metadata)


def test_a_purge_removes_a_name_from_dataset_and_indexes(
    collection: Collection, index: Path, tmp_path: Path
) -> None:
    build_index(collection.path, tmp_path / "other")
    delete_faces(collection.path, [index], faces=Photo(1, 2).face_ids[0])
    report = purge(collection.path, [index], names="ann  lee")
    assert people(collection) == {
        "/party.jpg": None,
        "/Ann Lee/alone.jpg": None,
        "/both.jpg": "Bob",
        "/annual.jpg": "Joann Leeds",
        "/jose.jpg": DECOMPOSED,
    }
    assert (report.num_name_rows_cleaned, report.num_name_rows_left) == (3, 1)  # a path has it
    build_index(collection.path, tmp_path / "other")
    for path in (index, tmp_path / "other"):
        assert verify_index(path, collection.path).problems == ()
        assert found_ids(path, where="person = 'Bob'") == set(Photo(3, 2).face_ids)
        assert found_ids(path, where="contains(person, 'Ann')") == set()
    for path in collection.path.glob("photos/*"):
        assert files_with(path, [b"Ann Lee, Bob"]) == {}
    assert purge(collection.path, [index], names="Ann Lee").num_name_rows_cleaned == 0


def test_a_name_is_removed_from_the_records_of_other_deletions(
    collection: Collection, index: Path
) -> None:
    kept = delete_faces(collection.path, [index], "person = 'Ann Lee, Bob'").deletion_id
    purged = delete_faces(collection.path, [index], faces=Photo(1, 2).face_ids[0]).deletion_id
    assert purged and kept
    purge(collection.path, [index], deletions=[purged], names=["Ann Lee"])
    (record,) = list_deletions(collection.path)
    assert (record.deletion_id, record.request.where) == (kept, None)
    undo(collection.path, kept, index)
    assert set(Photo(3, 2).face_ids) <= found_ids(index)


def test_names_equal_after_nfc_are_equal(collection: Collection, index: Path) -> None:
    assert found_ids(index, where=f"person = '{COMPOSED}'") == set(Photo(5, 2).face_ids)
    assert delete_faces(collection.path, [index], f"person = '{COMPOSED}'").num_faces == 2
    purge(collection.path, [index], names=[COMPOSED])
    assert files_with(index.parent, [DECOMPOSED.encode()]) == {}


@pytest.mark.parametrize(
    ("name", "text", "is_in", "left"),
    [
        ("Ann Lee", "Ann Lee", True, None),
        ("Ann Lee", "ANN\tLEE; Bob", True, "Bob"),
        ("Ann", "Annual meeting", False, "Annual meeting"),
        (COMPOSED, f"with {DECOMPOSED}.", True, "with ."),
        ("A.C.", "A.C.", True, None),
        ("A.C.", "ABCD", False, "ABCD"),
    ],
)
def test_a_name_is_whole_words(name: str, text: str, is_in: bool, left: str | None) -> None:
    assert PersonName(name).is_in(text) == is_in
    assert PersonName(name).cut_from(text) == left
