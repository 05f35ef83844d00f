"""A home folder for deepface, with real weights where a package has them, else random networks."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from faces.core.machine import cache_dir
from faces.models.deepface_weights import RECOGNISERS
from faces.models.downloads import fetch
from faces.models.onnx_graph import load_folded
from faces.models.weights import SFACE_FILE, YUNET_FILE

RANDOM_NETWORKS = [n for n in RECOGNISERS if n not in ("SFace", "Dlib", "Buffalo_L")]
"""Models whose weights are in no package, so that tests use random networks."""


@contextmanager
def make_deepface_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Set deepface's home and facetrove's cache to new folders while the context is open."""
    home = tmp_path_factory.mktemp("deepface")
    weights = home / ".deepface" / "weights"
    weights.mkdir(parents=True)
    yunet, sface = fetch([YUNET_FILE, SFACE_FILE], cache_dir() / "weights")
    shutil.copy(yunet, weights / "face_detection_yunet_2023mar.onnx")
    # deepface expects OpenCV's float file. The smaller, block-quantised file that facetrove fetches
    # is the same network once its constants are folded; ONNX Runtime does not run it as published.
    plain = load_folded(sface)
    onnx.save(plain, weights / "face_recognition_sface_2021dec.onnx")
    for seed, name in enumerate(RANDOM_NETWORKS):
        recogniser = RECOGNISERS[name]
        size = (recogniser.height, recogniser.width)
        write_random_network(weights / recogniser.file, size, recogniser.dimension, seed)
    size = (RECOGNISERS["Buffalo_L"].height, RECOGNISERS["Buffalo_L"].width)
    (weights / "buffalo_l").mkdir()
    write_random_network(
        weights / RECOGNISERS["Buffalo_L"].file, size, 512, seed=99, channels_last=False
    )
    with suppress(ImportError):
        dlib_weights = importlib.import_module("face_recognition_models")
        shutil.copy(dlib_weights.face_recognition_model_location(), weights)
        shutil.copy(dlib_weights.pose_predictor_five_point_model_location(), weights)
    cache = tmp_path_factory.mktemp("cache")
    shutil.copytree(cache_dir() / "weights", cache / "weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPFACE_HOME", str(home))
        patch.setenv("FACETROVE_CACHE", str(cache))
        yield home


def write_random_network(
    path: Path, size: tuple[int, int], dimension: int, seed: int, *, channels_last: bool = True
) -> None:
    """Write a small random network whose embeddings depend on where things are in the crop.

    Args:
        path: the ONNX file to write.
        size: height and width of the crops, in pixels.
        dimension: number of dimensions of the embeddings.
        seed: seed of the weights.
        channels_last: whether crops are (n, height, width, 3), as in deepface's own graphs, or
            (n, 3, height, width).
    """
    rng = np.random.default_rng(seed)
    rows, columns = size[0] // 8, size[1] // 8
    weights = {
        "kernel": rng.normal(size=(4, 3, 8, 8)) / 14,
        "dense": rng.normal(size=(4 * rows * columns, dimension)) / np.sqrt(rows * columns),
    }
    shape = ["n", *size, 3] if channels_last else ["n", 3, *size]
    perm = [0, 3, 1, 2] if channels_last else [0, 1, 2, 3]
    nodes = [
        helper.make_node("Transpose", ["crops"], ["planes"], perm=perm),
        helper.make_node("Conv", ["planes", "kernel"], ["features"], strides=[8, 8]),
        helper.make_node("Relu", ["features"], ["active"]),
        helper.make_node("Flatten", ["active"], ["flat"]),
        helper.make_node("MatMul", ["flat", "dense"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "random",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", dimension])],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)
