from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from faces.core.errors import FaceTroveError, ModelUnavailableError, WrongUsageError
from faces.core.hashing import sha256_of
from faces.core.machine import cache_dir
from faces.core.vectors import unit_length
from faces.models import engines, preparation
from faces.models.downloads import fetch
from faces.models.embedder import NetworkEmbedder
from faces.models.engines import OnnxRuntimeNetwork
from faces.models.onnx_graph import fold_batch_norm, free_batch, load_folded
from faces.models.pipeline import FacePipeline
from faces.models.placement import Placement
from faces.models.preparation import prepare
from faces.models.sface import INPUT_RANGES, SFACE, SFACE_INT8
from faces.models.weights import SFACE_FILE, YUNET_FILE
from faces.models.yunet_network import YUNET
from faces.photos.decoding import decode_photo


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a cache with the published files and no prepared network."""
    return use_cache(tmp_path / "cache", monkeypatch)


@pytest.fixture(scope="module")
def module_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def common_cache(module_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Share one cache among the tests that only read prepared networks."""
    return use_cache(module_cache, monkeypatch)


def use_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    published = fetch([YUNET_FILE, SFACE_FILE], cache_dir() / "weights")
    folder = cache / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    for path in published:
        shutil.copy(path, folder)
    monkeypatch.setenv("FACETROVE_CACHE", str(cache))
    return folder


@pytest.mark.lasting
@pytest.mark.slow
def test_prepared_networks_are_plain_and_take_any_batch(common_cache: Path) -> None:
    for source, file in ((YUNET, YUNET_FILE), (SFACE.source, SFACE_FILE)):
        free_image_size = file == YUNET_FILE
        prepared = prepare(source)
        graph = onnx.load(prepared.path).graph
        assert not {"DequantizeLinear", "Dropout"} & {node.op_type for node in graph.node}
        (data,) = graph.input
        batch, _, height, width = data.type.tensor_type.shape.dim
        assert batch.dim_param
        assert bool(height.dim_param) is bool(width.dim_param) is free_image_size
        network = prepared.open(threads=1)
        side = 64 if free_image_size else 112
        outputs = network.run(np.zeros((3, 3, side, side), np.float32))
        assert {len(value) for value in outputs.values()} == {3}
        assert sha256_of(source.locate()) == file.sha256


def test_a_corrupt_prepared_file_is_made_anew(fresh_cache: Path) -> None:
    path = prepare(YUNET).path
    whole = path.read_bytes()
    path.write_bytes(whole[:5000] + b"\0" + whole[5001:])
    prepare(YUNET)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("error", [ModelUnavailableError, WrongUsageError])
def test_a_gpu_that_computes_wrongly_is_left_out_unless_it_is_asked_for(
    common_cache: Path, monkeypatch: pytest.MonkeyPatch, error: type[FaceTroveError]
) -> None:
    def differs(*_: object) -> None:
        raise error("differs")

    monkeypatch.setattr(preparation, "resolve_placement", lambda _: Placement("cuda"))
    monkeypatch.setattr(preparation, "_try_device", differs)
    assert prepare(YUNET, Placement("auto")).placement == Placement("cpu")
    with pytest.raises(error, match="differs"):
        prepare(YUNET, Placement("cuda"))


def test_a_prepared_network_is_read_without_lock_and_without_writing(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(YUNET)
    for lock in fresh_cache.glob("*.lock"):
        lock.unlink()
    before = {path: path.stat().st_mtime_ns for path in (fresh_cache, *fresh_cache.iterdir())}

    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert prepare(YUNET) == prepared
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list(fresh_cache.iterdir())) == len(before) - 1


def test_a_cache_that_cannot_be_written_says_what_is_to_be_prepared_and_by_whom(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("faces.models.preparation.file_lock", refuse)
    with pytest.raises(ModelUnavailableError) as caught:
        prepare(YUNET)
    message = str(caught.value)
    assert message.startswith(
        f"the network yunet has to be prepared in {fresh_cache}, which cannot be written "
        "(Read-only file system); whoever may write there should run `facetrove models"
    )


@pytest.mark.slow
def test_several_processes_can_start_at_once(fresh_cache: Path) -> None:
    script = (
        "from faces.models.yunet_network import YUNET\n"
        "from faces.models.preparation import prepare\n"
        "print(prepare(YUNET).path)"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    paths = {process.communicate(timeout=120)[0].strip() for process in started}
    assert [process.returncode for process in started] == [0] * 4
    assert len(paths) == 1
    assert not list(fresh_cache.glob("tmp*"))


def test_an_engine_that_computes_something_else_is_refused(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(engines.ENGINES["onnxruntime"]):  # type: ignore[misc]
        def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
            return {name: value + 0.01 for name, value in super().run(batch).items()}

    monkeypatch.setitem(engines.ENGINES, "onnxruntime", Wrong)
    with pytest.raises(ModelUnavailableError, match="differs from the published file"):
        prepare(YUNET)
    assert not list(fresh_cache.glob("*.prepared-*.onnx"))


def test_the_fastest_engine_is_the_one_recorded(common_cache: Path) -> None:
    prepared = prepare(SFACE.source)
    record = json.loads(prepared.path.with_suffix(".json").read_text())
    assert prepared.engine == min(record["milliseconds"], key=record["milliseconds"].get)
    assert set(record["milliseconds"]) == set(engines.ENGINES)


@pytest.mark.lasting
@pytest.mark.slow
def test_quantised_sface_is_a_contract_of_its_own_near_the_float_one(
    pipeline: FacePipeline, demo_photos: Path
) -> None:
    quantised = pipeline
    exact = FacePipeline(pipeline.detector, NetworkEmbedder(SFACE, threads=1))
    assert quantised.contract != exact.contract
    assert quantised.contract.embedder == "sface-int8"
    images = [decode_photo(path.read_bytes()).image for path in sorted(demo_photos.iterdir())]
    pairs = [
        (one.embedding, other.embedding)
        for faces, others in zip(
            exact.find_faces(images), quantised.find_faces(images), strict=True
        )
        for one, other in zip(faces, others, strict=True)
    ]
    similarities = [float(one @ other) for one, other in pairs]
    assert len(similarities) == 7
    assert min(similarities) > 0.98
    assert max(similarities) < 0.99999  # it is not the float network under another name


EMBED_NOISE = """
import sys
import numpy as np
from faces.models.embedder import NetworkEmbedder
from faces.models.sface import SFACE_INT8
crops = np.random.default_rng(0).integers(0, 256, (8, 112, 112, 3), dtype=np.uint8)
np.save(sys.argv[1], NetworkEmbedder(SFACE_INT8, threads=1).embed(crops))
"""


def test_processors_without_vnni_give_the_same_embeddings(tmp_path: Path) -> None:
    """CPUs without VNNI add two products in 16 bits, which saturate unless weights are scaled."""
    results = []
    for instructions in ("ALL", "AVX2"):
        path = tmp_path / f"{instructions}.npy"
        subprocess.run(
            [sys.executable, "-c", EMBED_NOISE, str(path)],
            env={**os.environ, "ONEDNN_MAX_CPU_ISA": instructions},
            check=True,
        )
        results.append(np.load(path))
    assert (unit_length(results[0]) * unit_length(results[1])).sum(axis=1).min() > 0.9999


@pytest.mark.lasting
@pytest.mark.slow
def test_quantised_graphs_compute_in_integers_and_are_the_same_everywhere(
    fresh_cache: Path,
) -> None:
    path = prepare(SFACE_INT8.source).path
    graph = onnx.load(path).graph
    operations = Counter(node.op_type for node in graph.node)
    assert operations["QuantizeLinear"] == len(INPUT_RANGES)
    assert "BatchNormalization" not in {
        node.op_type for node in graph.node if node.output[0].startswith("conv")
    }
    kinds = {entry.name: entry.data_type for entry in graph.initializer}
    for node in graph.node:
        if node.op_type == "Conv":
            producer = next(other for other in graph.node if other.output[0] == node.input[1])
            assert producer.op_type == "DequantizeLinear"
            assert kinds[producer.input[0]] == onnx.TensorProto.INT8
    first = path.read_bytes()
    path.unlink()
    assert prepare(SFACE_INT8.source).path.read_bytes() == first


def test_folding_batch_norms_changes_nothing(common_cache: Path, tmp_path: Path) -> None:
    model = free_batch(load_folded(common_cache / SFACE_FILE.name))
    before = sum(node.op_type == "BatchNormalization" for node in model.graph.node)
    folded = fold_batch_norm(load_folded(prepare(SFACE.source).path))
    assert sum(node.op_type == "BatchNormalization" for node in folded.graph.node) == before - 27
    (tmp_path / "folded.onnx").write_bytes(folded.SerializeToString())
    batch = np.random.default_rng(0).uniform(0, 255, (2, 3, 112, 112)).astype(np.float32)
    ours = OnnxRuntimeNetwork(tmp_path / "folded.onnx", threads=1).run(batch)["fc1"]
    theirs = OnnxRuntimeNetwork(prepare(SFACE.source).path, threads=1).run(batch)["fc1"]
    assert (unit_length(ours) * unit_length(theirs)).sum(axis=1).min() > 0.999999
