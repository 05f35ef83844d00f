"""The crops of FaceNet and OpenFace, compared with what their publishers' code does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import PIL.Image
import pytest

from faces.core.contract import ModelContract
from faces.core.errors import WrongUsageError
from faces.models.alignment import ARCFACE_112
from faces.models.choice import ModelChoice
from faces.models.deepface_models import DeepFaceAlignment
from faces.models.published_alignments import (
    FACENET_MARGIN,
    FaceNetAlignment,
    openface_alignment,
)
from faces.models.registry import ALIGNMENT_MAKERS

OUTER_EYES_AND_NOSE = np.array([(0.1941, 0.1693), (0.7889, 0.1581), (0.4949, 0.5144)])
"""Points 36, 45 and 33 of OpenFace's mean face, as shares of the crop's sides."""

NO_LANDMARKS = np.full((5, 2), np.nan, np.float32)


@pytest.fixture
def image() -> np.ndarray:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (25, 25, 3), dtype=np.uint8)
    return np.asarray(PIL.Image.fromarray(small).resize((250, 250), PIL.Image.Resampling.BICUBIC))


def published_facenet_crop(image: np.ndarray, box: np.ndarray, margin: int) -> np.ndarray:
    """Crop as align_dataset_mtcnn.py does, by its arithmetic and Pillow's bilinear filter."""
    x, y, width, height = box
    left, top = np.maximum([x - margin / 2, y - margin / 2], 0).astype(int)
    right = int(min(x + width + margin / 2, image.shape[1]))
    bottom = int(min(y + height + margin / 2, image.shape[0]))
    part = PIL.Image.fromarray(image[top:bottom, left:right])
    return np.asarray(part.resize((160, 160), PIL.Image.Resampling.BILINEAR))


@pytest.mark.parametrize("box", [(80, 70, 94, 125), (-6, 150, 94, 125), (40, 20, 188, 200)])
def test_facenet_crops_are_the_published_ones(image: np.ndarray, box: tuple[int, ...]) -> None:
    corners = np.array(box, np.float32)
    crop = FaceNetAlignment(160, 160).crop(image, corners, NO_LANDMARKS)
    published = published_facenet_crop(image, corners, round(FACENET_MARGIN * box[2]))
    assert crop.shape == (160, 160, 3) and crop.dtype == np.uint8
    assert np.abs(crop.astype(int) - published).mean() < 4  # of grey levels: other filters


def test_facenet_needs_the_pixels_of_its_larger_axis(image: np.ndarray) -> None:
    alignment = FaceNetAlignment(160, 160)
    box = np.array([80, 70, 94, 125], np.float32)
    assert alignment.pixels_needed(box, NO_LANDMARKS) == pytest.approx(160 / (94 + 32))
    outside = np.array([900, 900, 94, 125], np.float32)
    assert not alignment.crop(image, outside, NO_LANDMARKS).any()


def test_openface_points_are_where_openface_has_them() -> None:
    """The outer eye corners and the base of the nose lie about the eyes and below the tip."""
    points = np.array(openface_alignment(DeepFaceAlignment(96, 96)).points) / 96
    left, right, nose = points[:3]
    outer_left, outer_right, base = OUTER_EYES_AND_NOSE
    assert outer_left[0] < left[0] < right[0] < outer_right[0]
    assert np.abs([left[1] - outer_left[1], right[1] - outer_right[1]]).max() < 0.005
    assert nose[1] < base[1] and abs(nose[0] - base[0]) < 0.01
    # The middle between the eyes is the middle between their outer corners.
    assert (left + right) / 2 == pytest.approx((outer_left + outer_right) / 2, abs=0.005)


def test_openface_maps_the_landmarks_to_its_points() -> None:
    alignment = openface_alignment(DeepFaceAlignment(96, 96))
    points = np.array(alignment.points, np.float32)
    box = np.array([50, 50, 96, 96], np.float32)
    assert alignment.pixels_needed(box, 50 + 2 * points) == pytest.approx(0.5, abs=1e-4)
    picture = np.zeros((300, 300, 3), np.uint8)
    x, y = (50 + 2 * points[0]).round().astype(int)
    picture[y - 4 : y + 5, x - 4 : x + 5] = 255
    crop = alignment.crop(picture, box, 50 + 2 * points)
    brightest = np.argwhere(crop[..., 0] > 200).mean(axis=0)[::-1]
    assert brightest == pytest.approx(points[0], abs=1.0)
    with pytest.raises(WrongUsageError, match="makes square crops, not 47x55"):
        openface_alignment(DeepFaceAlignment(47, 55))


@pytest.mark.parametrize(
    "stored", ["deepface", "face_recognition", "facenet", "openface", "arcface-96", "arcface-112"]
)
def test_a_contract_leads_back_to_its_alignment(stored: str) -> None:
    """Also where the embedder's default is another by now, as for OpenFace with five points."""
    contract = ModelContract("yunet", "aa", stored, "deepface:OpenFace", "bb", dimension=128)
    chosen = ModelChoice.of_contract(contract).alignment
    assert chosen is not None
    size = {"arcface-112": 112, "face_recognition": 150}.get(stored, 96)
    for default in (
        DeepFaceAlignment(size, size),
        openface_alignment(DeepFaceAlignment(size, size)),
    ):
        assert ALIGNMENT_MAKERS[chosen](default).name == stored
    assert ALIGNMENT_MAKERS["five-point"](ARCFACE_112) is ARCFACE_112


def test_a_choice_goes_on_with_the_alignment_of_its_embedder_alone() -> None:
    contract = ModelContract("yunet", "aa", "deepface", "deepface:Dlib", "bb", dimension=128)
    same = ModelChoice(embedder="deepface:Dlib")
    assert same.continuing(contract).alignment == "deepface"
    other = ModelChoice(embedder="deepface:ArcFace")
    assert other.continuing(contract) == other
    chosen = ModelChoice(embedder="deepface:Dlib", alignment="five-point")
    assert chosen.continuing(contract) == chosen
    dataset = ModelChoice.of_contract(contract)
    kept = dataset.with_changes(detector=None, embedder="deepface:Dlib", alignment=None)
    assert kept == replace(dataset, asked_by_file=frozenset({"yunet"}))  # the user named Dlib
    changed = dataset.with_changes(detector=None, embedder="sface", alignment=None)
    assert changed.alignment is None and changed.embedder_digest is None
