"""Which ids detected faces get, given the earlier faces of their content."""

from __future__ import annotations

import numpy as np
import pytest

from faces.core.contract import ModelContract
from faces.core.settings import FaceSelection
from faces.dataset.face_ids import (
    EarlierFace,
    face_ids,
    first_face_id,
    later_face_id,
    possible_face_ids,
)
from faces.dataset.header import DatasetSettings

PHOTO = "ab" * 32
DETECTION = "another way"


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def earlier(face_id: str, *box: float) -> EarlierFace:
    return EarlierFace(face_id, np.array(box, np.float32), is_stored=True)


def ids(found: np.ndarray, known: list[EarlierFace], begins: bool = False) -> list[str]:
    return [face.face_id for face in face_ids(PHOTO, found, known, DETECTION, begins=begins)]


def new(number: int, attempt: int = 0) -> str:
    return later_face_id(PHOTO, number, DETECTION, attempt)


def test_the_first_detection_numbers_the_faces_as_every_release_did() -> None:
    """sha256 of the photo_id, a zero byte and the number: released datasets have such ids."""
    found = ids(boxes((0, 0, 9, 9), (20, 0, 9, 9)), [], begins=True)
    assert found == ["0d6dfb519abee023e295e3b52045500b", "feea562413de9c2cbbd1d13748a2b37d"]


def test_a_face_found_again_keeps_its_id_whatever_its_number_is() -> None:
    known = [earlier("a", 100, 100, 50, 50), earlier("b", 300, 100, 50, 50)]
    found = boxes((500, 0, 50, 50), (305, 105, 45, 50), (95, 100, 55, 50))
    assert ids(found, known) == [new(0), "b", "a"]


def test_faces_overlap_from_half_on() -> None:
    known = [earlier("a", 0, 0, 100, 100)]
    assert ids(boxes((0, 0, 100, 50)), known) == ["a"]
    assert ids(boxes((0, 0, 100, 49)), known) == [new(0)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_overlapping_faces_get_two_ids_the_best_overlap_first(order: tuple[int, int]) -> None:
    """Both detections overlap face a by half; the nearer one is it, and the other one is new."""
    found = boxes((0, 0, 100, 100), (20, 0, 100, 100))[list(order)]
    result = ids(found, [earlier("a", 2, 0, 100, 100)])
    assert result == (["a", new(1)] if order == (0, 1) else [new(0), "a"])


def test_one_detection_is_one_of_two_overlapping_faces() -> None:
    known = [earlier("a", 0, 0, 100, 100), earlier("b", 20, 0, 100, 100)]
    assert ids(boxes((18, 0, 100, 100)), known) == ["b"]
    assert sorted(ids(boxes((18, 0, 100, 100), (21, 0, 100, 100)), known)) == ["a", "b"]


def test_a_new_face_never_gets_the_id_of_another() -> None:
    """Number 0 was another face's; so was the first id of this way of detecting."""
    known = [
        earlier(first_face_id(PHOTO, 0), 0, 0, 50, 50),
        earlier(new(1), 200, 0, 50, 50),
    ]
    found = boxes((400, 0, 50, 50), (600, 0, 50, 50))
    assert ids(found, known, begins=True) == [new(0), first_face_id(PHOTO, 1)]
    assert ids(found, known) == [new(0), new(1, attempt=1)]


def test_a_face_that_two_datasets_have_is_where_the_first_has_it() -> None:
    own, followed = earlier("a", 0, 0, 100, 100), earlier("a", 30, 0, 100, 100)
    found = boxes((30, 0, 100, 100), (0, 0, 100, 100))
    assert ids(found, [own, followed]) == [new(0), "a"]
    assert ids(found, [followed]) == ["a", new(1)]


def test_ids_depend_on_what_detects_and_on_nothing_else() -> None:
    contract = ModelContract("finder", "aa" * 32, "template", "namer", "bb" * 32, dimension=8)
    other_embedder = ModelContract("finder", "aa" * 32, "x", "y", "cc" * 32, dimension=9)
    same = DatasetSettings(contract).detection
    assert DatasetSettings(other_embedder, limits=None).detection == same
    assert DatasetSettings(contract, FaceSelection(min_score=0.5)).detection != same
    newer = ModelContract("finder", "aa" * 32, "template", "namer", "bb" * 32, 8, 99)
    assert DatasetSettings(newer).detection != same


def test_the_ids_of_deleted_faces_are_among_the_possible_ones() -> None:
    possible = set(possible_face_ids(PHOTO, [DETECTION]))
    assert {first_face_id(PHOTO, 7), new(3)} <= possible
