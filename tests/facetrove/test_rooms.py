"""Rules that hold for all rooms: imports are light, and nothing is sent over the network."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import indexer
import search
from faces.core.machine import cache_dir
from faces.models.registry import load_pipeline
from tests.support.command import ROOT

HEAVY = (
    *("apache_beam", "faiss", "openvino", "onnxruntime", "onnx", "cv2", "pyarrow", "rich"),
    *("scipy", "matplotlib"),
)


@pytest.mark.parametrize(
    "room",
    [
        "faces",
        "beam_jobs",
        "indexer",
        "search",
        "facetrove",
        "facetrove.evaluation",
        "facetrove.cli.main",
    ],
)
def test_importing_a_room_loads_nothing_heavy(room: str) -> None:
    script = f"import sys, {room}; print([name for name in {HEAVY} if name in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"


def test_a_missing_name_in_a_room_is_an_attribute_error() -> None:
    for room in (indexer, search):
        with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
            _ = room.nonsense  # type: ignore[attr-defined]


def imported_from_tests(path: Path) -> set[str]:
    """Return the names that a file imports from the tests, with their modules."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found |= {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.partition(".")[0] in ("tests", "")}


def test_tests_import_from_each_other_only_what_is_in_support() -> None:
    paths = [*(ROOT / "tests").rglob("*.py")]
    assert len(paths) > 50
    for path in paths:
        for name in imported_from_tests(path):
            # The fuzzer is a program of several modules, which `make fuzz` runs.
            own = "tests.fuzz." if "fuzz" in path.parts else "tests.support."
            assert name.startswith((own, "tests.support.")), (path, name)


def test_loading_the_networks_sends_nothing(tmp_path: Path) -> None:
    """OpenVINO reports its use unless told not to, and keeps the user's id in the home folder."""
    script = """
import socket
def refuse(*_): raise SystemExit("a connection was tried")
socket.socket.connect = refuse
from faces.models.registry import load_pipeline
import numpy as np
load_pipeline(threads=1).find_faces([np.zeros((64, 64, 3), np.uint8)])
from faces.models.embedder import NetworkEmbedder
from faces.models.sface import SFACE
NetworkEmbedder(SFACE, threads=1).embed(np.zeros((1, 112, 112, 3), np.uint8))
"""
    load_pipeline()  # fetched before, in case the cache is empty
    quiet = {name: value for name, value in os.environ.items() if name != "CI"}
    environment = {**quiet, "HOME": str(tmp_path), "FACETROVE_CACHE": str(cache_dir())}
    subprocess.run([sys.executable, "-c", script], env=environment, cwd=ROOT, check=True)
    assert not (tmp_path / "intel").exists()
