"""The embed job with real worker processes: kills, and runs that continue earlier ones."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from beam_jobs import embed_photos as job
from beam_jobs.embed_photos import embed_photos
from beam_jobs.summary import PhotosFound
from faces.core.errors import WrongUsageError
from faces.core.progress import Progress
from faces.dataset.schema import embedding_matrix
from faces.dataset.store import Dataset
from tests.support.command import (
    SMALL_COLLECTION_PHOTOS,
    embedded_once,
    facetrove_command,
    run_facetrove,
)
from tests.support.jobs import photo_rows, wait_for_parts, worker_pids


def faces_of(dataset: Path) -> dict[str, tuple[str, np.ndarray]]:
    """Photo and embedding of every face by face_id; fails if a face_id occurs twice."""
    found: dict[str, tuple[str, np.ndarray]] = {}
    for table in Dataset.open(dataset).faces():
        for row, embedding in zip(table.to_pylist(), embedding_matrix(table), strict=True):
            assert row["face_id"] not in found
            found[row["face_id"]] = (row["uri"], embedding)
    return found


def require_same_faces(dataset: Path, expected: Path) -> None:
    ours, theirs = faces_of(dataset), faces_of(expected)
    assert ours.keys() == theirs.keys()
    for face_id, (uri, embedding) in ours.items():
        assert uri == theirs[face_id][0]
        assert embedding @ theirs[face_id][1] > 0.99999
    assert sorted(photo_rows(dataset)) == sorted(photo_rows(expected))


def part_stamps(dataset: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every committed part's files."""
    return {
        f"{kind}/{part}": (status.st_ino, status.st_mtime_ns)
        for part in Dataset.open(dataset).committed_parts()
        for kind in ("photos", "faces")
        for status in [(dataset / kind / f"{part}.parquet").stat()]
    }


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def undisturbed(shared_dir: Path, small_collection: Path) -> Path:
    return embedded_once(shared_dir / "undisturbed.dataset", small_collection)


@pytest.mark.slow
def test_a_run_reports_what_it_did_and_the_next_does_nothing(
    undisturbed: Path, small_collection: Path
) -> None:
    count = SMALL_COLLECTION_PHOTOS
    stamps = part_stamps(undisturbed)
    reports: list[Progress] = []
    summary = embed_photos(small_collection, undisturbed, on_progress=reports.append)
    assert (summary.found.num_photos, summary.found.num_unchanged) == (count, count)
    assert summary.done.num_photos == 0
    assert summary.total.num_photos == count
    assert summary.total.num_faces == len(faces_of(undisturbed)) >= 40
    assert part_stamps(undisturbed) == stamps
    assert reports == []


@pytest.mark.lasting
@pytest.mark.slow
def test_parts_of_a_killed_run_are_kept_and_the_rest_is_done(
    tmp_path: Path, small_collection: Path, slow_photo: Path, undisturbed: Path
) -> None:
    dataset = tmp_path / "dataset"
    command = facetrove_command("embed", small_collection, slow_photo, dataset)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
        wait_for_parts(dataset, 1, process=driver)
        workers = worker_pids(driver.pid)
        driver.send_signal(signal.SIGKILL)
    assert workers
    deadline = time.monotonic() + 10
    while any(map(is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, workers)), "workers outlive their driver"
    finished = part_stamps(dataset)
    num_shards = len(Dataset.open(undisturbed).committed_parts())
    assert 0 < len(finished) // 2 < num_shards
    again = run_facetrove("embed", small_collection, dataset)
    assert again.returncode == 0, again.stderr
    assert finished.items() <= part_stamps(dataset).items()
    require_same_faces(dataset, undisturbed)
    assert not list(dataset.rglob("*.tmp"))


@pytest.mark.lasting
@pytest.mark.slow
def test_a_killed_worker_is_replaced(
    tmp_path: Path, small_collection: Path, slow_photo: Path, undisturbed: Path
) -> None:
    dataset = tmp_path / "dataset"
    command = facetrove_command("embed", small_collection, slow_photo, dataset)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as driver:
        wait_for_parts(dataset, 1, process=driver)
        finished = part_stamps(dataset)
        os.kill(worker_pids(driver.pid)[0], signal.SIGKILL)
        _, errors = driver.communicate(timeout=120)
    assert driver.returncode == 0, errors
    assert b"Traceback" not in errors
    assert finished.items() <= part_stamps(dataset).items()
    require_same_faces(dataset, undisturbed)


@pytest.mark.lasting
@pytest.mark.slow
def test_ctrl_c_ends_quietly_and_what_is_done_stays(
    tmp_path: Path, small_collection: Path, slow_photo: Path, undisturbed: Path
) -> None:
    dataset = tmp_path / "dataset"
    command = facetrove_command("embed", small_collection, slow_photo, dataset)
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # Tests that run in the background of a shell have it ignore the signal.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as driver:
        wait_for_parts(dataset, 1, process=driver)
        os.killpg(driver.pid, signal.SIGINT)  # as a terminal does
        output, errors = driver.communicate(timeout=30)
    assert driver.returncode == 130
    assert output == b""
    assert errors.decode().strip() == (
        "facetrove: error: stopped; finished work is kept, run the same command again to continue"
    )
    run_facetrove("embed", small_collection, dataset)
    require_same_faces(dataset, undisturbed)


@pytest.mark.slow
def test_new_and_changed_photos_are_embedded_and_replace_their_old_rows(
    tmp_path: Path, demo_photos: Path
) -> None:
    photos, dataset = tmp_path / "photos", tmp_path / "dataset"
    photos.mkdir()
    shutil.copy(demo_photos / "biden.jpg", photos / "one.jpg")
    shutil.copy(demo_photos / "obama2.jpg", photos / "two.jpg")
    embed_photos(photos, dataset, workers=1)
    before = {uri: face_id for face_id, (uri, _) in faces_of(dataset).items()}
    shutil.copy(demo_photos / "obama3.jpg", photos / "one.jpg")
    shutil.copy(demo_photos / "coffee.png", photos / "three.png")
    summary = embed_photos(photos, dataset, workers=1)
    assert summary.found == PhotosFound(3, 1, 1, 0, 1, 0, 0)
    assert summary.done.num_photos == 2
    assert (summary.total.num_photos, summary.total.num_faces) == (3, 2)
    after = {uri: face_id for face_id, (uri, _) in faces_of(dataset).items()}
    assert after.keys() == before.keys()
    changed = {Path(uri).name for uri in after if after[uri] != before[uri]}
    assert changed == {"one.jpg"}


def test_the_job_is_a_beam_program_of_its_own(tmp_path: Path, demo_photos: Path) -> None:
    summary = job.run(
        ["--photos", str(demo_photos), "--dataset", str(tmp_path / "d"), "--runner=FnApiRunner"]
    )
    assert (summary.total.num_photos, summary.total.num_faces) == (9, 7)


def test_an_unknown_runner_is_wrong_usage(tmp_path: Path, demo_photos: Path) -> None:
    with pytest.raises(WrongUsageError, match="Apache Beam refuses --runner=NoSuchRunner"):
        embed_photos(demo_photos, tmp_path / "d", runner_args=["--runner=NoSuchRunner"])


@pytest.mark.slow
def test_progress_ends_at_all_photos(tmp_path: Path, demo_photos: Path) -> None:
    reports: list[Progress] = []
    embed_photos(demo_photos, tmp_path / "d", workers=1, on_progress=reports.append)
    assert reports[0] == Progress("embedding", 0, 9, "photos", {"faces": 0, "rejected": 0})
    assert reports[-1] == Progress("embedding", 9, 9, "photos", {"faces": 7, "rejected": 0})
    done = [report.done for report in reports]
    assert done == sorted(done)


@pytest.mark.lasting
@pytest.mark.slow
def test_a_worker_that_cannot_write_ends_the_job_with_one_line(
    tmp_path: Path, small_collection: Path
) -> None:
    """A limit on the size of files simulates a full disk.

    Under it Python 3.11 writes truncated bytecode, without an error, that breaks later processes.
    """
    dataset = tmp_path / "d"
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (4_000, resource.RLIM_INFINITY))
    finished = subprocess.run(
        facetrove_command("embed", small_collection, dataset),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=limit,
        check=False,
    )
    assert finished.returncode == 1
    (line,) = finished.stderr.strip().splitlines()
    assert line.startswith("facetrove: error: the job failed (")
    assert "File too large" in line
    assert line.endswith("run the same command again to continue")
    assert not list(dataset.rglob("part-*.parquet"))
    assert run_facetrove("embed", small_collection, dataset).returncode == 0
    assert Dataset.open(dataset).counts().num_photos == SMALL_COLLECTION_PHOTOS
