"""How large photos are searched; agreement with OpenCV is in test_faces_networks.py."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageFilter
import pytest

from faces.images import Photo, decode_photo
from faces.models import ModelChoice, load_pipeline
from faces.pipeline import FacePipeline, FaceSelection
from faces.yunet import YuNetDetector


@pytest.fixture(scope="module")
def detector() -> YuNetDetector:
    return YuNetDetector(threads=1)


def test_a_photo_is_reduced_only_as_far_as_the_faces_wanted_allow(detector: YuNetDetector) -> None:
    assert detector.reduction_for(250) == 1
    assert detector.reduction_for(1200) == 1  # 600 would be less than is searched
    assert detector.reduction_for(4000) == 2
    assert YuNetDetector(threads=1, min_face=100).reduction_for(4000) == 4
    assert YuNetDetector(threads=1, min_face=30).reduction_for(4000) == 1


FACE_WIDTHS = (64, 90, 120, 200, 300, 500, 900)


@pytest.fixture(scope="module")
def scene(demo_photos: Path) -> tuple[bytes, list[tuple[float, float]]]:
    """A JPEG of 12 megapixels with seven faces of known places, from 64 to 900 pixels wide."""
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
    # The same photo without a way back to its detail: small faces come out blurred.
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
def test_only_the_faces_wanted_are_kept(
    scene: tuple[bytes, list[tuple[float, float]]],
    selection: FaceSelection,
    widths: tuple[int, ...],
) -> None:
    chosen = load_pipeline(ModelChoice(), selection=selection, threads=1)
    photo = decode_photo(scene[0], reduction_for=chosen.detector.reduction_for)
    (faces,) = chosen.find_faces([photo])
    found = sorted(float(face.detection.box[2]) for face in faces)
    assert found == pytest.approx(widths, rel=0.15)
