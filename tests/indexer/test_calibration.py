"""A calibration measured on an index is published as a new version of that index."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from faces.core.errors import BusyError, WrongUsageError
from faces.core.storage import Folder
from indexer.build import build_index
from indexer.calibration import publish_calibration, require_no_writer
from indexer.delete import delete_faces
from indexer.manifest import read_current
from indexer.thresholds import Calibration
from tests.support.small_collections import Collection, many_photos

CALIBRATION = Calibration("people", 60, 10, 1000, (0.1, 0.2), (0.5, 0.1), "2026-01-01T00:00:00")


def test_a_calibration_is_shown_in_one_line() -> None:
    assert repr(CALIBRATION) == (
        "<calibration: 60 faces of 10 people, FPIR 0.5 to 0.1 at similarity 0.100 to 0.200>"
    )


@pytest.fixture
def index(tmp_path: Path) -> Path:
    collection = Collection(tmp_path / "dataset")
    collection.embed(many_photos(20))
    build_index(collection.path, tmp_path / "index")
    return tmp_path / "index"


def test_a_published_calibration_changes_nothing_else_of_the_manifest(index: Path) -> None:
    before = read_current(index)
    published = publish_calibration(index, CALIBRATION, measured_on=before)
    assert published == read_current(index)
    assert published == replace(
        before, version=2, calibration=CALIBRATION, created=published.created
    )


def test_a_calibration_of_another_version_is_refused(index: Path) -> None:
    before = read_current(index)
    delete_faces(index.with_name("dataset"), [index], "person = 'person 7'")
    with pytest.raises(BusyError, match=r"\(version 1 then, 2 now\); calibrate again"):
        publish_calibration(index, CALIBRATION, measured_on=before)
    assert read_current(index).calibration is None


def test_a_calibration_of_another_index_with_the_same_version_number_is_refused(
    index: Path, tmp_path: Path
) -> None:
    before = read_current(index)
    shutil.rmtree(index)
    collection = Collection(tmp_path / "another")
    collection.embed(many_photos(20, first=500))
    build_index(collection.path, index)
    assert read_current(index).version == before.version == 1
    with pytest.raises(BusyError, match="has changed since it was measured"):
        publish_calibration(index, CALIBRATION, measured_on=before)
    assert read_current(index).calibration is None


def test_a_calibration_waits_for_no_other_writer(index: Path) -> None:
    manifest = read_current(index)
    with Folder(index).lease(what="the index"):
        with pytest.raises(BusyError, match="another process"):
            publish_calibration(index, CALIBRATION, measured_on=manifest)
        with pytest.raises(BusyError, match="another process"):
            require_no_writer(index)
    require_no_writer(index)


def test_a_calibration_of_no_index_makes_no_folder(index: Path, tmp_path: Path) -> None:
    manifest = read_current(index)
    with pytest.raises(WrongUsageError, match="does not exist"):
        publish_calibration(tmp_path / "nowhere", CALIBRATION, measured_on=manifest)
    with pytest.raises(WrongUsageError, match="does not exist"):
        require_no_writer(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
