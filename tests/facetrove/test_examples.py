"""Every example runs as its docstring says, and the demo as `make demo` runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import PIL.Image
import pytest

from tests.support.command import ROOT
from tests.support.labelled_faces import labelled_index, people_around

pytestmark = pytest.mark.slow


def run_example(name: str, *arguments: str | Path) -> list[str]:
    command = [sys.executable, "-m", f"examples.{name}", *map(str, arguments)]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.splitlines()


def test_photos_are_embedded_indexed_and_searched(
    tmp_path: Path, demo_photos: Path, probe_photo: Path
) -> None:
    dataset, index = tmp_path / "d", tmp_path / "i"
    assert run_example("embed_photos", demo_photos, dataset) == ["7 faces in 9 photos"]
    assert run_example("build_index", dataset, index)[0] == "7 faces, version 1"
    lines = run_example("search_faces", index, probe_photo)
    assert len(lines) == 6
    assert "obama" in lines[1]


def test_two_photos_are_compared(demo_photos: Path, probe_photo: Path) -> None:
    (line,) = run_example("compare_photos", probe_photo, demo_photos / "obama2.jpg")
    assert line.startswith("similarity 0.7") and "same person: yes" in line


def test_an_index_is_evaluated_and_calibrated(tmp_path: Path) -> None:
    vectors, people = people_around(250, 2, spread=0.3, dimension=64)
    index = labelled_index(tmp_path, vectors, people)
    lines = run_example("evaluate_index", index, "person")
    assert lines[0] == "rank-1 1.000 in a gallery of 250 people"
    assert lines[1].startswith("5% of searches for strangers return a match of similarity 0.")


def test_the_demo_ranks_the_president_s_portraits_first(tmp_path: Path) -> None:
    lines = run_example("demo", "--output", tmp_path)
    start = next(number for number, line in enumerate(lines) if line.startswith("rank"))
    rows = [line.split() for line in lines[start + 1 : start + 8]]
    photos = [Path(row[-1]).name for row in rows]
    assert all(name.startswith("obama") for name in photos[:4])
    assert not any(name.startswith("obama") for name in photos[4:])
    assert float(rows[3][1]) > float(rows[4][1]) + 0.3
    with PIL.Image.open(tmp_path / "matches.jpg") as sheet:
        assert sheet.width > 1000


def test_the_demo_runs_on_the_user_s_own_photos(tmp_path: Path, demo_photos: Path) -> None:
    lines = run_example("demo", "--output", tmp_path, "--photos", demo_photos)
    assert any(line.startswith("   1       1.000") for line in lines)
    assert len(list(tmp_path.glob(f"{demo_photos.name}-*/matches.jpg"))) == 1
