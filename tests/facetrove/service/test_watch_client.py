"""Watches by the client in Python, and by photos that the real networks embed."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

import facetrove as ft
from facetrove.service.watch_store import DATABASE
from indexer.build import build_index
from tests.support.embedding_here import embed_here
from tests.support.service import error_of, eventually, serving, small_index
from tests.support.small_collections import DIMENSION, face_id_of, files_with
from tests.support.vectors import unit_vectors
from tests.support.watched import FPIR, Twin, arrive, calibrate

pytestmark = pytest.mark.slow


def test_the_client_makes_follows_and_deletes_watches(tmp_path: Path) -> None:
    collection, index = small_index(tmp_path, 20)
    calibrate(index)
    with (
        serving(index, refresh_seconds=0.02) as client,
        ft.ServiceClient(str(client.base_url)) as service,
    ):
        probe = unit_vectors(1, DIMENSION, seed=5)
        watch = service.add_watch(embeddings=probe, fpir=FPIR, where="year > 3")
        assert isinstance(watch, ft.ServiceWatch) and watch.where == "year > 3"
        assert service.watches() == [service.watch(watch.watch_id)] == [watch]
        followed: list[ft.WatchMatch] = []
        thread = threading.Thread(
            target=lambda: followed.extend(service.follow_watch(watch.watch_id))
        )
        thread.start()
        arrive(collection, index, one=Twin(100, like=5, year=9), two=Twin(101, like=5, year=1))
        (match,) = eventually(lambda: service.watch_matches(watch.watch_id))
        assert match.face.face_id == face_id_of(100, 0) and match.face.metadata["year"] == 9
        assert service.watch_matches(watch.watch_id, after=match.match_id) == []
        eventually(lambda: followed == [match])
        service.delete_watch(watch.watch_id)
        thread.join(60)
        assert not thread.is_alive() and followed == [match]
        with pytest.raises(ft.FaceTroveError, match="no watch of this id"):
            service.watch(watch.watch_id)
        with pytest.raises(ft.FaceTroveError, match="no watch of this id"):
            next(service.follow_watch(watch.watch_id))
        with pytest.raises(ft.WrongUsageError, match="one of"):
            service.add_watch(b"photo", face_id="ab", fpir=FPIR)
        with pytest.raises(ft.WrongUsageError, match="FPIR"):
            service.add_watch(face_id=face_id_of(5, 0), fpir=1e-9)


def test_a_watch_by_a_photo_finds_its_person_and_keeps_no_photo(
    tmp_path: Path, demo_photos: Path, probe_photo: Path, pipeline: Any
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(demo_photos / "biden.jpg", photos)
    embed_here(photos, tmp_path / "d", pipeline)
    build_index(tmp_path / "d", tmp_path / "i")
    content = probe_photo.read_bytes()
    with (
        serving(tmp_path / "i", refresh_seconds=0.02) as client,
        ft.ServiceClient(str(client.base_url)) as service,
    ):
        watch = service.add_watch(content, fpir=0.05, idempotency_key="one")
        assert service.add_watch(content, fpir=0.05, idempotency_key="one") == watch
        assert watch.made_from == "photo" and watch.num_probe_faces is None
        for name in ("obama2.jpg", "grace_hopper.jpg"):
            shutil.copy(demo_photos / name, photos)
        embed_here(photos, tmp_path / "d", pipeline)
        build_index(tmp_path / "d", tmp_path / "i")
        found = eventually(lambda: service.watch_matches(watch.watch_id))
        assert [Path(match.face.uri).name for match in found] == ["obama2.jpg"]
        state = tmp_path / "i.service"
        assert (state / DATABASE).exists() and files_with(state, [content[:64]]) == {}
        for bad in (b"nonsense", b"\xff\xd8\xff"):
            answer = client.post("/v1/watches", params={"fpir": 0.05}, files={"photo": bad})
            assert error_of(answer)[0] == 422
        files = [("photo", ("a", content)), ("photo", ("b", content))]
        answer = client.post("/v1/watches", params={"fpir": 0.05}, files=files)
        assert error_of(answer) == (413, "over_max_photos")


def test_a_photo_of_several_faces_needs_to_say_which(
    tmp_path: Path, demo_photos: Path, pipeline: Any
) -> None:
    (tmp_path / "photos").mkdir()
    shutil.copy(demo_photos / "biden.jpg", tmp_path / "photos")
    embed_here(tmp_path / "photos", tmp_path / "d", pipeline)
    build_index(tmp_path / "d", tmp_path / "i")
    both = PIL.Image.new("RGB", (800, 500))
    for number, name in enumerate(("biden.jpg", "obama2.jpg")):
        with PIL.Image.open(demo_photos / name) as photo:
            both.paste(photo.convert("RGB").resize((400, 500)), (400 * number, 0))
    both.save(tmp_path / "both.png")
    with (
        serving(tmp_path / "i") as client,
        ft.ServiceClient(str(client.base_url)) as service,
    ):
        with pytest.raises(ft.WrongUsageError, match="say by `face`"):
            service.add_watch(tmp_path / "both.png", fpir=0.05)
        assert service.add_watch(tmp_path / "both.png", fpir=0.05, face=2).made_from == "photo"
        with pytest.raises(ft.FaceTroveError):
            service.add_watch(tmp_path / "both.png", fpir=0.05, face=99)
