"""Networks that keep something in another file, which their digest does not cover, are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, ModelProto, TensorProto, helper

from faces.core.errors import WrongUsageError
from faces.models.deepface_weights import detector_digest
from faces.models.onnx_graph import load_whole
from faces.models.preparation import prepare
from faces.models.registry import find_embedder
from tests.support.custom_networks import write_model, write_network


def outside(name: str = "w", kind: int = TensorProto.FLOAT) -> TensorProto:
    """Return a tensor of 6 x 16 values that lie in another file."""
    tensor = TensorProto(name=name, data_type=kind, dims=[6, 16])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    return tensor


def constant(**attribute: object) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["unused"], **attribute)


def add_initializer(model: ModelProto) -> None:
    model.graph.initializer.append(outside())


def add_location_alone(model: ModelProto) -> None:
    tensor = outside()
    tensor.data_location = TensorProto.DEFAULT
    model.graph.initializer.append(tensor)


def add_sparse_initializer(model: ModelProto) -> None:
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(outside())
    sparse.dims.extend([6, 16])


def add_constant(model: ModelProto) -> None:
    model.graph.node.append(constant(value=outside()))


def add_list_of_tensors(model: ModelProto) -> None:
    node = model.graph.node.add(op_type="Constant", output=["unused"])
    attribute = node.attribute.add(name="value", type=AttributeProto.TENSORS)
    attribute.tensors.append(outside())


def add_branch(model: ModelProto) -> None:
    branch = helper.make_graph([constant(value=outside())], "branch", [], [])
    inner = helper.make_node("If", ["yes"], ["unused"], then_branch=branch, else_branch=branch)
    outer = helper.make_graph([inner], "outer", [], [])
    node = helper.make_node("If", ["yes"], ["unused"], then_branch=outer, else_branch=outer)
    model.graph.node.append(node)


def add_function(model: ModelProto) -> None:
    model.functions.append(
        helper.make_function(
            "own", "f", [], ["unused"], [constant(value=outside())], model.opset_import
        )
    )


def add_training(model: ModelProto) -> None:
    model.training_info.add().initialization.initializer.append(outside())


def add_compiled(model: ModelProto) -> None:
    node = helper.make_node(
        "EPContext", [], ["unused"], domain="com.microsoft", ep_cache_context="compiled.bin"
    )
    model.graph.node.append(node)


@pytest.mark.parametrize(
    "change",
    [
        add_initializer,
        add_location_alone,
        add_sparse_initializer,
        add_constant,
        add_list_of_tensors,
        add_branch,
        add_function,
        add_training,
        add_compiled,
    ],
)
def test_a_network_that_names_another_file_is_refused(
    tmp_path: Path, change: Callable[[ModelProto], None]
) -> None:
    path = write_model(tmp_path)
    np.zeros((6, 16), np.float32).tofile(tmp_path / "weights.bin")
    network = tmp_path / "net.onnx"
    load_whole(network)
    model = onnx.load(network)
    change(model)
    network.write_bytes(model.SerializeToString())
    with pytest.raises(WrongUsageError, match=r"net\.onnx .*another file"):
        find_embedder(str(path))


def test_a_network_of_deepface_in_two_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path))
    weights = tmp_path / ".deepface" / "weights"
    weights.mkdir(parents=True)
    for name in ("centerface.onnx", "openface_weights.onnx"):
        write_network(weights / name, channels_last=True, size=(96, 96))
        model = onnx.load(weights / name)
        model.graph.initializer.append(outside())
        (weights / name).write_bytes(model.SerializeToString())
    with pytest.raises(WrongUsageError, match=r"centerface\.onnx keeps its weights in another"):
        detector_digest("centerface")
    model_of_deepface = find_embedder("deepface:OpenFace")
    with pytest.raises(WrongUsageError, match=r"openface_weights\.onnx keeps its weights in"):
        prepare(model_of_deepface.source)  # type: ignore[attr-defined]


def test_what_the_digest_covers_is_what_is_run_whatever_the_name_ends_in(tmp_path: Path) -> None:
    """ONNX reads other formats by a file's ending, which the engines would take for protobuf."""
    path = write_model(tmp_path)
    model = onnx.load(tmp_path / "net.onnx")
    for ending in ("json", "textproto", "onnxtxt"):
        onnx.save(model, tmp_path / f"net.{ending}")
        path.write_text(f'network = "net.{ending}"\n')
        with pytest.raises(WrongUsageError, match=rf"net\.{ending} is not an ONNX file"):
            find_embedder(str(path))
    (tmp_path / "net.xml").write_text("<?xml version='1.0'?><net name='ir' version='11'></net>")
    path.write_text('network = "net.xml"\n')
    with pytest.raises(WrongUsageError, match=r"net\.xml is not an ONNX file"):
        find_embedder(str(path))
    (tmp_path / "net.ort").write_bytes((tmp_path / "net.onnx").read_bytes())
    path.write_text('network = "net.ort"\n')
    assert find_embedder(str(path)).alignment.width == 112
