"""Compiled networks are kept, compute the same, and are used only if they are the user's own."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faces.core.hashing import sha256_of
from faces.core.machine import config_dir
from faces.models import compiled, engines
from faces.models.compiled import CompiledFile
from faces.models.engines import OnnxRuntimeNetwork, OpenVinoNetwork
from faces.models.preparation import prepare
from faces.models.yunet_network import YUNET
from tests.support.command import ROOT
from tests.support.custom_networks import write_network
from tests.support.permissions import obey_permissions

CROPS = np.random.default_rng(0).uniform(0, 255, (1, 3, 112, 112)).astype(np.float32)


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prepared network in a cache, with a register of its own."""
    monkeypatch.setenv("FACETROVE_CONFIG", str(tmp_path / "config"))
    folder = tmp_path / "cache"
    folder.mkdir()
    write_network(folder / "net.prepared-5.onnx")
    return folder / "net.prepared-5.onnx"


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each network that was compiled before could be used, as far as tests load some."""
    seen: list[bool] = []
    imported = engines._imported

    def noted(*args: Any) -> Any:
        network = imported(*args)
        seen.append(network is not None)
        return network

    monkeypatch.setattr(engines, "_imported", noted)
    return seen


def run(network: Path, threads: int = 1) -> Any:
    kept = CompiledFile(network, sha256_of(network))
    return OpenVinoNetwork(network, threads=threads, compiled=kept).run(CROPS)["embedding"]


def kept_files(network: Path) -> list[Path]:
    return sorted(network.parent.glob("*.compiled"))


def test_a_network_is_compiled_once_and_computes_the_same(
    network: Path, imports: list[bool]
) -> None:
    plain = OpenVinoNetwork(network, threads=1).run(CROPS)["embedding"]
    assert kept_files(network) == []
    np.testing.assert_array_equal(run(network), plain)
    assert imports == []
    (kept,) = kept_files(network)
    np.testing.assert_array_equal(run(network), plain)
    assert imports == [True]
    np.testing.assert_array_equal(run(network, threads=2), plain)  # has a file of its own
    assert imports == [True]
    assert len(kept_files(network)) == 2
    entry = config_dir() / "networks" / hashlib.sha256(kept.read_bytes()).hexdigest()
    assert entry.read_text() == f"{kept.name}\n"


@pytest.mark.parametrize("change", ["other bytes", "not registered", "a link", "too large"])
def test_what_the_user_has_not_compiled_is_not_used(
    network: Path, imports: list[bool], change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(network)
    (kept,) = kept_files(network)
    content = kept.read_bytes()
    if change == "other bytes":
        kept.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif change == "not registered":
        (config_dir() / "networks" / hashlib.sha256(content).hexdigest()).unlink()
    elif change == "a link":
        kept.rename(kept.with_suffix(".elsewhere"))
        kept.symlink_to(kept.with_suffix(".elsewhere"))
    else:
        monkeypatch.setattr(compiled, "_MAX_EXTRA_BYTES", -2 * network.stat().st_size)
    np.testing.assert_array_equal(run(network), expected)
    assert imports == []
    if change != "too large":
        assert run(network) is not None
        assert imports == [True]  # it was compiled and kept again


def test_another_network_of_the_name_is_compiled_anew(network: Path, imports: list[bool]) -> None:
    before = run(network)
    write_network(network, seed=1)
    assert not np.array_equal(run(network), before)
    assert imports == []


def test_what_openvino_cannot_use_is_compiled_anew(
    network: Path, imports: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(network)
    monkeypatch.setattr(CompiledFile, "read", lambda *_: b"of another version")
    np.testing.assert_array_equal(run(network), expected)
    assert imports == [False]


def test_files_of_another_openvino_are_removed(network: Path) -> None:
    kept = CompiledFile(network, "0")
    kept.write(b"old", "2025.1", {"threads": 1})
    kept.write(b"old, two threads", "2025.1", {"threads": 2})
    other = network.with_name("other.prepared-5.12345678-0.compiled")
    other.write_bytes(b"of another network")
    assert len(kept_files(network)) == 3
    kept.write(b"new", "2026.1", {"threads": 1})
    assert kept.read("2026.1", {"threads": 1}) == b"new"
    assert kept.read("2025.1", {"threads": 1}) is None
    assert len(kept_files(network)) == 2
    assert other.exists()


@pytest.mark.parametrize("where", ["cache", "config"])
def test_without_a_place_nothing_is_kept_and_all_goes_on(network: Path, where: str) -> None:
    (network.parents[1] / "config").mkdir()
    folder = network.parents[1] / where
    folder.chmod(0o500)
    script = f"""
import sys
from pathlib import Path
import numpy as np
from faces.models.compiled import CompiledFile
from faces.models.engines import OnnxRuntimeNetwork, OpenVinoNetwork
from faces.models.preparation import prepare
from faces.models.yunet_network import YUNET
path = Path({str(network)!r})
kept = CompiledFile(path, "0")
network = OpenVinoNetwork(path, threads=1, compiled=kept)
print(network.run(np.zeros((1, 3, 112, 112), np.float32))["embedding"].shape)
"""
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, preexec_fn=obey_permissions
    )
    folder.chmod(0o700)
    assert done.stdout.strip() == "(1, 16)"
    assert done.stderr == ""
    assert kept_files(network) == []


def test_openvinos_converter_is_there_when_another_program_asks(network: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from faces.models.engines import OnnxRuntimeNetwork, OpenVinoNetwork
from faces.models.preparation import prepare
from faces.models.yunet_network import YUNET
OpenVinoNetwork(Path({str(network)!r}), threads=1)
print([name for name in sys.modules if name.startswith(("openvino.tools", "openvino_telemetry"))])
sys.modules["openvino_telemetry"] = None  # nothing is sent by this test
import openvino
print(openvino.convert_model.__module__, hasattr(openvino, "convert"))
"""
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "openvino.tools.ovc.convert False"]


def test_outputs_have_the_networks_names_however_it_was_loaded(
    network: Path, imports: list[bool]
) -> None:
    shutil.copyfile(prepare(YUNET).path, network)
    images = np.random.default_rng(0).uniform(0, 255, (1, 3, 64, 64)).astype(np.float32)
    named = OnnxRuntimeNetwork(network, threads=1).run(images)
    for _ in range(2):
        kept = CompiledFile(network, sha256_of(network))
        outputs = OpenVinoNetwork(network, threads=1, compiled=kept).run(images)
        assert {name: values.shape for name, values in outputs.items()} == {
            name: values.shape for name, values in named.items()
        }
    assert imports == [True]
