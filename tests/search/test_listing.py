"""Faces listed by a filter, and copies of the photos that were found."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from faces.core.errors import WrongUsageError
from faces.models.face import Box
from indexer.build import build_index
from search.copies import copy_photos
from search.listing import ListedFace
from search.searcher import FaceSearcher
from tests.support.photo_files import write_tar
from tests.support.small_collections import Collection, Photo


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> FaceSearcher:
    folder = tmp_path_factory.mktemp("listed")
    collection = Collection(folder / "d")
    photos = {
        "/b.jpg": Photo(1, 2, "Ann", 1),
        "/a.jpg": Photo(2, 1, "Bea", 2),
        "/c.jpg": Photo(3, 1, "Ann", 2),
        "/d.jpg": Photo(3, 1, "Cy", 2),
    }
    collection.embed(photos)
    build_index(collection.path, folder / "i")
    collection.embed({"/0.jpg": Photo(4, 1, None, 2)})
    build_index(collection.path, folder / "i")
    return FaceSearcher.open(folder / "i")


def test_faces_are_listed_by_a_filter(searcher: FaceSearcher) -> None:
    def uris(where: str, **options: object) -> list[str]:
        return [face.uri for face in searcher.list_faces(where, **options)]  # type: ignore[arg-type]

    assert uris("true") == ["/0.jpg", "/a.jpg", "/b.jpg", "/b.jpg", "/c.jpg"]
    assert uris("year = 2") == ["/0.jpg", "/a.jpg", "/c.jpg"]
    assert uris("person = 'Cy'") == ["/c.jpg"]
    assert uris("true", k=2) == ["/0.jpg", "/a.jpg"]
    assert uris("true", one_per="photo") == ["/0.jpg", "/a.jpg", "/b.jpg", "/c.jpg"]
    assert uris("true", one_per="person") == ["/0.jpg", "/a.jpg", "/b.jpg"]
    assert uris("person = 'nobody'") == []
    (face,) = searcher.list_faces("person = 'Cy'")
    assert (face.person, face.also_at, face.metadata) == ("Ann", ("/d.jpg",), {"year": 2})
    assert face.to_json()["metadata"] == {"year": 2}
    with pytest.raises(WrongUsageError, match="k is 0"):
        searcher.list_faces("true", k=0)


def face_in(uri: str, content: bytes, *also_at: str) -> ListedFace:
    photo_id = hashlib.sha256(content).hexdigest()
    return ListedFace(uri, Box(0, 0, 1, 1), "f", photo_id, 0.9, also_at)


def test_photos_are_copied_once_each_with_their_times(tmp_path: Path) -> None:
    for folder, content in (("x", b"one"), ("y", b"two"), ("z", b"three")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "A.jpg").write_bytes(content)
        os.utime(tmp_path / folder / "A.jpg", ns=(10**18, 10**18))
    (tmp_path / "z" / "A.jpg").rename(tmp_path / "z" / "a.JPG")
    tar = write_tar(tmp_path / "a.tar", {"m/member.jpg": b"member"})
    changed, gone = f"{tmp_path}/x/A.jpg", f"{tmp_path}/gone.jpg"
    faces = [
        face_in(f"{tmp_path}/x/A.jpg", b"one"),
        face_in(f"{tmp_path}/x/A.jpg", b"one"),
        face_in(f"{tmp_path}/y/A.jpg", b"two"),
        face_in(f"{tmp_path}/z/a.JPG", b"three"),
        face_in(f"tar://m/member.jpg::{tar}", b"member"),
        face_in(gone, b"elsewhere", changed),
        face_in(changed, b"before it was changed"),
    ]
    done = copy_photos(faces, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in done.copied} == {
        "A.jpg": b"one",
        "A-2.jpg": b"two",
        "a-3.JPG": b"three",
        "member.jpg": b"member",
    }
    assert done.copied[0].stat().st_mtime_ns == 10**18
    assert done.failed == (
        (gone, "read_error"),
        (changed, "changed since it was embedded"),
    )
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_copies_go_into_a_new_folder_only(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.jpg").touch()
    (tmp_path / "file").touch()
    for name, says in (
        ("full", "is no empty folder"),
        ("file", "is no empty folder"),
        ("nowhere/out", "does not exist; make it first"),
    ):
        with pytest.raises(WrongUsageError, match=says):
            copy_photos([], tmp_path / name)
    with pytest.raises(WrongUsageError, match="is an address"):
        copy_photos([], "s3://bucket/out")
    (tmp_path / "empty").mkdir()
    assert copy_photos([], tmp_path / "empty").copied == ()
