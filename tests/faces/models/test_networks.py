"""The prepared networks compared with the published files, which OpenCV runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from faces.core.machine import cache_dir
from faces.core.vectors import unit_length
from faces.dataset.store import Dataset
from faces.models import yunet_outputs
from faces.models.choice import ModelChoice
from faces.models.downloads import fetch
from faces.models.face import GivenFace
from faces.models.pipeline import FacePipeline
from faces.models.placement import Placement
from faces.models.preparation import prepare
from faces.models.registry import load_pipeline
from faces.models.sface import MEAN_VECTOR
from faces.models.weights import SFACE_FILE, YUNET_FILE
from faces.models.yunet import MIN_SCORE
from faces.models.yunet_network import YUNET, find_in
from faces.photos.decoding import Image, decode_photo

# OpenCV's FaceRecognizerSF cannot run the file on OpenCV 5's new engine, since it names no input.
# On the classic engine it can; an environment variable of the process chooses that.
OPENCV_EMBED = """
import os, sys
os.environ["OPENCV_FORCE_DNN_ENGINE"] = "1"
import cv2, numpy as np
weights, crops, output = sys.argv[1:]
recogniser = cv2.FaceRecognizerSF.create(weights, "")
np.save(output, np.concatenate([recogniser.feature(crop) for crop in np.load(crops)]))
"""

OPENCV_ALIGN_AND_EMBED = """
import os, sys
os.environ["OPENCV_FORCE_DNN_ENGINE"] = "1"
import cv2, numpy as np
weights, faces, output, *photos = sys.argv[1:]
recogniser = cv2.FaceRecognizerSF.create(weights, "")
rows = []
for number, path in enumerate(photos):
    image = np.load(path)
    for face in np.load(f"{faces}-{number}.npy"):
        rows.append(recogniser.feature(recogniser.alignCrop(image, face)))
np.save(output, np.concatenate(rows))
"""


@pytest.fixture(scope="module")
def originals() -> tuple[Path, Path]:
    yunet, sface = fetch([YUNET_FILE, SFACE_FILE], cache_dir() / "weights")
    return yunet, sface


@pytest.fixture(scope="module")
def pipeline() -> FacePipeline:
    """Load the pipeline in float arithmetic, in which OpenCV computes."""
    return load_pipeline(ModelChoice(embedder="sface"), threads=1)


@pytest.fixture(scope="module")
def real_photos(demo_photos: Path) -> list[Image]:
    return [decode_photo(path.read_bytes()).image for path in sorted(demo_photos.iterdir())]


@pytest.fixture(scope="module")
def lfw_photos(lfw: Path) -> list[Image]:
    paths = sorted(lfw.glob("photos/*/*.jpg"))[::25]
    return [decode_photo(path.read_bytes()).image for path in paths]


def opencv_faces(weights: Path, image: Image, score: float) -> np.ndarray:
    height, width = image.shape[:2]
    detector = cv2.FaceDetectorYN.create(str(weights), "", (width, height), score, 0.3)
    _, faces = detector.detect(np.ascontiguousarray(image[:, :, ::-1]))
    return np.empty((0, 15), np.float32) if faces is None else faces


@pytest.fixture
def landmarks_of_the_best_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make YuNet's landmarks OpenCV's: no mean over many cells."""
    monkeypatch.setattr(yunet_outputs, "MIN_LANDMARK_SCORE", 2.0)


def require_same_detections(images: list[Image], originals: tuple[Path, Path]) -> int:
    # FaceDetectorYN searches a photo once, as it is; the detector of ours does more.
    network = prepare(YUNET, Placement("cpu")).open(threads=1)
    num_faces = 0
    found = find_in(network, images, [MIN_SCORE] * len(images))
    for image, faces in zip(images, found, strict=True):
        expected = opencv_faces(originals[0], image, MIN_SCORE)
        assert len(faces) == len(expected)
        for ours, theirs in zip(faces, expected[np.argsort(-expected[:, 14])], strict=True):
            assert ours[:14] == pytest.approx(theirs[:14], abs=0.5)
            assert ours[14] == pytest.approx(theirs[14], abs=1e-3)
            num_faces += 1
    return num_faces


@pytest.mark.usefixtures("landmarks_of_the_best_cell")
def test_detections_agree_with_opencv_on_portraits(
    real_photos: list[Image], originals: tuple[Path, Path]
) -> None:
    assert require_same_detections(real_photos, originals) >= 7


@pytest.mark.lasting
@pytest.mark.slow
@pytest.mark.usefixtures("landmarks_of_the_best_cell")
def test_detections_agree_with_opencv_on_lfw(
    lfw_photos: list[Image], originals: tuple[Path, Path]
) -> None:
    assert require_same_detections(lfw_photos, originals) >= len(lfw_photos)


def require_same_embeddings(
    images: list[Image], originals: tuple[Path, Path], pipeline: FacePipeline, work_dir: Path
) -> None:
    """Require that faces aligned and embedded by FaceRecognizerSF, less the mean vector, are ours.

    Faces much larger than the crop are left out: facetrove averages their pixels, and OpenCV skips
    some (see `faces.models.alignment`).
    """
    ours, photos = [], []
    for image, faces in zip(images, pipeline.find_faces(images), strict=True):
        kept = [face for face in faces if face.detection.box[2:].max() < 150]
        if not kept:
            continue
        ours += [face.embedding for face in kept]
        rows = [
            np.concatenate([f.detection.box, f.detection.landmarks.reshape(-1), [1]]) for f in kept
        ]
        np.save(work_dir / f"faces-{len(photos)}.npy", np.asarray(rows, np.float32))
        photos.append(work_dir / f"photo-{len(photos)}.npy")
        np.save(photos[-1], image[:, :, ::-1])
    output = work_dir / "theirs.npy"
    arguments = [originals[1], work_dir / "faces", output, *photos]
    subprocess.run([sys.executable, "-c", OPENCV_ALIGN_AND_EMBED, *map(str, arguments)], check=True)
    theirs = unit_length(np.load(output) - MEAN_VECTOR)
    assert len(theirs) == len(ours) > 0
    assert (np.stack(ours) * theirs).sum(axis=1).min() >= 0.9999


def test_embeddings_agree_with_opencv_from_photo_to_vector(
    real_photos: list[Image],
    originals: tuple[Path, Path],
    pipeline: FacePipeline,
    tmp_path: Path,
) -> None:
    shrunk = [
        cv2.resize(image, None, fx=0.3, fy=0.3, interpolation=cv2.INTER_AREA)
        for image in real_photos
    ]
    require_same_embeddings(shrunk, originals, pipeline, tmp_path)


@pytest.mark.slow
@pytest.mark.lasting
def test_embeddings_agree_with_opencv_on_lfw(
    lfw_photos: list[Image],
    originals: tuple[Path, Path],
    pipeline: FacePipeline,
    tmp_path: Path,
) -> None:
    require_same_embeddings(lfw_photos, originals, pipeline, tmp_path)


def test_embeddings_agree_with_opencv_on_the_same_crops(
    real_photos: list[Image],
    originals: tuple[Path, Path],
    pipeline: FacePipeline,
    tmp_path: Path,
) -> None:
    """Large faces are compared too here, since both sides embed the same crops."""
    crops = np.stack([cv2.resize(image, (112, 112)) for image in real_photos])
    np.save(tmp_path / "crops.npy", crops[..., ::-1])
    arguments = [originals[1], tmp_path / "crops.npy", tmp_path / "theirs.npy"]
    subprocess.run([sys.executable, "-c", OPENCV_EMBED, *map(str, arguments)], check=True)
    theirs = unit_length(np.load(tmp_path / "theirs.npy"))
    ours = unit_length(pipeline.embedder.embed(crops) + np.float32(MEAN_VECTOR))
    assert (ours * theirs).sum(axis=1).min() >= 0.9999


def test_a_batch_gives_what_each_photo_gives_alone(
    real_photos: list[Image], pipeline: FacePipeline
) -> None:
    together = pipeline.find_faces(real_photos)
    for image, faces in zip(real_photos, together, strict=True):
        (alone,) = pipeline.find_faces([image])
        assert len(alone) == len(faces)
        for one, other in zip(alone, faces, strict=True):
            assert one.detection.box == pytest.approx(other.detection.box, abs=1e-2)
            assert one.embedding @ other.embedding > 0.99999


def test_embeddings_have_unit_length_and_photos_of_nobody_give_none(
    demo_photos: Path, pipeline: FacePipeline
) -> None:
    coffee = decode_photo((demo_photos / "coffee.png").read_bytes()).image
    hopper = decode_photo((demo_photos / "grace_hopper.jpg").read_bytes()).image
    nobody, somebody = pipeline.find_faces([coffee, hopper])
    assert nobody == []
    assert np.linalg.norm(somebody[0].embedding) == pytest.approx(1.0, abs=1e-6)
    assert pipeline.find_faces([]) == []


def test_strangers_have_next_to_nothing_in_common(
    demo_photos: Path, pipeline: FacePipeline
) -> None:
    """With the published vectors, three pairs of strangers have a mean similarity of 0.1."""
    names = ("biden.jpg", "grace_hopper.jpg", "obama2.jpg")
    images = [decode_photo((demo_photos / name).read_bytes()).image for name in names]
    vectors = np.stack([faces[0].embedding for faces in pipeline.find_faces(images)])
    norms = np.array([[faces[0].embedding_norm] for faces in pipeline.find_faces(images)])
    published = unit_length(vectors * norms + np.array(MEAN_VECTOR))
    upper = np.triu_indices(3, 1)
    centred, before = ((v @ v.T)[upper].mean() for v in (vectors, published))
    assert centred < 0.06 < before


def test_a_face_that_shows_less_has_a_shorter_vector(
    demo_photos: Path, pipeline: FacePipeline
) -> None:
    image = decode_photo((demo_photos / "grace_hopper.jpg").read_bytes()).image
    (face,) = pipeline.find_faces([image])[0]
    given = [GivenFace(face.detection)]
    blurred = [cv2.GaussianBlur(image, (0, 0), sigma) for sigma in (4, 8, 16)]
    found = pipeline.find_faces([image, *blurred], [given] * 4)
    norms = [faces[0].embedding_norm for faces in found]
    assert norms[0] == pytest.approx(face.embedding_norm)
    assert norms == sorted(norms, reverse=True)
    assert norms[-1] < 0.8 * norms[0]


def test_a_given_vector_is_scaled_and_its_length_kept(
    demo_photos: Path, pipeline: FacePipeline
) -> None:
    image = decode_photo((demo_photos / "grace_hopper.jpg").read_bytes()).image
    (face,) = pipeline.find_faces([image])[0]
    vector = np.float32(3) * face.embedding
    (again,) = pipeline.find_faces([image], [[GivenFace(face.detection, embedding=vector)]])[0]
    assert again.embedding_norm == pytest.approx(3, abs=1e-5)
    assert np.allclose(again.embedding, face.embedding, atol=1e-6)


def test_landmarks_follow_the_named_order(demo_photos: Path, pipeline: FacePipeline) -> None:
    image = decode_photo((demo_photos / "obama2.jpg").read_bytes()).image
    left_eye, right_eye, nose, left_mouth, right_mouth = pipeline.find_faces([image])[0][
        0
    ].detection.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert left_eye[1] < nose[1] < left_mouth[1]


@pytest.mark.parametrize("shape", [(1, 1), (3, 2000), (2000, 3), (31, 33)])
def test_odd_shapes_are_no_problem(shape: tuple[int, int], pipeline: FacePipeline) -> None:
    assert pipeline.find_faces([np.full((*shape, 3), 128, np.uint8)]) == [[]]


def test_unit_length_refuses_what_has_no_direction() -> None:
    with pytest.raises(ValueError, match="zero or not finite"):
        unit_length(np.zeros((1, 4)))
    with pytest.raises(ValueError, match="zero or not finite"):
        unit_length(np.array([[np.nan, 1.0]]))


@pytest.mark.slow
def test_the_labelled_face_is_found_in_lfw(lfw: Path, lfw_dataset: Path) -> None:
    """At least 99.9% of all photos must have a face at the centre, where the labelled person is."""
    paths = sorted(lfw.glob("photos/*/*.jpg"))
    dataset = Dataset.open(lfw_dataset)
    sizes = {row["photo_id"]: (row["width"], row["height"]) for row in dataset.photos().to_pylist()}
    found = set()
    for table in dataset.faces(["photo_id", "box"]):
        for face in table.to_pylist():
            box, centre = np.array(face["box"]), np.array(sizes[face["photo_id"]]) / 2
            if np.hypot(*(box[:2] + box[2:] / 2 - centre)) < 40:
                found.add(face["photo_id"])
    assert len(paths) >= 5000
    assert len(found) / len(paths) >= 0.999
