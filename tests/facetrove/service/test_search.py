"""Searches over HTTP give what the same searches in Python do."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

import facetrove as ft
from search.rendering import matches_to_json
from search.searcher import FaceSearcher
from tests.support.service import as_json, error_of, eventually, serving, small_index
from tests.support.small_collections import DIMENSION, Collection, face_id_of, many_photos
from tests.support.vectors import unit_vectors

ARROW = "application/vnd.apache.arrow.stream"


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ({"k": 3}, None),
        ({}, None),
        ({"k": 7}, "person = 'person 3' AND year < 20"),
        ({"min_similarity": 0.5}, None),
        ({"k": 4, "one_per": "photo"}, None),
        ({"k": 4, "one_per": "person", "min_similarity": 0.1}, "year > 5"),
    ],
)
def test_embeddings_find_what_they_find_in_python(
    client: httpx.Client, searcher: FaceSearcher, query: dict[str, Any], where: str | None
) -> None:
    probes = unit_vectors(3, DIMENSION, seed=5)
    body = {"embeddings": probes.tolist()} | ({} if where is None else {"where": where})
    answer = client.post("/v1/search", params=query, json=body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    expected = searcher.search_embeddings(probes, where=where, **query)
    assert [probe["matches"] for probe in found["probes"]] == as_json(
        [[match.to_json() for match in matches] for matches in expected]
    )
    assert found["version"] == 1 and found["num_faces"] == len(searcher)


def test_matches_of_many_lists_are_rendered_as_each_match_is(searcher: FaceSearcher) -> None:
    lists = searcher.search_embeddings(unit_vectors(40, DIMENSION, seed=6), k=5)
    assert matches_to_json([*lists]) == [[match.to_json() for match in one] for one in lists]
    assert matches_to_json([lists[0][2:]]) == [[match.to_json() for match in lists[0][2:]]]
    assert matches_to_json([]) == []


def test_a_face_finds_what_it_finds_in_python(client: httpx.Client, searcher: FaceSearcher) -> None:
    face_id = face_id_of(3, 1)
    expected = as_json([match.to_json() for match in searcher.search_face(face_id, 5)])
    by_get = client.get(f"/v1/faces/{face_id}/similar", params={"k": 5}).json()
    by_post = client.post("/v1/search", params={"k": 5}, json={"face_id": face_id}).json()
    assert by_get["probes"][0]["matches"] == by_post["probes"][0]["matches"] == expected


def arrow_stream(probes: np.ndarray, where: str | None = None, **options: Any) -> bytes:
    column = pa.FixedSizeListArray.from_arrays(pa.array(probes.reshape(-1)), probes.shape[1])
    table = pa.table({"embedding": column})
    if where is not None:
        table = table.replace_schema_metadata({"where": where})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, **options) as writer:
        writer.write_table(table)
    return sink.getvalue()


def test_an_arrow_stream_finds_what_its_embeddings_find_in_python(
    client: httpx.Client, searcher: FaceSearcher
) -> None:
    probes = unit_vectors(500, DIMENSION, seed=7)
    where = "person <> 'person 1'"
    answer = client.post(
        "/v1/search",
        params={"k": 4},
        content=arrow_stream(probes, where),
        headers={"Content-Type": ARROW},
    )
    assert answer.headers["content-type"] == ARROW, answer.text
    table = pa.ipc.open_stream(answer.content).read_all()
    assert table.equals(searcher.search_embeddings(probes, 4, where=where).to_arrow())


def test_many_clients_at_once_get_each_their_own_matches(
    client: httpx.Client, searcher: FaceSearcher
) -> None:
    probes = unit_vectors(200, DIMENSION, seed=8)
    expected = [
        [match.face_id for match in matches] for matches in searcher.search_embeddings(probes, 5)
    ]

    def ask(number: int) -> list[str]:
        body = {"embeddings": [probes[number].tolist()]}
        found = client.post("/v1/search", params={"k": 5}, json=body).json()
        return [match["face_id"] for match in found["probes"][0]["matches"]]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(len(probes)))) == expected


def test_faces_are_listed_by_a_filter(client: httpx.Client, searcher: FaceSearcher) -> None:
    body = {"where": "person = 'person 2'", "k": 4, "one_per": "photo"}
    found = client.post("/v1/faces/list", json=body).json()
    expected = searcher.list_faces("person = 'person 2'", k=4, one_per="photo")
    assert found["faces"] == as_json([face.to_json() for face in expected])


def test_a_face_and_a_photo_are_read(client: httpx.Client, searcher: FaceSearcher) -> None:
    face = client.get(f"/v1/faces/{face_id_of(4, 0)}").json()
    (expected,) = searcher.list_faces(f"face_id = '{face_id_of(4, 0)}'")
    assert face == as_json(expected.to_json())
    photo = client.get(f"/v1/photos/{face['photo_id']}").json()
    assert photo["uri"] == "/photos/000004.jpg" and len(photo["faces"]) == 3


def test_the_index_is_described(client: httpx.Client, searcher: FaceSearcher) -> None:
    found = client.get("/v1/index").json()
    assert (found["version"], found["num_faces"]) == (1, 120)
    assert found["columns"] == searcher.columns and found["dimension"] == DIMENSION


JSON_ERRORS: list[tuple[dict[str, Any], Any, tuple[int, str]]] = [
    ({}, {}, (422, "no_probe")),
    ({}, {"embeddings": [[1.0]], "face_id": "ab"}, (422, "no_probe")),
    ({}, {"embeddings": [[1.0]]}, (422, "wrong_embeddings")),
    ({}, {"embeddings": []}, (422, "wrong_embeddings")),
    ({}, {"embeddings": [[1.0], []]}, (422, "wrong_embeddings")),
    ({}, {"embeddings": [[1.0] * DIMENSION]}, (422, "not_unit_length")),
    ({}, {"embeddings": "x"}, (422, "invalid_request")),
    ({}, {"face_id": "no hex"}, (422, "invalid_request")),
    ({}, {"face_id": "ab", "unknown": 1}, (422, "invalid_request")),
    ({}, {"face_id": "ab"}, (404, "no_such_face")),
    ({"k": 0}, {"face_id": "ab"}, (422, "invalid_request")),
    ({"k": 1001}, {"face_id": face_id_of(1, 1)}, (413, "over_max_k")),
    ({"k": 500}, {"face_id": face_id_of(1, 1)}, (422, "wrong_usage")),
    ({"fpir": 2}, {"face_id": "ab"}, (422, "invalid_request")),
    ({"fpir": 0.01}, {"face_id": face_id_of(1, 1)}, (422, "wrong_usage")),
    ({"one_per": "album"}, {"face_id": "ab"}, (422, "invalid_request")),
    ({}, {"face_id": face_id_of(1, 1), "where": "no_column = 1"}, (422, "wrong_usage")),
    ({}, {"face_id": face_id_of(1, 1), "where": " "}, (422, "bad_filter")),
    ({"face": 1}, {"face_id": "ab"}, (422, "only_photos")),
]


@pytest.mark.parametrize(("query", "body", "expected"), JSON_ERRORS)
def test_a_wrong_search_is_refused_with_its_code(
    client: httpx.Client, query: dict[str, Any], body: Any, expected: tuple[int, str]
) -> None:
    assert error_of(client.post("/v1/search", params=query, json=body)) == expected


def test_an_error_names_no_folder_of_the_server(client: httpx.Client, folder: Path) -> None:
    answer = client.post("/v1/search", params={"k": 500}, json={"face_id": face_id_of(1, 1)})
    assert "the index holds 120 faces" in answer.json()["error"]["message"]
    assert str(folder) not in answer.text


@pytest.mark.parametrize(
    ("content", "kind", "expected"),
    [
        (b"{", "application/json", (400, "invalid_request")),
        (b"{}", "text/plain", (415, "wrong_content_type")),
        (b"", "", (415, "wrong_content_type")),
        (b"x", "multipart/form-data", (400, "bad_form")),
        (b"x", "multipart/form-data; boundary=a", (400, "bad_form")),
        (b"x", ARROW, (400, "bad_arrow")),
        (arrow_stream(unit_vectors(1, 3, seed=1)), ARROW, (422, "wrong_embeddings")),
        (arrow_stream(2 * unit_vectors(1, DIMENSION, seed=1)), ARROW, (422, "not_unit_length")),
        (arrow_stream(unit_vectors(2, DIMENSION, seed=1))[:-30], ARROW, (400, "bad_arrow")),
        (
            arrow_stream(
                unit_vectors(2, DIMENSION, seed=1),
                options=pa.ipc.IpcWriteOptions(compression="zstd"),
            ),
            ARROW,
            (400, "bad_arrow"),
        ),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(
    client: httpx.Client, content: bytes, kind: str, expected: tuple[int, str]
) -> None:
    answer = client.post("/v1/search", content=content, headers={"Content-Type": kind})
    assert error_of(answer) == expected


def test_a_new_version_of_the_index_is_searched_without_a_restart(tmp_path: Path) -> None:
    collection, index = small_index(tmp_path, 5)
    with serving(index, refresh_seconds=0.05) as client:
        assert client.get("/v1/index").json()["num_faces"] == 15
        collection.embed(many_photos(2, first=5))
        ft.build_index(collection.path, index)
        eventually(lambda: client.get("/v1/index").json()["num_faces"] == 21)
        assert client.get(f"/v1/faces/{face_id_of(6, 0)}").status_code == 200
        eventually(lambda: "facetrove_index_version 2.0" in client.get("/metrics").text)
        deleted = ft.delete_faces(collection.path, index, faces=face_id_of(6, 0))
        assert deleted.num_faces == 1
        answer = client.post("/v1/index/refresh").json()
        assert answer["num_faces"] == 20
        assert error_of(client.get(f"/v1/faces/{face_id_of(6, 0)}")) == (404, "no_such_face")


def test_health_measures_and_documentation_are_there(client: httpx.Client) -> None:
    assert client.get("/livez").json() == client.get("/readyz").json() == {"status": "ok"}
    client.get("/v1/index")
    text = client.get("/metrics").text
    assert 'facetrove_requests_total{operation="get_index",status="200"}' in text
    assert "facetrove_index_faces 120.0" in text
    page = client.get("/docs")
    assert "/v1/search" in page.text and "<script" not in page.text
    assert "http" not in page.text.replace("OpenAPI", "").split("<h1>")[0]
    assert client.get("/nowhere").status_code == 404
    assert error_of(client.get("/v1/search")) == (405, "wrong_method")


def test_small_collections_have_the_faces_that_tests_think(
    small: tuple[Collection, Path], searcher: FaceSearcher
) -> None:
    assert len(small[0].faces()) == len(searcher) == 120
