"""Quality measures of generated faces with given poses, and of real photos with given changes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from faces.models.alignment import ARCFACE_112
from faces.models.face import Detection, FaceQuality
from faces.models.pipeline import FacePipeline
from faces.models.quality import FACE_MODEL, face_qualities, face_quality, head_poses
from faces.photos.decoding import Image

BOX = np.array([10, 20, 90, 120], np.float32)
FRONTAL = 100 * np.asarray(FACE_MODEL, np.float32)[:, :2] + 300
GREY_CROP = np.full((112, 112, 3), 128, np.uint8)
FACES = ["obama2.jpg", "obama3.jpg", "biden.jpg", "grace_hopper.jpg", "eileen_collins.png"]


def seen(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Project the landmarks of the model face after it is raised, then turned, then tilted."""
    yaw, pitch, roll = np.radians([yaw, pitch, roll])
    x, y, z = np.asarray(FACE_MODEL).T
    y, z = y * np.cos(pitch) + z * np.sin(pitch), z * np.cos(pitch) - y * np.sin(pitch)
    x, z = x * np.cos(yaw) - z * np.sin(yaw), z * np.cos(yaw) + x * np.sin(yaw)
    x, y = x * np.cos(roll) - y * np.sin(roll), y * np.cos(roll) + x * np.sin(roll)
    return np.stack([x, y], axis=1)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(8).normal(128, 20, shape)


def grey(luma: np.ndarray) -> Image:
    return np.repeat(luma.clip(0, 255).astype(np.uint8)[:, :, np.newaxis], 3, axis=2)


def of_crop(crop: Image) -> FaceQuality:
    return face_quality(BOX, FRONTAL, crop)


@pytest.mark.parametrize("yaw", [-40, -15, 0, 30])
@pytest.mark.parametrize("pitch", [-30, 0, 10, 40])
@pytest.mark.parametrize("roll", [-40, 0, 25])
def test_given_rotations_are_recovered(yaw: float, pitch: float, roll: float) -> None:
    for scale, shift in ((1, 0), (35, 56), (700, -3000)):
        landmarks = scale * seen(yaw, pitch, roll) + shift
        assert head_poses(landmarks[np.newaxis])[0] == pytest.approx([yaw, pitch, roll], abs=1e-6)


@pytest.mark.parametrize("roll", [90, 135, 180, -135])
def test_a_face_may_lie_on_its_side_or_stand_on_its_head(roll: float) -> None:
    yaw, pitch, found = head_poses(seen(20, 10, roll)[np.newaxis])[0]
    assert (yaw, pitch) == pytest.approx((20, 10), abs=1e-6)
    assert (found - roll + 180) % 360 - 180 == pytest.approx(0, abs=1e-6)


def test_the_signs_are_those_of_the_picture() -> None:
    frontal, nose = FRONTAL[np.newaxis], 2
    to_the_right, upwards = frontal.copy(), frontal.copy()
    to_the_right[0, nose, 0] += 10
    upwards[0, nose, 1] -= 10
    clockwise = frontal @ np.array([[0.98, 0.2], [-0.2, 0.98]])  # the right eye sinks
    assert head_poses(frontal)[0] == pytest.approx([0, 0, 0], abs=1e-4)
    assert head_poses(to_the_right)[0, 0] > 5
    assert head_poses(upwards)[0, 1] > 5
    assert head_poses(clockwise)[0, 2] > 5


def test_small_errors_of_landmarks_make_small_errors_of_angles() -> None:
    errors = 0.03 * np.random.default_rng(4).normal(size=(1000, 5, 2))
    spread = head_poses(seen(20, -10, 5) + errors).std(axis=0)
    assert (spread < [5, 5, 2]).all()


@pytest.mark.parametrize(
    "landmarks",
    [
        np.zeros((5, 2), np.float32),
        np.full((5, 2), 812.3, np.float32),
        np.full((5, 2), np.nan, np.float32),
        np.full((5, 2), np.inf, np.float32),
    ],
)
def test_landmarks_that_say_nothing_give_no_turn(landmarks: np.ndarray) -> None:
    quality = face_quality(BOX, landmarks, GREY_CROP)
    assert (quality.yaw, quality.pitch, quality.roll) == pytest.approx((0, 0, 0), abs=1e-3)


@pytest.mark.parametrize("direction", [(1, 0), (0, 1), (1, 1), (-3, 2), (1e-30, 0), (3e37, 1e37)])
def test_landmarks_on_a_line_give_numbers_within_the_ranges(direction: tuple[float, float]) -> None:
    landmarks = np.outer([0, 4, 1, 2, 3], direction).astype(np.float32)
    yaw, pitch, roll = head_poses(landmarks[np.newaxis])[0]
    assert -90 <= yaw <= 90
    assert -180 <= pitch <= 180
    assert -180 <= roll <= 180


@pytest.mark.parametrize("box", [(5, 5, 0, 9), (5, 5, -3, 9), (5, 5, np.nan, 9), (5, 5, 9, np.inf)])
def test_a_box_without_sides_has_size_zero(box: tuple[float, ...]) -> None:
    assert face_quality(np.array(box, np.float32), FRONTAL, GREY_CROP).face_size == 0


def test_face_size_is_the_shorter_side_of_the_box() -> None:
    assert face_quality(BOX, FRONTAL, GREY_CROP).face_size == 90
    assert face_quality(BOX[[0, 1, 3, 2]], FRONTAL, GREY_CROP).face_size == 90


@pytest.mark.parametrize("value", [0, 7, 128, 255])
def test_a_flat_crop_has_no_sharpness(value: int) -> None:
    quality = of_crop(np.full((112, 112, 3), value, np.uint8))
    assert quality.sharpness == 0
    assert quality.brightness == pytest.approx(value / 255)


def test_white_noise_has_the_sharpness_that_theory_gives() -> None:
    assert of_crop(grey(noise(112, 112))).sharpness == pytest.approx(0.504, rel=0.02)


def test_stripes_two_pixels_wide_are_as_sharp_as_can_be() -> None:
    stripes = np.tile([50, 50, 200, 200], (112, 28))
    assert of_crop(grey(stripes)).sharpness == pytest.approx(1, abs=0.01)


def test_faint_noise_on_a_flat_face_is_not_taken_for_detail() -> None:
    assert of_crop(grey(128 + (noise(112, 112) - 128) / 20)).sharpness < 0.06


def test_what_lies_outside_the_photo_does_not_count() -> None:
    luma = cv2.GaussianBlur(noise(112, 112) * 3 - 256, (0, 0), 2)  # soft, and never quite black
    whole = of_crop(grey(luma))
    luma[:, :50] = 0
    luma[80:] = 0
    cut_off = of_crop(grey(luma))
    assert cut_off.sharpness == pytest.approx(whole.sharpness, rel=0.15)
    assert cut_off.brightness == pytest.approx(whole.brightness, abs=0.02)


def test_black_specks_count_as_part_of_the_face() -> None:
    luma = noise(112, 112)
    luma[::8, ::8] = 0
    assert of_crop(grey(luma)).sharpness > 0.45


def test_many_faces_are_measured_as_one_is() -> None:
    boxes, landmarks = np.stack([BOX, 2 * BOX, BOX]), np.stack([FRONTAL, FRONTAL, seen(9, 5, -7)])
    crops = np.stack([GREY_CROP, grey(noise(112, 112)), GREY_CROP // 2])
    columns = face_qualities(boxes, landmarks, crops)
    assert all(values.dtype == np.float32 for values in columns.values())
    for row in range(3):
        one = face_quality(boxes[row], landmarks[row], crops[row])
        assert asdict(one) == {name: values[row] for name, values in columns.items()}


def test_no_faces_give_empty_columns() -> None:
    columns = face_qualities(
        np.empty((0, 4)), np.empty((0, 5, 2)), np.empty((0, 112, 112, 3), np.uint8)
    )
    assert list(columns) == list(FaceQuality.__dataclass_fields__)
    assert all(values.shape == (0,) for values in columns.values())


def detected(pipeline: FacePipeline, image: Image) -> Detection:
    return pipeline.find_faces([image])[0][0].detection


def measured(image: Image, detection: Detection) -> FaceQuality:
    crop = ARCFACE_112.crop(image, detection.box, detection.landmarks)
    return face_quality(detection.box, detection.landmarks, crop)


@pytest.fixture(scope="module")
def portraits(demo_photos: Path) -> list[Image]:
    images = []
    for name in FACES:
        with PIL.Image.open(demo_photos / name) as photo:
            photo.thumbnail((600, 600))
            images.append(np.asarray(photo.convert("RGB")))
    return images


@pytest.fixture(scope="module")
def crops(portraits: list[Image], pipeline: FacePipeline) -> list[Image]:
    found = [detected(pipeline, image) for image in portraits]
    return [
        ARCFACE_112.crop(image, face.box, face.landmarks)
        for image, face in zip(portraits, found, strict=True)
    ]


def test_a_mirrored_photo_turns_and_tilts_the_other_way(
    portraits: list[Image], pipeline: FacePipeline
) -> None:
    """The tolerance allows for YuNet's landmarks, which are not exactly mirrored with the photo."""
    changes = []
    for image in portraits:
        mirrored = np.ascontiguousarray(image[:, ::-1])
        before = measured(image, detected(pipeline, image))
        after = measured(mirrored, detected(pipeline, mirrored))
        changes.append(
            (after.yaw + before.yaw, after.pitch - before.pitch, after.roll + before.roll)
        )
        if abs(before.yaw) > 10:
            assert after.yaw * before.yaw < 0
    assert np.abs(changes).max() < 12
    assert np.abs(changes).mean() < 5


@pytest.mark.parametrize("angle", [-20, 20])
def test_a_turned_photo_changes_roll_alone(
    portraits: list[Image], pipeline: FacePipeline, angle: float
) -> None:
    for image in portraits:
        height, width = image.shape[:2]
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), -angle, 1)  # clockwise as seen
        landmarks = detected(pipeline, image).landmarks
        before = head_poses(landmarks[np.newaxis])[0]
        after = head_poses((landmarks @ turn[:, :2].T + turn[:, 2])[np.newaxis])[0]
        assert after - before == pytest.approx([0, 0, angle], abs=1e-3)


@pytest.mark.parametrize("angle", [-20, 20])
def test_the_detector_sees_part_of_a_photos_turn(
    portraits: list[Image], pipeline: FacePipeline, angle: float
) -> None:
    """YuNet's landmarks turn by about half of the photo's turn, so roll is underestimated."""
    changes = []
    for image in portraits:
        height, width = image.shape[:2]
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), -angle, 1)
        turned = cv2.warpAffine(image, turn, (width, height))
        before = measured(image, detected(pipeline, image))
        after = measured(turned, detected(pipeline, turned))
        changes.append(
            (after.yaw - before.yaw, after.pitch - before.pitch, after.roll - before.roll)
        )
    yaw, pitch, roll = np.mean(changes, axis=0)
    assert 5 < roll * np.sign(angle) < 22
    assert abs(yaw) < 8
    assert abs(pitch) < 8


def test_blur_lowers_sharpness_step_by_step(crops: list[Image]) -> None:
    for crop in crops:
        blurred = [cv2.GaussianBlur(crop, (0, 0), sigma) for sigma in (0.5, 1, 2, 4)]
        found = [of_crop(image).sharpness for image in (crop, *blurred)]
        assert found == sorted(found, reverse=True)
        assert found[-1] < 0.3 * found[0]


def test_an_enlarged_small_face_is_less_sharp(
    portraits: list[Image], pipeline: FacePipeline
) -> None:
    for image in portraits:
        detection = detected(pipeline, image)
        small = cv2.resize(image, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        enlarged = cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        before, after = measured(image, detection), measured(enlarged, detection)
        assert after.sharpness < 0.9 * before.sharpness


def test_the_size_of_a_large_face_hardly_matters_to_sharpness(
    portraits: list[Image], pipeline: FacePipeline
) -> None:
    for image in portraits:
        enlarged = cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
        detection = detected(pipeline, image)
        tripled = Detection(3 * detection.box, 3 * detection.landmarks + 1, detection.score)
        before, after = measured(image, detection), measured(enlarged, tripled)
        assert after.sharpness == pytest.approx(before.sharpness, rel=0.15)
        assert after.face_size == pytest.approx(3 * before.face_size)


def test_exposure_changes_brightness_and_not_sharpness(crops: list[Image]) -> None:
    for crop in crops:
        found = [of_crop((crop * gain).astype(np.uint8)) for gain in (0.4, 0.7, 1.0)]
        brightness = [quality.brightness for quality in found]
        assert brightness == pytest.approx(np.multiply((0.4, 0.7, 1.0), brightness[-1]), abs=0.01)
        sharpness = [quality.sharpness for quality in found]
        assert sharpness == pytest.approx([sharpness[-1]] * 3, rel=0.1)


@pytest.mark.lasting
@pytest.mark.slow
def test_the_median_face_of_lfw_is_frontal(lfw: Path, pipeline: FacePipeline) -> None:
    poses = []
    for path in sorted(lfw.glob("photos/*/*.jpg"))[::25]:
        with PIL.Image.open(path) as photo:
            found = pipeline.find_faces([np.asarray(photo.convert("RGB"))])[0]
        poses += [head_poses(face.detection.landmarks[np.newaxis])[0] for face in found[:1]]
    assert len(poses) >= 190
    assert np.abs(np.median(poses, axis=0)).max() < 3
    assert (np.std(poses, axis=0) < [25, 10, 8]).all()
