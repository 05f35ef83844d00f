"""Watches: new faces are compared with saved probes, once, whatever happens to server and index."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from facetrove.service.keys import add_key
from facetrove.service.options import ServiceLimits
from facetrove.service.watch_records import NewWatch
from facetrove.service.watch_store import WatchStore
from facetrove.service.watching import contract_text, look_at
from indexer.build import build_index
from indexer.compact import compact_index
from indexer.delete import delete_faces
from indexer.manifest import read_current
from indexer.purge import purge
from search.searcher import FaceSearcher
from tests.support.people import group
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
from tests.support.small_collections import (
    DIMENSION,
    Collection,
    Photo,
    face_id_of,
    files_with,
    many_photos,
)
from tests.support.vectors import unit_vectors
from tests.support.watched import (
    FPIR,
    Twin,
    add_watch,
    arrive,
    calibrate,
    faces_of,
    matches_of,
    wait_for_version,
    watch_of,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def own(tmp_path: Path) -> tuple[Collection, Path]:
    """A dataset and a calibrated index that the test may change."""
    collection, index = small_index(tmp_path, 40)
    calibrate(index)
    return collection, index


@pytest.fixture
def watching(own: tuple[Collection, Path]) -> Iterator[httpx.Client]:
    with serving(own[1], refresh_seconds=0.02) as client:
        yield client


def test_only_faces_that_came_after_a_watch_are_reported(
    watching: httpx.Client, own: tuple[Collection, Path]
) -> None:
    watch_id = watch_of(watching, 5)  # whose face is in the index already
    arrive(*own, twin=Twin(100, like=5, person="Ann"), stranger=Photo(101))
    (match,) = eventually(lambda: matches_of(watching, watch_id))
    assert match["face_id"] == face_id_of(100, 0) and match["uri"] == "/new/twin.jpg"
    assert match["person"] == "Ann" and match["similarity"] == pytest.approx(1, abs=1e-5)
    assert 0 < match["fpir"] < FPIR and match["strangers"]
    assert match["match_id"] == 1 and match["found_in"] == read_current(own[1]).version
    later = watch_of(watching, 5)
    arrive(*own, third=Twin(102, like=5))
    assert [m["match_id"] for m in eventually(lambda: matches_of(watching, watch_id, 1))] == [2]
    assert eventually(lambda: faces_of(watching, later)) == [face_id_of(102, 0)]
    described = watching.get(f"/v1/watches/{watch_id}").json()
    assert (described["num_matches"], described["last_match_id"]) == (2, 2)
    assert described["made_from"] == "embeddings" and described["problem"] is None
    page = watching.get(f"/v1/watches/{watch_id}/matches", params={"limit": 1}).json()
    assert page["next"] == 1 and len(page["matches"]) == 1
    last = watching.get(f"/v1/watches/{watch_id}/matches", params={"after": 2}).json()
    assert last == {"matches": [], "next": 2}


def test_a_watch_finds_what_a_search_at_the_same_fpir_finds(
    watching: httpx.Client, own: tuple[Collection, Path]
) -> None:
    faces = np.array([unit_vectors(1, DIMENSION, seed=200 + n)[0] for n in range(30)])
    probes = faces + 0.03 * unit_vectors(30, DIMENSION, seed=77) * np.arange(30)[:, None]
    probes = (probes / np.linalg.norm(probes, axis=1, keepdims=True)).astype(np.float32)
    watches = [add_watch(watching, embeddings=[p.tolist()], fpir=0.3) for p in probes]
    own[0].embed(many_photos(30, first=200))
    build_index(own[0].path, own[1])
    wait_for_version(watching, own[1])
    new = {face_id_of(200 + number, face) for number in range(30) for face in range(3)}
    body = {"embeddings": probes.tolist()}
    found = watching.post("/v1/search", params={"fpir": 0.3}, json=body).json()["probes"]
    expected = [{m["face_id"] for m in probe["matches"]} & new for probe in found]
    assert [set(faces_of(watching, watch_id)) for watch_id in watches] == expected
    assert any(expected) and not all(expected)


def test_watches_are_made_from_faces_and_people_and_have_filters(
    watching: httpx.Client, own: tuple[Collection, Path]
) -> None:
    group(own[0].path, {face_id_of(7, 0): 3, face_id_of(8, 0): 4})
    of_face = add_watch(watching, face_id=face_id_of(6, 0))
    of_person = add_watch(watching, person_id=3)
    filtered = add_watch(watching, face_id=face_id_of(6, 0), where="year > 2000")
    arrive(
        *own,
        one=Twin(100, like=6, year=1999),
        two=Twin(101, like=7),
        three=Twin(102, like=6, year=2001),
    )
    wait_for_version(watching, own[1])
    assert set(faces_of(watching, of_face)) == {face_id_of(100, 0), face_id_of(102, 0)}
    assert faces_of(watching, of_person) == [face_id_of(101, 0)]
    assert faces_of(watching, filtered) == [face_id_of(102, 0)]
    described = watching.get(f"/v1/watches/{of_person}").json()
    assert (described["made_from"], described["person_id"]) == ("person", 3)
    body = {"person_id": 99}
    answer = watching.post("/v1/watches", params={"fpir": FPIR}, json=body)
    assert error_of(answer) == (404, "no_such_person")


def test_a_match_is_reported_once_through_merges_rebuilds_and_restarts(
    own: tuple[Collection, Path],
) -> None:
    collection, index = own
    with serving(index, refresh_seconds=0.02) as client:
        watch_id = watch_of(client, 5)
        arrive(*own, one=Twin(100, like=5))
        wait_for_version(client, index)
        build_index(collection.path, index, rebuild=True)
        wait_for_version(client, index)
        compact_index(index)
        wait_for_version(client, index)
    for number in range(101, 104):  # while no server runs
        arrive(*own, **{f"n{number}": Twin(number, like=5)})
    build_index(collection.path, index, rebuild=True)
    with serving(index, refresh_seconds=0.02) as client:
        expected = [face_id_of(number, 0) for number in range(100, 104)]
        eventually(lambda: len(faces_of(client, watch_id)) == 4)
        wait_for_version(client, index)
        assert sorted(faces_of(client, watch_id)) == sorted(expected)


@pytest.mark.lasting
def test_no_match_is_lost_or_doubled_by_kill_9(own: tuple[Collection, Path]) -> None:
    """The server is killed at eight moments around the time at which it compares new faces."""
    server = ServiceProcess(own[1])
    watches = [watch_of(server.client, like) for like in (5, 6)]
    for number in range(8):
        arrive(*own, **{f"n{number}": Twin(100 + number, like=5 + number % 2)})
        time.sleep(0.15 * number)
        server.kill()
        server = ServiceProcess(own[1])
    wait_for_version(server.client, own[1])
    for number, watch_id in enumerate(watches):
        found = matches_of(server.client, watch_id)
        expected = [face_id_of(100 + n, 0) for n in range(number, 8, 2)]
        assert sorted(match["face_id"] for match in found) == sorted(expected)
        assert [match["match_id"] for match in found] == [1, 2, 3, 4]
    server.end()


@pytest.mark.lasting
def test_deleted_faces_are_out_of_sight_until_the_deletion_is_taken_back(
    watching: httpx.Client, own: tuple[Collection, Path]
) -> None:
    watch_id, of_face = watch_of(watching, 5), add_watch(watching, face_id=face_id_of(6, 0))
    arrive(*own, one=Twin(100, like=5))
    eventually(lambda: faces_of(watching, watch_id))
    body = {"faces": [face_id_of(100, 0), face_id_of(6, 0)]}
    deleted = finished_job(watching, begun_job(watching.post("/v1/delete", json=body)))
    assert faces_of(watching, watch_id) == []
    arrive(*own, two=Twin(101, like=6))
    wait_for_version(watching, own[1])
    assert watching.get(f"/v1/watches/{of_face}").json()["problem"]["code"] == "no_face"
    body = {"deletion_id": deleted["result"]["deletion_id"]}
    finished_job(watching, begun_job(watching.post("/v1/undo", json=body)))
    wait_for_version(watching, own[1])
    assert faces_of(watching, watch_id) == [face_id_of(100, 0)]
    assert faces_of(watching, of_face) == [face_id_of(101, 0)]
    assert watching.get(f"/v1/watches/{of_face}").json()["problem"] is None


@pytest.mark.lasting
def test_a_purge_leaves_no_byte_of_a_face_in_the_watches(own: tuple[Collection, Path]) -> None:
    collection, index = own
    state = index.with_name("faces.index.service")
    group(collection.path, {face_id_of(7, 0): 3, face_id_of(8, 0): 3})
    probe, matched = face_id_of(6, 0), face_id_of(100, 0)
    with serving(index, refresh_seconds=0.02) as client:
        stays = watch_of(client, 5)
        removed = [
            add_watch(client, face_id=probe),
            watch_of(client, 5, where="person = 'Ann Lee'"),
            watch_of(client, 5, where=f"face_id <> '{probe}'"),
            watch_of(client, 5, where="uri = '/photos/000009.jpg'"),
        ]
        person = add_watch(client, person_id=3)
        near = watch_of(client, 5, where="uri LIKE '/new/%' OR uri = '/photos/000010.jpg'")
        arrive(*own, one=Twin(100, like=5), two=Twin(101, like=5))
        wait_for_version(client, index)
        assert len(faces_of(client, stays)) == 2
        assert files_with(state, [matched.encode(), probe.encode()])
        faces = [probe, matched, face_id_of(7, 0), *(face_id_of(9, n) for n in range(3))]
        finished_job(client, begun_job(client.post("/v1/delete", json={"faces": faces})))
        job = client.post("/v1/purge", json={"names": ["Ann Lee"]})
        report = finished_job(client, begun_job(job))["result"]["service"]
        assert report["watches_removed"] == len(removed)
        assert report["watch_matches_removed"] >= 2
        left = {w["watch_id"] for w in client.get("/v1/watches").json()["watches"]}
        assert left == {stays, person, near}
        for watch_id in (stays, near):
            assert faces_of(client, watch_id) == [face_id_of(101, 0)]
        assert client.get(f"/v1/watches/{stays}").json()["num_matches"] == 1
        assert client.get(f"/v1/watches/{person}").json()["num_probe_faces"] == 1
        traces = [face.encode() for face in faces] + [b"Ann Lee", b"000009.jpg"]
        assert files_with(state, traces) == {}
        arrive(*own, three=Twin(102, like=5))
        eventually(lambda: faces_of(client, stays) == [face_id_of(101, 0), face_id_of(102, 0)])


def test_a_purge_by_another_process_reaches_the_watches_too(
    watching: httpx.Client, own: tuple[Collection, Path]
) -> None:
    state = own[1].with_name("faces.index.service")
    watch_id, of_face = watch_of(watching, 5), add_watch(watching, face_id=face_id_of(6, 0))
    arrive(*own, one=Twin(100, like=5))
    eventually(lambda: faces_of(watching, watch_id))
    faces = [face_id_of(100, 0), face_id_of(6, 0)]
    delete_faces(own[0].path, own[1], faces=faces)
    purge(own[0].path, own[1])
    wait_for_version(watching, own[1])
    assert error_of(watching.get(f"/v1/watches/{of_face}")) == (404, "no_such_watch")
    assert files_with(state, [face.encode() for face in faces]) == {}
    assert watching.get(f"/v1/watches/{watch_id}").json()["num_matches"] == 0


def test_a_deleted_watch_leaves_no_byte_of_its_embedding(
    watching: httpx.Client, own: tuple[Collection, Path]
) -> None:
    state = own[1].with_name("faces.index.service")
    trace = unit_vectors(1, DIMENSION, seed=5).astype("<f4").tobytes()
    first, other = watch_of(watching, 5), watch_of(watching, 6)
    assert files_with(state, [trace])
    assert watching.delete(f"/v1/watches/{first}").status_code == 204
    assert files_with(state, [trace]) == {}
    assert error_of(watching.get(f"/v1/watches/{first}")) == (404, "no_such_watch")
    assert error_of(watching.delete(f"/v1/watches/{first}")) == (404, "no_such_watch")
    assert [w["watch_id"] for w in watching.get("/v1/watches").json()["watches"]] == [other]
    watching.delete(f"/v1/watches/{other}")
    arrive(*own, one=Twin(100, like=5))
    wait_for_version(watching, own[1])
    again = watch_of(watching, 5)  # after a time without any watch
    arrive(*own, two=Twin(101, like=5))
    assert eventually(lambda: faces_of(watching, again)) == [face_id_of(101, 0)]


def test_watches_wait_where_the_index_has_outgrown_its_calibration(
    watching: httpx.Client, own: tuple[Collection, Path]
) -> None:
    watch_id = watch_of(watching, 5)
    arrive(*own, one=Twin(500, like=5), **{f"m{n}": Photo(600 + n, 3) for n in range(50)})
    wait_for_version_of_problem(watching, watch_id, "no_threshold")
    assert faces_of(watching, watch_id) == []
    body = {"embeddings": unit_vectors(1, DIMENSION, seed=5).tolist()}
    answer = watching.post("/v1/watches", params={"fpir": FPIR}, json=body)
    assert error_of(answer) == (422, "wrong_usage")
    assert "calibrate" in answer.json()["error"]["message"]
    calibrate(own[1])
    assert eventually(lambda: faces_of(watching, watch_id)) == [face_id_of(500, 0)]
    assert watching.get(f"/v1/watches/{watch_id}").json()["problem"] is None


def wait_for_version_of_problem(client: httpx.Client, watch_id: str, code: str) -> None:
    def has_problem() -> bool:
        problem = client.get(f"/v1/watches/{watch_id}").json()["problem"]
        return problem is not None and problem["code"] == code

    eventually(has_problem)


def test_a_watch_of_other_models_must_be_made_anew(
    own: tuple[Collection, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    collection, index = own
    with serving(index, refresh_seconds=0.02) as client:
        watch_id = watch_of(client, 5)
    for path in (collection.path, index):
        path.rename(path.with_name(f"old.{path.name}"))
    changed = "cc" * 32
    contract = Collection.embed.__globals__["CONTRACT"]
    newer = type(contract)(**{**contract.to_json(), "embedder_digest": changed})
    monkeypatch.setitem(Collection.embed.__globals__, "CONTRACT", newer)
    small_index(index.parent, 40)
    calibrate(index)
    with serving(index, refresh_seconds=0.02) as client:
        wait_for_version_of_problem(client, watch_id, "must_be_made_anew")
        arrive(Collection(collection.path, many_photos(40)), index, one=Twin(100, like=5))
        again = watch_of(client, 5)
        arrive(Collection(collection.path, many_photos(40)), index, two=Twin(101, like=5))
        eventually(lambda: faces_of(client, again))
        assert faces_of(client, watch_id) == []


def test_a_key_sees_its_own_watches_alone(own: tuple[Collection, Path], tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    keys = [("ann", "search"), ("ben", "search"), ("chief", "admin"), ("guest", "curate")]
    ann, ben, chief, guest = (bearer(add_key(file, name, [scope])) for name, scope in keys)  # type: ignore[list-item]
    with serving(own[1], keys=file) as client:
        body = {"face_id": face_id_of(5, 0)}

        def add(headers: dict[str, str]) -> httpx.Response:
            return client.post("/v1/watches", params={"fpir": FPIR}, json=body, headers=headers)

        watch_id = add(ann).json()["watch_id"]
        path = f"/v1/watches/{watch_id}"
        for place in (path, f"{path}/matches", f"{path}/events"):
            assert error_of(client.get(place, headers=ben)) == (404, "no_such_watch")
        assert error_of(client.delete(path, headers=ben)) == (404, "no_such_watch")
        assert error_of(add(guest)) == (403, "wrong_scope")
        lists = [client.get("/v1/watches", headers=h).json()["watches"] for h in (ann, ben, chief)]
        assert [len(found) for found in lists] == [1, 0, 1]
        assert client.get(path, headers=chief).status_code == 200
        assert client.delete(path, headers=chief).status_code == 204
        audit = (own[1].with_name("faces.index.service") / "audit.jsonl").read_text()
        entries = [json.loads(line) for line in audit.splitlines()]
        assert {"add_watch", "delete_watch"} <= {entry["operation"] for entry in entries}
        assert entries[0]["counts"] == {"watches": 1} and face_id_of(5, 0) not in audit


def test_an_idempotency_key_makes_one_watch_of_one_request(watching: httpx.Client) -> None:
    name = {"Idempotency-Key": "only-once"}

    def add(fpir: float, face: str) -> httpx.Response:
        body = {"face_id": face}
        return watching.post("/v1/watches", params={"fpir": fpir}, json=body, headers=name)

    ids = {add(FPIR, face_id_of(5, 0)).json()["watch_id"] for _ in range(3)}
    assert len(ids) == 1
    for other in (add(0.02, face_id_of(5, 0)), add(FPIR, face_id_of(6, 0))):
        assert error_of(other) == (409, "idempotency_key_reused")
    watching.delete(f"/v1/watches/{ids.pop()}")
    assert add(0.02, face_id_of(5, 0)).status_code == 201


def wait_for_matches(client: httpx.Client, watch_id: str, count: int) -> None:
    path = f"/v1/watches/{watch_id}"
    eventually(lambda: client.get(path).json()["last_match_id"] == count)


def test_watches_and_their_matches_are_limited(own: tuple[Collection, Path]) -> None:
    limits = ServiceLimits(max_watches=2, max_watch_matches=3)
    with serving(own[1], limits=limits, refresh_seconds=0.02) as client:
        watches = [watch_of(client, 5), watch_of(client, 6)]
        body = {"face_id": face_id_of(5, 0)}
        answer = client.post("/v1/watches", params={"fpir": FPIR}, json=body)
        assert error_of(answer) == (413, "over_max_watches")
        for number in range(5):
            arrive(*own, **{f"n{number}": Twin(100 + number, like=5)})
            wait_for_matches(client, watches[0], number + 1)
        described = client.get(f"/v1/watches/{watches[0]}").json()
        assert (described["num_matches"], described["num_dropped"]) == (3, 2)
        assert [m["match_id"] for m in matches_of(client, watches[0])] == [3, 4, 5]


BAD: list[tuple[dict[str, Any], dict[str, Any], tuple[int, str]]] = [
    ({}, {"face_id": face_id_of(5, 0)}, (422, "invalid_request")),
    ({"fpir": 0}, {"face_id": face_id_of(5, 0)}, (422, "invalid_request")),
    ({"fpir": "nan"}, {"face_id": face_id_of(5, 0)}, (422, "invalid_request")),
    ({"fpir": 1e-9}, {"face_id": face_id_of(5, 0)}, (422, "wrong_usage")),
    ({"fpir": FPIR}, {}, (422, "no_probe")),
    ({"fpir": FPIR}, {"face_id": "ab", "person_id": 1}, (422, "no_probe")),
    ({"fpir": FPIR}, {"face_id": "ab"}, (404, "no_such_face")),
    ({"fpir": FPIR}, {"face_id": "'; DROP TABLE"}, (422, "invalid_request")),
    ({"fpir": FPIR}, {"person_id": 1}, (404, "no_such_person")),
    ({"fpir": FPIR}, {"person_id": 2**63}, (422, "invalid_request")),
    ({"fpir": FPIR}, {"embeddings": []}, (422, "wrong_embeddings")),
    ({"fpir": FPIR}, {"embeddings": [[1.0, 2.0]]}, (422, "wrong_embeddings")),
    ({"fpir": FPIR}, {"embeddings": [[2.0] + [0.0] * 7]}, (422, "not_unit_length")),
    ({"fpir": FPIR}, {"embeddings": [[1.0] + [0.0] * 7] * 1001}, (413, "over_max_embeddings")),
    (
        {"fpir": FPIR},
        {"embeddings": [[1.0] + [0.0] * 7, [-1.0] + [0.0] * 7]},
        (422, "wrong_usage"),
    ),
    ({"fpir": FPIR}, {"face_id": face_id_of(5, 0), "where": "no = 1"}, (422, "wrong_usage")),
    (
        {"fpir": FPIR},
        {"face_id": face_id_of(5, 0), "where": "1=1; DROP TABLE watches"},
        (422, "wrong_usage"),
    ),
    ({"fpir": FPIR}, {"face_id": face_id_of(5, 0), "hook": "http://x"}, (422, "invalid_request")),
    ({"fpir": FPIR, "face": 1}, {"face_id": face_id_of(5, 0)}, (422, "only_photos")),
]


def test_wrong_requests_for_watches_are_refused(watching: httpx.Client) -> None:
    for params, body, expected in BAD:
        answer = watching.post("/v1/watches", params=params, json=body)
        assert error_of(answer) == expected, (params, body, answer.text)
    watch_id = watch_of(watching, 5)
    for query in ("after=-1", "after=x", "limit=0", "limit=100000", f"after={2**70}"):
        answer = watching.get(f"/v1/watches/{watch_id}/matches?{query}")
        assert error_of(answer) == (422, "invalid_request"), query
    answer = watching.get(f"/v1/watches/{watch_id}/matches?after={2**62}")
    assert answer.json() == {"matches": [], "next": 2**62}
    for bad in ("../x", "0" * 31, "0" * 32):
        assert watching.get(f"/v1/watches/{bad}").status_code in (404, 422)
    answer = watching.get(f"/v1/watches/{watch_id}/events", headers={"Last-Event-ID": "x"})
    assert error_of(answer) == (422, "invalid_request")


def test_a_service_that_keeps_nothing_has_no_watches(own: tuple[Collection, Path]) -> None:
    with serving(own[1], read_only=True) as client:
        body = {"face_id": face_id_of(5, 0)}
        answer = client.post("/v1/watches", params={"fpir": FPIR}, json=body)
        assert error_of(answer) == (409, "no_jobs")
        assert error_of(client.get("/v1/watches")) == (409, "no_jobs")


def test_the_events_of_a_watch_are_its_matches_until_it_is_deleted(
    watching: httpx.Client, own: tuple[Collection, Path]
) -> None:
    watch_id = watch_of(watching, 5)
    arrive(*own, one=Twin(100, like=5))
    eventually(lambda: faces_of(watching, watch_id))
    path, events = f"/v1/watches/{watch_id}/events", []
    with watching.stream("GET", path) as stream:
        for line in stream.iter_lines():
            events.append(line)
            if line == "id: 1":
                arrive(*own, two=Twin(101, like=5))
            if line.startswith("data: {") and '"match_id": 2' in line:
                watching.delete(f"/v1/watches/{watch_id}")
    names = [line for line in events if line.startswith(("event", "id"))]
    assert names == ["id: 1", "event: match", "id: 2", "event: match", "event: end"]
    data = [json.loads(line[6:]) for line in events if line.startswith("data")]
    assert [match["face_id"] for match in data[:2]] == [face_id_of(100, 0), face_id_of(101, 0)]


def test_a_stream_goes_on_after_the_last_event(
    watching: httpx.Client, own: tuple[Collection, Path]
) -> None:
    watch_id = watch_of(watching, 5)
    arrive(*own, one=Twin(100, like=5), two=Twin(101, like=5))
    eventually(lambda: len(faces_of(watching, watch_id)) == 2)
    last = {"Last-Event-ID": "1"}
    with watching.stream("GET", f"/v1/watches/{watch_id}/events", headers=last) as stream:
        assert next(stream.iter_lines()) == "id: 2"


@pytest.mark.lasting
def test_a_thousand_watches_and_ten_thousand_faces_take_seconds(
    own: tuple[Collection, Path], tmp_path: Path
) -> None:
    """Of processor time: tests share the machine with others."""
    collection, index = own
    searcher, store = FaceSearcher.open(index), WatchStore.open(tmp_path)
    store.record(look_at(searcher, store, max_matches=10), max_matches=10, tells=False)
    for number in range(1_000):
        (probe,) = unit_vectors(1, DIMENSION, seed=10_000 + number)
        where = f"year <> {100 + number % 20}"
        contract = contract_text(searcher.contract)
        store.add(NewWatch("", "embeddings", FPIR, where, contract, probe=probe))
    collection.embed(many_photos(3_334, first=10_000))
    build_index(collection.path, index)
    calibrate(index)
    begun = time.process_time()
    look = look_at(FaceSearcher.open(index), store, max_matches=100)
    found = store.record(look, max_matches=100, tells=True)
    assert time.process_time() - begun < 5
    assert len(found) == 1_000 and len(look.new) == 10_002
    assert {face_id_of(10_000 + n, 0) for n in range(1_000)} <= {
        face for matches in look.matches.values() for face, _ in matches
    }
    store.close()
