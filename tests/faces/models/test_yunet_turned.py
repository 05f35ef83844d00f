"""Faces that are turned in their photo by any angle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageFilter
import pytest

from faces.core.time_limit import (
    MAX_SHARED,
    OutOfTimeError,
    TooManyFacesError,
    sharing_time,
    time_limited,
)
from faces.models import yunet_turned
from faces.models.face import Face, GivenFace, intersection_over_union
from faces.models.pipeline import FacePipeline
from faces.models.yunet import YuNetDetector
from faces.models.yunet_angles import NUM_ANGLES
from faces.models.yunet_directions import SearchedPhoto
from faces.models.yunet_search import Proposals
from faces.models.yunet_turned import MAX_WEAK, find_turned
from faces.models.yunet_windows import faces_to_image, turned_whole
from faces.photos.decoding import Image, Photo, decode_photo

NAMES = ("biden.jpg", "eileen_collins.png", "grace_hopper.jpg", "obama2.jpg")
ANGLES = tuple(range(0, 360, 30))


def portrait(path: Path, longer_side: int = 400) -> PIL.Image.Image:
    photo = PIL.Image.open(path).convert("RGB")
    photo.thumbnail((longer_side, longer_side))
    return photo


def turned(photo: PIL.Image.Image, degrees: float) -> Image:
    """Turn a photo anticlockwise, with room for its corners."""
    return np.asarray(photo.rotate(degrees, PIL.Image.Resampling.BICUBIC, expand=True))


def turned_box(box: np.ndarray, old: Image, new: Image, degrees: float) -> np.ndarray:
    """Compute the bounding box of the ellipse in a box, after the photo was turned."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    rotation = np.array([[c, s], [-s, c]])  # y points down
    centre = box[:2] + box[2:] / 2 - np.array(old.shape[1::-1]) / 2
    sides = np.sqrt(np.square(rotation) @ np.square(box[2:]))
    middle = rotation @ centre + np.array(new.shape[1::-1]) / 2
    return np.asarray(np.concatenate([middle - sides / 2, sides]), np.float32)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("longer_side", [400, 1300])
def test_a_face_turned_by_any_angle_is_found_once_and_embedded_like_the_upright_one(
    demo_photos: Path, pipeline: FacePipeline, name: str, longer_side: int
) -> None:
    photo = portrait(demo_photos / name, longer_side)
    image = np.asarray(photo)
    (upright,) = pipeline.find_faces([image])[0]
    pictures = [turned(photo, degrees) for degrees in ANGLES]
    similarities = []
    for degrees, picture, faces in zip(
        ANGLES, pictures, pipeline.find_faces(pictures), strict=True
    ):
        (face,) = faces
        similarities.append(float(face.embedding @ upright.embedding))
        expected = turned_box(upright.box, image, picture, degrees)
        assert intersection_over_union(face.box[None], expected)[0] > 0.4
        off = (face.quality.roll - upright.quality.roll + degrees + 180) % 360 - 180
        assert abs(off) < 25
        assert abs(face.quality.yaw - upright.quality.yaw) < 25
    assert min(similarities) > 0.8
    assert np.median(similarities) > 0.93


@pytest.mark.lasting
@pytest.mark.slow
def test_no_nonsense_is_embedded_of_lfw_photos_that_lie_on_their_side_or_head(
    lfw: Path, pipeline: FacePipeline
) -> None:
    paths = sorted(lfw.glob("photos/*/*.jpg"))[::120]
    images = [decode_photo(path.read_bytes()).image for path in paths]
    upright = [central(faces, image) for faces, image in found_in(pipeline, images)]
    found, right = 0, 0
    for quarters in (1, 2, 3):
        lying = [np.ascontiguousarray(np.rot90(image, quarters)) for image in images]
        for (faces, image), face in zip(found_in(pipeline, lying), upright, strict=True):
            other = central(faces, image)
            if face is not None and other is not None:
                found += 1
                right += float(face.embedding @ other.embedding) > 0.6
    assert found >= 0.97 * 3 * len(images)
    assert right >= 0.99 * found


HARD = {
    "Kelli_White_0002": (90,),  # seen nowhere but in the photo turned
    "Frances_Fisher_0002": (120,),  # seen at the diagonal alone
    "Uma_Thurman_0002": (240,),  # hidden by the box of a neighbour
    "Raymond_Odierno_0002": (210,),  # scores like an upright face, upside down
    "Kalpana_Chawla_0002": (300,),  # scores like an upright face, on the side
    "Jacqueline_Obradors_0002": (60, 210),  # tilted by less than its landmarks tell
    "Joe_Gatti_0002": (330,),  # scores like an upright face, askew
}
"""Photos of LFW, each with the angles at which its face was missed before, or aligned wrongly."""


@pytest.mark.parametrize(("name", "degrees"), [(n, d) for n, all_ in HARD.items() for d in all_])
def test_hard_faces_of_lfw_are_found_at_their_angle(
    lfw: Path, pipeline: FacePipeline, name: str, degrees: int
) -> None:
    (path,) = lfw.glob(f"photos/*/{name}.jpg")
    image = decode_photo(path.read_bytes()).image
    askew = turned(PIL.Image.fromarray(image), degrees)
    (upright, _), (found, _) = found_in(pipeline, [image, askew])
    expected, face = central(upright, image), central(found, askew)
    assert expected is not None
    assert face is not None
    assert float(face.embedding @ expected.embedding) > 0.9


def test_all_faces_of_a_lying_photo_are_found_with_the_landmarks_of_the_upright_one(
    demo_photos: Path, pipeline: FacePipeline
) -> None:
    """Both are searched at the same size, so the embeddings are nearly the same."""
    pictures = [np.asarray(portrait(demo_photos / name, 240)) for name in NAMES[:3]]
    image = np.zeros((260, 640, 3), np.uint8)
    for left, picture in zip((10, 220, 430), pictures, strict=True):
        part = picture[:, :200]
        image[10 : 10 + part.shape[0], left : left + part.shape[1]] = part
    lying = np.ascontiguousarray(np.rot90(image))
    (expected, _), (found, _) = found_in(pipeline, [image, lying])
    assert len(expected) == len(found) == 3
    for face in expected:
        assert max(float(face.embedding @ other.embedding) for other in found) > 0.96


@pytest.mark.parametrize("degrees", [0, 30, 90, 137.5, 270])
def test_boxes_of_a_turned_image_are_converted_to_boxes_of_the_image(degrees: float) -> None:
    image = np.zeros((60, 100, 3), np.uint8)
    image[18:23, 68:73] = 255
    pixels, to_turned = turned_whole(image, degrees)
    rows, columns = np.nonzero(pixels[:, :, 0] > 128)
    face = np.zeros((1, 15), np.float32)
    face[0, :4] = columns.mean() - 10, rows.mean() - 8, 20, 16
    back = faces_to_image(face, to_turned)[0]
    assert np.allclose(back[:2] + back[2:4] / 2, (70, 20), atol=0.5)
    longer, shorter = max(pixels.shape[:2]), min(pixels.shape[:2])
    assert longer >= 100
    assert shorter >= 60


def found_in(pipeline: FacePipeline, images: list[Image]) -> list[tuple[list[Face], Image]]:
    return list(zip(pipeline.find_faces(images), images, strict=True))


def central(faces: list[Face], image: Image) -> Face | None:
    middle = np.array(image.shape[1::-1]) / 2
    near = [f for f in faces if np.hypot(*(f.box[:2] + f.box[2:] / 2 - middle)) < 50]
    return max(near, key=lambda face: float(face.box[2]), default=None)


def test_what_cannot_be_made_upright_is_no_face(
    demo_photos: Path, pipeline: FacePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = portrait(demo_photos / "obama2.jpg")
    upside_down = turned(photo, 180)
    monkeypatch.setattr(yunet_turned, "made_upright", lambda _, looks: [None] * len(looks))
    assert pipeline.find_faces([upside_down]) == [[]]
    assert len(pipeline.find_faces([np.asarray(photo)])[0]) == 1


@pytest.mark.parametrize("degrees", [45, 180])
def test_most_turned_faces_beside_an_upright_one_are_found_and_none_is_nonsense(
    demo_photos: Path, pipeline: FacePipeline, degrees: float
) -> None:
    first, *others = (portrait(demo_photos / name) for name in ("obama3.jpg", *NAMES))
    num_found = 0
    for second in others:
        height = max(*first.size, *second.size) * 3 // 2
        both = np.zeros((height, 2 * height, 3), np.uint8)
        for left, picture in ((0, np.asarray(first)), (height, turned(second, degrees))):
            both[: picture.shape[0], left : left + picture.shape[1]] = picture
        faces = pipeline.find_faces([both])[0]
        (expected,) = pipeline.find_faces([np.asarray(second)])[0]
        assert sum(face.box[0] < height for face in faces) == 1
        there = [face for face in faces if face.box[0] >= height]
        assert all(float(face.embedding @ expected.embedding) > 0.8 for face in there)
        num_found += len(there)
    assert num_found >= len(others) / 2


def test_small_turned_faces_of_a_large_photo_are_found(
    demo_photos: Path, pipeline: FacePipeline
) -> None:
    scene = PIL.Image.effect_noise((4000, 3000), 20).convert("RGB")
    scene = scene.filter(PIL.ImageFilter.GaussianBlur(3))
    for row, width in enumerate((240, 400)):
        for column, name in enumerate(NAMES):
            scene.paste(portrait(demo_photos / name, width), (300 + 800 * column, 600 + 900 * row))
    expected = pipeline.find_faces([np.asarray(scene)])[0]
    assert len(expected) == 2 * len(NAMES)
    lying = np.ascontiguousarray(np.rot90(np.asarray(scene)))
    faces = pipeline.find_faces([lying])[0]
    assert len(expected) - 1 <= len(faces) <= len(expected)
    for face in faces:
        assert max(float(face.embedding @ other.embedding) for other in expected) > 0.75


def test_a_turned_face_that_is_given_is_embedded_as_when_it_was_found(
    demo_photos: Path, pipeline: FacePipeline
) -> None:
    lying = turned(portrait(demo_photos / "obama2.jpg"), 270)
    (face,) = pipeline.find_faces([lying])[0]
    (again,) = pipeline.find_faces([lying], [[GivenFace(face.detection)]])[0]
    assert float(again.embedding @ face.embedding) > 0.999
    assert again.quality == face.quality


def test_weak_proposals_that_are_looked_at_are_bounded(
    pipeline: FacePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = []
    monkeypatch.setattr(
        yunet_turned,
        "glances",
        lambda _, looks: looked_at.extend(looks) or np.zeros((len(looks), NUM_ANGLES)),
    )
    detector = pipeline.detector
    assert isinstance(detector, YuNetDetector)
    find_turned(detector._network, [photo_of_many(2 * MAX_WEAK)], 0.7)
    assert len(looked_at) == MAX_WEAK
    with sharing_time(), pytest.raises(TooManyFacesError):
        find_turned(detector._network, [photo_of_many(MAX_SHARED + 1)], 0.7)


def photo_of_many(count: int) -> SearchedPhoto:
    """Return a photo with weak proposals side by side."""
    faces = np.zeros((count, 15), np.float32)
    faces[:, 0] = 20 * np.arange(count) % 1280
    faces[:, 1] = 20 * (20 * np.arange(count) // 1280)
    faces[:, 2:4], faces[:, 14] = 15, 0.2
    image = np.zeros((1280, 1280, 3), np.uint8)
    none = Proposals.at(faces[:0], 1.0)
    return SearchedPhoto(image, [image], [1.0], 0.1, none, Proposals.at(faces, 1.0))


def test_the_search_for_turned_faces_ends_when_the_time_is_over(
    demo_photos: Path, pipeline: FacePipeline
) -> None:
    lying = Photo(turned(portrait(demo_photos / "obama2.jpg"), 180))
    with pytest.raises(OutOfTimeError), time_limited(0.0):
        pipeline.detector.detect([lying])


def test_noise_from_any_angle_shows_no_face(pipeline: FacePipeline) -> None:
    noise = PIL.Image.effect_noise((640, 480), 60).convert("RGB")
    photos = [np.asarray(noise.filter(PIL.ImageFilter.GaussianBlur(radius))) for radius in range(9)]
    assert pipeline.find_faces(photos) == [[]] * 9
