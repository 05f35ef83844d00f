"""Jobs over HTTP: deleting, undoing, purging, checking; kills, cancels, retries."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import facetrove as ft
from faces.core.errors import CorruptFileError, WrongUsageError
from faces.core.storage import Folder
from facetrove.service.job_process import run_task
from facetrove.service.job_task import Reports, Task
from facetrove.service.jobs import MAX_ATTEMPTS, JobKind, JobStore, NewJob
from facetrove.service.keys import add_key
from facetrove.service.options import ServiceLimits
from facetrove.service.refusals import RefusedError
from tests.support.service import (
    ServiceProcess,
    bearer,
    begun_job,
    error_of,
    eventually,
    finished_job,
    serving,
    small_index,
)
from tests.support.small_collections import Collection, face_id_of, files_with

pytestmark = pytest.mark.slow


@pytest.fixture
def own(tmp_path: Path) -> tuple[Collection, Path]:
    """A dataset and an index that the test may change."""
    return small_index(tmp_path, 20)


@pytest.fixture
def changing(own: tuple[Collection, Path]) -> Iterator[httpx.Client]:
    with serving(own[1]) as client:
        yield client


def has_face(client: httpx.Client, face_id: str) -> bool:
    answer = client.get(f"/v1/faces/{face_id}")
    assert answer.status_code in (200, 404)
    return answer.status_code == 200


@pytest.mark.lasting
def test_a_deletion_is_taken_back_and_made_final(
    changing: httpx.Client, own: tuple[Collection, Path]
) -> None:
    face, body = face_id_of(2, 0), {"where": "person = 'person 2'"}
    assert changing.post("/v1/delete/plan", json=body).json() == {"num_faces": 6}
    deleted = finished_job(changing, begun_job(changing.post("/v1/delete", json=body)))
    assert deleted["state"] == "done" and deleted["result"]["num_faces"] == 6
    assert not has_face(changing, face)
    deletion = deleted["result"]["deletion_id"]
    assert deleted["result"]["num_faces_of_index"] == {"the index": 6}
    assert str(own[1].parent) not in json.dumps(deleted)
    (listed,) = changing.get("/v1/deletions").json()["deletions"]
    assert listed == {"deletion_id": deletion, "deleted_at": listed["deleted_at"], "num_faces": 6}
    undone = changing.post("/v1/undo", json={"deletion_id": deletion})
    assert finished_job(changing, begun_job(undone))["result"]["num_faces"] == 6
    assert has_face(changing, face)
    body = {"faces": [face], "photos": ["/photos/000003.jpg"]}
    final = finished_job(changing, begun_job(changing.post("/v1/delete", json=body)))
    purged = finished_job(changing, begun_job(changing.post("/v1/purge", json={})))
    assert purged["state"] == "done", purged
    assert str(own[1].parent) not in json.dumps(purged)
    assert len(purged["result"]["deleted_face_digests"]) == 4
    assert purged["result"]["service"]["job_requests_removed"] >= 3
    assert not has_face(changing, face)
    body = {"deletion_id": final["result"]["deletion_id"]}
    failed = finished_job(changing, begun_job(changing.post("/v1/undo", json=body)))
    assert failed["state"] == "failed" and failed["error"]["code"] == "wrong_usage"


def test_a_purge_leaves_nothing_of_what_jobs_were_asked(
    own: tuple[Collection, Path], tmp_path: Path
) -> None:
    face = face_id_of(4, 1)
    traces = [face.encode(), b"person 7", b"000005.jpg"]
    state = own[1].with_name("faces.index.service")
    with serving(own[1]) as client:
        body = {
            "faces": [face],
            "where": "person = 'person 7'",
            "photos": ["/photos/000005.jpg"],
        }
        job_id = begun_job(client.post("/v1/delete", json=body))
        assert finished_job(client, job_id)["request"] == body
        assert files_with(state, traces)
        purge = client.post("/v1/purge", json={"names": ["person 7"]})
        assert finished_job(client, begun_job(purge))["state"] == "done"
        assert client.get(f"/v1/jobs/{job_id}").json()["request"] == {}
        assert error_of(client.post(f"/v1/jobs/{job_id}/retry")) == (409, "purged")
        assert files_with(state, traces) == {}
    assert files_with(tmp_path, [face.encode()]) == {}


def test_each_kind_of_job_returns_what_the_same_function_does(
    own: tuple[Collection, Path],
) -> None:
    collection, index = own
    report = Reports(os.open(os.devnull, os.O_WRONLY))

    def run(kind: JobKind, **request: Any) -> dict[str, Any]:
        task = Task(kind, request, str(index), str(collection.path), None, ())
        return run_task(task, report)

    assert run("delete", faces=[face_id_of(1, 0)])["num_faces"] == 1
    assert run("compact") == {"version": 3, "num_faces": 59}
    assert run("verify")["problems"] == ()
    with pytest.raises(WrongUsageError, match="people"):
        run("calibrate", fpir=0.01)
    report.close()


def test_an_idempotency_key_makes_one_job_of_one_request(changing: httpx.Client) -> None:
    name = {"Idempotency-Key": "only once"}
    assert error_of(changing.post("/v1/index/verify", headers=name)) == (422, "invalid_request")
    name = {"Idempotency-Key": "only-once"}
    ids = {begun_job(changing.post("/v1/index/verify", headers=name)) for _ in range(3)}
    assert len(ids) == 1
    other = changing.post("/v1/index/compact", headers=name)
    assert error_of(other) == (409, "idempotency_key_reused")
    assert begun_job(changing.post("/v1/index/verify")) not in ids


def test_the_events_of_a_job_end_with_its_result(changing: httpx.Client) -> None:
    job_id = begun_job(changing.post("/v1/index/verify"))
    events = []
    with changing.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for block in "".join(stream.iter_text()).split("\n\n"):
            if block.startswith("event: "):
                head, data = block.split("\n")
                events.append((head.removeprefix("event: "), json.loads(data[len("data: ") :])))
    assert [name for name, _ in events][-1] == "end"
    assert {name for name, _ in events[:-1]} <= {"progress"}
    assert events[-1][1]["state"] == "done"
    assert events[-1][1] == changing.get(f"/v1/jobs/{job_id}").json()
    assert "facetrove_requests_working 1.0" in changing.get("/metrics").text  # this one


def test_wrong_requests_for_jobs_are_refused(changing: httpx.Client) -> None:
    unknown = "0" * 32
    cases: list[tuple[httpx.Response, tuple[int, str]]] = [
        (changing.post("/v1/delete", json={}), (422, "nothing_selected")),
        (changing.post("/v1/delete", json={"faces": "x"}), (422, "invalid_request")),
        (changing.post("/v1/delete/plan", json={"where": "no = 1"}), (422, "wrong_usage")),
        (changing.post("/v1/undo", json={}), (422, "nothing_selected")),
        (changing.post("/v1/undo", json={"deletion_id": "../x"}), (422, "invalid_request")),
        (changing.post("/v1/purge", json={"deletions": []}), (422, "invalid_request")),
        (changing.post("/v1/index/calibrate", json={"fpir": 1}), (422, "invalid_request")),
        (changing.post("/v1/index/calibrate", content=b"x"), (415, "wrong_content_type")),
        (changing.get(f"/v1/jobs/{unknown}"), (404, "no_such_job")),
        (changing.get(f"/v1/jobs/{unknown}/events"), (404, "no_such_job")),
        (changing.post(f"/v1/jobs/{unknown}/cancel"), (404, "no_such_job")),
        (changing.get("/v1/jobs/no-id"), (422, "invalid_request")),
        (changing.post("/v1/enrol", json={"folder": "/etc"}), (422, "wrong_usage")),
        (changing.post("/v1/enrol", files={"photo": b"\xff\xd8\xff"}), (409, "no_uploads")),
        (changing.post("/v1/enrol", content=b""), (415, "wrong_content_type")),
    ]
    for number, (answer, expected) in enumerate(cases):
        assert error_of(answer) == expected, number
    assert changing.get("/v1/jobs").json() == {"jobs": []}


def test_a_key_sees_its_own_jobs_alone(own: tuple[Collection, Path], tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    ann, ben, chief = (
        bearer(add_key(file, name, [scope]))
        for name, scope in (("ann", "curate"), ("ben", "curate"), ("chief", "admin"))
    )
    with serving(own[1], keys=file) as client:
        body = {"faces": [face_id_of(1, 0)]}
        job_id = begun_job(client.post("/v1/delete", json=body, headers=ann))
        finished_job(client, job_id, headers=ann)
        assert error_of(client.get(f"/v1/jobs/{job_id}", headers=ben)) == (404, "no_such_job")
        cancel = client.post(f"/v1/jobs/{job_id}/cancel", headers=ben)
        assert error_of(cancel) == (404, "no_such_job")
        assert client.get("/v1/jobs", headers=ben).json() == {"jobs": []}
        for headers in (ann, chief):
            (job,) = client.get("/v1/jobs", headers=headers).json()["jobs"]
            assert job["job_id"] == job_id and "ann" not in json.dumps(job)
        audit = (own[1].with_name("faces.index.service") / "audit.jsonl").read_text()
        assert any(json.loads(line).get("job") == job_id for line in audit.splitlines())


@pytest.mark.lasting
def test_jobs_that_wait_are_cancelled_and_tried_again(own: tuple[Collection, Path]) -> None:
    """Meanwhile another process is writing the index, as it has the lock."""
    _, index = own
    with serving(index, limits=ServiceLimits(max_jobs=2)) as client:
        with Folder(index).lease(what="index"):
            body = {"faces": [face_id_of(1, 0)]}
            first = begun_job(client.post("/v1/delete", json=body))
            second = begun_job(client.post("/v1/index/verify"))
            assert error_of(client.post("/v1/index/verify")) == (503, "busy")
            assert client.post(f"/v1/jobs/{second}/cancel").json()["state"] == "cancelled"

            def waits() -> Any:
                progress = client.get(f"/v1/jobs/{first}").json()["progress"] or {}
                return "waiting for another" in progress.get("step", "")

            eventually(waits)
            client.post(f"/v1/jobs/{first}/cancel")
            assert finished_job(client, first)["state"] == "cancelled"
        assert error_of(client.post(f"/v1/jobs/{'1' * 32}/retry")) == (404, "no_such_job")
        assert client.post(f"/v1/jobs/{first}/retry").json()["state"] == "queued"
        assert finished_job(client, first)["state"] == "done"
        assert error_of(client.post(f"/v1/jobs/{first}/retry")) == (409, "not_failed")
        assert not has_face(client, face_id_of(1, 0))


@pytest.mark.lasting
def test_acknowledged_jobs_survive_kill_9(own: tuple[Collection, Path]) -> None:
    """The server is killed while the first job runs and others wait."""
    index = own[1]
    server = ServiceProcess(index)
    faces = [face_id_of(number, 0) for number in range(3)]
    ids = [begun_job(server.client.post("/v1/delete", json={"faces": [face]})) for face in faces]
    states = lambda: [server.client.get(f"/v1/jobs/{i}").json()["state"] for i in ids]  # noqa: E731
    eventually(lambda: "running" in states())
    server.kill()
    server = ServiceProcess(index)
    jobs = [finished_job(server.client, job_id) for job_id in ids]
    assert [job["state"] for job in jobs] == ["done"] * len(ids)
    assert not any(has_face(server.client, face) for face in faces)
    assert server.end() == ""
    found = ft.list_deletions(own[0].path)
    assert [deletion.num_faces for deletion in found] == [1] * len(faces)


@pytest.mark.lasting
def test_the_server_ends_on_ctrl_c_and_goes_on_with_jobs_later(
    own: tuple[Collection, Path],
) -> None:
    with Folder(own[1]).lease(what="index"):
        server = ServiceProcess(own[1])
        job_id = begun_job(server.client.post("/v1/index/compact"))
        eventually(lambda: server.client.get(f"/v1/jobs/{job_id}").json()["state"] == "running")
        server.client.close()
        assert server.end() == ""
    server = ServiceProcess(own[1])
    assert finished_job(server.client, job_id)["state"] == "done"
    server.client.close()
    server.end()


def test_a_job_that_the_server_never_survives_fails(tmp_path: Path) -> None:
    for attempt in range(MAX_ATTEMPTS):
        store = JobStore.open(tmp_path)
        if not attempt:
            store.add(NewJob("verify", {}, ""), max_waiting=1)
        job = store.begin_next()
        assert job is not None and job.attempts == attempt + 1
        store.close()
    store = JobStore.open(tmp_path)
    assert store.begin_next() is None
    (job,) = store.newest(10)
    assert job.state == "failed" and job.error is not None
    assert job.error["code"] == "server_ended"
    store.close()


def test_a_job_is_cancelled_where_the_server_ended_before_its_process(tmp_path: Path) -> None:
    store = JobStore.open(tmp_path)
    job, _ = store.add(NewJob("verify", {}, ""), max_waiting=1)
    store.begin_next()
    assert store.cancel(job.job_id) == "cancelling"
    store.close()
    store = JobStore.open(tmp_path)
    assert store.newest(1)[0].state == "cancelled"
    store.close()


def test_one_key_gives_one_job_to_many_threads(tmp_path: Path) -> None:
    store = JobStore.open(tmp_path)
    found = []

    def add() -> None:
        found.append(store.add(NewJob("verify", {}, "ann", "k"), max_waiting=5))

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job.job_id for job, _ in found}) == 1
    assert sorted(is_new for _, is_new in found) == [False] * 7 + [True]
    other, is_new = store.add(NewJob("verify", {}, "ben", "k"), max_waiting=5)
    assert is_new and other.job_id != found[0][0].job_id
    with pytest.raises(RefusedError, match="another request"):
        store.add(NewJob("compact", {}, "ben", "k"), max_waiting=5)
    store.close()


def test_a_file_that_is_no_database_of_jobs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite").write_bytes(b"nonsense" * 1000)
    with pytest.raises(CorruptFileError, match="move it away"):
        JobStore.open(tmp_path)
    assert sqlite3.sqlite_version_info >= (3, 35)  # whose RETURNING is used


def test_uploads_to_remove_are_known_until_the_job_is_done(tmp_path: Path) -> None:
    store = JobStore.open(tmp_path)
    job, _ = store.add(NewJob("purge", {"names": ["Ann Lee"]}, ""), max_waiting=1)
    store.begin_next()
    assert store.add_leftovers(job.job_id, ["b", "a"]) == ["a", "b"]
    store.end(job.job_id, "failed", error={"code": "killed", "message": "it was killed"})
    assert store.queue_again(job.job_id, of=("failed",))
    store.begin_next()
    assert store.add_leftovers(job.job_id, ["c"]) == ["a", "b", "c"]
    assert files_with(tmp_path, [b"Ann Lee"])
    store.end(job.job_id, "done", result={})
    assert store.add_leftovers(job.job_id, []) == []
    assert files_with(tmp_path, [b"Ann Lee"]) == {}
    store.close()
