"""Clients from outside: the examples of docs/service.md, and the client in Python."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import facetrove as ft
from facetrove.service.keys import add_key
from indexer.build import build_index
from tests.support.command import ROOT
from tests.support.embedding_here import embed_here
from tests.support.service import eventually, serving
from tests.support.small_collections import DIMENSION, Collection, face_id_of
from tests.support.vectors import unit_vectors

DOCUMENT = (ROOT / "docs" / "service.md").read_text()
DOCUMENTED_ADDRESS = "http://127.0.0.1:8000"


def examples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def place(folder: Path, demo_photos: Path, pipeline: Any) -> Path:
    """A folder with a dataset, an index, and the photos that the examples send."""
    photos = shutil.copytree(demo_photos, folder / "photos")
    embed_here(photos, folder / "d", pipeline)
    build_index(folder / "d", folder / "i")
    shutil.copy(demo_photos / "obama3.jpg", folder / "me.jpg")
    shutil.copy(demo_photos / "obama2.jpg", folder / "me2.jpg")
    return folder


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[httpx.Client]:
    options = {"dataset": place / "d", "uploads": place / "uploads", "folders": (place / "photos",)}
    with serving(place / "i", **options) as client:
        yield client


def wait_for_jobs(server: httpx.Client) -> list[dict[str, Any]]:
    def all_ended() -> list[dict[str, Any]] | None:
        jobs: list[dict[str, Any]] = server.get("/v1/jobs").json()["jobs"]
        ended = all(job["state"] in ("done", "failed", "cancelled") for job in jobs)
        return jobs if ended else None

    found: list[dict[str, Any]] = eventually(all_ended)
    return found


@pytest.mark.slow
@pytest.mark.lasting
@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_examples_for_curl_run(server: httpx.Client, place: Path) -> None:
    script = "\n".join(["set -e", *examples("bash")])
    assert script.count("curl --fail") == script.count("curl") >= 10
    script = script.replace(DOCUMENTED_ADDRESS, str(server.base_url).rstrip("/"))
    finished = subprocess.run(
        ["bash", "-c", script], cwd=place, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-2000:]
    jobs = wait_for_jobs(server)
    assert {job["kind"]: job["state"] for job in jobs} == {
        "enrol": "done",
        "delete": "done",
        "purge": "done",
        "group": "done",
    }, jobs


@pytest.mark.slow
@pytest.mark.lasting
def test_the_examples_in_python_run(server: httpx.Client, place: Path, demo_photos: Path) -> None:
    # Another photo than that of the examples above, which have purged it.
    shutil.copy(demo_photos / "grace_hopper.jpg", place / "me.jpg")
    for example in examples("python"):
        script = example.replace(DOCUMENTED_ADDRESS, str(server.base_url).rstrip("/"))
        finished = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{script}"],
            cwd=place,
            capture_output=True,
            text=True,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr[-2000:]
        assert finished.stdout


def test_the_client_finds_what_python_finds(
    client: httpx.Client, searcher: ft.FaceSearcher
) -> None:
    probes = unit_vectors(5, DIMENSION, seed=3)
    with ft.ServiceClient(str(client.base_url)) as service:
        where = "year > 3"
        table = service.search_embeddings(probes, 4, where=where)
        assert table.equals(searcher.search_embeddings(probes, 4, where=where).to_arrow())
        face = face_id_of(2, 1)
        matches = service.search_face(face, 3, one_per="photo")
        assert list(matches) == list(searcher.search_face(face, 3, one_per="photo"))
        listed = service.list_faces("person = 'person 1'", k=2)
        assert listed == searcher.list_faces("person = 'person 1'", k=2)
        assert service.info()["num_faces"] == len(searcher)
        assert service.plan_deletion(where="person = 'person 1'") == 12


@pytest.mark.slow
def test_the_client_sends_photos(server: httpx.Client, place: Path) -> None:
    index = ft.open_index(place / "i")
    with ft.ServiceClient(str(server.base_url)) as service:
        (probe,) = service.search(place / "me.jpg", 1, face=1)
        (expected,) = index.search(place / "me.jpg", 1, face=1)
        assert probe.matches[0].face_id == expected.matches[0].face_id
        assert (probe.number, probe.photo) == (1, 1)
        joint = service.search_together([place / "me.jpg", place / "me2.jpg"], 1)
        assert joint.matches[0].similarity > 0.5 and joint.box is None
        (face,) = service.find_faces((place / "me.jpg").read_bytes())
        (same,) = ft.find_faces(place / "me.jpg")
        assert np.dot(face.embedding, same.embedding) > 0.999
        assert face.quality.yaw == pytest.approx(same.quality.yaw, abs=0.5)
        compared = service.compare(place / "me.jpg", place / "me2.jpg")
        assert compared.decision is True and compared.faces[0].number == 1
        assert service.thumbnail(probe.matches[0].face_id).startswith(b"\xff\xd8")
        job = service.verify_index(idempotency_key="one")
        assert service.verify_index(idempotency_key="one").job_id == job.job_id
        assert service.wait(job).result["problems"] == []  # type: ignore[index]


def test_the_client_raises_the_errors_of_the_package(
    client: httpx.Client, small: tuple[Collection, Path], tmp_path: Path
) -> None:
    with ft.ServiceClient(str(client.base_url)) as service:
        with pytest.raises(ft.WrongUsageError, match=r"filter|column"):
            service.list_faces("no_column = 1")
        with pytest.raises(ft.FaceTroveError, match="no face of this id"):
            service.search_face("ab")
        with pytest.raises(ft.WrongUsageError, match="cannot be read"):
            service.find_faces(tmp_path / "missing.jpg")
        with pytest.raises(ft.WrongUsageError, match=r"give .n, d."):
            service.search_embeddings([1.0, 2.0])
        with pytest.raises(ft.FaceTroveError, match="no job of this id"):
            service.job("0" * 32)
    with (
        ft.ServiceClient("http://127.0.0.1:1") as nobody,
        pytest.raises(ft.FaceTroveError, match="cannot be reached"),
    ):
        nobody.info()
    key = add_key(tmp_path / "keys.toml", "desk", ["search"])
    with serving(small[1], keys=tmp_path / "keys.toml", read_only=True) as locked:
        address = str(locked.base_url)
        with ft.ServiceClient(address, key=key) as service:
            assert service.info()["version"] == 1
        with ft.ServiceClient(address) as service, pytest.raises(ft.FaceTroveError, match="key"):
            service.info()
