"""Making ONNX files: products with matrices, and crops as the input of published classifiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from faces.core.errors import ModelUnavailableError, first_line
from faces.models.grey import CROP_SHAPE, grey_products
from faces.models.onnx_graph import load_whole


def network_of_matrices(
    nodes: Sequence[tuple[str, tuple[str, ...], str]],
    weights: Mapping[str, NDArray[np.float32]],
    size: int,
) -> bytes:
    """Return the content of an ONNX file from `embeddings` to `output`, both (n, size).

    Args:
        nodes: operator, inputs and output of each node.
        weights: the constants by name.
        size: number of dimensions of an embedding.
    """
    make = onnx.helper
    ends = (
        make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", size])
        for name in ("embeddings", "output")
    )
    graph = make.make_graph(
        [make.make_node(operator, inputs, [output]) for operator, inputs, output in nodes],
        "head",
        *([end] for end in ends),
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opset = make.make_opsetid("", 18)  # which engines know since 2023
    model = make.make_model(graph, opset_imports=[opset], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def with_crops_as_input(path: Path, side: int) -> bytes:
    """Return the content of an ONNX file that makes crops the input of a classifier of grey pixels.

    Args:
        path: ONNX file of a network from (n, side, side, 1) float32 grey pixels, 0 to 1, to the
            (n, classes) probabilities of classes.
        side: side of that input in pixels.

    Returns:
        The content of an ONNX file of the same network from `crops` (n, 112, 112, 3) RGB, 0 to 255,
        to `output`.

    Raises:
        WrongUsageError: the file is no ONNX file.
        ModelUnavailableError: the network takes or gives something else.
    """
    model = load_whole(path)
    graph, make = model.graph, onnx.helper
    constants = {constant.name for constant in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise ModelUnavailableError(
            f"{path} has {len(inputs)} inputs and {len(graph.output)} outputs, expected one each; "
            "remove it, and it is fetched again"
        )
    rows, columns = grey_products(side)
    height, width, colours = CROP_SHAPE
    weights = {
        "own_rows": rows,
        "own_columns": columns / np.float32(255),
        "own_lines": np.array([-1, height, width * colours]),
        "own_shape": np.array([-1, side, side, 1]),
    }
    nodes = [
        make.make_node("Reshape", ["crops", "own_lines"], ["own_flat"]),
        make.make_node("MatMul", ["own_flat", "own_columns"], ["own_narrow"]),
        make.make_node("MatMul", ["own_rows", "own_narrow"], ["own_small"]),
        make.make_node("Reshape", ["own_small", "own_shape"], [inputs[0].name]),
        *graph.node,
        make.make_node("Identity", [graph.output[0].name], ["output"]),
    ]
    made = make.make_graph(
        nodes,
        "classifier",
        [make.make_tensor_value_info("crops", onnx.TensorProto.FLOAT, ["n", *CROP_SHAPE])],
        [make.make_tensor_value_info("output", onnx.TensorProto.FLOAT, ["n", "classes"])],
        [*graph.initializer, *(numpy_helper.from_array(v, name) for name, v in weights.items())],
    )
    written = make.make_model(made, opset_imports=model.opset_import, ir_version=model.ir_version)
    try:
        onnx.checker.check_model(written)
    except onnx.checker.ValidationError as error:
        raise ModelUnavailableError(
            f"{path} cannot take crops ({first_line(error)}); remove it, and it is fetched again"
        ) from error
    return bytes(written.SerializeToString(deterministic=True))
