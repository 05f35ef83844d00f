"""Photos whose files are gone, and those whose disk is not there."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from faces.core.contract import ModelContract
from faces.core.errors import WrongUsageError
from faces.dataset import missing
from faces.dataset.header import DatasetSettings
from faces.dataset.missing import MissingPhotos, drop_photos, find_missing
from faces.dataset.store import Dataset
from faces.dataset.writing import DatasetWriter
from faces.photos.mounts import mount_points
from facetrove.photo_lists import LISTS

ROW = {"num_bytes": 1, "mtime_ns": 1, "num_faces": 0, "status": "no_face", "is_copy": False}


def write(path: Path, contract: ModelContract, photos: Mapping[Path | str, str | None]) -> Path:
    """Write a dataset of photos, each on the file system of a mount point, and their files."""
    for photo in photos:
        if isinstance(photo, Path):
            photo.parent.mkdir(parents=True, exist_ok=True)
            photo.touch()
    with DatasetWriter.open(path, DatasetSettings(contract)) as writer:
        rows = [{"uri": str(photo), "mount": mount, **ROW} for photo, mount in photos.items()]
        table = pa.Table.from_pylist(rows, writer.dataset.photo_schema)
        writer.write_photos(writer.part_name(0), table)
        writer.finish(None)
    return path


def uris(dataset: Path) -> list[str]:
    found: list[str] = sorted(Dataset.open(dataset).photos([])["uri"].to_pylist())
    return found


def test_a_photo_is_gone_whatever_became_of_its_folder(
    tmp_path: Path, contract: ModelContract
) -> None:
    names = ("here/1.jpg", "here/2.jpg", "emptied/3.jpg", "removed/4.jpg")
    photos = [tmp_path / name for name in names]
    dataset = write(tmp_path / "d", contract, dict.fromkeys(photos, "/"))
    assert find_missing(dataset) == MissingPhotos((), ())
    for photo in photos[1:]:
        photo.unlink()
    (tmp_path / "removed").rmdir()
    found = find_missing(dataset)
    assert found == MissingPhotos(tuple(sorted(map(str, photos[1:]))), ())
    photos[1].touch()  # while somebody thinks about the question
    assert drop_photos(dataset, found.vanished) == 2
    assert uris(dataset) == sorted(map(str, photos[:2]))
    assert drop_photos(dataset, found.vanished) == 0


def test_a_photo_may_be_named_alone_or_twice(tmp_path: Path, contract: ModelContract) -> None:
    photos = [tmp_path / "here" / name for name in ("1.jpg", "2.jpg", "3.jpg")]
    dataset = write(tmp_path / "d", contract, dict.fromkeys(photos, str(tmp_path / "here")))
    for photo in photos:
        photo.unlink()
    names = tuple(map(str, photos))
    assert find_missing(dataset, below_folders=str(tmp_path)) == MissingPhotos(names, ())
    assert drop_photos(dataset, names[0]) == 1
    assert drop_photos(dataset, [names[1], names[1]]) == 1
    assert uris(dataset) == [names[2]]


def test_nothing_is_concluded_from_a_disk_that_is_not_mounted(
    tmp_path: Path, contract: ModelContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    photos = [disk / "a" / "1.jpg", disk / "a" / "2.jpg"]
    dataset = write(tmp_path / "d", contract, dict.fromkeys(photos, str(disk)))
    names = tuple(map(str, photos))
    mounted = {str(disk)}
    monkeypatch.setattr(missing, "is_mounted", mounted.__contains__)
    photos[0].unlink()
    assert find_missing(dataset) == MissingPhotos(names[:1], ())
    shutil.rmtree(disk / "a")  # now no photo is there: it may be another disk
    assert find_missing(dataset) == MissingPhotos((), names)
    mounted.clear()
    (disk / "a").mkdir()
    (disk / ".hidden").touch()
    assert find_missing(dataset) == MissingPhotos((), names)
    shutil.rmtree(disk)
    assert find_missing(dataset) == MissingPhotos((), names)
    # Unless somebody who knows says so.
    assert find_missing(dataset, below_folders=[disk]) == MissingPhotos(names, ())
    assert find_missing(dataset, below_folders=[tmp_path / "dis"]) == MissingPhotos((), names)


def test_photos_that_were_read_in_part_are_listed(tmp_path: Path, contract: ModelContract) -> None:
    dataset = write(tmp_path / "d", contract, {"/1.jpg": None, "/2.jpg": None})
    settings = DatasetSettings(contract)
    with DatasetWriter.open(dataset, settings) as writer:
        rows = [{"uri": "/2.jpg", "partly_read": "cut_short", **ROW}]
        table = pa.Table.from_pylist(rows, writer.dataset.photo_schema)
        writer.write_photos(writer.part_name(0), table)
    listed = LISTS["partly-read"](Dataset.open(dataset)).to_pylist()
    assert listed == [{"partly_read": "cut_short", "uri": "/2.jpg"}]


def test_what_is_missing_in_a_place_that_is_named_is_gone(
    tmp_path: Path, contract: ModelContract
) -> None:
    there, gone, archive = tmp_path / "a" / "1.jpg", tmp_path / "a" / "2.jpg", tmp_path / "x.tar"
    member, remote = f"tar://1.jpg::{archive}", "https://example.com/photos/1.jpg"
    dataset = write(
        tmp_path / "d",
        contract,
        {there: "/disk", gone: "/disk", member: "/disk", remote: None},
    )
    gone.unlink()
    unreachable = MissingPhotos((), (str(gone), member))
    assert find_missing(dataset) == unreachable
    places = {archive: member, tmp_path / "a": str(gone), "https://example.com/photos": remote}
    for place, uri in places.items():
        found = find_missing(dataset, below_folders=[place])
        assert found.vanished == (uri,)
        assert found.unreachable == tuple(u for u in unreachable.unreachable if u != uri)
    with pytest.raises(WrongUsageError, match="holds everything"):
        find_missing(dataset, below_folders=["/"])


def test_a_photo_of_an_earlier_version_is_gone_where_its_folder_has_another(
    tmp_path: Path, contract: ModelContract
) -> None:
    photos = [tmp_path / name for name in ("a/1.jpg", "a/2.jpg", "b/3.jpg")]
    dataset = write(tmp_path / "d", contract, dict.fromkeys(photos))
    photos[1].unlink()
    photos[2].unlink()
    assert find_missing(dataset) == MissingPhotos((str(photos[1]),), (str(photos[2]),))


def test_a_file_that_cannot_be_examined_is_unreachable(
    tmp_path: Path, contract: ModelContract
) -> None:
    loop = tmp_path / "loop"
    photos = [tmp_path / "1.jpg", loop / "2.jpg"]
    dataset = write(tmp_path / "d", contract, dict.fromkeys(photos, "/"))
    shutil.rmtree(loop)
    loop.symlink_to(loop)  # every access fails with ELOOP
    assert find_missing(dataset) == MissingPhotos((), (str(photos[1]),))


def test_of_members_the_archive_is_looked_at_and_addresses_are_not(
    tmp_path: Path, contract: ModelContract
) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w"):
        pass
    members = {f"tar://{name}.jpg::{archive}": "/" for name in "xy"}
    remote = {"s3://bucket/1.jpg": None, "tar://1.jpg::s3://bucket/a.tar": None}
    dataset = write(tmp_path / "d", contract, {**members, **remote})
    assert find_missing(dataset) == MissingPhotos((), ())
    archive.unlink()
    assert find_missing(dataset) == MissingPhotos(tuple(sorted(members)), ())


def test_mount_points_are_those_of_the_files_behind_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, link = tmp_path / "disk", tmp_path / "link"
    (disk / "sub").mkdir(parents=True)
    link.symlink_to(disk / "sub")
    mounted = {str(disk), "/"}
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) in mounted)
    named = [f"{link}/1.jpg", f"{tmp_path}/2.jpg", f"tar://x.jpg::{disk}/a.tar", "s3://b/1.jpg"]
    assert mount_points(named) == [str(disk), "/", str(disk), None]
    mounted.remove(str(disk))  # in the same process
    assert mount_points(named) == ["/", "/", "/", None]
