"""Folders that are enrolled regularly: at the start, skipping while one waits, through restarts."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import httpx
import pytest

from faces.core.errors import WrongUsageError
from faces.core.storage import Folder
from facetrove.cli.options import Duration
from facetrove.service import schedule
from facetrove.service.jobs import JobStore, NewJob
from facetrove.service.keys import add_key
from facetrove.service.options import ServiceLimits, ServiceOptions
from facetrove.service.service import Service
from indexer.build import build_index
from tests.support.embedding_here import embed_here
from tests.support.service import ServiceProcess, bearer, eventually, serving, small_index
from tests.support.small_collections import Collection


@pytest.fixture
def own(tmp_path: Path) -> tuple[Collection, Path]:
    return small_index(tmp_path, 4)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


@pytest.fixture
def options(photos: Path) -> dict[str, Any]:
    return {"folders": (photos,), "enrol_folders": (photos,), "enrol_every": 0.1}


@pytest.fixture
def locked(own: tuple[Collection, Path]) -> Iterator[None]:
    """Another process writes the dataset, so that jobs wait."""
    with Folder(own[0].path).lease(what="dataset"):
        yield


def jobs_of(client: httpx.Client, **headers: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/v1/jobs", headers=headers).json()["jobs"]
    return found


@pytest.mark.slow
def test_a_folder_is_enrolled_at_the_start_and_skipped_while_its_job_is_not_done(
    own: tuple[Collection, Path], photos: Path, options: dict[str, Any], locked: None
) -> None:
    with serving(own[1], **options) as client:
        (job,) = eventually(lambda: jobs_of(client))
        assert job["kind"] == "enrol"
        assert job["request"] == {"folder": str(photos), "scheduled": True}
        eventually(lambda: jobs_of(client)[0]["state"] == "running")
        looks = client.get("/metrics").text
        eventually(lambda: client.get("/metrics").text != looks)
        assert len(jobs_of(client)) == 1
    with serving(own[1], **options) as client:  # the job is begun again, and no other
        eventually(lambda: jobs_of(client)[0]["state"] == "running")
        assert [found["job_id"] for found in jobs_of(client)] == [job["job_id"]]
        asked = client.post("/v1/enrol", json={"folder": str(photos)})  # as clients may, too
        assert asked.status_code == 202


@pytest.mark.slow
def test_a_clients_job_of_the_folder_counts_too(
    own: tuple[Collection, Path], photos: Path, options: dict[str, Any], locked: None
) -> None:
    (photos / "inside").mkdir()
    with serving(own[1], folders=(photos,)) as client:
        body = {"folder": f"{photos}/inside/.."}
        asked = client.post("/v1/enrol", json=body).json()["job_id"]
    with serving(own[1], **options) as client:
        eventually(lambda: jobs_of(client)[0]["state"] == "running")
        assert [job["job_id"] for job in jobs_of(client)] == [asked]


@pytest.mark.lasting
def test_jobs_of_a_schedule_are_seen_by_admins_noted_and_bounded(
    own: tuple[Collection, Path],
    tmp_path: Path,
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The models of this dataset are none that exist, so each job fails, and is tried later."""
    monkeypatch.setattr(schedule, "MAX_KEPT", 1)
    file = tmp_path / "keys.toml"
    enroller, chief = (bearer(add_key(file, name, [name])) for name in ("enrol", "admin"))  # type: ignore[list-item]
    with serving(own[1], keys=file, **options) as client:
        eventually(lambda: _last_number(own[1]) >= 4, seconds=300)
        assert jobs_of(client, **enroller) == []
        assert 1 <= len(jobs_of(client, **chief)) <= 2
    audit = own[1].with_name("faces.index.service") / "audit.jsonl"
    entries = [json.loads(line) for line in audit.read_text().splitlines()]
    ours = [entry for entry in entries if entry["key"] == schedule.SCHEDULE]
    assert len({entry["job"] for entry in ours}) >= 4
    assert {(entry["operation"], entry["status"]) for entry in ours} == {("enrol", 202)}


def _last_number(index: Path) -> int:
    database = index.with_name(f"{index.name}.service") / "jobs.sqlite"
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    (number,) = connection.execute("SELECT coalesce(max(number), 0) FROM jobs").fetchone()
    connection.close()
    return int(number)


@pytest.mark.slow
def test_a_full_queue_puts_the_schedule_off(
    own: tuple[Collection, Path], options: dict[str, Any], locked: None
) -> None:
    limits = ServiceLimits(max_jobs=1)
    with Folder(own[1]).lease(what="index"):
        with serving(own[1], limits=limits) as client:
            compact = client.post("/v1/index/compact").json()["job_id"]
        with serving(own[1], limits=limits, **options) as client:
            eventually(lambda: jobs_of(client)[0]["state"] == "running")
            time.sleep(5 * options["enrol_every"])
            assert [job["job_id"] for job in jobs_of(client)] == [compact]
            client.post(f"/v1/jobs/{compact}/cancel")
            eventually(lambda: [job["kind"] for job in jobs_of(client)] == ["enrol", "compact"])


def test_only_finished_jobs_of_the_owner_are_forgotten(tmp_path: Path) -> None:
    store = JobStore.open(tmp_path)
    ids = []
    for owner in ("ann", "ben", "ann", "ann", "ann"):
        job, _ = store.add(NewJob("verify", {}, owner), max_waiting=10)
        ids.append(job.job_id)
    for job_id in ids[:4]:
        store.begin_next()
        store.end(job_id, "done", result={})
    assert [job.job_id for job in store.unfinished()] == [ids[4]]
    store.forget_finished("ann", keep=2)
    assert [job.job_id for job in store.newest(10)] == [ids[4], ids[3], ids[1]]
    store.close()


def test_a_folder_that_cannot_be_enrolled_is_refused_at_the_start(
    own: tuple[Collection, Path], photos: Path, tmp_path: Path
) -> None:
    def refused(says: str, **options: Any) -> None:
        with pytest.raises(WrongUsageError, match=says):
            Service.open(ServiceOptions(own[1], **options))

    refused("--enrol-folder", folders=(tmp_path / "x",), enrol_folders=(tmp_path / "x",))
    refused("no folder whose photos", folders=(photos,), enrol_folders=(tmp_path,))
    only = {"folders": (photos,), "enrol_folders": (photos,), "read_only": True}
    refused("--enrol-folder needs jobs, but .*--read-only", **only)
    refused("--watch-hook needs jobs", read_only=True, watch_hook="https://host/")
    refused("give that too", watch_hook_secret=photos)


@pytest.mark.parametrize(
    "text", ["5", "15x", "-1m", "9s", "31d", "1.5h", "9" * 30 + "s", "\u0661m", "", "1m\n"]
)
def test_times_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"90s, 15m, 6h or 1d|10s to 30d"):
        Duration(10).convert(text, None, None)


def test_times_are_read_with_their_units() -> None:
    found = [Duration(10).convert(text, None, None) for text in ("90s", "15m", "6 h", "1d")]
    assert found == [90, 900, 21_600, 86_400]


@pytest.mark.lasting
def test_photos_that_come_into_the_folder_are_found_later(
    tmp_path: Path, demo_photos: Path, pipeline: Any
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(demo_photos / "biden.jpg", photos)
    embed_here(photos, tmp_path / "d", pipeline)
    build_index(tmp_path / "d", tmp_path / "i")
    arguments = ("--enrol-folder", photos, "--enrol-every", "10s")
    server = ServiceProcess(tmp_path / "i", *arguments)

    def num_faces() -> int:
        return int(server.client.get("/v1/index").json()["num_faces"])

    def num_done() -> int:
        return sum(job["state"] == "done" for job in jobs_of(server.client))

    eventually(num_done, seconds=300)
    before = num_faces()
    shutil.copy(demo_photos / "obama2.jpg", photos)
    eventually(lambda: num_faces() == before + 1, seconds=300)
    server.kill()
    shutil.copy(demo_photos / "grace_hopper.jpg", photos)
    server = ServiceProcess(tmp_path / "i", *arguments)
    eventually(lambda: num_faces() == before + 2, seconds=300)
    assert server.end() == ""
