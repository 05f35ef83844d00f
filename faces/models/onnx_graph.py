"""Rewriting ONNX graphs: constant folding, a dynamic batch size, and quantisation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from faces.core.errors import WrongUsageError, first_line

CHANNELS = 3
"""Number of colour channels of a crop."""


def load_whole(path: Path) -> onnx.ModelProto:
    """Load a model whose file has all that is run, so that the file's digest covers it.

    Raises:
        WrongUsageError: the file is not an ONNX file, or keeps something in another file.
    """
    try:
        # The name's ending says nothing: engines take the content for protobuf as well.
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except Exception as error:  # protobuf's own errors
        raise WrongUsageError(
            f"{path} is not an ONNX file ({first_line(error)}); fetch or export the network again"
        ) from error
    for message in _messages(model):
        if isinstance(message, onnx.TensorProto) and (
            message.data_location == onnx.TensorProto.EXTERNAL or message.external_data
        ):
            raise WrongUsageError(
                f"{path} keeps its weights in another file; save both as one file: "
                "onnx.save(onnx.load(path), new_path)"
            )
        if isinstance(message, onnx.NodeProto) and message.op_type == "EPContext":
            raise WrongUsageError(
                f"{path} has a node EPContext, which may name another file; export the network "
                "without compiling it for a device"
            )
    return model


def _messages(message: Any) -> Iterator[Any]:
    """Yield a message of protobuf and all messages in it, at any depth.

    So nothing is passed over where ONNX may keep a tensor or a node: initializers, sparse ones,
    attributes, graphs in attributes, functions, and what later versions add.
    """
    unread = [message]
    while unread:
        message = unread.pop()
        yield message
        for field, value in message.ListFields():
            if field.message_type is not None:
                unread.extend([value] if hasattr(value, "ListFields") else value)


def load_folded(path: Path) -> onnx.ModelProto:
    """Load a model and fold its constants: each node that depends on constants becomes its value.

    Dequantised weights become plain float initializers. Dropout nodes are removed, since they do
    nothing at inference. Inputs that repeat initializers or are unused are removed too, so that the
    data is the only input left.

    Raises: the errors of `load_whole`.
    """
    model = load_whole(path)
    graph = model.graph
    constants = {entry.name: entry for entry in graph.initializer}
    foldable, kept = [], []
    renamed: dict[str, str] = {}
    constant_names = set(constants)
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
        if node.op_type == "Dropout":
            renamed[node.output[0]] = node.input[0]
        elif constant_names.issuperset(node.input):
            foldable.append(node)
            constant_names.update(node.output)
        else:
            kept.append(node)
    needed = {name for node in kept for name in node.input}
    outputs = [name for node in foldable for name in node.output if name in needed]
    folded = _evaluate(model, foldable, outputs)
    initializers = [entry for name, entry in constants.items() if name in needed]
    initializers += [numpy_helper.from_array(value, name) for name, value in folded.items()]
    inputs = [entry for entry in graph.input if entry.name in needed - set(constants)]
    for field, entries in ((graph.node, kept), (graph.initializer, initializers)):
        del field[:]
        field.extend(entries)
    del graph.input[:], graph.value_info[:]
    graph.input.extend(inputs)
    return model


def _evaluate(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], outputs: list[str]
) -> dict[str, NDArray[np.generic]]:
    """Run constant nodes by ONNX's reference implementation.

    Returns:
        The value of each of `outputs`, by name.
    """
    if not outputs:
        return {}
    graph = onnx.helper.make_graph(
        nodes,
        "constants",
        inputs=[],
        outputs=[onnx.ValueInfoProto(name=name) for name in outputs],
        initializer=list(model.graph.initializer),
    )
    constants = onnx.helper.make_model(graph, opset_imports=model.opset_import)
    constants.ir_version = model.ir_version
    values = ReferenceEvaluator(constants).run(None, {})
    return dict(zip(outputs, (np.asarray(value) for value in values), strict=True))


def write_model(model: onnx.ModelProto, path: Path) -> None:
    """Write a model to an ONNX file."""
    path.write_bytes(model.SerializeToString())


def first_input(path: Path) -> str:
    """Return the name of the first input of a graph."""
    return str(load_whole(path).graph.input[0].name)


def crop_input_shape(network: Path) -> tuple[int | None, ...]:
    """Return the shape of the input of a network for crops.

    Args:
        network: path of the ONNX file.

    Returns:
        Four sizes, in the graph's order; None for a dynamic size.

    Raises:
        WrongUsageError: the file is not a whole ONNX file, or not a network for crops.
    """
    sizes, found = _input_of(network)
    if len(sizes) != 4 or CHANNELS not in (sizes[1], sizes[3]):
        raise WrongUsageError(
            f"{network} is not a network for crops: it should have one input, (n, 3, height, "
            f"width) or (n, height, width, 3), and has {found}; choose another network"
        )
    return sizes


def require_embedding_input(network: Path, dimension: int) -> None:
    """Check that a network takes embeddings.

    Args:
        network: path of the ONNX file.
        dimension: number of dimensions of an embedding.

    Raises:
        WrongUsageError: the file is not a whole ONNX file, or takes something else.
    """
    sizes, found = _input_of(network)
    if len(sizes) != 2 or sizes[1] not in (None, dimension):
        raise WrongUsageError(
            f"{network} is not a head for embeddings of {dimension} dimensions: it should have one "
            f"input, (n, {dimension}), and has {found}; choose another network or base"
        )


def _input_of(network: Path) -> tuple[tuple[int | None, ...], str]:
    """Return the sizes of a network's only input, None for a dynamic one, and all inputs in words.

    Of a network with another number of inputs, there are no sizes.

    Raises:
        WrongUsageError: the file is not a whole ONNX file, or its input is not float32 with a batch
            size that is 1 or dynamic.
    """
    graph = load_whole(network).graph
    initializer_names = {entry.name for entry in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in initializer_names]
    shapes = [[dim.dim_value or None for dim in e.type.tensor_type.shape.dim] for e in inputs]
    found = ", ".join(f"{e.name} {shape}" for e, shape in zip(inputs, shapes, strict=True))
    if len(inputs) != 1 or not shapes[0]:
        return (), found or "none"
    if inputs[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT or shapes[0][0] not in (
        None,
        1,
    ):
        raise WrongUsageError(
            f"{network} has batch size {shapes[0][0] or 'dynamic'} or an input that is not "
            "float32; export it with a float32 input and a batch size that is 1 or dynamic"
        )
    return tuple(shapes[0]), found


def has_free_batch(path: Path) -> bool:
    """Tell whether a model has a dynamic batch size; the model must have one data input.

    Raises: the errors of `load_whole`.
    """
    graph = load_whole(path).graph
    initializer_names = {entry.name for entry in graph.initializer}
    data = next(entry for entry in graph.input if entry.name not in initializer_names)
    return not data.type.tensor_type.shape.dim[0].dim_value


def free_batch(model: onnx.ModelProto, *, image_size: bool = False) -> onnx.ModelProto:
    """Make the batch size of a graph dynamic.

    Reshape targets that begin with a batch size of 1 copy it from their input instead.

    Args:
        model: the model, which is changed in place. It has one input, (1, channels, height, width).
        image_size: make height and width dynamic too, and with them the second axis of the Reshape
            targets, which runs over the cells of a grid on the image.

    Returns:
        `model`.
    """
    graph = model.graph
    targets = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    for entry in graph.initializer:
        target = numpy_helper.to_array(entry).copy()
        if entry.name in targets and len(target) >= 2 and target[0] == 1:
            target[0] = 0  # in ONNX: copy the size from the input
            if image_size:
                target[1] = -1  # in ONNX: infer the size from the rest
            entry.CopyFrom(numpy_helper.from_array(target, entry.name))
    for value in (*graph.input, *graph.output):
        dims = value.type.tensor_type.shape.dim
        dims[0].dim_param = "batch"
        if image_size:
            for axis in range(1 if value in graph.output else 2, max(len(dims) - 1, 2)):
                dims[axis].dim_param = f"{value.name}_{axis}"
    if image_size:
        graph.input[0].type.tensor_type.shape.dim[3].dim_param = f"{graph.input[0].name}_3"
    onnx.checker.check_model(model)
    return model


def fold_batch_norm(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold each BatchNormalization after a convolution into the convolution's weights and bias.

    The network computes the same, and its convolutions can then be quantised.

    Args:
        model: the model, which is changed in place.

    Returns:
        `model`.
    """
    graph = model.graph
    weights = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    made_by = {node.output[0]: node for node in graph.node}
    kept = []
    for node in graph.node:
        conv = made_by.get(node.input[0])
        if node.op_type != "BatchNormalization" or conv is None or conv.op_type != "Conv":
            kept.append(node)
            continue
        gamma, beta, mean, variance = (weights[name] for name in node.input[1:])
        epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
        factor = gamma / np.sqrt(variance + epsilon)
        weight = weights[conv.input[1]]
        bias = weights[conv.input[2]] if len(conv.input) > 2 else np.zeros_like(mean)
        name = f"{node.output[0]}_folded"
        weights[f"{name}_weight"] = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
        weights[f"{name}_bias"] = (bias - mean) * factor + beta
        conv.input[:] = [conv.input[0], f"{name}_weight", f"{name}_bias"]
        conv.output[0] = node.output[0]
    _replace_nodes(model, kept, weights)
    return model


def quantised_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """List the nodes that `quantise` computes in 8-bit integers, in the order of the graph."""
    return [node for node in model.graph.node if node.op_type in {"Conv", "Gemm"}]


def quantise(
    model: onnx.ModelProto, input_ranges: Sequence[tuple[float, float]], max_pair_sum: int
) -> onnx.ModelProto:
    """Quantise convolutions and matrix products to 8-bit integers.

    Each of their inputs becomes uint8 over a given range. Their weights become int8, symmetric,
    with one scale for each output channel (Jacob et al., CVPR 2018). No node is inserted after
    them, so that engines can fuse what follows (bias, PReLU, the next quantisation).

    Args:
        model: the model, which is changed in place; its batch norms must be folded.
        input_ranges: (min, max) of the input values of each of `quantised_nodes`.
        max_pair_sum: maximum sum of the absolute values of any two integer weights of one sign in
            an output channel. CPUs without VNNI instructions add two products of a uint8 and an
            int8 in 16 bits, and saturate; 128 * 255 just fits, and rounding may add one to a sum.

    Returns:
        `model`.
    """
    weights = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    ranges = dict(
        zip((node.output[0] for node in quantised_nodes(model)), input_ranges, strict=True)
    )
    nodes = []
    for node in model.graph.node:
        if node.output[0] in ranges:
            low, high = ranges[node.output[0]]
            nodes += _quantise_input(node, min(low, 0.0), max(high, 0.0), weights)
            nodes += _quantise_weight(node, weights, max_pair_sum)
        nodes.append(node)
    _replace_nodes(model, nodes, weights)
    return model


def _quantise_input(
    node: onnx.NodeProto, low: float, high: float, weights: dict[str, NDArray[np.generic]]
) -> list[onnx.NodeProto]:
    name = f"{node.output[0]}_input"
    scale = np.float32((high - low) / 255)
    weights[f"{name}_scale"] = np.asarray(scale)
    weights[f"{name}_zero"] = np.asarray(np.uint8(round(-low / scale)))
    parameters = [f"{name}_scale", f"{name}_zero"]
    source, node.input[0] = node.input[0], f"{name}_real"
    make = onnx.helper.make_node
    return [
        make("QuantizeLinear", [source, *parameters], [f"{name}_whole"]),
        make("DequantizeLinear", [f"{name}_whole", *parameters], [f"{name}_real"]),
    ]


def _quantise_weight(
    node: onnx.NodeProto, weights: dict[str, NDArray[np.generic]], max_pair_sum: int
) -> list[onnx.NodeProto]:
    name = f"{node.output[0]}_weight"
    weight = np.asarray(weights[node.input[1]], dtype=np.float32)  # output channels first
    scale = _weight_scales(weight.reshape(len(weight), -1), max_pair_sum)
    quantised = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
    weights[f"{name}_whole"] = quantised.astype(np.int8)
    weights[f"{name}_scale"] = scale.astype(np.float32)
    weights[f"{name}_zero"] = np.zeros(len(scale), dtype=np.int8)
    node.input[1] = f"{name}_real"
    inputs = [f"{name}_whole", f"{name}_scale", f"{name}_zero"]
    return [onnx.helper.make_node("DequantizeLinear", inputs, [f"{name}_real"], axis=0)]


def _weight_scales(weight: NDArray[np.float32], max_pair_sum: int) -> NDArray[np.float32]:
    """Compute the int8 scale of each output channel; see `quantise`.

    Args:
        weight: (n, m) weights, a row for each output channel.
        max_pair_sum: see `quantise`.

    Returns:
        (n,) float32 scales, each over 0.
    """
    ordered = np.sort(weight, axis=1)
    largest, smallest = ordered[:, -2:].clip(0, None), ordered[:, :2].clip(None, 0)
    pairs = np.maximum(largest.sum(axis=1), -smallest.sum(axis=1))
    scale = np.maximum(np.abs(weight).max(axis=1) / 127, pairs / max_pair_sum)
    scale[scale == 0] = 1.0
    return np.asarray(scale, dtype=np.float32)


def _replace_nodes(
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, NDArray[np.generic]],
) -> None:
    """Replace a graph's nodes, and its initializers by those of `weights` that the nodes use."""
    used = {name for node in nodes for name in node.input}
    entries = [numpy_helper.from_array(weights[name], name) for name in weights if name in used]
    graph = model.graph
    # Clearing the field would empty nodes that come from it, so they are copied first.
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(copies)
    graph.initializer.extend(entries)
