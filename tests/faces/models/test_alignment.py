from __future__ import annotations

import cv2
import numpy as np
import pytest

from faces.models.alignment import ARCFACE_112, similarity_transform

NO_BOX = np.zeros(4, np.float32)

TEMPLATE_POINTS = np.asarray(ARCFACE_112.points, dtype=np.float32)


@pytest.mark.parametrize("angle", [-170, -30, 0, 45, 90])
@pytest.mark.parametrize("scale", [0.1, 1.0, 7.5])
def test_similarity_transform_recovers_a_known_one(angle: float, scale: float) -> None:
    radians = np.deg2rad(angle)
    rotation = scale * np.array(
        [[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]]
    )
    moved = TEMPLATE_POINTS @ rotation.T + (12.0, -3.5)
    found = similarity_transform(TEMPLATE_POINTS, moved)
    assert found == pytest.approx(np.column_stack([rotation, (12.0, -3.5)]), abs=1e-6)


def test_similarity_transform_never_mirrors() -> None:
    mirrored = TEMPLATE_POINTS * (-1, 1)
    assert np.linalg.det(similarity_transform(TEMPLATE_POINTS, mirrored)[:, :2]) > 0


def test_landmarks_on_one_point_do_not_fail() -> None:
    crop = ARCFACE_112.crop(np.zeros((9, 9, 3), np.uint8), NO_BOX, np.zeros((5, 2), np.float32))
    assert crop.shape == (112, 112, 3)


def smooth_picture(side: int) -> np.ndarray:
    noise = np.random.default_rng(3).integers(0, 255, (12, 12, 3)).astype(np.uint8)
    return cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)


def test_a_face_that_is_aligned_already_is_cropped_unchanged() -> None:
    picture = smooth_picture(112)
    assert np.array_equal(ARCFACE_112.crop(picture, NO_BOX, TEMPLATE_POINTS), picture)


@pytest.mark.parametrize("factor", [2, 3, 5, 8])
def test_a_large_face_gives_the_crop_of_its_reduced_photo(factor: int) -> None:
    small = smooth_picture(160)
    large = cv2.resize(small, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    landmarks = TEMPLATE_POINTS * 1.1 + 15
    large_landmarks = (landmarks + 0.5) * factor - 0.5  # pixel centres
    expected = ARCFACE_112.crop(small, NO_BOX, landmarks)
    found = ARCFACE_112.crop(large, NO_BOX, large_landmarks.astype(np.float32))
    assert np.abs(found.astype(int) - expected.astype(int)).mean() < 1.0


def test_fine_detail_of_a_large_face_is_averaged_not_skipped() -> None:
    """Stripes one pixel wide must become grey; sampling without averaging would make bands."""
    stripes = np.zeros((1120, 1120, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = ARCFACE_112.crop(stripes, NO_BOX, TEMPLATE_POINTS * 10)[4:-4, 4:-4]
    assert np.abs(crop.astype(int) - 127).max() < 30


def test_what_lies_outside_the_photo_is_black() -> None:
    white = np.full((112, 112, 3), 255, np.uint8)
    crop = ARCFACE_112.crop(white, NO_BOX, TEMPLATE_POINTS - 40)  # the face reaches out top left
    assert (crop[:30, :30] == 0).all()
    assert (crop[60:, 60:] == 255).all()
    far_away = ARCFACE_112.crop(np.tile(white, (8, 8, 1)), NO_BOX, TEMPLATE_POINTS * 4 + 9000)
    assert (far_away == 0).all()
