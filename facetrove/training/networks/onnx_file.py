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


def _copied(part: Any) -> Any:
    """Return a copy of a part of an ONNX model, which stays when the part is removed."""
    return type(part).FromString(part.SerializeToString())


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
    """Order and name nodes and values by the graph alone.

    TensorFlow's names count what a process did before, and tf2onnx orders by them.

    Args:
        model: an ONNX model (ModelProto) without subgraphs, which is changed.
    """
    graph = model.graph
    makers = {output: node for node in graph.node for output in node.output}
    constants = {constant.name: constant for constant in graph.initializer}
    names = {"": "", **{value.name: value.name for value in (*graph.input, *graph.output)}}
    nodes: list[Any] = []
    used: list[Any] = []
    done: set[str] = set()

    def visit(value: str) -> None:
        if value in done:
            return
        done.add(value)
        if value in constants:
            used.append(constants[value])
        elif value in makers:
            node = makers[value]
            done.update(node.output)
            for needed in node.input:
                visit(needed)
            nodes.append(node)

    for output in graph.output:
        visit(output.name)
    for constant in used:
        names[constant.name] = f"c{len(names)}"
        constant.name = names[constant.name]
    for number, node in enumerate(nodes):
        for output in node.output:
            names.setdefault(output, f"v{len(names)}")
        node.name = f"n{number}"
    for node in nodes:
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    ordered, kept = ([_copied(part) for part in parts] for parts in (nodes, used))
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(ordered)
    graph.initializer.extend(kept)
    graph.name, graph.doc_string = "network", ""
