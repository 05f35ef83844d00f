"""YuNet on large photos and tilted faces; agreement with OpenCV is tested in test_networks.py."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageFilter
import pytest

from faces.core.settings import FaceSelection
from faces.models.choice import ModelChoice
from faces.models.face import Face
from faces.models.pipeline import FacePipeline
from faces.models.registry import load_pipeline
from faces.models.yunet import YuNetDetector
from faces.models.yunet_outputs import with_averaged_landmarks
from faces.photos.decoding import Photo, decode_photo


@pytest.fixture(scope="module")
def detector() -> YuNetDetector:
    return YuNetDetector(threads=1)


def test_a_photo_is_reduced_only_as_far_as_min_face_allows(detector: YuNetDetector) -> None:
    assert detector.reduction_for(250) == 1
    assert detector.reduction_for(1200) == 1  # 600 would be under MIN_SEARCH_SIDE
    assert detector.reduction_for(4000) == 2
    assert YuNetDetector(threads=1, min_face=100).reduction_for(4000) == 4
    assert YuNetDetector(threads=1, min_face=30).reduction_for(4000) == 1


FACE_WIDTHS = (64, 90, 120, 200, 300, 500, 900)


@pytest.fixture(scope="module")
def scene(demo_photos: Path) -> tuple[bytes, list[tuple[float, float]]]:
    """Make a JPEG of 12 megapixels with seven faces, 64 to 900 pixels wide.

    Returns:
        The JPEG's content, and the centre (x, y) of each face in pixels.
    """
    names = ["biden.jpg", "eileen_collins.png", "grace_hopper.jpg", "obama2.jpg", "obama3.jpg"]
    pipeline = load_pipeline(threads=1)
    canvas = PIL.Image.effect_noise((4000, 3000), 20).convert("RGB")
    canvas = canvas.filter(PIL.ImageFilter.GaussianBlur(3))
    centres, left, top = [], 40, 40
    for number, width in enumerate(FACE_WIDTHS):
        photo = decode_photo((demo_photos / names[number % len(names)]).read_bytes())
        (face,) = pipeline.find_faces([photo])[0]
        scale = width / float(face.detection.box[2])
        x, y, w, h = face.detection.box.tolist()
        margin = 0.4 * w
        part = PIL.Image.fromarray(photo.image).crop(
            tuple(map(round, (x - margin, y - margin, x + w + margin, y + h + margin)))
        )
        part = part.resize(
            (round(part.width * scale), round(part.height * scale)), PIL.Image.Resampling.LANCZOS
        )
        if left + part.width > canvas.width:
            left, top = 40, top + 1000
        canvas.paste(part, (left, top))
        centres.append((left + part.width / 2, top + part.height / 2))
        left += part.width + 60
    buffer = io.BytesIO()
    canvas.save(buffer, format="JPEG", quality=95)
    return buffer.getvalue(), centres


def test_small_and_large_faces_of_a_large_photo_are_found_where_they_are(
    scene: tuple[bytes, list[tuple[float, float]]], pipeline: FacePipeline
) -> None:
    content, centres = scene
    photo = decode_photo(content, reduction_for=pipeline.detector.reduction_for)
    assert photo.reduction == 2
    whole = decode_photo(content)
    for seen in (photo, whole):
        (faces,) = pipeline.find_faces([seen])
        assert len(faces) == len(FACE_WIDTHS)
        for width, centre in zip(FACE_WIDTHS, centres, strict=True):
            nearest = min(
                faces,
                key=lambda f: np.hypot(*(f.detection.box[:2] + f.detection.box[2:] / 2 - centre)),
            )
            middle = nearest.detection.box[:2] + nearest.detection.box[2:] / 2
            assert np.hypot(*(middle - centre)) < 0.12 * width
            assert nearest.detection.box[2] == pytest.approx(width, rel=0.15)
            assert nearest.quality.face_size == pytest.approx(width, rel=0.15)


def test_faces_of_a_reduced_photo_are_embedded_in_full_detail(
    scene: tuple[bytes, list[tuple[float, float]]], pipeline: FacePipeline
) -> None:
    content, _ = scene
    photo = decode_photo(content, reduction_for=pipeline.detector.reduction_for)
    (reduced,) = pipeline.find_faces([photo])
    # Without the JPEG, the reduced photo cannot be decoded again, so small faces are blurred.
    (blurred,) = pipeline.find_faces([Photo(photo.image)])
    (whole,) = pipeline.find_faces([decode_photo(content)])
    for face in reduced:
        same = min(whole, key=lambda f: np.abs(f.detection.box - face.detection.box).max())
        assert face.embedding @ same.embedding > 0.95
        if face.quality.face_size < 100:
            half = min(
                blurred, key=lambda f: np.abs(2 * f.detection.box - face.detection.box).max()
            )
            assert half.quality.sharpness < 0.9 * face.quality.sharpness


def test_noise_at_any_size_shows_no_face(pipeline: FacePipeline) -> None:
    noise = np.asarray(PIL.Image.effect_noise((3000, 2000), 60).convert("RGB"))
    assert pipeline.find_faces([noise]) == [[]]


@pytest.mark.parametrize(
    ("selection", "widths"),
    [
        (FaceSelection(min_face=150), (200, 300, 500, 900)),
        (FaceSelection(max_faces=2), (500, 900)),
        (FaceSelection(min_score=0.999), ()),
        (FaceSelection(min_sharpness=0.9), ()),
    ],
)
def test_only_the_selected_faces_are_kept(
    scene: tuple[bytes, list[tuple[float, float]]],
    selection: FaceSelection,
    widths: tuple[int, ...],
) -> None:
    chosen = load_pipeline(ModelChoice(), selection=selection, threads=1)
    photo = decode_photo(scene[0], reduction_for=chosen.detector.reduction_for)
    (faces,) = chosen.find_faces([photo])
    found = sorted(float(face.detection.box[2]) for face in faces)
    assert found == pytest.approx(widths, rel=0.15)


def test_landmarks_are_the_mean_of_the_cells_that_agree() -> None:
    best = face_at(10, score=0.9, eye=20)
    near = face_at(11, score=0.3, eye=24)  # overlaps by more than a half
    unsure = face_at(10, score=0.1, eye=90)
    beside = face_at(30, score=0.8, eye=90)
    cells = np.stack([best, near, unsure, beside])
    (steady,) = with_averaged_landmarks(best[None], cells)
    assert steady[4] == pytest.approx((0.9 * 20 + 0.3 * 24) / 1.2)
    assert np.array_equal(steady[:4], best[:4]) and steady[14] == best[14]


def face_at(left: float, *, score: float, eye: float) -> np.ndarray:
    return np.array([left, 10, 20, 20, *[eye] * 10, score], np.float32)


Upright = Callable[[], list[tuple[PIL.Image.Image, Face]]]


@pytest.fixture(scope="module")
def upright(demo_photos: Path, pipeline: FacePipeline) -> Upright:
    """Return photos of one face each, and the faces, which are found once for each setting."""
    names = ["biden.jpg", "eileen_collins.png", "grace_hopper.jpg", "obama2.jpg", "obama3.jpg"]
    photos = [PIL.Image.open(demo_photos / name).convert("RGB") for name in names]

    @cache
    def found(tilted_degrees: float) -> list[tuple[PIL.Image.Image, Face]]:
        faces = []
        for photo in photos:
            (face,) = pipeline.find_faces([np.asarray(photo)])[0]
            faces.append(face)
        return list(zip(photos, faces, strict=True))

    return lambda: found(YuNetDetector.refined_from)


@pytest.mark.parametrize("degrees", [-25, -15, 15, 25])
def test_a_tilted_face_is_embedded_nearly_as_an_upright_one(
    upright: Upright, pipeline: FacePipeline, monkeypatch: pytest.MonkeyPatch, degrees: float
) -> None:
    """The network's landmarks follow a part of the tilt; a second look follows nearly all."""
    found = {}
    for looked_at_again in (True, False):
        if not looked_at_again:
            monkeypatch.setattr(YuNetDetector, "refined_from", 360.0)
        similarities = []
        for photo, face in upright():
            turned = photo.rotate(degrees, PIL.Image.Resampling.BICUBIC)
            faces = pipeline.find_faces([np.asarray(turned)])[0]
            similarities.append(max(float(f.embedding @ face.embedding) for f in faces))
        found[looked_at_again] = float(np.mean(similarities))
    assert found[True] > 0.95
    assert found[True] > found[False] + 0.02
