"""`find_faces`: the faces of one photo, without a dataset or an index."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faces.core.errors import WrongUsageError
from faces.core.settings import FaceSelection
from faces.dataset.store import Dataset
from faces.photos.decoding import decode_photo
from facetrove.finding import BOXES_SHOWN, FoundFaces, find_faces


def test_a_photo_s_faces_are_those_that_the_embed_job_finds(
    demo_photos: Path, demo_dataset: Path
) -> None:
    found = find_faces(demo_photos / "biden.jpg")
    assert len(found) == 1
    rows = Dataset.open(demo_dataset).faces().to_list()
    (row,) = [row for row in rows if Path(row["uri"]).name == "biden.jpg"]
    (ours,) = found.to_list()
    assert ours.keys() == row.keys() - {"face_id", "photo_id", "uri", "also_at"}
    for name, value in ours.items():
        assert np.allclose(value, row[name], atol=2e-4), name


def test_found_faces_turn_into_tables(demo_photos: Path) -> None:
    found = find_faces(str(demo_photos / "biden.jpg"))
    frame, table = found.to_pandas(), found.to_arrow()
    assert len(frame) == table.num_rows == 1
    assert found.embeddings.shape == (1, 128) and found.embeddings.dtype == np.float32
    assert np.linalg.norm(found.embeddings[0]) == pytest.approx(1, abs=1e-5)
    assert frame["box"][0].tolist() == found[0].box.tolist()
    assert found[0].landmarks.shape == (5, 2) and 0.7 < found[0].score <= 1
    assert repr(found).startswith("<1 face: ")
    assert re.fullmatch(r"<face: \d+x\d+ at \d+,\d+, score 0\.\d{3}>", repr(found[0]))


def test_many_faces_are_shown_in_one_line(demo_photos: Path) -> None:
    (face,) = find_faces(demo_photos / "biden.jpg")
    shown = repr(FoundFaces([face] * 50, 128))
    assert shown.startswith("<50 faces: ") and shown.endswith(", ...>")
    assert shown.count(" at ") == BOXES_SHOWN


def test_a_decoded_photo_is_accepted(demo_photos: Path) -> None:
    image = decode_photo((demo_photos / "biden.jpg").read_bytes()).image
    assert len(find_faces(image)) == 1


@pytest.mark.parametrize("what", [b"bytes", 3, np.zeros((40, 40)), np.zeros((40, 40), np.uint8)])
def test_a_value_that_is_no_photo_is_refused(what: Any) -> None:
    with pytest.raises(WrongUsageError, match=r"is not a photo; give a path, or a \(height"):
        find_faces(what)


def test_a_photo_without_a_face_gives_an_empty_table(demo_photos: Path) -> None:
    found = find_faces(demo_photos / "coffee.png")
    assert len(found) == 0 and found.embeddings.shape == (0, 128)
    assert found.to_arrow().num_rows == 0
    assert found.to_arrow().schema == find_faces(demo_photos / "biden.jpg").to_arrow().schema
    assert repr(found) == "<0 faces>"


def test_a_selection_leaves_faces_out(demo_photos: Path) -> None:
    assert not find_faces(demo_photos / "biden.jpg", selection=FaceSelection(min_face=2000))


def test_a_file_that_is_no_photo_or_does_not_exist_is_named(tmp_path: Path) -> None:
    (tmp_path / "no.jpg").write_text("no photo")
    with pytest.raises(WrongUsageError, match="cannot be used as a photo"):
        find_faces(tmp_path / "no.jpg")
    with pytest.raises(WrongUsageError, match="does not exist; name a photo"):
        find_faces(tmp_path / "nowhere.jpg")
