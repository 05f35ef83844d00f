"""Photos that are enrolled over HTTP, from a folder or sent in, by the real networks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import facetrove as ft
from facetrove.service.uploads import Uploads
from indexer.build import build_index
from tests.support.embedding_here import embed_here
from tests.support.service import (
    ServiceProcess,
    begun_job,
    error_of,
    eventually,
    finished_job,
    serving,
)
from tests.support.small_collections import files_with

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def first(folder: Path, demo_photos: Path, pipeline: Any) -> Path:
    """A folder with a dataset and an index of one photo. Copy it to change it."""
    place = folder / "first"
    (place / "photos").mkdir(parents=True)
    shutil.copy(demo_photos / "biden.jpg", place / "photos")
    embed_here(place / "photos", place / "d", pipeline)
    build_index(place / "d", place / "i")
    return place


@pytest.fixture
def place(first: Path, tmp_path: Path) -> Path:
    shutil.copytree(first, tmp_path / "p")
    return tmp_path / "p"


def options(place: Path) -> dict[str, Any]:
    return {
        "dataset": place / "d",
        "folders": (place / "photos",),
        "uploads": place / "uploads",
    }


@pytest.fixture
def server(place: Path) -> Iterator[httpx.Client]:
    with serving(place / "i", **options(place)) as client:
        yield client


@pytest.mark.slow
@pytest.mark.lasting
def test_photos_sent_in_are_found_deleted_and_purged(
    server: httpx.Client, place: Path, demo_photos: Path
) -> None:
    obama, nobody = (demo_photos / name for name in ("obama2.jpg", "coffee.png"))
    files = [("photo", (path.name, path.read_bytes())) for path in (obama, nobody)]
    columns = {"columns": json.dumps({"person": "Barack Obama"})}
    job_id = begun_job(server.post("/v1/enrol", files=files, data=columns))
    job = finished_job(server, job_id)
    assert job["state"] == "done", job
    assert job["result"]["embedded"]["done"]["num_photos"] == 2
    assert job["request"] == {"num_uploads": 2}
    assert job["result"]["service"] == {"uploads_removed": 1}  # of which nobody can be found
    found = server.post("/v1/search", params={"k": 1}, files={"photo": obama.read_bytes()})
    (match,) = found.json()["probes"][0]["matches"]
    assert match["person"] == "Barack Obama" and match["similarity"] > 0.99
    kept = Path(match["uri"])
    assert kept.is_relative_to(place / "uploads") and kept.read_bytes() == obama.read_bytes()
    assert server.get(f"/v1/faces/{match['face_id']}/thumbnail").status_code == 200
    state = place / "i.service"
    assert files_with(state, [b"Barack"]) == {}, "columns are forgotten with the job's end"
    deleted = begun_job(server.post("/v1/delete", json={"where": "person = 'Barack Obama'"}))
    assert finished_job(server, deleted)["result"]["num_faces"] == 1
    assert kept.exists()
    gone = server.get(f"/v1/faces/{match['face_id']}/thumbnail")
    assert error_of(gone) == (404, "no_such_face")
    purged = finished_job(server, begun_job(server.post("/v1/purge", json={})))
    assert purged["result"]["service"]["uploads_removed"] == 1, purged
    assert not kept.exists()
    assert files_with(place, [match["face_id"].encode()]) == {}
    # The same photo, sent in again, stays away.
    again = finished_job(server, begun_job(server.post("/v1/enrol", files=files[:1])))
    assert again["result"]["index"]["num_faces"] == 1
    assert again["result"]["service"]["uploads_removed"] == 1


@pytest.mark.lasting
def test_a_folder_is_enrolled_although_the_server_is_killed(place: Path, demo_photos: Path) -> None:
    names = ("obama2.jpg", "obama3.jpg", "grace_hopper.jpg")
    (place / "photos" / "more").mkdir()
    for name in names:
        shutil.copy(demo_photos / name, place / "photos" / "more")
    arguments = ("--dataset", place / "d", "--allow-folder", place / "photos")
    server = ServiceProcess(place / "i", *arguments)
    body = {"folder": str(place / "photos" / "more")}
    job_id = begun_job(server.client.post("/v1/enrol", json=body))
    eventually(lambda: server.client.get(f"/v1/jobs/{job_id}").json()["progress"])
    server.kill()
    server = ServiceProcess(place / "i", *arguments)
    job = finished_job(server.client, job_id)
    assert job["state"] == "done", job
    assert server.client.get("/v1/index").json()["num_faces"] == job["result"]["index"]["num_faces"]
    assert len(ft.open_index(place / "i")) >= 4
    server.end()


@pytest.mark.lasting
def test_a_running_enrol_job_is_cancelled(
    server: httpx.Client, place: Path, slow_photo: Path
) -> None:
    (place / "photos" / "slow").mkdir()
    for number in range(8):
        shutil.copy(slow_photo, place / "photos" / "slow" / f"{number}.png")
    body = {"folder": str(place / "photos" / "slow")}
    job_id = begun_job(server.post("/v1/enrol", json=body))

    def embeds() -> bool:
        progress = server.get(f"/v1/jobs/{job_id}").json()["progress"] or {}
        return progress.get("step") == "embedding"

    eventually(embeds)
    assert server.post(f"/v1/jobs/{job_id}/cancel").json()["state"] == "cancelling"
    assert finished_job(server, job_id)["state"] == "cancelled"
    assert server.get("/v1/index").status_code == 200


@pytest.mark.parametrize("trick", ["link", "..", "list", "file", "relative", "null", "missing"])
def test_only_allowed_folders_are_enrolled(server: httpx.Client, place: Path, trick: str) -> None:
    outside = place / "outside"
    outside.mkdir()
    (place / "photos" / "away").symlink_to(outside)
    (place / "photos" / "list.csv").write_text("uri\n/etc/passwd\n")
    folders = {
        "link": str(place / "photos" / "away"),
        "..": f"{place}/photos/../outside",
        "list": f"{place}/photos/list.csv",
        "file": "/etc/passwd",
        "relative": "photos",
        "null": f"{place}/photos\0",
        "missing": f"{place}/photos/missing",
    }
    answer = server.post("/v1/enrol", json={"folder": folders[trick]})
    assert error_of(answer) == (422, "wrong_usage")
    assert str(place) not in answer.text
    assert server.get("/v1/jobs").json()["jobs"] == []


def test_wrong_uploads_are_refused_and_nothing_is_kept(
    server: httpx.Client, place: Path, demo_photos: Path
) -> None:
    photo = (demo_photos / "biden.jpg").read_bytes()
    cases: list[tuple[dict[str, Any], tuple[int, str]]] = [
        ({"files": [("photo", photo), ("photo", b"x")]}, (422, "unusable_photo")),
        ({"files": {"photo": b""}}, (422, "unusable_photo")),
        ({"files": {"photo": photo}, "data": {"columns": "["}}, (422, "bad_columns")),
        ({"files": {"photo": photo}, "data": {"columns": '{"a": 1}'}}, (422, "bad_columns")),
        ({"files": {"photo": photo}, "data": {"columns": '{"": "b"}'}}, (422, "bad_columns")),
        ({"files": {"photo": photo}, "data": {"columns": '{"a": "\\n"}'}}, (422, "bad_columns")),
        ({"files": {"photo": photo}, "data": {"person": "Ann"}}, (422, "unknown_field")),
        ({"files": {"photo": photo[:3] + bytes(25_000_001)}}, (413, "over_photo_limits")),
    ]
    for number, (request, expected) in enumerate(cases):
        assert error_of(server.post("/v1/enrol", **request)) == expected, number
    assert [path for path in (place / "uploads").rglob("*") if path.is_file()] == []


def test_uploads_are_named_by_their_content_and_bounded(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path / "u", 1000)
    photo = b"\xff\xd8\xff" + bytes(600)
    kept = uploads.keep(photo, 1)
    assert kept.is_new and not uploads.keep(photo, 2).is_new
    assert uploads.of_contents([Path(kept.name).stem, "0" * 64]) == [kept.name]
    with pytest.raises(Exception, match="folder is full"):
        uploads.keep(photo + b"x", 1)
    assert uploads.remove(["../escape", kept.name, kept.name]) == 1
    assert uploads.keep(photo + b"x", 1).is_new
    assert len(Uploads(tmp_path / "u", 1000).names()) == 1
