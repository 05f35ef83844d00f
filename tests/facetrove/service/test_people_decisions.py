"""Decisions about people over HTTP: who made them, that they stay, and several at once."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import facetrove as ft
from faces.models.face import Detection, Face, FaceQuality
from facetrove.service.joint import person_comparison_json
from facetrove.service.keys import add_key
from facetrove.service.probing import ProbePhoto
from indexer.manifest import read_current
from indexer.model_rates import verification_threshold
from tests.support.people import face_id
from tests.support.served_people import ANN, got, grouped_album, posted
from tests.support.service import (
    ServiceProcess,
    bearer,
    begun_job,
    error_of,
    finished_job,
    serving,
)

pytestmark = [pytest.mark.usefixtures("own_folders"), pytest.mark.slow]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return grouped_album(tmp_path)


@pytest.fixture
def served(dataset: Path) -> Iterator[httpx.Client]:
    with serving(dataset.with_name("d.index")) as client:
        yield client


def test_a_request_with_an_idempotency_key_is_done_once(
    served: httpx.Client, dataset: Path
) -> None:
    def split(key: str, face: str) -> httpx.Response:
        headers = {"Idempotency-Key": key}
        return served.post(
            "/v1/people/split", json={"person_id": 1, "faces": [face]}, headers=headers
        )

    first, second = split("a", ANN[0]), split("a", ANN[0])
    assert first.json() == second.json() and first.status_code == 200
    assert error_of(split("a", ANN[1])) == (409, "idempotency_key_reused")
    job = served.post("/v1/index/verify", headers={"Idempotency-Key": "a"})
    assert error_of(job) == (409, "idempotency_key_reused")
    finished_job(
        served, begun_job(served.post("/v1/index/verify", headers={"Idempotency-Key": "b"}))
    )
    assert error_of(split("b", ANN[1])) == (409, "idempotency_key_reused")
    assert split("c", ANN[1]).json()["decision_id"] != first.json()["decision_id"]
    assert len(ft.open_people(dataset).decisions()) == 2
    refused = split("d", face_id(12))  # of another person
    assert error_of(refused) == error_of(split("d", face_id(12))) == (422, "wrong_usage")


def test_a_decision_has_the_name_of_the_key_and_the_audit_log_has_numbers(
    dataset: Path, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.toml"
    curator, reader = (add_key(keys, f"{scope}-desk", [scope]) for scope in ("curate", "search"))
    with serving(dataset.with_name("d.index"), keys=keys, audit=tmp_path / "audit") as client:
        body = {"person_id": 2, "name": "Bob Ray"}
        named = client.post("/v1/people/name", json=body, headers=bearer(curator))
        assert named.json()["author"] == "curate-desk"
        refused = client.post("/v1/people/name", json=body, headers=bearer(reader))
        assert error_of(refused) == (403, "wrong_scope")
        listed = client.post("/v1/people/list", json={"name": "bob"}, headers=bearer(reader))
        assert listed.json()["people"][0]["named_by"] == "curate-desk"
        faces = client.get("/v1/people/2/faces", headers=bearer(reader)).json()["faces"]
    assert ft.open_people(dataset).decisions().to_list()[0]["author"] == "curate-desk"
    text = (tmp_path / "audit").read_text()
    first, _, last, shown = map(json.loads, text.splitlines())
    assert first["counts"] == {"people": 1, "faces": 0} and first["people"] == [2]
    assert (first["operation"], first["decision"]) == ("name_person", named.json()["decision_id"])
    assert last["counts"] == {"people": 1} and shown["people"] == [2]
    assert shown["counts"] == {"faces": len(faces)}
    for personal in ("Bob", "bob", "Ray", faces[0]["face_id"], faces[0]["uri"]):
        assert personal not in text


def test_a_purge_forgets_what_decisions_were_asked(served: httpx.Client, dataset: Path) -> None:
    body = {"person_id": 1, "name": "Ann Lea"}
    headers = {"Idempotency-Key": "a"}
    named = served.post("/v1/people/name", json=body, headers=headers).json()
    state = dataset.with_name("d.index.service") / "jobs.sqlite"
    digests = [cell for cell in _digests(state) if cell]
    assert len(digests) == 1
    purge = served.post("/v1/purge", json={"names": ["Ann Lea", "Ann Lee"]})
    assert finished_job(served, begun_job(purge))["state"] == "done"
    assert _digests(state) == [None]
    assert digests[0].encode() not in state.read_bytes()
    assert served.post("/v1/people/name", json=body, headers=headers).json() == {
        **named,
        "people": [got(served, "people/1")],
    }
    assert got(served, "people/1")["person"] is None
    assert "Ann" not in json.dumps(got(served, "people/decisions"))


def _digests(database: Path) -> list[Any]:
    connection = sqlite3.connect(database)
    try:
        rows = connection.execute("SELECT digest FROM decision_keys").fetchall()
    finally:
        connection.close()
    return [digest for (digest,) in rows]


def test_decisions_of_many_clients_at_once_all_count(dataset: Path) -> None:
    index = dataset.with_name("d.index")
    failures: list[BaseException] = []

    def decide(client: httpx.Client, number: int) -> None:
        try:
            with httpx.Client(base_url=client.base_url, timeout=60, trust_env=False) as own:
                for turn in range(4):
                    posted(own, "people/name", person_id=number, name=f"Name {number} {turn}")
                    faces = [face_id(4 + number % 3, 1)]
                    posted(own, "people/move", person_id=number, faces=faces)
        except BaseException as error:
            failures.append(error)

    with serving(index) as client:
        threads = [threading.Thread(target=decide, args=(client, n)) for n in range(1, 7)]
        for thread in threads:
            thread.start()
        here = ft.open_people(dataset, author="terminal")  # another writer of the book
        for _ in range(4):
            here.hide(6)
        for thread in threads:
            thread.join()
        assert failures == []
        names = {one["person_id"]: one["person"] for one in _everybody(client)}
        assert names == {number: f"Name {number} 3" for number in range(1, 7)}
        decisions = got(client, "people/decisions", limit=100)["decisions"]
        assert len({one["decision_id"] for one in decisions}) == 6 * 8 + 4
        assert sum(one["num_faces"] for one in _everybody(client)) == 20


def _everybody(client: httpx.Client) -> list[dict[str, Any]]:
    asked = {"hidden": True, "ignored": True}
    people: list[dict[str, Any]] = posted(client, "people/list", **asked)["people"]
    return people


def name_on(client: httpx.Client, stopped: threading.Event, made: list[str]) -> None:
    """Decide until told to stop, and note what was acknowledged."""
    with suppress(httpx.HTTPError, RuntimeError):  # the server is gone
        while not stopped.is_set():
            answer = client.post("/v1/people/name", json={"person_id": 2, "name": "B"})
            made.append(answer.json()["decision_id"])


@pytest.mark.lasting
def test_what_was_acknowledged_survives_a_kill(dataset: Path) -> None:
    index = dataset.with_name("d.index")
    made: list[str] = []
    for number in range(2):
        process = ServiceProcess(index)
        body = {"person_id": 1, "faces": [ANN[number]]}
        headers = {"Idempotency-Key": f"split {number}".replace(" ", "-")}
        split = process.client.post("/v1/people/split", json=body, headers=headers).json()
        name = {"person_id": split["people"][1]["person_id"], "name": f"Name {number}"}
        named = process.client.post("/v1/people/name", json=name).json()
        made += [split["decision_id"], named["decision_id"]]
        stopped = threading.Event()

        thread = threading.Thread(target=name_on, args=(process.client, stopped, made))
        thread.start()
        thread.join(0.3)
        process.kill()
        stopped.set()
        thread.join()
        again = ServiceProcess(index)
        repeated = again.client.post("/v1/people/split", json=body, headers=headers).json()
        assert repeated["decision_id"] == split["decision_id"]
        assert got(again.client, f"people/{name['person_id']}")["person"] == f"Name {number}"
        again.end()
    stored = {row["decision_id"] for row in ft.open_people(dataset).decisions().to_list()}
    assert set(made) <= stored and len(made) > 4


def test_faces_are_grouped_by_a_job_and_found_then(served: httpx.Client, dataset: Path) -> None:
    posted(served, "people/name", person_id=2, name="Bob")
    begun = served.post("/v1/people/group", json={"precision": 0.99})
    job = finished_job(served, begun_job(begun))
    assert job["state"] == "done", job
    assert job["result"]["num_faces"] == 21 and job["kind"] == "group"
    everybody = _everybody(served)
    assert sum(one["num_faces"] for one in everybody) == 21
    assert "Bob" in {one["person"] for one in everybody}
    ours = {one["person_id"]: one["num_faces"] for one in everybody}
    rows = ft.open_people(dataset).list(hidden=True, ignored=True).to_list()
    assert ours == {row["person_id"]: row["num_faces"] for row in rows}
    found = served.post("/v1/search", json={"face_id": ANN[0]}, params={"k": 1}).json()
    match = found["probes"][0]["matches"][0]
    assert (match["person_id"], match["person"]) == (1, "Ann Lee")
    wrong = served.post("/v1/people/group", json={"precision": 0.5})
    assert error_of(wrong) == (422, "invalid_request")


def test_the_client_has_the_verbs_of_python(served: httpx.Client, dataset: Path) -> None:
    here = ft.open_people(dataset)
    with ft.ServiceClient(str(served.base_url)) as service:
        people = service.people
        people.name(2, "Bob Ray")
        merge = people.merge(["bob ray", 3], idempotency_key="one")
        assert people.merge([2, 3], idempotency_key="one").decision_id == merge.decision_id
        assert people.person("Bob Ray")["num_faces"] == len(here.faces("Bob Ray"))
        new = people.split("Bob Ray", face_id(4, 1)).people[1]["person_id"]
        people.move([face_id(5, 1)], new)
        people.confirm(new)
        people.reject(ANN[0], "Ann Lee")
        people.separate("Ann Lee", new)
        people.hide(new)
        people.ignore([4])
        assert people.list().to_arrow()["person_id"].to_pylist() == [
            row["person_id"] for row in here.list().to_list()
        ]
        assert len(people.list(hidden=True, k=3)) == 3
        shown = people.faces("Ann Lee", order="taken").to_arrow()["face_id"].to_pylist()
        assert set(shown) == set(here.faces("Ann Lee").to_arrow()["face_id"].to_pylist())
        photos = people.photos(["Ann Lee", "Bob Ray"]).to_list()
        assert photos == here.photos(["Ann Lee", "Bob Ray"]).to_list()
        beside = people.companions("Ann Lee").to_list()
        assert beside == here.companions("Ann Lee").to_list()
        people.undo(merge.decision_id)
        assert people.person(3)["person_id"] == 3
        assert people.decisions(k=2).to_arrow()["verb"].to_pylist() == ["undo", "ignore"]
        assert people.questions(k=1) == []
        with pytest.raises(ft.WrongUsageError, match="there is no person 99"):
            people.name(99, "X")
        with pytest.raises(ft.WrongUsageError, match="nobody is called 'Zoe'"):
            people.hide("Zoe")
        with pytest.raises(ft.WrongUsageError, match="cannot be merged"):
            people.merge(["Ann Lee", new])
        job = service.wait(people.group(only_new=True))
        assert job.result is not None and job.result["num_new"] >= 0


def test_a_photo_of_nobody_is_compared_with_no_person(served: httpx.Client) -> None:
    one = [("photo", b"x")]
    assert error_of(served.post("/v1/compare", files=one)) == (422, "not_two_photos")
    asked = {"person_id": "1"}
    two = served.post("/v1/compare", files=one * 2, data=asked)
    assert error_of(two) == (422, "not_two_photos")
    for wrong in ("0", "x", "1.5", ""):
        answer = served.post("/v1/compare", files=one, data={"person_id": wrong})
        assert answer.status_code in (400, 422), wrong


def test_more_faces_of_a_person_ask_for_more_similarity(dataset: Path) -> None:
    manifest = read_current(dataset.with_name("d.index"))
    vectors = np.eye(5, 128, dtype=np.float32)
    face = Face(
        Detection(np.zeros(4, np.float32), np.zeros((5, 2), np.float32), 0.9),
        vectors[3],
        1.0,
        FaceQuality(*[0.5] * 6),
    )
    probe = (ProbePhoto(9, 9, [face]), 1, face)
    found, best = person_comparison_json(probe, vectors, manifest, 0.001)
    alone, _ = person_comparison_json(probe, vectors[:1], manifest, 0.001)
    assert best == 3 and found["admit"] and not alone["admit"]
    assert (found["similarity"], found["num_compared"]) == (1.0, 5)
    assert alone["threshold"] == verification_threshold("sface", 0.001)
    stricter = verification_threshold("sface", 1 - (1 - 0.001) ** (1 / 5))
    assert found["threshold"] == pytest.approx(stricter)
    assert found["threshold"] > alone["threshold"] and "5 faces" in found["reason"]
