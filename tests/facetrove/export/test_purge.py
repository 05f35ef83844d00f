"""A purge names the databases that may still hold what it removed, until the next export there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import facetrove as ft
from faces.dataset.exports import running_export
from indexer.build import build_index
from tests.support.command import run_facetrove
from tests.support.databases import require_client
from tests.support.people import group
from tests.support.small_collections import Collection, Photo, files_with, many_photos, traces_of


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    require_client("lancedb")
    collection = Collection(tmp_path / "d")
    collection.embed(many_photos(10))
    build_index(collection.path, tmp_path / "i")
    return collection


def export(collection: Collection, name: str = "db") -> str:
    folder = collection.path.parent
    build_index(collection.path, folder / "i")
    return ft.export_index(folder / "i", f"lancedb:{folder / name}").database


def delete(collection: Collection, photo: str) -> None:
    faces = collection.photos[photo].face_ids
    ft.delete_faces(collection.path, collection.path.parent / "i", faces=faces)
    collection.deleted |= set(faces)


def purge(collection: Collection, **options: object) -> ft.PurgeReport:
    return ft.purge(collection.path, collection.path.parent / "i", **options)


def test_exports_from_before_a_deletion_are_named_until_the_next_export(
    collection: Collection,
) -> None:
    first, second = export(collection, "one"), export(collection, "two")
    assert purge(collection).exports == ()
    delete(collection, "/photos/000001.jpg")
    export(collection, "two")
    report = purge(collection)
    assert report.exports == (first,)
    assert report.unknown_files == ()
    assert purge(collection).exports == (first,)  # it still does
    export(collection, "one")
    assert purge(collection).exports == ()
    delete(collection, "/photos/000002.jpg")
    assert purge(collection).exports == tuple(sorted((first, second)))


def test_nothing_of_a_deleted_face_is_left_in_lancedb(collection: Collection) -> None:
    export(collection)
    gone = [f for f in collection.faces().values() if f.uri == "/photos/000001.jpg"]
    folder = collection.path.parent / "db"
    assert files_with(folder, traces_of(gone))
    delete(collection, "/photos/000001.jpg")
    export(collection)
    assert files_with(folder, traces_of(gone)) == {}


def test_exports_of_replaced_photos_and_of_names_are_named(collection: Collection) -> None:
    address = export(collection)
    collection.embed({"/photos/000001.jpg": Photo(77, num_faces=2)})
    assert purge(collection).exports == (address,)
    export(collection)
    assert purge(collection).exports == ()
    faces = sorted(collection.faces())
    group(collection.path, dict.fromkeys(faces, 1))
    ft.open_people(collection.path).name(1, "Ann Lee")
    export(collection)
    assert purge(collection, names="Ann Lee").exports == (address,)
    export(collection)
    assert purge(collection).exports == ()


def test_new_photos_alone_leave_no_export_behind(collection: Collection) -> None:
    export(collection)
    collection.embed(many_photos(2, first=50))
    assert purge(collection).exports == ()


def test_a_purge_while_an_export_runs_is_not_forgotten(collection: Collection) -> None:
    address = export(collection)
    delete(collection, "/photos/000001.jpg")
    with running_export(collection.path, address) as record:
        compared = _compared_of(collection)
        record.begin(compared)
        assert purge(collection).exports == (address,)
        record.finish(compared)
    assert purge(collection).exports == (address,)


def test_one_export_to_an_address_runs_at_a_time(collection: Collection) -> None:
    address = export(collection)
    with (
        running_export(collection.path, address),
        pytest.raises(ft.BusyError, match="another process is writing lancedb:"),
    ):
        export(collection)


def test_the_command_names_the_database(collection: Collection) -> None:
    address = export(collection)
    delete(collection, "/photos/000001.jpg")
    index = collection.path.parent / "i"
    said = run_facetrove("purge", collection.path, index).stdout
    assert f"is run again: {address}" in said
    said = run_facetrove("export", index, address, "--json").stdout
    assert json.loads(said)["num_removed"] == 3
    assert "is run again" not in run_facetrove("purge", collection.path, index).stdout


def _compared_of(collection: Collection) -> object:
    from facetrove.export.export import _compared_gallery  # noqa: PLC0415

    searcher = ft.open_index(collection.path.parent / "i")
    return _compared_gallery(searcher, collection.path)[1]
