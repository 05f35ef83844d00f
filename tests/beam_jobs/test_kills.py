"""Killed processes of the embed job: no photo is lost, embedded twice or left out."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from faces.dataset.schema import embedding_matrix
from faces.dataset.store import Dataset
from tests.support.command import SMALL_COLLECTION_PHOTOS, facetrove_command, run_facetrove
from tests.support.jobs import photo_rows, worker_pids

pytestmark = [pytest.mark.slow, pytest.mark.lasting]

NUM_PHOTOS = 800

NUM_KILLS = 20


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory, demo_photos: Path) -> Path:
    """Small photos, of which every tenth is a copy of the one before, and some truncated files."""
    folder = tmp_path_factory.mktemp("collection")
    originals = []
    for path in sorted(demo_photos.iterdir()):
        with PIL.Image.open(path) as photo:
            originals.append(photo.convert("RGB"))
    for number in range(NUM_PHOTOS):
        target = folder / f"{number:04d}.jpg"
        if number % 10 == 9:
            target.write_bytes((folder / f"{number - 1:04d}.jpg").read_bytes())
        elif number % 50 == 5:
            target.write_bytes((folder / f"{number - 1:04d}.jpg").read_bytes()[: 500 + number])
        else:
            photo = originals[number % len(originals)].copy()
            photo.thumbnail((300 + number % 100, 300 + number % 100))
            photo.save(target, quality=50 + number % 45)
    return folder


def everything_in(dataset: Path) -> tuple[list[str], dict[str, str], np.ndarray]:
    """Rows of photos, faces by face_id, and embeddings in the order of the face_ids."""
    faces, embeddings = {}, {}
    for table in Dataset.open(dataset).faces():
        for row, embedding in zip(table.to_pylist(), embedding_matrix(table), strict=True):
            assert row["face_id"] not in faces
            identity = {name: row[name] for name in ("photo_id", "uri", "also_at")}
            box = [round(value) for value in row["box"]]
            faces[row["face_id"]] = repr((identity, box))
            embeddings[row["face_id"]] = embedding
    ids = sorted(faces)
    return (
        sorted(photo_rows(dataset)),
        {face_id: faces[face_id] for face_id in ids},
        np.stack([embeddings[i] for i in ids]),
    )


def test_twenty_kills_of_driver_and_workers_change_nothing(
    tmp_path: Path, collection: Path
) -> None:
    undisturbed, dataset = tmp_path / "undisturbed", tmp_path / "dataset"
    assert run_facetrove("embed", collection, undisturbed).returncode == 0
    moments = random.Random(20)
    killed = {"driver": 0, "worker": 0}
    while True:
        with subprocess.Popen(
            facetrove_command("embed", collection, dataset),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as driver:
            while driver.poll() is None and sum(killed.values()) < NUM_KILLS:
                wait_for_a_moment(driver, dataset, moments)
                kind = "driver" if sum(killed.values()) % 2 else "worker"
                workers = worker_pids(driver.pid) if driver.poll() is None else []
                if driver.poll() is not None or (kind == "worker" and not workers):
                    continue
                with suppress(ProcessLookupError):
                    os.kill(driver.pid if kind == "driver" else moments.choice(workers), 9)
                    killed[kind] += 1
            _, errors = driver.communicate(timeout=300)
        assert b"Traceback" not in errors
        if driver.returncode == 0:
            break
    assert killed == {"driver": NUM_KILLS // 2, "worker": NUM_KILLS // 2}
    rows, faces, embeddings = everything_in(dataset)
    expected_rows, expected_faces, expected_embeddings = everything_in(undisturbed)
    assert len(rows) == NUM_PHOTOS
    assert rows == expected_rows
    assert faces == expected_faces
    assert (embeddings * expected_embeddings).sum(axis=1).min() > 0.99999
    assert not list(dataset.rglob("*.tmp"))
    assert not (dataset / "work").exists()


def wait_for_a_moment(
    driver: subprocess.Popen[bytes], dataset: Path, moments: random.Random
) -> None:
    """Wait until just after another part is committed, or in 3 of 10 cases up to 3 seconds."""
    parts = dataset / "photos"
    before = len(list(parts.glob("*"))) if parts.exists() else 0
    deadline = time.monotonic() + (30 if moments.random() < 0.7 else moments.uniform(0, 3))
    while time.monotonic() < deadline and driver.poll() is None:
        if parts.exists() and len(list(parts.glob("*"))) > before:
            time.sleep(moments.uniform(0, 0.1))
            return
        time.sleep(0.01)


@contextmanager
def reaper(driver: subprocess.Popen[bytes], dataset: Path, victim: str) -> Iterator[None]:
    """Kill the workers whenever the photo is in flight, as a system short of memory would."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            for path in (dataset / "work" / "in-hand").glob("*"):
                with suppress(OSError):
                    if victim.encode() in path.read_bytes():
                        for pid in worker_pids(driver.pid):
                            os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_photo_that_kills_its_workers_is_quarantined_and_affects_no_other(
    tmp_path: Path, small_collection: Path
) -> None:
    photos, dataset = tmp_path / "photos", tmp_path / "dataset"
    photos.symlink_to(small_collection)
    killer = tmp_path / "killer.png"
    noise = np.random.default_rng(0).integers(0, 255, (6000, 6000), dtype=np.uint8)
    PIL.Image.fromarray(noise).save(killer, compress_level=1)  # takes a while to decode
    command = facetrove_command("embed", photos, killer, dataset, "--json")
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as driver,
        reaper(driver, dataset, "killer.png"),
    ):
        _, errors = driver.communicate(timeout=120)
    assert (driver.returncode, errors) == (0, b"")
    counts = Dataset.open(dataset).counts()
    assert counts.by_reason == {"crashed": 1}
    assert counts.num_photos == SMALL_COLLECTION_PHOTOS + 1
    assert "nothing is new" in run_facetrove("embed", photos, killer, dataset).stdout
    assert run_facetrove("embed", killer, dataset, "--retry-rejected").returncode == 0
    assert Dataset.open(dataset).counts().by_reason == {}


def test_a_job_whose_workers_die_at_once_fails(tmp_path: Path, demo_photos: Path) -> None:
    command = facetrove_command("embed", demo_photos, tmp_path / "d")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as driver:
        while driver.poll() is None:
            with suppress(ProcessLookupError, FileNotFoundError):
                for pid in worker_pids(driver.pid):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        _, errors = driver.communicate()
    assert driver.returncode == 1
    (line,) = errors.decode().strip().splitlines()
    assert line.startswith("facetrove: error: a worker process was ended by signal 9 (Killed)")
    assert ", 3 times; " in line
