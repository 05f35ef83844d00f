from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from faces import weights
from faces.errors import ModelUnavailableError
from faces.fetch import cache_dir, fetch
from faces.weights import SFACE_FILE, YUNET_FILE, prepare


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with the published files and nothing prepared."""
    folder = tmp_path / "cache" / "weights"
    folder.mkdir(parents=True)
    for path in fetch([YUNET_FILE, SFACE_FILE], cache_dir() / "weights"):
        shutil.copy(path, folder)
    monkeypatch.setenv("FACETROVE_CACHE", str(tmp_path / "cache"))
    return folder


def test_prepared_networks_are_plain_and_take_any_batch(fresh_cache: Path) -> None:
    for file, free_image_size in ((YUNET_FILE, True), (SFACE_FILE, False)):
        prepared = prepare(file, free_image_size=free_image_size)
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
        assert prepared.source_digest == file.sha256


def test_a_damaged_prepared_file_is_made_anew(fresh_cache: Path) -> None:
    path = prepare(YUNET_FILE, free_image_size=True).path
    whole = path.read_bytes()
    path.write_bytes(whole[:5000] + b"\0" + whole[5001:])
    prepare(YUNET_FILE, free_image_size=True)
    assert path.read_bytes() == whole


def test_several_processes_can_start_at_once(fresh_cache: Path) -> None:
    script = (
        "from faces.weights import YUNET_FILE, prepare;"
        "print(prepare(YUNET_FILE, free_image_size=True).path)"
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
    class Wrong(weights.ENGINES["onnxruntime"]):  # type: ignore[misc]
        def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
            return {name: value + 0.01 for name, value in super().run(batch).items()}

    monkeypatch.setitem(weights.ENGINES, "onnxruntime", Wrong)
    with pytest.raises(ModelUnavailableError, match="differs from the original file"):
        prepare(YUNET_FILE, free_image_size=True)
    assert not list(fresh_cache.glob("*.prepared-*.onnx"))


def test_the_fastest_engine_is_the_one_recorded(fresh_cache: Path) -> None:
    prepared = prepare(SFACE_FILE, free_image_size=False)
    record = json.loads(prepared.path.with_suffix(".json").read_text())
    assert prepared.engine == min(record["milliseconds"], key=record["milliseconds"].get)
    assert set(record["milliseconds"]) == set(weights.ENGINES)
