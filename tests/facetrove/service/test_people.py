"""Who is who, over HTTP: as `ft.open_people` says it, and as somebody decides it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import facetrove as ft
from facetrove.service.options import ServiceLimits
from tests.support.people import face_id
from tests.support.served_people import ANN, got, grouped_album, posted
from tests.support.service import begun_job, error_of, finished_job, serving

pytestmark = [pytest.mark.usefixtures("own_folders"), pytest.mark.slow]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return grouped_album(tmp_path)


@pytest.fixture
def served(dataset: Path) -> Iterator[httpx.Client]:
    with serving(dataset.with_name("d.index")) as client:
        yield client


def all_of(ask: Callable[..., dict[str, Any]], *place: Any, key: str, **asked: Any) -> list[Any]:
    """Return what stands on all pages of two."""
    rows: list[Any] = []
    after: dict[str, Any] = {}
    while True:
        page = ask(*place, limit=2, **asked, **after)
        rows += page[key]
        if page["next"] is None:
            return rows
        assert len(page[key]) == 2
        after = {"after": page["next"]}


def require_as_in_python(client: httpx.Client, dataset: Path) -> None:
    """Check that the service says the same of people as the package does."""
    people = ft.open_people(dataset)
    ours = all_of(posted, client, "people/list", key="people", hidden=True, ignored=True)
    expected = people.list(hidden=True, ignored=True).to_list()
    for row in expected:
        row["is_hidden"], row["is_ignored"] = row.pop("hidden"), row.pop("ignored")
        row |= {name: row[name].isoformat() for name in ("first", "last")}
    names = [*expected[0]]
    assert [{name: one[name] for name in names} for one in ours] == expected
    for one in ours:
        number = one["person_id"]
        assert got(client, f"people/{number}") == one
        faces = all_of(got, client, f"people/{number}/faces", key="faces")
        table = {row["face_id"]: row for row in people.faces(number).to_list()}
        assert {face["face_id"] for face in faces} == table.keys()
        for face in faces:
            row = table[face["face_id"]]
            assert (face["uri"], face["person_id"], face["person"]) == (
                *(row["uri"], number, row["person"]),
            )
            assert (face["said_by"] == "human") == (row["said_by"] != "machine")
            assert face["doubt"] == (None if face["said_by"] == "human" else row["doubt"])
        beside = got(client, f"people/{number}/companions")["companions"]
        assert beside == people.companions(number).to_list()
        photos = all_of(posted, client, "people/photos", key="photos", **{"with": [number]})
        assert photos == people.photos(number).to_list()


def test_the_service_says_what_python_says(served: httpx.Client, dataset: Path) -> None:
    require_as_in_python(served, dataset)
    people = posted(served, "people/list", limit=1)
    assert people["num_people"] == 6 and people["people"][0]["person"] == "Ann Lee"
    photos = posted(served, "people/photos", **{"with": [1, 2], "without": [3]})
    assert [photo["uri"] for photo in photos["photos"]] == ["/p/4.jpg", "/p/5.jpg", "/p/6.jpg"]
    assert [
        photo["uri"] for photo in posted(served, "people/photos", without=[1, 2])["photos"]
    ] == [
        *("/p/10.jpg", "/p/11.jpg", "/p/12.jpg", "/p/9.jpg"),
    ]


def test_every_verb_does_what_it_does_in_python(served: httpx.Client, dataset: Path) -> None:
    split, named = ANN[4:6], {"person_id": 2, "name": "Bob  Ray"}
    steps: list[tuple[str, dict[str, Any], list[int]]] = [
        ("name", named, [2]),
        ("merge", {"people": [2, 3]}, [2]),
        ("split", {"person_id": 1, "faces": split}, [1, 7]),
        ("move", {"person_id": 5, "faces": [face_id(12, 1)]}, [5]),
        ("confirm", {"person_id": 5}, [5]),
        ("confirm", {"person_id": 1, "faces": ANN[:1]}, [1]),
        ("reject", {"person_id": 7, "faces": split[:1]}, [7]),
        ("separate", {"one": 1, "other": 5}, [1, 5]),
        ("hide", {"people": [4]}, [4]),
        ("ignore", {"people": [6, 5]}, [6, 5]),
        ("ignore", {"people": [5], "on": False}, [5]),
    ]
    decided = []
    states = []
    for verb, body, people in steps:
        answer = posted(served, f"people/{verb}", **body)
        assert [one["person_id"] for one in answer["people"]][: len(people)] == people, verb
        decided.append(answer["decision_id"])
        states.append(posted(served, "people/list")["state"])
    require_as_in_python(served, dataset)
    assert len(set(states)) == len(steps)
    (bob,) = posted(served, "people/list", name="ray")["people"]
    assert (bob["person_id"], bob["person"], bob["num_faces"]) == (2, "Bob Ray", 7)
    assert [one["person_id"] for one in posted(served, "people/list")["people"]] == [2, 1, 5, 7]
    assert got(served, "people/3")["person_id"] == 2
    history = all_of(got, served, "people/decisions", key="decisions")
    assert [one["decision_id"] for one in history] == decided[::-1]
    assert [one["verb"] for one in history[-3:]] == ["split", "merge", "name"]
    refused = served.post("/v1/undo", json={"id": decided[2]})  # a rejection rests on it
    assert error_of(refused) == (422, "contradiction")
    assert [one["can_be_undone"] for one in history[::-1]][:4] == [True, True, False, True]
    for decision in decided[::-1]:
        answer = posted(served, "undo", id=decision)
        assert answer["verb"] == "undo"
    require_as_in_python(served, dataset)
    history = all_of(got, served, "people/decisions", key="decisions")
    assert len(history) == 2 * len(steps)
    assert [one["is_undone"] for one in history] == [False] * len(steps) + [True] * len(steps)


def test_what_cannot_be_decided_is_refused_with_a_code(served: httpx.Client) -> None:
    def refusal(path: str, **body: Any) -> tuple[int, str]:
        return error_of(served.post(f"/v1/{path}", json=body))

    assert refusal("people/name", person_id=99, name="X") == (404, "no_such_person")
    assert refusal("people/move", person_id=1, faces=["ab"]) == (404, "no_such_face")
    assert refusal("people/name", person_id=1, name="a\x07") == (422, "wrong_usage")
    assert refusal("people/name", person_id=0, name="X") == (422, "invalid_request")
    assert refusal("people/merge", people=[1]) == (422, "invalid_request")
    assert refusal("people/split", person_id=2, faces=ANN[:1]) == (422, "wrong_usage")
    posted(served, "people/separate", one=1, other=2)
    assert refusal("people/merge", people=[1, 2]) == (422, "contradiction")
    assert refusal("undo", id="0" * 12) == (422, "wrong_usage")
    assert refusal("people/list", after="AAAA") == (422, "bad_cursor")
    assert refusal("people/list", limit=10**6) == (413, "over_max_k")
    assert error_of(served.get("/v1/people/99")) == (404, "no_such_person")
    assert error_of(served.get("/v1/people/99/faces")) == (404, "no_such_person")
    assert error_of(served.get("/v1/people/x")) == (422, "invalid_request")


def test_deleted_faces_and_photos_do_not_show(served: httpx.Client, dataset: Path) -> None:
    assert got(served, "people/1")["num_faces"] == 7
    begun = served.post("/v1/delete", json={"photos": ["/p/0.jpg"], "faces": [ANN[4]]})
    assert finished_job(served, begun_job(begun))["state"] == "done"
    assert got(served, "people/1")["num_faces"] == 5
    require_as_in_python(served, dataset)
    shown = str(got(served, "people/1/faces")) + str(got(served, "people/1"))
    assert ANN[0] not in shown and "/p/0.jpg" not in shown
    moved = served.post("/v1/people/move", json={"faces": [ANN[0]], "person_id": 2})
    assert error_of(moved) == (404, "no_such_face")


def test_a_server_that_changes_nothing_refuses_decisions(dataset: Path) -> None:
    with serving(dataset.with_name("d.index"), read_only=True) as client:
        require_as_in_python(client, dataset)
        answer = client.post("/v1/people/name", json={"person_id": 1, "name": "X"})
        assert error_of(answer) == (409, "no_jobs")
        assert error_of(client.post("/v1/undo", json={"id": "0" * 12})) == (409, "no_jobs")
    assert len(ft.open_people(dataset).decisions()) == 0


def test_without_the_dataset_nobody_is_known(dataset: Path, tmp_path: Path) -> None:
    dataset.rename(tmp_path / "moved")
    with serving(dataset.with_name("d.index"), read_only=True) as client:
        assert error_of(client.post("/v1/people/list", json={})) == (409, "no_dataset")
    with serving(dataset.with_name("d.index"), dataset=tmp_path / "moved") as client:
        assert posted(client, "people/list")["num_people"] == 6


def test_limits_hold(dataset: Path) -> None:
    limits = ServiceLimits(max_k=3)
    with serving(dataset.with_name("d.index"), limits=limits) as client:
        for path in ("people/1/faces", "people/1/companions", "people/decisions"):
            assert error_of(client.get(f"/v1/{path}", params={"limit": 4})) == (413, "over_max_k")
        assert len(posted(client, "people/list", limit=3)["people"]) == 3
