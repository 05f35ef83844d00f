"""deepface's models compared with deepface itself, on real photos."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest

from beam_jobs.embed_photos import embed_photos
from faces.core.errors import WrongUsageError
from faces.dataset.store import Dataset
from faces.models.catalog import list_models
from faces.models.choice import ModelChoice
from faces.models.deepface_weights import DETECTORS, RECOGNISERS, SHAPE_PREDICTOR, library
from faces.models.face import Detection, GivenFace
from faces.models.registry import load_embedder, load_pipeline
from faces.models.sface import MEAN_VECTOR
from faces.photos.decoding import Image, decode_photo
from tests.support.command import ONE_WORKER, run_facetrove
from tests.support.deepface_home import RANDOM_NETWORKS, make_deepface_home

pytest.importorskip("deepface", reason="deepface is not installed: pip install -e '.[dev]'")


@pytest.fixture(scope="module")
def deepface_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with make_deepface_home(tmp_path_factory) as home:
        yield home


@pytest.fixture(scope="module")
def real_photos(demo_photos: Path) -> list[Image]:
    return [decode_photo(path.read_bytes()).image for path in sorted(demo_photos.iterdir())]


def represented(image: Image, model: str, detector: str) -> list[dict[str, Any]]:
    """Detect and embed the faces of an image by deepface alone; [] if it finds none."""
    from deepface import DeepFace
    from deepface.modules.exceptions import FaceNotDetected

    try:
        return DeepFace.represent(
            image[:, :, ::-1], model_name=model, detector_backend=detector, align=True
        )
    except FaceNotDetected:
        return []


def require_agreement(images: list[Image], model: str, detector: str = "yunet") -> int:
    """Compare every face that deepface finds with facetrove's; returns the number of faces."""
    choice = ModelChoice(f"deepface:{detector}", f"deepface:{model}", alignment="deepface")
    pipeline = load_pipeline(choice, threads=1)
    num_faces = 0
    for image, faces in zip(images, pipeline.find_faces(images), strict=True):
        theirs = represented(image, model, detector)
        assert len(theirs) == len(faces)
        remaining = list(faces)
        for face in theirs:
            vector = np.array(face["embedding"])
            area = face["facial_area"]
            nearest = min(
                remaining,
                key=lambda f: (
                    abs(f.detection.box[0] - area["x"]) + abs(f.detection.box[1] - area["y"])
                ),
            )
            remaining.remove(nearest)
            assert np.abs(nearest.embedding - vector / np.linalg.norm(vector)).max() < 1e-4
            num_faces += 1
    return num_faces


@pytest.mark.lasting
@pytest.mark.slow
@pytest.mark.parametrize("model", [*RANDOM_NETWORKS, "SFace"])
def test_vectors_are_those_of_deepface(
    deepface_home: Path, real_photos: list[Image], model: str
) -> None:
    assert require_agreement(real_photos, model) >= 6


def test_dlib_is_that_of_deepface(deepface_home: Path, real_photos: list[Image]) -> None:
    """This test uses dlib's real weights, from the package of face_recognition's models."""
    pytest.importorskip("dlib", reason="dlib is not installed: pip install -e '.[dev]'")
    assert require_agreement(real_photos, "Dlib") >= 6


@pytest.mark.lasting
@pytest.mark.slow
def test_deepface_finds_faces_by_dlib_as_by_itself(
    deepface_home: Path, real_photos: list[Image]
) -> None:
    pytest.importorskip("dlib", reason="dlib is not installed: pip install -e '.[dev]'")
    small = [cv2.resize(photo, None, fx=0.5, fy=0.5) for photo in real_photos[:5]]
    assert require_agreement(small, "ArcFace", "dlib") >= 3  # of large ones it takes seconds


def test_buffalo_is_that_of_deepface(
    deepface_home: Path, real_photos: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """InsightFace's package would bring another OpenCV, so a fake has the part deepface calls."""
    network = onnxruntime.InferenceSession(
        deepface_home / ".deepface" / "weights" / RECOGNISERS["Buffalo_L"].file
    )

    class ArcFaceONNX:  # insightface/model_zoo/arcface_onnx.py
        def prepare(self, **_: object) -> None: ...

        def get_feat(self, image: np.ndarray) -> np.ndarray:
            blob = cv2.dnn.blobFromImages(
                [image], 1 / 127.5, (112, 112), (127.5, 127.5, 127.5), swapRB=True
            )
            return network.run(None, {"crops": blob})[0]

    zoo = types.ModuleType("insightface.model_zoo")
    zoo.get_model = lambda _: ArcFaceONNX()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "insightface", types.ModuleType("insightface"))
    monkeypatch.setitem(sys.modules, "insightface.model_zoo", zoo)
    assert require_agreement(real_photos, "Buffalo_L") >= 6


def test_every_model_of_deepface_is_listed() -> None:
    from deepface.modules.modeling import AVAILABLE_MODELS

    assert set(RECOGNISERS) == set(AVAILABLE_MODELS["facial_recognition"])
    assert set(DETECTORS) == set(AVAILABLE_MODELS["face_detector"])
    names = {card.name for card in list_models()}
    assert names >= {f"deepface:{name}" for name in (*RECOGNISERS, *DETECTORS)}


def test_every_file_of_a_recognition_model_has_a_url() -> None:
    files = {recogniser.file for recogniser in RECOGNISERS.values()}
    others = {SHAPE_PREDICTOR, "facial_expression_model_weights.onnx"}
    assert set(library().WEIGHTS_URLS) == files | others


@pytest.mark.lasting
@pytest.mark.slow
def test_five_points_are_the_default_where_a_model_was_trained_so(
    deepface_home: Path, real_photos: list[Image]
) -> None:
    ours = load_pipeline(ModelChoice(embedder="sface"), threads=1)
    theirs = load_pipeline(ModelChoice(embedder="deepface:SFace"), threads=1)
    assert theirs.contract.alignment == ours.contract.alignment == "arcface-112"
    assert theirs.contract.embedder == "deepface:SFace"
    for one, other in zip(
        ours.find_faces(real_photos), theirs.find_faces(real_photos), strict=True
    ):
        for face, same in zip(one, other, strict=True):
            as_published = face.embedding_norm * face.embedding + MEAN_VECTOR
            assert np.allclose(as_published, same.embedding_norm * same.embedding, atol=0.05)
    forced = ModelChoice(embedder="deepface:Facenet", alignment="five-point")
    assert load_pipeline(forced).contract.alignment == "arcface-160"


def test_each_model_has_the_alignment_of_its_published_accuracy(deepface_home: Path) -> None:
    expected = {
        **dict.fromkeys(("ArcFace", "Buffalo_L", "GhostFaceNet", "SFace"), "arcface-112"),
        **dict.fromkeys(("DeepFace", "DeepID", "VGG-Face"), "deepface"),
        **dict.fromkeys(("Facenet", "Facenet512"), "facenet"),
        "Dlib": "face_recognition",
        "OpenFace": "openface",
    }
    assert expected.keys() == RECOGNISERS.keys()
    cards = {card.name: card for card in list_models()}
    for name, alignment in expected.items():
        if name == "Dlib":
            pytest.importorskip("dlib", reason="dlib is not installed: pip install -e '.[dev]'")
        embedder = load_embedder(ModelChoice(embedder=f"deepface:{name}"), threads=1)
        assert embedder.alignment.name == alignment
        # An accuracy of other crops or other weights is none of this model.
        assert (cards[f"deepface:{name}"].lfw is None) == (alignment == "deepface")


@pytest.mark.slow
def test_dlib_tells_people_apart_by_default(
    deepface_home: Path, demo_photos: Path, probe_photo: Path
) -> None:
    """With deepface's crops, the most similar strangers of these photos are above a photo pair."""
    pytest.importorskip("dlib", reason="dlib is not installed: pip install -e '.[dev]'")
    names = ("obama2.jpg", "obama_partial_face2.jpg", "biden.jpg", "grace_hopper.jpg")
    images = [decode_photo((demo_photos / name).read_bytes()).image for name in names]
    images.append(decode_photo(probe_photo.read_bytes()).image)
    pipeline = load_pipeline(ModelChoice(embedder="deepface:Dlib"), threads=1)
    *gallery, probe = [faces[0].embedding for faces in pipeline.find_faces(images)]
    similarities = [float(probe @ face) for face in gallery]
    assert min(similarities[:2]) > max(similarities[2:]) + 0.03


@pytest.mark.lasting
@pytest.mark.slow
def test_a_dataset_goes_on_with_the_alignment_of_its_contract(
    deepface_home: Path, demo_photos: Path, probe_photo: Path, tmp_path: Path
) -> None:
    """Datasets made before an alignment became a model's default, by command and in Python."""
    dataset, index = tmp_path / "d", tmp_path / "i"
    of_before = ("--embedder", "deepface:Facenet", "--alignment", "deepface")
    made = run_facetrove("embed", demo_photos / "biden.jpg", dataset, *of_before, *ONE_WORKER)
    assert made.returncode == 0, made.stderr
    again = run_facetrove(
        "embed", demo_photos, dataset, "--embedder", "deepface:Facenet", *ONE_WORKER
    )
    assert again.returncode == 0, again.stderr
    assert Dataset.open(dataset).contract.alignment == "deepface"
    summary = embed_photos(
        probe_photo, dataset, models=ModelChoice(embedder="deepface:Facenet"), workers=1
    )
    assert summary.total.num_photos == 10
    assert run_facetrove("index", dataset, index).returncode == 0
    found = json.loads(run_facetrove("search", index, probe_photo, "--json").stdout)
    assert found["probes"][0]["matches"][0]["similarity"] > 0.999
    other = run_facetrove("embed", demo_photos, dataset, "--alignment", "facenet", *ONE_WORKER)
    assert other.returncode == 1 and "cannot be compared" in other.stderr


def test_detectors_that_find_no_landmarks_still_give_crops(
    deepface_home: Path, real_photos: list[Image]
) -> None:
    """Five-point alignment needs only two eyes, and without any landmark only the box."""
    pipeline = load_pipeline(ModelChoice(), threads=1)
    image = next(i for i in real_photos if len(pipeline.find_faces([i])[0]) == 1)
    (face,) = pipeline.find_faces([image])[0]
    eyes_alone = face.detection.landmarks.copy()
    eyes_alone[2:] = np.nan
    nothing = np.full((5, 2), np.nan, np.float32)
    for landmarks, min_similarity in ((eyes_alone, 0.8), (nothing, 0.6)):
        given = GivenFace(Detection(face.detection.box, landmarks, 1.0))
        (found,) = pipeline.find_faces([image], [[given]])[0]
        assert float(found.embedding @ face.embedding) > min_similarity
        assert np.isfinite([found.quality.yaw, found.quality.pitch, found.quality.roll]).all()
    assert abs(found.quality.roll) == 0


def test_without_network_the_message_says_which_file_and_where(tmp_path: Path) -> None:
    """The URL that deepface fetches from is replaced by one where no server listens."""
    script = """
import sys
from deepface.models.facial_recognition.onnx import ArcFace
ArcFace.WEIGHTS_URL[:] = ["http://127.0.0.1:9/arcface_weights.onnx"]
from facetrove.cli.main import main
sys.argv = ["facetrove", "models", "deepface:ArcFace"]
main()
"""
    environment = {**os.environ, "DEEPFACE_HOME": str(tmp_path)}
    finished = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 1
    (line,) = finished.stderr.strip().splitlines()
    assert line.startswith("facetrove: error: cannot fetch arcface_weights.onnx from http://127.0")
    assert f"put the file into {tmp_path}/.deepface/weights by hand; `facetrove models" in line


def test_weights_that_are_corrupt_are_refused_by_name(deepface_home: Path, tmp_path: Path) -> None:
    weights = tmp_path / ".deepface" / "weights"
    weights.mkdir(parents=True)
    whole = (deepface_home / ".deepface" / "weights" / "openface_weights.onnx").read_bytes()
    (weights / "openface_weights.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPFACE_HOME", str(tmp_path))
        with pytest.raises(WrongUsageError, match=r"openface_weights\.onnx is not an ONNX file"):
            load_pipeline(ModelChoice(embedder="deepface:OpenFace"))


@pytest.mark.slow
def test_a_collection_is_embedded_and_searched_by_a_model_of_deepface(
    deepface_home: Path, demo_photos: Path, tmp_path: Path
) -> None:
    dataset, index = tmp_path / "d", tmp_path / "i"
    embedded = run_facetrove(
        "embed", demo_photos, dataset, "--embedder", "deepface:Facenet", *ONE_WORKER
    )
    assert embedded.returncode == 0, embedded.stderr
    assert run_facetrove("index", dataset, index).returncode == 0
    found = run_facetrove("search", index, demo_photos / "biden.jpg", "--json")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["probes"][0]["matches"][0]["similarity"] > 0.999
    assert "yunet and deepface:Facenet (128 dimensions" in run_facetrove("info", dataset).stdout
