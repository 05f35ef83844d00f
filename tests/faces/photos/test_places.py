from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

from faces.core.errors import WrongUsageError
from faces.photos.places import Place
from faces.photos.uris import photo_path, photo_uri


@pytest.mark.parametrize(
    ("uri", "new"),
    [
        ("/old/a.jpg", "/new/a.jpg"),
        ("/old/deep/ä.jpg", "/new/deep/ä.jpg"),
        ("/older/a.jpg", None),
        ("/old.jpg", None),
        ("/x/old/a.jpg", None),
        ("tar://b/c.jpg::/old/a.tar", "tar://b/c.jpg::/new/a.tar"),
        ("zip://old/c.jpg::/x/a.zip", None),
        ("tar:///old/c.jpg::/x/a.tar", None),
        ("s3://old/a.jpg", None),
    ],
)
def test_photos_below_a_folder_move_with_it(uri: str, new: str | None) -> None:
    old, to = Place.named("/old/"), Place.named("/new")
    assert old.moved(uri, to) == new
    assert old.mask(pa.array([uri])).tolist() == [new is not None]
    moved, count = old.moved_all(pa.chunked_array([[uri, None], ["/y"]]), to)
    assert moved.to_pylist() == [new or uri, None, "/y"]
    assert count == (new is not None)


def test_names_in_any_encoding_move() -> None:
    latin = os.fsdecode(b"caf\xe9")
    old, new = Place.named(f"/o/{latin}"), Place.named("/n")
    uri = photo_uri(Path(f"/o/{latin}/a.jpg"))
    assert uri.startswith("file://")
    assert old.moved(uri, new) == "/n/a.jpg"
    assert new.moved("/n/a.jpg", old) == uri
    assert Place.named("/o").moved(uri, new) == photo_uri(Path(f"/n/{latin}/a.jpg"))
    assert photo_path(new.moved("/n/a.jpg", old) or "") == Path(f"/o/{latin}/a.jpg")
    member = photo_uri(f"tar://{latin}.jpg::/o/a.tar")
    assert member.startswith("escaped:")
    assert Place.named("/o").moved(member, new) == photo_uri(f"tar://{latin}.jpg::/n/a.tar")
    assert Place.named("file:///o/caf%E9") == old


def test_a_file_an_archive_and_an_address_may_move() -> None:
    assert Place.named("/o/a.jpg").moved("/o/a.jpg", Place.named("/n/b.jpg")) == "/n/b.jpg"
    archive = Place.named("/o/a.tar").moved("tar://x.jpg::/o/a.tar", Place.named("/b.tar"))
    assert archive == "tar://x.jpg::/b.tar"
    store = Place.named("s3://bucket/old/")
    assert store.moved("s3://bucket/old/a.jpg", Place.named("/n")) == "/n/a.jpg"
    assert store.moved("tar://x.jpg::s3://bucket/old/a.tar", Place.named("gs://b")) == (
        "tar://x.jpg::gs://b/a.tar"
    )
    assert Place.named("/o").moved("/o/a.jpg", store) == "s3://bucket/old/a.jpg"


def test_a_place_of_everything_and_one_in_an_archive_are_refused() -> None:
    for name in ("/", "s3://", "//"):
        with pytest.raises(WrongUsageError, match="holds everything"):
            Place.named(name)
    with pytest.raises(WrongUsageError, match="name the archive itself"):
        Place.named("tar://folder::/a.tar")
