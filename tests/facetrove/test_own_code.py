"""No code but the program's runs, whatever files lie in the current folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from facetrove.cli.main import COMMANDS
from tests.support.command import ROOT, facetrove_command
from tests.support.deepface_home import make_deepface_home
from tests.support.labelled_faces import labelled_index, people_around
from tests.support.strangers_folder import fill


@pytest.fixture
def folder(tmp_path: Path, demo_photos: Path) -> Iterator[Path]:
    """A stranger's folder with photos; fails the test if code in it was run."""
    folder, mark = tmp_path / "strangers", tmp_path / "mark"
    folder.mkdir()
    fill(folder, mark)
    for name in ("biden.jpg", "obama2.jpg"):
        shutil.copy(demo_photos / name, folder)
    yield folder
    assert not mark.exists(), mark.read_text()


def run_in(folder: Path, *command: str | Path, **variables: str) -> str:
    """Run a command in a folder, and return what it prints."""
    inherited = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    finished = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.mark.lasting
@pytest.mark.slow
def test_a_job_in_a_strangers_folder_runs_only_our_code(folder: Path) -> None:
    """All paths are relative, and mean what they do in the user's shell, in workers too."""
    run_in(folder, *facetrove_command("embed", ".", "../d", "--workers", "2"))
    run_in(folder, *facetrove_command("index", "../d", "../i"))
    found = run_in(folder, *facetrove_command("search", "../i", "biden.jpg", "--sheet", "../s.jpg"))
    assert "biden.jpg" in found
    run_in(folder, *facetrove_command("index", "--pieces", "2", "../d", "../j"))
    assert "2 faces" in run_in(folder, *facetrove_command("info", "../j"))


IN_TURN = (
    "embed . ../d --workers 1",
    "index ../d ../i",
    "search ../i biden.jpg --sheet ../s.html --csv",
    "join ../d ../i ../n.parquet -k 1",
    "export ../i mysql://host/faces",
    "compare biden.jpg obama2.jpg",
    "held ../d ../i --like biden.jpg --min-similarity 0.5 --report ../r.json",
    "info ../d --list no-face",
    "columns ../d",
    "drop ../d --dry-run",
    "relocate ../d ./obama2.jpg ./obama3.jpg ../i --dry-run",
    "upgrade ../d ../i --read-photos",
    "keys add ../keys.toml ann --scope search",
    "serve ../i --host 0.0.0.0",
    "people group ../d ../i",
    "verify ../i ../d",
    "compact ../i",
    "calibrate ../i",
    "evaluate identify ../i",
    "models",
    "measure ../d --with ./mood.toml",
    "train classifier ../d ../mood.toml --label mood --people folder",
    "import encodings.json ../e",
    "delete ../d ../i --like biden.jpg --min-similarity 0.5 --yes",
    "undo ../d",
    "purge ../d ../i --report ../p.json",
    "allow ../d --photo biden.jpg",
)
"""Command lines, one for every command."""

END_WITH_AN_ERROR = {
    "calibrate": "2 faces is too small",
    "evaluate": "has no column 'person'",
    "measure": "no file mood.toml",
    "train": "has no column 'mood'",
    "serve": "keys are needed",
    "import": "deepface",  # whose weights are not here, or make other embeddings
    "allow": "no face of biden.jpg was kept away",
    "export": "the database is not one of",
}
"""What those commands say in the end that cannot do anything with two faces of one folder."""


@pytest.mark.slow
@pytest.mark.lasting
def test_every_command_in_a_strangers_folder_runs_only_our_code(folder: Path) -> None:
    assert {line.split()[0] for line in IN_TURN} == set(COMMANDS)
    face = {"path": "biden.jpg", "encoding": [0.1] * 128, "location": [100, 300, 300, 100]}
    (folder / "encodings.json").write_text(json.dumps([face]))
    for line in IN_TURN:
        finished = subprocess.run(
            facetrove_command(*line.split()),
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        problem = END_WITH_AN_ERROR.get(line.split()[0])
        assert (finished.returncode != 0) == (problem is not None), (line, finished.stderr)
        assert problem is None or problem in finished.stderr, (line, finished.stderr)
        assert "Traceback" not in finished.stderr, (line, finished.stderr)
        assert "Usage:" not in finished.stderr, (line, finished.stderr)
        assert "facetrove_places" not in finished.stderr, (line, finished.stderr)


@pytest.mark.lasting
@pytest.mark.slow
def test_python_dash_m_in_a_strangers_folder_runs_only_our_code(folder: Path) -> None:
    run_in(folder, sys.executable, "-m", "facetrove", "--version")
    job = (sys.executable, "-m", "beam_jobs.embed_photos", "--workers", "1")
    run_in(folder, *job, "--photos", ".", "--dataset", "../d")


@pytest.mark.lasting
@pytest.mark.slow
def test_deepfaces_models_in_a_strangers_folder_run_only_our_code(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pytest.importorskip("deepface", reason="deepface is not installed: pip install -e '.[dev]'")
    models = ("--detector", "deepface:yunet", "--embedder", "deepface:Facenet")
    with make_deepface_home(tmp_path_factory) as home:
        relative = os.path.relpath(home, folder)
        embed = facetrove_command("embed", ".", "../d", "--workers", "1", *models)
        run_in(folder, *embed, DEEPFACE_HOME=relative)


@pytest.mark.lasting
@pytest.mark.slow
def test_a_report_obeys_no_settings_of_plots(folder: Path, tmp_path: Path) -> None:
    vectors, people = people_around(40, 3, spread=0.6, dimension=16)
    labelled_index(tmp_path, vectors, people)
    evaluate = ("evaluate", "identify", "../d.index", "--splits", "2", "--report", "../r.html")
    run_in(folder, *facetrove_command(*evaluate), MATPLOTLIBRC="matplotlibrc")
    assert "data:image/svg+xml" in (tmp_path / "r.html").read_text()


def test_a_module_of_the_users_that_hides_ours_is_named(tmp_path: Path) -> None:
    script = tmp_path / "search.py"
    script.write_text("import facetrove as ft\nprint(ft.open_index)\n")
    finished = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    last_line = finished.stderr.strip().splitlines()[-1]
    assert last_line.startswith(f"ImportError: {script} hides facetrove's own package search")
    assert last_line.endswith("rename that file")
