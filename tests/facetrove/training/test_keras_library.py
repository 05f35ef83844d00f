"""Keras in this process: what it needs, what it leaves alone, and the ONNX files of its models."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from faces.core.errors import FaceTroveError, WrongUsageError
from facetrove.training import requirements
from facetrove.training.requirements import require_keras, require_memory
from tests.support.training import needs_keras


def test_without_keras_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "find_spec", lambda _: None)
    with pytest.raises(WrongUsageError, match="pip install keras==3"):
        require_keras()


def test_too_little_memory_is_told_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "available_memory", lambda: 2e9)
    require_memory(100_000_000, "some faces")
    with pytest.raises(WrongUsageError, match=r"some faces needs 3\.2 GB of memory, and 2\.0 GB"):
        require_memory(2_000_000_000, "some faces")


@needs_keras
@pytest.mark.lasting
def test_loading_keras_leaves_environment_home_and_terminal_alone(tmp_path: Path) -> None:
    script = (
        "import os, random; before, state = dict(os.environ), random.getstate();"
        "from facetrove.training.networks.keras_library import keras, make_deterministic;"
        "assert dict(os.environ) == before and random.getstate() == state;"
        "make_deterministic(1, threads=1);"
        "assert dict(os.environ) == before;"
        "assert keras.backend.backend() == 'tensorflow'"
    )
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "FACETROVE_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(home.iterdir()) == []


@needs_keras
@pytest.mark.slow
def test_an_onnx_file_computes_what_keras_does_for_batches_of_any_size(tmp_path: Path) -> None:
    from faces.models.engines import OnnxRuntimeNetwork
    from facetrove.training.networks.keras_library import keras, make_deterministic
    from facetrove.training.networks.onnx_file import write_onnx

    make_deterministic(0, threads=1)
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten()]
    )
    batch = np.random.default_rng(0).normal(size=(5, 8, 8, 3)).astype(np.float32)
    write_onnx(model, tmp_path / "n.onnx", batch[:2])
    network = OnnxRuntimeNetwork(tmp_path / "n.onnx", threads=1)
    for count in (1, 5):
        found = network.run(batch[:count])["output"]
        assert np.allclose(found, model.predict_on_batch(batch[:count]), atol=1e-5)
    (tmp_path / "n.onnx").unlink()
    nonsense = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Dropout(0.5)])
    nonsense.predict_on_batch = lambda batch: batch + 1
    with pytest.raises(FaceTroveError, match="differs from the trained network"):
        write_onnx(nonsense, tmp_path / "n.onnx", batch)
    assert list(tmp_path.iterdir()) == []
