"""Photos that are sent in: searched, compared, detected and embedded by the real networks."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import PIL.Image
import pytest

import facetrove as ft
from indexer.build import build_index
from tests.support.embedding_here import embed_here
from tests.support.service import as_json, error_of, serving

pytestmark = pytest.mark.slow

FEW = ("biden.jpg", "obama3.jpg", "obama2.jpg")


@pytest.fixture(scope="module")
def photos(folder: Path, demo_photos: Path) -> Path:
    found = folder / "photos"
    found.mkdir()
    for name in FEW:
        shutil.copy(demo_photos / name, found)
    return found


@pytest.fixture(scope="module")
def index(folder: Path, photos: Path, pipeline: Any) -> Path:
    embed_here(photos, folder / "d", pipeline)
    build_index(folder / "d", folder / "i")
    return folder / "i"


@pytest.fixture(scope="module")
def server(index: Path) -> Iterator[httpx.Client]:
    with serving(index) as client:
        yield client


def files(*paths: Path) -> list[tuple[str, tuple[str, bytes, str]]]:
    return [("photo", (path.name, path.read_bytes(), "image/jpeg")) for path in paths]


def files_of(folder: Path) -> dict[Path, int]:
    """Return all files but the audit log, with the times of their last changes."""
    found = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    return {path: time for path, time in found.items() if path.name != "audit.jsonl"}


def test_a_photo_finds_what_it_finds_in_python(
    server: httpx.Client, index: Path, probe_photo: Path
) -> None:
    expected = ft.open_index(index).search(probe_photo, 2)
    answer = server.post("/v1/search", params={"k": 2}, files=files(probe_photo))
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert len(found["probes"]) == len(expected)
    for probe, same in zip(found["probes"], as_json([p.to_json() for p in expected]), strict=True):
        assert probe.pop("photo") == 1
        ids = [[match["face_id"] for match in one["matches"]] for one in (probe, same)]
        assert ids[0] == ids[1]
        values = [[match["similarity"] for match in one["matches"]] for one in (probe, same)]
        assert np.allclose(*values, atol=2e-3)
        assert probe["box"] == pytest.approx(same["box"], abs=0.5)
    assert found["fpir_basis"] == "model"


def test_a_filter_and_a_threshold_go_with_a_photo(server: httpx.Client, photos: Path) -> None:
    answer = server.post(
        "/v1/search",
        params={"fpir": 0.01, "face": 1},
        files=files(photos / "obama3.jpg"),
        data={"where": "uri LIKE '%obama2%'"},
    )
    found = answer.json()
    (probe,) = found["probes"]
    assert [Path(match["uri"]).name for match in probe["matches"]] == ["obama2.jpg"]
    assert found["threshold"] == pytest.approx(0.2, abs=0.15)
    assert all(match["similarity"] >= found["threshold"] for match in probe["matches"])


def test_several_photos_are_searched_one_by_one_or_together(
    server: httpx.Client, index: Path, photos: Path
) -> None:
    both = files(photos / "obama3.jpg", photos / "obama2.jpg")
    apart = server.post("/v1/search", params={"face": 1, "k": 1}, files=both).json()
    assert [probe["photo"] for probe in apart["probes"]] == [1, 2]
    joint = server.post("/v1/search", params={"together": True, "k": 3}, files=both).json()
    expected = ft.open_index(index).search_together([photos / "obama3.jpg", photos / "obama2.jpg"])
    (probe,) = joint["probes"]
    assert [m["face_id"] for m in probe["matches"]] == expected.matches.face_ids
    assert joint["min_similarity"] == pytest.approx(expected.min_similarity, abs=2e-3)
    assert len(joint["together"]) == 2


def test_faces_are_detected_and_embedded(server: httpx.Client, photos: Path) -> None:
    (expected, *_) = ft.find_faces(photos / "biden.jpg")
    detected = server.post("/v1/detect", files=files(photos / "biden.jpg")).json()
    face = detected["photos"][0]["faces"][0]
    assert list(face["box"].values()) == pytest.approx(expected.box.tolist(), abs=0.5)
    assert "embedding" not in face
    embedded = server.post("/v1/embed", files=files(photos / "biden.jpg")).json()
    face = embedded["photos"][0]["faces"][0]
    assert np.dot(face["embedding"], expected.embedding) > 0.999
    assert face["quality"]["sharpness"] == pytest.approx(expected.quality.sharpness, abs=0.02)


def test_two_photos_are_compared_and_strangers_are_not_admitted(
    server: httpx.Client, photos: Path
) -> None:
    same = server.post("/v1/compare", files=files(photos / "obama3.jpg", photos / "obama2.jpg"))
    expected = ft.compare(photos / "obama3.jpg", photos / "obama2.jpg")
    found = same.json()
    assert found["similarity"] == pytest.approx(expected.similarity, abs=2e-3)
    assert found["threshold"] == expected.threshold and found["far"] == expected.far
    assert found["decision"] is found["admit"] is True
    other = server.post(
        "/v1/compare",
        params={"far": 1e-6},
        files=files(photos / "obama3.jpg", photos / "biden.jpg"),
    ).json()
    assert other["decision"] is other["admit"] is False
    assert other["threshold"] > found["threshold"]
    unknown = server.post(
        "/v1/compare", params={"far": 1e-12}, files=files(*[photos / "obama3.jpg"] * 2)
    ).json()
    assert unknown["decision"] is None and unknown["admit"] is False


def test_a_thumbnail_is_cut_from_the_photo_as_it_was_indexed(
    server: httpx.Client, index: Path, photos: Path
) -> None:
    face = next(f for f in ft.open_index(index).list_faces("TRUE") if "biden" in f.uri)
    before = files_of(index.parent)
    answer = server.get(f"/v1/faces/{face.face_id}/thumbnail", params={"side": 96})
    picture = PIL.Image.open(io.BytesIO(answer.content))
    assert answer.headers["content-type"] == "image/jpeg" and picture.size == (96, 96)
    cut = PIL.Image.open(face.uri).convert("RGB")
    x, y, width, height = face.box
    side = 1.6 * max(width, height)
    left, top = x + width / 2 - side / 2, y + height / 2 - side / 2
    square = cut.crop((round(left), round(top), round(left + side), round(top + side)))
    expected = np.asarray(square.resize((96, 96)), float)
    assert np.abs(np.asarray(picture, float) - expected)[16:80, 16:80].mean() < 12
    whole = server.get(f"/v1/photos/{face.photo_id}/image", params={"side": 64})
    assert max(PIL.Image.open(io.BytesIO(whole.content)).size) == 64
    assert before == files_of(index.parent)
    # Another photo in its place is not shown; what was cut before is kept in memory.
    content = (photos / "biden.jpg").read_bytes()
    try:
        shutil.copy(photos / "obama3.jpg", photos / "biden.jpg")
        changed = server.get(f"/v1/faces/{face.face_id}/thumbnail", params={"side": 97})
        assert error_of(changed) == (404, "photo_not_shown")
        kept = server.get(f"/v1/faces/{face.face_id}/thumbnail", params={"side": 96})
        assert kept.content == answer.content
    finally:
        (photos / "biden.jpg").write_bytes(content)


def test_a_photo_that_cannot_be_used_is_refused(server: httpx.Client, photos: Path) -> None:
    whole = (photos / "biden.jpg").read_bytes()
    sink = io.BytesIO()
    PIL.Image.new("RGB", (64, 64)).save(sink, "PNG")
    cases: list[tuple[dict[str, Any], tuple[int, str]]] = [
        ({"files": {"photo": b"no photo"}}, (422, "unusable_photo")),
        ({"files": {"photo": b""}}, (422, "unusable_photo")),
        ({"files": {"photo": whole[:600]}}, (422, "unusable_photo")),
        ({"files": {"image": whole}}, (422, "unknown_field")),
        ({"files": {"photo": whole}, "data": {"k": "3"}}, (422, "unknown_field")),
        ({"data": {"photo": "text"}, "files": {"x": b""}}, (422, "unknown_field")),
        ({"files": [("photo", whole)] * 17}, (413, "over_max_photos")),
        ({"files": {"photo": whole}, "params": {"face": 9}}, (422, "wrong_usage")),
        ({"files": {"photo": sink.getvalue()}, "params": {"face": 1}}, (422, "not_possible")),
    ]
    for request, expected in cases:
        assert error_of(server.post("/v1/search", **request)) == expected, request.keys()
    nobody = server.post("/v1/search", files={"photo": sink.getvalue()})
    assert nobody.json()["probes"] == []
    one = server.post("/v1/compare", files=files(photos / "biden.jpg"))
    assert error_of(one) == (422, "not_two_photos")
