"""Small random networks, and the TOML files that describe them as custom models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_network(
    path: Path,
    *,
    batch: int | str = 1,
    channels_last: bool = False,
    size: tuple[int | str, int | str] = (112, 112),
    outputs: tuple[str, ...] = ("embedding",),
    channels: int = 3,
    first_only: bool = False,
    seed: int = 0,
) -> None:
    """Write a small random embedder of 16 dimensions.

    With `first_only`, the embedder returns only the first embedding of any batch.
    """
    rng = np.random.default_rng(seed)
    height, width = (side if isinstance(side, int) else 112 for side in size)
    dense = 4 * (height // 8) * (width // 8)
    weights = {
        "kernel": (rng.normal(size=(4, channels, 8, 8)) / 14).astype(np.float32),
        "dense": (rng.normal(size=(dense, 16)) / np.sqrt(dense)).astype(np.float32),
        "flat_shape": np.array([1, dense]),
        "first": np.array([0]),
    }
    planes = "planes" if channels_last else "crops"
    nodes = [
        helper.make_node("Conv", [planes, "kernel"], ["features"], strides=[8, 8]),
        helper.make_node("Relu", ["features"], ["active"]),
        helper.make_node("Reshape", ["active", "flat_shape"], ["flat"]),
    ]
    if first_only:
        nodes.append(helper.make_node("Gather", ["flat", "first"], ["flattened"]))
    flat = "flattened" if first_only else "flat"
    nodes += [helper.make_node("MatMul", [flat, "dense"], [output]) for output in outputs]
    shape = [batch, channels, *size]
    if channels_last:
        shape = [batch, *size, 3]
        nodes.insert(0, helper.make_node("Transpose", ["crops"], ["planes"], perm=[0, 3, 1, 2]))
    graph = helper.make_graph(
        nodes,
        "random",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 16]) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)


def write_model(folder: Path, text: str = "", **network: object) -> Path:
    write_network(folder / "net.onnx", **network)  # type: ignore[arg-type]
    path = folder / "my_net.toml"
    path.write_text(f'network = "net.onnx"\n{text}')
    return path


def write_head(
    folder: Path,
    text: str = "",
    *,
    base: str = "sface-int8",
    dimensions: tuple[int, int] = (128, 32),
    seed: int = 0,
    batch: int | str = "n",
) -> Path:
    """Write a random linear head, and the TOML file that describes it."""
    weights = np.random.default_rng(seed).normal(size=dimensions).astype(np.float32)
    inputs, outputs = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, size])
        for name, size in zip(("embeddings", "output"), dimensions, strict=True)
    )
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["embeddings", "weights"], ["output"])],
        "head",
        [inputs],
        [outputs],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, folder / "head.onnx")
    path = folder / "my_head.toml"
    path.write_text(f'base = "{base}"\nnetwork = "head.onnx"\n{text}')
    return path


def head_weights(folder: Path) -> np.ndarray:
    """Read the matrix of a head from `write_head`."""
    return np.asarray(numpy_helper.to_array(onnx.load(folder / "head.onnx").graph.initializer[0]))
