"""Exports to real databases: what is there afterwards is what the index has, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import facetrove as ft
from indexer.build import build_index
from tests.support.databases import NEEDED, Database, database
from tests.support.people import group
from tests.support.small_collections import Collection, Photo, many_photos


@pytest.fixture(params=NEEDED)
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with database(request.param, tmp_path) as found:
        yield found


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    """Forty photos of three faces, and one at two places, of which an index is built."""
    collection = Collection(tmp_path / "d")
    collection.embed(many_photos(40) | {"/a'b/ü.jpg": Photo(900), "/copy.jpg": Photo(900)})
    build_index(collection.path, tmp_path / "i")
    return collection


def export(collection: Collection, db: Database, **options: object) -> ft.ExportResult:
    """Bring the index of a collection up to date, and export it."""
    index = collection.path.parent / "i"
    build_index(collection.path, index)
    return ft.export_index(index, db.address, **options)


def require_same(collection: Collection, db: Database) -> None:
    """Require that a database has the faces of a collection, with all their columns."""
    rows, faces = db.rows(), collection.faces()
    assert rows.keys() == faces.keys()
    for face_id, face in faces.items():
        row = rows[face_id]
        assert (row["uri"], row["photo_id"]) == (face.uri, face.photo_id)
        assert (row["person"], row["year"]) == (face.person, face.year)
        assert tuple(row["also_at"] or ()) == face.also_at
        assert list(row["box"])[1:] == [0, 1, 1]
        assert row["score"] == 0.5
        assert np.allclose(row["embedding"], face.vector, atol=1e-6)


def test_what_is_sent_is_what_the_index_has(collection: Collection, db: Database) -> None:
    result = export(collection, db)
    require_same(collection, db)
    assert (result.num_sent, result.num_changed, result.num_removed) == (121, 0, 0)
    again = export(collection, db)
    assert (again.num_sent, again.num_changed, again.num_removed) == (0, 0, 0)
    assert again.num_faces == 121


def test_new_changed_and_vanished_photos_follow(collection: Collection, db: Database) -> None:
    export(collection, db)
    changed = {"/photos/000001.jpg": Photo(1, num_faces=3, person="Ann", year=1990)}
    collection.embed(many_photos(5, first=60) | changed, gone=["/photos/000002.jpg", "/copy.jpg"])
    result = export(collection, db)
    require_same(collection, db)
    # The photo at two places is at one now, so that its face changes too.
    assert (result.num_sent, result.num_changed, result.num_removed) == (15, 4, 3)


def test_names_of_the_people_book_follow(collection: Collection, db: Database) -> None:
    export(collection, db)
    faces = sorted(collection.faces())
    group(collection.path, {face: number % 4 + 1 for number, face in enumerate(faces)})
    people = ft.open_people(collection.path)
    people.name(1, "Cy Ott")
    result = export(collection, db)
    assert (result.num_sent, result.num_changed) == (0, 121)
    rows = db.rows()
    assert {rows[face]["person"] for face in faces[::4]} == {"Cy Ott"}
    assert {rows[face]["person_id"] for face in faces[1::4]} == {2}
    assert {rows[face]["person"] for face in faces[1::4]} == {None}
    named = next(face for face in faces if collection.faces()[face].person == "person 3")
    assert rows[named]["photo_person"] == "person 3"
    people.name(1, "Di Poe")
    assert export(collection, db).num_changed == len(faces[::4])
    assert {db.rows()[face]["person"] for face in faces[::4]} == {"Di Poe"}


def test_deleted_faces_leave_even_if_the_index_does_not_know_yet(
    collection: Collection, db: Database
) -> None:
    export(collection, db)
    deleted = collection.photos["/photos/000003.jpg"].face_ids
    ft.delete_faces(collection.path, [], faces=deleted)
    result = ft.export_index(collection.path.parent / "i", db.address)
    assert result.num_removed == 3
    collection.deleted |= set(deleted)
    require_same(collection, db)


def test_a_search_in_the_database_finds_what_the_index_finds(
    collection: Collection, db: Database
) -> None:
    result = export(collection, db, verify=True)
    assert result.recall_at_10 is not None and result.recall_at_10 >= 0.99
    assert result.verification is not None
    assert result.verification.num_probes == 121
    assert result.verification.recall_at_10 >= 0.99


def test_an_empty_index_empties_the_table(collection: Collection, db: Database) -> None:
    export(collection, db)
    collection.embed({}, gone=list(collection.photos))
    result = export(collection, db)
    assert (result.num_faces, result.num_removed) == (0, 121)
    assert db.rows() == {}


def test_the_table_of_another_dataset_stays_as_it_is(
    collection: Collection, db: Database, tmp_path: Path
) -> None:
    export(collection, db)
    other = Collection(tmp_path / "other" / "d")
    other.embed(many_photos(2))
    with pytest.raises(ft.WrongUsageError, match="faces of another dataset"):
        export(other, db)
    require_same(collection, db)
