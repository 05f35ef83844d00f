"""Small datasets of drawn photos that a network learns in seconds, for tests of training."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import PIL.Image
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from faces.core.contract import ModelContract
from faces.models.classifier_file import ClassifierFile, classifier_toml
from faces.photos.uris import photo_uri
from facetrove.training.card import TrainingCard, digests_for_card
from tests.support.labelled_faces import people_around, write_labelled

needs_keras = pytest.mark.skipif(
    find_spec("keras") is None, reason="Keras is not installed: pip install -e '.[dev]'"
)
"""Marks a test that trains, or runs Keras."""


CARD = TrainingCard(
    kind="classifier",
    name="mood",
    licence='mine "alone"',
    facetrove="0.1.0",
    keras="3",
    tensorflow="2",
    network_sha256="ab" * 32,
    detector="yunet",
    detector_digest="cd" * 32,
    alignment="arcface-112",
    num_faces=3,
    num_people=2,
    num_held_out_faces=1,
    num_held_out_people=1,
    num_unlabelled=4,
    seed=7,
    classes={"glad": 2, "né \x7f\n": 2},
    options={"loss": "focal", "rate": 0.001, "augment": True},
    figures={"accuracy": 0.5},
    per_class={"glad": {"recall": 0.25, "photos": 2}},
    curve=[{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}],
    face_digests=digests_for_card(pa.array(["a", "b", "c"])),
)
"""The card of an imaginary classifier."""


def drawn_dataset(
    folder: Path,
    labels: Sequence[str],
    people: Sequence[str],
    *,
    wrong: Sequence[int] = (),
    contrast: float = 0.0,
    vectors: NDArray[np.float32] | None = None,
) -> Path:
    """Write photos whose labels can be seen, and a dataset of them with one face each.

    Every person has a pattern of their own. A photo labelled `up` is light above the middle of the
    face, one labelled `down` below it, and any other is grey; all have noise.

    Args:
        folder: where `photos` and `d.dataset` are made.
        labels: (n,) what the photos show; the column `camera` of the dataset.
        people: (n,) values of the column `person`.
        wrong: numbers of the photos whose label says `up` instead of `down`, or `down` instead.
        contrast: how clear people's patterns are, in grey levels.
        vectors: (n, d) embeddings of the faces; None: those of n strangers.
    """
    photos = folder / "photos"
    photos.mkdir(parents=True)
    rng = np.random.default_rng(0)
    contents = []
    patterns = {
        person: np.kron(rng.normal(0, contrast, (12, 12)), np.ones((9, 9)))[:100, :100, None]
        for person in sorted(set(people))
    }
    for number, label in enumerate(labels):
        image = np.full((100, 100, 3), 110.0) + patterns[people[number]]
        if label in ("up", "down"):
            image[:50] += 60 if label == "up" else -60
            image[50:] += -60 if label == "up" else 60
        image += rng.normal(0, 12, image.shape)
        path = photos / f"{number:04d}.png"
        PIL.Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path, compress_level=1)
        contents.append(path)
    if vectors is None:
        vectors, _ = people_around(len(labels), 1, spread=1)
    other = {"up": "down", "down": "up"}
    said = [other[label] if number in wrong else label for number, label in enumerate(labels)]
    return write_labelled(
        folder / "d.dataset",
        vectors,
        people,
        uris=[photo_uri(str(path)) for path in contents],
        cameras=said,
        photo_ids=[hashlib.sha256(path.read_bytes()).hexdigest() for path in contents],
    )


def write_classifier(
    folder: Path,
    contract: ModelContract,
    *,
    label: str = "mood",
    steepness: float = 0.5,
    classes: tuple[str, ...] = ("down", "up"),
) -> Path:
    """Write a classifier that says `up` of a face that is lighter above than below.

    Args:
        folder: where `<label>.onnx` and `<label>.toml` are written.
        contract: the contract of the datasets that it goes with.
        label: what it measures.
        steepness: what a difference of one grey level adds to a logit; it changes the network's
            digest.
        classes: the classes that the TOML file names.
    """
    axes = numpy_helper.from_array(np.array([1, 2, 3]), "axes")
    values = {
        "rows": np.array([1]),
        "zero": np.array([0]),
        "forty": np.array([40]),
        "ninety": np.array([90]),
        "end": np.array([112]),
        "steepness": np.array(steepness, np.float32),
    }
    nodes = [
        helper.make_node("Slice", ["crops", "zero", "forty", "rows"], ["above"]),
        helper.make_node("Slice", ["crops", "ninety", "end", "rows"], ["below"]),
        helper.make_node("ReduceMean", ["above", "axes"], ["light_above"], keepdims=0),
        helper.make_node("ReduceMean", ["below", "axes"], ["light_below"], keepdims=0),
        helper.make_node("Sub", ["light_above", "light_below"], ["lighter"]),
        helper.make_node("Mul", ["lighter", "steepness"], ["up"]),
        helper.make_node("Neg", ["up"], ["down"]),
        helper.make_node("Unsqueeze", ["down", "rows"], ["down_column"]),
        helper.make_node("Unsqueeze", ["up", "rows"], ["up_column"]),
        helper.make_node("Concat", ["down_column", "up_column"], ["logits"], axis=1),
        helper.make_node("Softmax", ["logits"], ["output"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["n", 112, 112, 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", 2])],
        [axes, *(numpy_helper.from_array(value, name) for name, value in values.items())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = folder / f"{label}.toml"
    onnx.save(model, path.with_suffix(".onnx"))
    described = ClassifierFile.of(contract, path=path, label=label, classes=classes, licence="")
    path.write_text(classifier_toml(described))
    return path
