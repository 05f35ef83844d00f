from __future__ import annotations

import os
from pathlib import Path

import pytest

from faces.errors import WrongUsageError
from faces.images import PhotoRejectedError, RejectReason
from faces.photos import list_photos, open_photo, photo_path, photo_uri, read_photo


def test_photos_are_found_by_their_ending_below_a_folder(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.jpeg", "notes.txt", ".hidden.jpg", "sub/deep/c.webp", ".thumbs/d.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    found = list_photos(tmp_path)
    names = [str(photo_path(photo.uri).relative_to(tmp_path)) for photo in found]
    assert names == ["a.jpeg", "b.JPG", "sub/deep/c.webp"]
    assert {photo.num_bytes for photo in found} == {5}
    assert found[0].mtime_ns == (tmp_path / "a.jpeg").stat().st_mtime_ns


def test_a_dangling_link_still_counts(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (photo,) = list_photos(tmp_path)
    assert (photo.num_bytes, photo.mtime_ns) == (-1, -1)
    with pytest.raises(PhotoRejectedError) as caught:
        read_photo(photo.uri)
    assert caught.value.reason is RejectReason.READ_ERROR


@pytest.mark.parametrize(
    "name", [b"plain.jpg", "Zürich 写真.jpg".encode(), b"line\nbreak.jpg", b"latin-\xe9\xff.jpg"]
)
def test_every_name_survives_the_way_to_a_uri_and_back(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(b"content")
    (photo,) = list_photos(tmp_path)
    photo.uri.encode()  # valid Unicode, as Parquet and JSON need it
    assert photo_path(photo.uri) == path
    assert read_photo(photo.uri) == b"content"
    assert photo.uri == photo_uri(path)


def test_a_missing_or_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WrongUsageError, match="does not exist; name the folder"):
        list_photos(tmp_path / "nowhere")
    with pytest.raises(WrongUsageError, match=r"no photos under .* looked for files ending in"):
        list_photos(tmp_path)
    (tmp_path / "file.jpg").write_bytes(b"")
    with pytest.raises(WrongUsageError, match="is a file, not a folder"):
        list_photos(tmp_path / "file.jpg")


def test_a_named_photo_that_is_none_says_why(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no photo")
    with pytest.raises(WrongUsageError, match="unsupported_format"):
        open_photo(tmp_path / "text.jpg")
    with pytest.raises(WrongUsageError, match="does not exist; name a photo"):
        open_photo(tmp_path / "nowhere.jpg")


def test_pipes_devices_and_folders_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    for name in ("pipe.jpg", "zero.jpg"):
        with pytest.raises(PhotoRejectedError, match="not a regular file"):
            read_photo(str(tmp_path / name))
