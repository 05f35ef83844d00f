"""An evaluation reads an index and never writes to it; a calibration is published separately."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from faces.core.errors import BusyError
from faces.core.progress import Progress
from facetrove.calibration import calibrate_index
from facetrove.evaluation.calibrate import measure_calibration
from facetrove.evaluation.identify import evaluate_identification
from facetrove.evaluation.protocol import Protocol
from indexer.delete import delete_faces
from indexer.manifest import read_current
from tests.support.labelled_faces import labelled_index, people_around


@pytest.fixture
def index(tmp_path: Path) -> Path:
    vectors, people = people_around(300, 2, spread=0.3, dimension=64)
    return labelled_index(tmp_path, vectors, people)


@pytest.fixture
def read_only_index(index: Path) -> Iterator[Path]:
    """The index, with write permission removed from its folders and files."""
    everything = [index, *index.rglob("*")]
    for path in everything:
        path.chmod(0o500 if path.is_dir() else 0o400)
    yield index
    for path in everything:
        path.chmod(0o700 if path.is_dir() else 0o600)


def content_of(folder: Path) -> dict[Path, tuple[int, bytes | None]]:
    """Return the modification time of each file and folder, and the bytes of each file."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in [folder, *folder.rglob("*")]
    }


@pytest.mark.parametrize("by_likeness", [False, True])
def test_measuring_a_calibration_writes_nothing(read_only_index: Path, by_likeness: bool) -> None:
    before = content_of(read_only_index)
    measured = measure_calibration(read_only_index, by_likeness=by_likeness)
    assert measured.manifest.version == 1 and measured.calibration.num_faces == 600
    assert content_of(read_only_index) == before


def test_evaluating_identification_writes_nothing(read_only_index: Path) -> None:
    before = content_of(read_only_index)
    result = evaluate_identification(read_only_index, protocol=Protocol(splits=1), where="yaw > 0")
    assert result.num_people == 300
    assert content_of(read_only_index) == before


def test_a_calibration_is_not_published_if_the_index_has_changed_meanwhile(index: Path) -> None:
    steps: list[str] = []

    def delete_once(progress: Progress) -> None:
        steps.append(progress.step)
        if steps.count("comparing different people") == 1:
            delete_faces(index.with_name("d.dataset"), [index], "person = 'p0007'")

    with pytest.raises(BusyError, match=r"version 1 then, 2 now\); calibrate again"):
        calibrate_index(index, on_progress=delete_once)
    manifest = read_current(index)
    assert (manifest.version, manifest.calibration, manifest.num_faces) == (2, None, 598)
    assert calibrate_index(index) == read_current(index).calibration
