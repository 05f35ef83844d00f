"""The embed job among hostile photos: each costs its limit at most, and no other photo is lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from beam_jobs.shard import embed_shard
from faces.core.settings import PhotoLimits
from faces.core.time_limit import (
    MAX_SHARED,
    OutOfTimeError,
    TooManyFacesError,
    require_few,
    require_time,
    sharing_time,
    time_limited,
)
from faces.dataset.schema import PHOTO_SCHEMA
from faces.dataset.store import Dataset
from faces.models.pipeline import FacePipeline
from faces.photos.limited import ReadingRules
from faces.photos.listing import list_photos
from faces.photos.rejection import RejectReason
from tests.support.command import ONE_WORKER, run_facetrove
from tests.support.costly_files import bmp_of_far_jumps, slow_gif


@pytest.fixture
def hostile_folder(tmp_path: Path, demo_photos: Path) -> Path:
    """The demo photos between a photo of gigabytes and one of a minute."""
    folder = tmp_path / "photos"
    shutil.copytree(demo_photos, folder)
    (folder / "a.bmp").write_bytes(bmp_of_far_jumps(3))
    (folder / "h.gif").write_bytes(slow_gif())
    (folder / "z.bmp").write_bytes(bmp_of_far_jumps(4))
    return folder


@pytest.mark.lasting
@pytest.mark.slow
def test_photos_over_a_limit_have_a_row_that_names_it_and_others_are_embedded(
    hostile_folder: Path, pipeline: FacePipeline
) -> None:
    photos = list_photos([hostile_folder]).photos
    result = embed_shard(
        pipeline, photos, PHOTO_SCHEMA, rules=ReadingRules(PhotoLimits(photo_timeout=2))
    )
    reasons = {
        Path(row["uri"]).name: row["reason"]
        for row in result.photos.to_pylist()
        if row["reason"] is not None
    }
    assert reasons == {
        "a.bmp": "too_expensive:max-memory",
        "h.gif": "too_expensive:photo-timeout",
        "z.bmp": "too_expensive:max-memory",
    }
    alone = photos.filter([Path(uri).name not in reasons for uri in photos["uri"].to_pylist()])
    expected = embed_shard(pipeline, alone, PHOTO_SCHEMA)
    assert result.faces.equals(expected.faces)


@pytest.mark.lasting
@pytest.mark.slow
def test_a_photo_over_a_limit_is_tried_again_when_the_limit_changes(
    hostile_folder: Path, tmp_path: Path
) -> None:
    dataset = tmp_path / "dataset"
    command = ("embed", hostile_folder, dataset, *ONE_WORKER, "--json", "--photo-timeout")
    first = run_facetrove(*command, "2")
    assert first.returncode == 0, first.stderr
    counts = json.loads(first.stdout)["done"]["by_reason"]
    assert counts == {"too_expensive:max-memory": 2, "too_expensive:photo-timeout": 1}
    again = run_facetrove(*command, "2")
    assert json.loads(again.stdout)["found"]["num_retried"] == 0
    more = run_facetrove(*command, "1")
    assert json.loads(more.stdout)["found"]["num_retried"] == 3


def crowd(demo_photos: Path, columns: int, rows: int) -> PIL.Image.Image:
    """Return a picture of the same face many times."""
    with PIL.Image.open(demo_photos / "grace_hopper.jpg") as photo:
        face = photo.convert("RGB").resize((90, 112))
    return PIL.Image.fromarray(np.tile(np.asarray(face), (rows, columns, 1)))


def test_a_photo_of_very_many_faces_ends_in_time_and_takes_nobody_with_it(
    tmp_path: Path, demo_photos: Path, pipeline: FacePipeline
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(demo_photos / "biden.jpg", folder)
    shutil.copy(demo_photos / "obama2.jpg", folder)
    crowd(demo_photos, 24, 20).save(folder / "crowd.png", compress_level=1)
    photos = list_photos([folder]).photos
    limits = PhotoLimits(photo_timeout=0.7)
    rows = embed_shard(
        pipeline, photos, PHOTO_SCHEMA, rules=ReadingRules(limits)
    ).photos.to_pylist()
    outcome = {Path(row["uri"]).name: (row["status"], row["reason"]) for row in rows}
    assert outcome["crowd.png"] == ("rejected", RejectReason.OUT_OF_TIME.value)
    assert outcome["biden.jpg"][0] == outcome["obama2.jpg"][0] == "embedded"


def test_steps_of_a_photo_are_stopped_when_its_time_is_over() -> None:
    require_time()
    require_few(10 * MAX_SHARED)
    with time_limited(1000), sharing_time():
        require_time()
        require_few(MAX_SHARED)
        with pytest.raises(TooManyFacesError):
            require_few(MAX_SHARED + 1)
        with time_limited(-1), pytest.raises(OutOfTimeError):
            require_time()
        require_time()


def test_addresses_that_are_not_allowed_are_rows_of_their_own(
    demo_photos: Path, pipeline: FacePipeline
) -> None:
    good = str(demo_photos / "biden.jpg")
    photos = list_photos([good]).photos
    listed = photos.set_column(0, "uri", [["ftp://127.0.0.1:9/a.jpg"]])
    rows = embed_shard(
        pipeline,
        listed,
        PHOTO_SCHEMA,
        rules=ReadingRules(),
    ).photos.to_pylist()
    assert [row["reason"] for row in rows] == ["read_error"]


@pytest.mark.slow
def test_a_jpeg_that_ends_its_worker_is_given_up_apart(
    tmp_path: Path, demo_photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large plain JPEG under a tiny limit: whatever process decodes it, it gets its row."""
    folder = tmp_path / "photos"
    shutil.copytree(demo_photos, folder)
    crowd(demo_photos, 60, 50).save(folder / "large.jpg", quality=95)
    dataset = tmp_path / "dataset"
    finished = run_facetrove("embed", folder, dataset, "--photo-timeout", "0.02", *ONE_WORKER)
    assert finished.returncode == 0, finished.stderr
    rows = {Path(row["uri"]).name: row for row in Dataset.open(dataset).photos().to_pylist()}
    assert rows["large.jpg"]["reason"] == RejectReason.OUT_OF_TIME.value
