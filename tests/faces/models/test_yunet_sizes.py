"""Faces of all sizes, from twelve pixels to the whole photo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageFilter
import pytest

from faces.models.face import intersection_over_union
from faces.models.yunet import YuNetDetector
from faces.models.yunet_search import TILE_OVERLAP, TILE_SIDE, search_sides
from faces.photos.decoding import Image, Photo

NAMES = ("biden.jpg", "eileen_collins.png", "grace_hopper.jpg", "obama2.jpg", "obama3.jpg")


@pytest.fixture(scope="module")
def usual() -> YuNetDetector:
    return YuNetDetector(threads=1)


@pytest.fixture(scope="module")
def fine() -> YuNetDetector:
    return YuNetDetector(threads=1, min_face=12)


@pytest.fixture(scope="module")
def close_ups(demo_photos: Path, usual: YuNetDetector) -> list[PIL.Image.Image]:
    """The face of each photo, with a quarter of its box on every side."""
    parts = []
    for name in NAMES:
        photo = PIL.Image.open(demo_photos / name).convert("RGB")
        x, y, width, height = usual.detect([Photo(np.asarray(photo))])[0][0].box.tolist()
        dx, dy = width / 4, height / 4
        parts.append(
            photo.crop(tuple(map(round, (x - dx, y - dy, x + width + dx, y + height + dy))))
        )
    return parts


@pytest.mark.lasting
@pytest.mark.slow
@pytest.mark.parametrize("width", [100, 400, 640, 1000, 1500, 3000])
def test_a_face_that_fills_the_photo_is_found(
    close_ups: list[PIL.Image.Image], usual: YuNetDetector, fine: YuNetDetector, width: int
) -> None:
    for part in close_ups:
        height = round(width * part.height / part.width)
        photo = Photo(np.asarray(part.resize((width, height), PIL.Image.Resampling.BICUBIC)))
        for detector in (usual, fine):
            (face,) = detector.detect([photo])[0]
            expected = np.array([width / 6, height / 6, width / 1.5, height / 1.5], np.float32)
            assert intersection_over_union(face.box[None], expected)[0] > 0.6


def scene(
    close_ups: list[PIL.Image.Image], widths: list[int], side: int
) -> tuple[Image, np.ndarray]:
    """Paste faces in rows; returns the photo, and the faces' (n, 4) boxes."""
    canvas = PIL.Image.effect_noise((side, side), 20).convert("RGB")
    canvas = canvas.filter(PIL.ImageFilter.GaussianBlur(3))
    boxes, left, top, row_height = [], 20, 20, 0
    for number, width in enumerate(widths):
        part = close_ups[number % len(close_ups)]
        scale = 1.5 * width / part.width
        part = part.resize(
            (round(part.width * scale), round(part.height * scale)), PIL.Image.Resampling.LANCZOS
        )
        if left + part.width > side:
            left, top, row_height = 20, top + row_height + 20, 0
        canvas.paste(part, (left, top))
        boxes.append([left + part.width / 6, top + part.height / 6, width, part.height / 1.5])
        left, row_height = left + part.width + 20, max(row_height, part.height)
    return np.asarray(canvas), np.array(boxes, np.float32)


def num_found(image: Image, boxes: np.ndarray, detector: YuNetDetector) -> int:
    """Count the boxes that are found, of which none may be found twice, and no others."""
    found = np.stack([face.box for face in detector.detect([Photo(image)])[0]])
    overlaps = np.array([intersection_over_union(found, box) > 0.4 for box in boxes])
    assert overlaps.sum(axis=0).min() == 1
    assert overlaps.sum(axis=1).max() == 1
    return int(overlaps.any(axis=1).sum())


def test_faces_of_twelve_pixels_are_found_if_asked_for(
    close_ups: list[PIL.Image.Image], fine: YuNetDetector
) -> None:
    small = [12, 13, 14, 16, 20] * 6
    image, boxes = scene(close_ups, small, 1500)
    assert num_found(image, boxes, fine) >= 0.8 * len(small)
    image, boxes = scene(close_ups, [24, 30, 36, 48] * 10, 1500)
    assert num_found(image, boxes, fine) >= 0.95 * len(boxes)


def test_a_smaller_min_face_finds_a_superset(close_ups: list[PIL.Image.Image]) -> None:
    widths = [700, 350, 200, 120, 90, 70, 60, 50, 45, 40, 34, 28, 24, 20, 16]
    image, boxes = scene(close_ups, widths, 2000)
    before = np.empty((0, 4), np.float32)
    for min_face in (200, 100, 48, 30, 20, 12):
        detector = YuNetDetector(threads=1, min_face=min_face)
        found = np.stack([face.box for face in detector.detect([Photo(image)])[0]])
        for box in before:
            assert intersection_over_union(found, box).max() > 0.4
        before = found
    assert num_found(image, boxes, YuNetDetector(threads=1, min_face=12)) == len(widths)


@pytest.mark.parametrize("longer_side", [100, 500, 700, 1000, 4000, 6000, 12_000])
def test_the_sides_that_are_searched_for_a_smaller_min_face_include_the_others(
    longer_side: int,
) -> None:
    before: set[int] = set()
    for min_face in (48, 40, 24, 20, 12):
        sides = search_sides(longer_side, min_face)
        assert sides == sorted(set(sides), reverse=True)
        assert before <= set(sides)
        assert sides[0] * min_face >= 12 * longer_side or sides[0] == longer_side
        before = set(sides)


def test_a_face_is_found_once_wherever_tiles_meet(
    close_ups: list[PIL.Image.Image], fine: YuNetDetector
) -> None:
    width = TILE_OVERLAP // 2
    part = close_ups[3].resize((width, round(width * close_ups[3].height / close_ups[3].width)))
    canvas = np.full((1400, 1400, 3), 90, np.uint8)
    boxes = []
    for number in range(18):
        left = TILE_SIDE - 3 * TILE_OVERLAP + 14 * number
        top = 70 * number
        canvas[top : top + part.height, left : left + width] = np.asarray(part)
        boxes.append([left + width / 6, top + part.height / 6, width / 1.5, part.height / 1.5])
    assert num_found(canvas, np.array(boxes, np.float32), fine) == len(boxes)
