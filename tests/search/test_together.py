"""Several photos of one person as one probe, and one face of a group photo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from faces.core.errors import FaceTroveError, WrongUsageError
from facetrove.finding import find_faces
from search.answering import joint_embedding
from search.searcher import FaceSearcher


@pytest.fixture(scope="module")
def searcher(demo_index: Path) -> FaceSearcher:
    return FaceSearcher.open(demo_index)


@pytest.fixture(scope="module")
def two_people(tmp_path_factory: pytest.TempPathFactory, demo_photos: Path) -> Path:
    """A picture of two faces: a president on the left, and, half as large, another on the right."""
    path = tmp_path_factory.mktemp("two") / "two.png"
    picture = PIL.Image.new("RGB", (1200, 800), "grey")
    for name, width, left in (("obama2.jpg", 600, 0), ("biden.jpg", 300, 700)):
        with PIL.Image.open(demo_photos / name) as photo:
            picture.paste(photo.resize((width, width * photo.height // photo.width)), (left, 0))
    picture.save(path)
    return path


def test_the_joint_probe_is_the_mean_of_the_faces(
    searcher: FaceSearcher, probe_photo: Path, demo_photos: Path
) -> None:
    photos = [probe_photo, demo_photos / "obama2.jpg"]
    together = searcher.search_together(photos, 3)
    embeddings = np.concatenate([find_faces(photo).embeddings for photo in photos])
    mean = embeddings.mean(axis=0)
    (expected,) = searcher.search_embeddings([mean / np.linalg.norm(mean)], 3)
    assert together.matches.face_ids == expected.face_ids
    assert together.matches.similarities == pytest.approx(expected.similarities, abs=1e-4)
    assert together.min_similarity == pytest.approx(embeddings[0] @ embeddings[1], abs=1e-4)
    assert [(face.number, face.num_faces) for face in together.faces] == [(1, 1), (1, 1)]
    assert together.to_pandas()["rank"].tolist() == [1, 2, 3]
    document = together.to_json()
    assert len(document["faces"]) == 2 and len(document["matches"]) == 3


def test_one_photo_together_is_that_photo(searcher: FaceSearcher, probe_photo: Path) -> None:
    together = searcher.search_together([probe_photo], 3)
    (alone,) = searcher.search(probe_photo, 3)
    assert together.matches.face_ids == alone.matches.face_ids
    assert together.min_similarity == pytest.approx(1.0)


def test_faces_are_numbered_from_the_largest(searcher: FaceSearcher, two_people: Path) -> None:
    large, small = searcher.search(two_people, 1)
    assert (large.number, small.number, small.num_faces) == (1, 2, 2)
    assert large.box.width > small.box.width
    assert large.matches[0].uri.endswith("obama2.jpg")
    (chosen,) = searcher.search(two_people, 1, face=2)
    assert (chosen.box, chosen.number) == (small.box, 2)
    assert chosen.matches[0].uri.endswith("biden.jpg")
    with pytest.raises(WrongUsageError, match=r"two\.png has 2 faces, .*no face number 3"):
        searcher.search(two_people, face=3)


def test_the_face_of_each_photo_can_be_named(
    searcher: FaceSearcher, two_people: Path, demo_photos: Path
) -> None:
    photos = [two_people, demo_photos / "biden.jpg"]
    same = searcher.search_together(photos, 1, face=(2, 1))
    assert same.min_similarity > 0.8 and same.matches[0].uri.endswith("biden.jpg")
    assert [face.number for face in same.faces] == [2, 1]
    assert searcher.search_together(photos, 1).min_similarity < 0.2  # two people, and it shows
    with pytest.raises(WrongUsageError, match="3 face numbers are given for 2 photos"):
        searcher.search_together(photos, face=(1, 2, 3))
    with pytest.raises(WrongUsageError, match="has 1 face, so there is no face number 2"):
        searcher.search_together(photos, face=2)
    with pytest.raises(WrongUsageError, match="given for 0 photos"):
        searcher.search_together([])
    with pytest.raises(FaceTroveError, match=r"no face was found in .*coffee\.png"):
        searcher.search_together([two_people, demo_photos / "coffee.png"])
    with pytest.raises(FaceTroveError, match=r"no face was found in .*coffee\.png"):
        searcher.search(demo_photos / "coffee.png", face=1)


def test_embeddings_that_cancel_out_have_no_mean() -> None:
    opposite = np.array([[1, 0], [-1, 0]], np.float32)
    with pytest.raises(WrongUsageError, match="nothing in common"):
        joint_embedding(opposite)
