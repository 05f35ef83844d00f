"""deepface's models against deepface itself, on real photos."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from faces.fetch import cache_dir, fetch
from faces.images import Image, decode_photo
from faces.models import ModelChoice, load_pipeline
from faces.onnx_graph import load_folded
from faces.weights import SFACE_FILE, YUNET_FILE

pytest.importorskip("deepface", reason="deepface is not installed: pip install -e '.[dev]'")

from faces.deepface_models import RECOGNISERS

OWN_CODE = ("SFace", "Dlib", "Buffalo_L")
RANDOM_NETWORKS = [name for name in RECOGNISERS if name not in OWN_CODE]


@pytest.fixture(scope="module")
def deepface_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """deepface's folder with real weights where they can be had, and random networks else."""
    home = tmp_path_factory.mktemp("deepface")
    weights = home / ".deepface" / "weights"
    weights.mkdir(parents=True)
    yunet, sface = fetch([YUNET_FILE, SFACE_FILE], cache_dir() / "weights")
    shutil.copy(yunet, weights / "face_detection_yunet_2023mar.onnx")
    # As OpenCV publishes it, for a batch of one; its smaller file is not run by ONNX Runtime.
    plain = load_folded(sface)
    onnx.save(plain, weights / "face_recognition_sface_2021dec.onnx")
    for seed, name in enumerate(RANDOM_NETWORKS):
        recogniser = RECOGNISERS[name]
        size = (recogniser.height, recogniser.width)
        write_random_network(weights / recogniser.file, size, recogniser.dimension, seed)
    cache = tmp_path_factory.mktemp("cache")
    shutil.copytree(cache_dir() / "weights", cache / "weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPFACE_HOME", str(home))
        patch.setenv("FACETROVE_CACHE", str(cache))
        yield home


def write_random_network(path: Path, size: tuple[int, int], dimension: int, seed: int) -> None:
    """Channels last in, as deepface's graphs; small, and sensitive to where things are."""
    rng = np.random.default_rng(seed)
    rows, columns = size[0] // 8, size[1] // 8
    weights = {
        "kernel": rng.normal(size=(4, 3, 8, 8)) / 14,
        "dense": rng.normal(size=(4 * rows * columns, dimension)) / np.sqrt(rows * columns),
    }
    nodes = [
        helper.make_node("Transpose", ["crops"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel"], ["features"], strides=[8, 8]),
        helper.make_node("Relu", ["features"], ["active"]),
        helper.make_node("Flatten", ["active"], ["flat"]),
        helper.make_node("MatMul", ["flat", "dense"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "random",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["n", *size, 3])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", dimension])],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)


@pytest.fixture(scope="module")
def real_photos(demo_photos: Path) -> list[Image]:
    return [decode_photo(path.read_bytes()).image for path in sorted(demo_photos.iterdir())]


def represented(image: Image, model: str, detector: str) -> list[dict[str, Any]]:
    """deepface's own answer."""
    from deepface import DeepFace
    from deepface.modules.exceptions import FaceNotDetected

    try:
        return DeepFace.represent(
            image[:, :, ::-1], model_name=model, detector_backend=detector, align=True
        )
    except FaceNotDetected:
        return []


def require_agreement(images: list[Image], model: str, detector: str = "yunet") -> int:
    """Compare every face that deepface finds with ours; the number of them."""
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


@pytest.mark.parametrize("model", [*RANDOM_NETWORKS, "SFace"])
def test_vectors_are_those_of_deepface(
    deepface_home: Path, real_photos: list[Image], model: str
) -> None:
    assert require_agreement(real_photos, model) >= 6
