"""`facetrove measure`: what a classifier says of faces, as columns that filters know."""

from __future__ import annotations

from pathlib import Path

import pytest

from beam_jobs import measure
from beam_jobs.measure import measure_faces
from faces.core.errors import ContractMismatchError, WrongUsageError
from faces.dataset import crop_cache
from faces.dataset.columns import rename_column
from faces.dataset.crop_cache import CropCache
from faces.dataset.deletions import face_digest
from faces.dataset.store import Dataset
from indexer.build import build_index
from indexer.delete import delete_faces
from indexer.manifest import read_current
from indexer.purge import purge
from indexer.segment import masks_of
from indexer.snapshot import Snapshot
from indexer.verify import verify_index
from tests.support.command import run_facetrove
from tests.support.labelled_faces import contract_of
from tests.support.training import drawn_dataset, write_classifier

LABELS = ["up", "down", "up", "down", "down", "up"]
CONTRACT = contract_of(32)


@pytest.fixture(autouse=True)
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that serves as the cache of crops."""
    monkeypatch.setenv("FACETROVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(crop_cache, "cache_dir", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "crops"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return drawn_dataset(tmp_path, LABELS, list("abcdef"))


def seen(dataset: Path, label: str = "mood") -> list[str | None]:
    """Return what was measured of each face, in the order of the photos' names."""
    table = Dataset.open(dataset).faces(["uri", label]).to_arrow().sort_by("uri")
    return list(table[label].to_pylist())


def matching(index: Path, where: str) -> int:
    snapshot = Snapshot.open(index, "cpu")
    return sum(int(mask.sum()) for mask in masks_of(snapshot.segments, where, snapshot.metadata))


@pytest.mark.slow
def test_every_face_gets_label_and_score_and_filters_know_both(
    dataset: Path, tmp_path: Path, cached: Path
) -> None:
    classifier = write_classifier(tmp_path, CONTRACT)
    index = tmp_path / "i"
    build_index(dataset, index)
    done = measure_faces(dataset, classifier, workers=1)
    assert (done.num_faces, done.num_measured, done.num_lost) == (6, 6, 0)
    assert done.counts == {"down": 3, "up": 3}
    assert seen(dataset) == LABELS
    assert not list(cached.rglob("part-*")), "crops that nobody asked for are kept"
    build_index(dataset, index)
    assert matching(index, "mood = 'up'") == 3
    assert matching(index, "mood = 'up' and mood_score > 0.9") == 3
    assert matching(index, "mood_score < 0.5") == 0
    assert verify_index(index, dataset).problems == ()
    before = [path.read_bytes() for path in sorted((dataset / "faces").iterdir())]
    again = measure_faces(dataset, classifier, workers=1)
    assert again.num_measured == 0 and again.counts == done.counts
    assert before == [path.read_bytes() for path in sorted((dataset / "faces").iterdir())]
    version = read_current(index).version
    assert build_index(dataset, index).version == version


@pytest.mark.slow
def test_a_lists_column_of_that_name_stays_beside_the_measured_one(
    dataset: Path, tmp_path: Path
) -> None:
    rename_column(dataset, "camera", "mood")
    classifier = write_classifier(tmp_path, CONTRACT, classes=("sad", "glad"))
    measure_faces(dataset, classifier, workers=1)
    index = tmp_path / "i"
    build_index(dataset, index)
    assert matching(index, "mood = 'glad' and photo_mood = 'up'") == 3
    assert matching(index, "photo_mood = 'glad'") == 0
    assert verify_index(index, dataset).problems == ()
    gone = delete_faces(dataset, [index], where="mood = 'sad' and photo_mood = 'down'")
    assert gone.num_faces == 3


@pytest.mark.slow
def test_another_network_replaces_what_the_first_said(dataset: Path, tmp_path: Path) -> None:
    measure_faces(dataset, write_classifier(tmp_path, CONTRACT), workers=1)
    other = write_classifier(tmp_path, CONTRACT, steepness=-0.5)
    assert measure_faces(dataset, other, workers=1).num_measured == 6
    turned = {"up": "down", "down": "up"}
    assert seen(dataset) == [turned[label] for label in LABELS]


@pytest.mark.lasting
def test_a_measuring_that_was_stopped_goes_on_and_a_lost_photo_is_counted(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = write_classifier(tmp_path, CONTRACT)
    photo = tmp_path / "photos" / "0002.png"
    content = photo.read_bytes()
    photo.unlink()
    done = measure_faces(dataset, classifier, workers=1)
    assert (done.num_measured, done.num_lost) == (5, 1)
    assert seen(dataset) == [*LABELS[:2], None, *LABELS[3:]]
    purged = Dataset.open(dataset).purged
    assert measure_faces(dataset, classifier, workers=1).num_lost == 1
    assert Dataset.open(dataset).purged == purged, "indexes are built anew for nothing"
    photo.write_bytes(content)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(measure, "write_measured", stop)
        measure_faces(dataset, classifier, workers=1)
    assert measure_faces(dataset, classifier, workers=1).num_measured == 1
    assert seen(dataset) == LABELS


@pytest.mark.slow
def test_a_purge_keeps_what_was_measured_of_the_others(dataset: Path, tmp_path: Path) -> None:
    measure_faces(dataset, write_classifier(tmp_path, CONTRACT), workers=1)
    index = tmp_path / "i"
    build_index(dataset, index)
    faces = Dataset.open(dataset).faces(["uri", "face_id"]).to_arrow().sort_by("uri")
    first = faces["face_id"][0].as_py()
    delete_faces(dataset, [index], faces=[first])
    report = purge(dataset, [index])
    assert face_digest(first) in report.deleted_face_digests
    assert seen(dataset) == LABELS[1:]
    assert matching(index, "mood = 'up'") == 2


def test_what_cannot_be_measured_is_refused_before_any_work(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ContractMismatchError, match="were found by finder"):
        other = contract_of(8).__class__("other", "cc" * 32, "t", "n", "bb" * 32, dimension=8)
        measure_faces(dataset, write_classifier(tmp_path, other))
    for label in ("score", "uri", "Mood", "a b"):
        with pytest.raises(WrongUsageError, match="cannot be the name of a measured column"):
            measure_faces(dataset, write_classifier(tmp_path, CONTRACT, label=label))
    with pytest.raises(WrongUsageError, match="expected one output of the shape"):
        measure_faces(dataset, write_classifier(tmp_path, CONTRACT, classes=("a", "b", "c")))
    with pytest.raises(WrongUsageError, match="there is no file"):
        measure_faces(dataset, tmp_path / "nothing.toml")
    rename_column(dataset, "camera", "mood")
    rename_column(dataset, "person", "photo_mood")
    with pytest.raises(WrongUsageError, match="rename one of both"):
        measure_faces(dataset, write_classifier(tmp_path, CONTRACT))


@pytest.mark.slow
def test_the_command_says_what_was_measured(dataset: Path, tmp_path: Path) -> None:
    classifier = write_classifier(tmp_path, CONTRACT)
    done = run_facetrove("measure", dataset, "--with", classifier, "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "measured mood of 6 faces of 6" in done.stdout and "up: 3" in done.stdout
    assert CropCache.of(dataset, CONTRACT).face_ids().to_pylist() == []
