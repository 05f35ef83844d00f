"""Making ONNX files of small networks: products with matrices, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper


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
