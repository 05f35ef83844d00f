"""Trained networks as ONNX files, checked against Keras when they are written."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import FaceTroveError
from faces.core.storage import put_file
from faces.models.engines import OnnxRuntimeNetwork
from facetrove.training.networks.keras_library import keras, tf, tf2onnx

OPSET = 18
"""Version of ONNX's operators that networks are written in, which engines know since 2023."""

TOLERANCE = 1e-5
"""Maximum difference of the outputs of ONNX Runtime from Keras's, relative to the largest."""


def write_onnx(
    model: keras.Model, path: Path, sample: NDArray[np.float32], *, name: str = "crops"
) -> None:
    """Write a Keras model as an ONNX file with a free batch size, whole or not at all.

    Args:
        model: the model, with one input and one output.
        path: the file to write; an existing one is replaced.
        sample: (n, ...) float32 input, on which the file is compared with the model.
        name: name of the graph's input; its output is named `output`.

    Raises:
        FaceTroveError: the file computes something else than the model.
    """
    with tempfile.TemporaryDirectory(prefix="facetrove-") as folder:
        draft = Path(folder, "network.onnx")
        _convert(model, draft, sample.shape[1:], name)
        expected = np.asarray(model.predict_on_batch(sample))
        found = next(iter(OnnxRuntimeNetwork(draft, threads=1).run(sample).values()))
        difference = float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))
        if not difference <= TOLERANCE:
            raise FaceTroveError(
                f"the ONNX file differs from the trained network by {difference:.2g}, more than "
                f"{TOLERANCE:g}; please report it"
            )
        with put_file(path) as file, draft.open("rb") as source:
            shutil.copyfileobj(source, file)


def _convert(model: keras.Model, draft: Path, shape: tuple[int, ...], name: str) -> None:
    """Convert a Keras model by tf2onnx, in inference mode, with the names of input and output."""
    signature = [tf.TensorSpec((None, *shape), tf.float32, name=name)]

    @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
    def infer(batch: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"output": model(batch, training=False)}

    graph, _ = tf2onnx.convert.from_function(infer, input_signature=signature, opset=OPSET)
    _name_in_order(graph)
    draft.write_bytes(graph.SerializeToString(deterministic=True))


def _name_in_order(model: Any) -> None:
    """Name nodes and values by their order: TensorFlow's names count what a process did before.

    Args:
        model: an ONNX model (ModelProto) without subgraphs, which is changed.
    """
    graph = model.graph
    kept = {value.name: value.name for value in (*graph.input, *graph.output)}
    names: dict[str, str] = {"": "", **kept}
    for number, node in enumerate(graph.node):
        node.name = f"n{number}"
        for output in node.output:
            names.setdefault(output, f"v{len(names)}")
    for constant in graph.initializer:
        names.setdefault(constant.name, f"c{len(names)}")
        constant.name = names[constant.name]
    for node in graph.node:
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    del graph.value_info[:]
    graph.name, graph.doc_string = "network", ""
