"""Rewriting ONNX graphs: fold what is constant, free the batch size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper


def load_folded(path: Path) -> onnx.ModelProto:
    """Load a model and replace every node that depends on constants alone by its value.

    Dequantised weights become plain float initializers; Dropout, idle at inference, goes; and
    inputs that repeat initializers or feed nothing go too, so that the data is the one input.
    """
    model = onnx.load(path)
    graph = model.graph
    constants = {entry.name: entry for entry in graph.initializer}
    foldable, kept = [], []
    renamed: dict[str, str] = {}
    known = set(constants)
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
        if node.op_type == "Dropout":
            renamed[node.output[0]] = node.input[0]
        elif known.issuperset(node.input):
            foldable.append(node)
            known.update(node.output)
        else:
            kept.append(node)
    needed = {name for node in kept for name in node.input}
    wanted = [name for node in foldable for name in node.output if name in needed]
    folded = _evaluate(model, foldable, wanted)
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
    """Run constant nodes by ONNX's own reference implementation."""
    from onnx.reference import ReferenceEvaluator

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


def free_batch(model: onnx.ModelProto, *, image_size: bool = False) -> onnx.ModelProto:
    """Change a graph made for a batch of one so that it takes any batch.

    Reshape targets that spell out the batch (a leading 1) copy it from their input instead.

    Args:
        model: changed in place. Its one input is (1, channels, height, width).
        image_size: free height and width too, and with them the middle axis of the targets,
            which counts places on the image.
    """
    graph = model.graph
    targets = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    for entry in graph.initializer:
        target = numpy_helper.to_array(entry).copy()
        if entry.name in targets and len(target) >= 2 and target[0] == 1:
            target[0] = 0  # ONNX: the same as in the input
            if image_size:
                target[1] = -1  # ONNX: whatever is left
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
