from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from beam_jobs import shard
from beam_jobs.shard import embed_shard
from faces.dataset import embedding_matrix
from faces.images import Image
from faces.photos import PhotoFile, list_photos, photo_uri
from faces.pipeline import Detection, FaceDetector, FacePipeline


def test_every_photo_becomes_a_row_with_its_outcome(
    tmp_path: Path, demo_photos: Path, pipeline: FacePipeline
) -> None:
    for name in ("biden.jpg", "coffee.png"):
        shutil.copy(demo_photos / name, tmp_path)
    whole = (demo_photos / "obama2.jpg").read_bytes()
    (tmp_path / "damaged.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("text")
    files = list_photos(tmp_path)
    gone = PhotoFile(photo_uri(tmp_path / "gone.jpg"), 5, 5)
    photos, faces = embed_shard(pipeline, [*files, gone])
    outcome = {
        Path(row["uri"]).name: (row["status"], row["reason"], row["num_faces"])
        for row in photos.to_pylist()
    }
    assert outcome == {
        "biden.jpg": ("embedded", None, 1),
        "coffee.png": ("no_face", None, 0),
        "damaged.jpg": ("rejected", "damaged", 0),
        "empty.jpg": ("rejected", "empty_file", 0),
        "text.jpg": ("rejected", "unsupported_format", 0),
        "gone.jpg": ("rejected", "read_error", 0),
    }
    assert photos["uri"].to_pylist() == [file.uri for file in files] + [gone.uri]
    by_name = {Path(row["uri"]).name: row for row in photos.to_pylist()}
    content = (tmp_path / "biden.jpg").read_bytes()
    assert by_name["biden.jpg"]["photo_id"] == hashlib.sha256(content).hexdigest()
    assert (by_name["biden.jpg"]["width"], by_name["biden.jpg"]["height"]) == (970, 2204)
    assert by_name["gone.jpg"]["photo_id"] is None
    (face,) = faces.to_pylist()
    assert face["uri"] == by_name["biden.jpg"]["uri"]
    assert face["photo_id"] == by_name["biden.jpg"]["photo_id"]
    assert abs(np.linalg.norm(face["embedding"]) - 1) < 1e-6


def test_a_shard_without_any_face_is_two_whole_tables(
    demo_photos: Path, pipeline: FacePipeline
) -> None:
    uri = photo_uri(demo_photos / "coffee.png")
    photos, faces = embed_shard(pipeline, [PhotoFile(uri, 1, 1)])
    assert (len(photos), len(faces)) == (1, 0)
    assert embedding_matrix(faces).shape == (0, 128)


def test_batches_only_bound_memory_and_change_nothing(
    demo_photos: Path, pipeline: FacePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = list_photos(demo_photos)
    photos, faces = embed_shard(pipeline, files)
    for limit, value in (("BATCH_PHOTOS", 2), ("BATCH_PIXELS", 1_000_000)):
        monkeypatch.setattr(shard, limit, value)
        photos_again, faces_again = embed_shard(pipeline, files)
        assert photos_again.equals(photos)
        assert faces_again["face_id"].equals(faces["face_id"])
        nearness = (embedding_matrix(faces) * embedding_matrix(faces_again)).sum(axis=1)
        assert nearness.min() > 0.99999


class FailsOnDarkPhotos:
    """A detector with a defect, in front of the real one."""

    def __init__(self, real: FaceDetector, *, limit: float) -> None:
        self.name, self.weights_digest = real.name, real.weights_digest
        self.real, self.limit = real, limit

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        if any(image.mean() < self.limit for image in images):
            raise RuntimeError("defect")
        return self.real.detect(images)


def test_a_photo_on_which_the_networks_fail_costs_no_other(
    tmp_path: Path, demo_photos: Path, pipeline: FacePipeline
) -> None:
    PIL.Image.new("RGB", (50, 50)).save(tmp_path / "black.png")
    files = [*list_photos(demo_photos), *list_photos(tmp_path)]
    expected, expected_faces = embed_shard(pipeline, files)
    broken = FacePipeline(FailsOnDarkPhotos(pipeline.detector, limit=1), pipeline.embedder)
    photos, faces = embed_shard(broken, files)
    outcome = [(row["status"], row["reason"]) for row in photos.to_pylist()]
    assert outcome[-1] == ("rejected", "not_processed")
    assert outcome[:-1] == [(r["status"], r["reason"]) for r in expected.to_pylist()][:-1]
    assert faces["face_id"].equals(expected_faces["face_id"])


def test_a_photo_that_fails_alone_fails_no_job(tmp_path: Path, pipeline: FacePipeline) -> None:
    PIL.Image.new("RGB", (50, 50)).save(tmp_path / "black.png")
    broken = FacePipeline(FailsOnDarkPhotos(pipeline.detector, limit=1), pipeline.embedder)
    photos, _ = embed_shard(broken, list_photos(tmp_path))
    assert photos["reason"].to_pylist() == ["not_processed"]


def test_networks_that_fail_on_every_photo_fail_the_job(
    demo_photos: Path, pipeline: FacePipeline
) -> None:
    broken = FacePipeline(FailsOnDarkPhotos(pipeline.detector, limit=256), pipeline.embedder)
    with pytest.raises(RuntimeError, match="defect"):
        embed_shard(broken, list_photos(demo_photos))
