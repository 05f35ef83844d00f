from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from faces.core.child_process import child_environment, python_command
from tests.support.command import ROOT


def test_relative_paths_are_made_absolute_and_empty_entries_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wheels").mkdir()
    inherited = {
        "LD_LIBRARY_PATH": "/opt/lib:",  # the current folder is an entry of it
        "PYTHONPATH": ":",
        "PATH": "bin:/usr/bin",
        "DEEPFACE_HOME": "models",
        "PIP_FIND_LINKS": "wheels https://host/wheels",
        "LANG": "C",
    }
    environment = child_environment(inherited)
    assert environment["LD_LIBRARY_PATH"] == "/opt/lib"
    assert "PYTHONPATH" not in environment
    assert environment["PATH"] == f"{tmp_path}/bin:/usr/bin"
    assert environment["DEEPFACE_HOME"] == f"{tmp_path}/models"
    assert environment["PIP_FIND_LINKS"] == f"{tmp_path}/wheels https://host/wheels"
    assert environment["LANG"] == "C"
    assert environment["PYTHONSAFEPATH"] == "1"
    assert environment["ORT_DISABLE_TELEMETRY"] == "1"


@pytest.mark.parametrize("name", ["CACHE", "CONFIG"])
def test_the_cache_and_the_register_are_where_they_were_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(f"FACETROVE_{name}", "folder")
    assert child_environment()[f"FACETROVE_{name}"] == f"{tmp_path}/folder"


def test_a_child_imports_our_packages_from_a_checkout_and_nothing_from_its_folder(
    tmp_path: Path,
) -> None:
    """Without site-packages, this checkout is found only because the parent says where it is."""
    (tmp_path / "json.py").write_text("raise SystemExit('code of the current folder was run')")
    (tmp_path / "faces.py").write_text("raise SystemExit('code of the current folder was run')")
    command = python_command("faces.core.named", "argument")
    assert command[:2] == [sys.executable, "-P"]
    bare = [command[0], "-S", *command[1:]]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    finished = subprocess.run(
        [*bare], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert Path(command[2]).is_relative_to(ROOT)
