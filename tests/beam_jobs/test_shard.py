from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pytest

from beam_jobs import shard
from beam_jobs.shard import embed_shard
from faces.core.settings import PhotoLimits
from faces.dataset.schema import PHOTO_SCHEMA, embedding_matrix
from faces.models.face import Detection
from faces.models.pipeline import FaceDetector, FacePipeline
from faces.photos.decoding import Photo
from faces.photos.limited import ReadingRules
from faces.photos.listed import LISTING_SCHEMA
from faces.photos.listing import list_photos
from faces.photos.uris import PhotoFile, photo_uri


def embed(pipeline: FacePipeline, photos: pa.Table, **options: object) -> tuple[pa.Table, pa.Table]:
    result = embed_shard(pipeline, photos, PHOTO_SCHEMA, **options)
    return result.photos, result.faces


def listed(*folders: Path) -> pa.Table:
    return pa.concat_tables([list_photos([folder]).photos for folder in folders])


def one_photo(path: Path) -> pa.Table:
    return pa.Table.from_pylist([PhotoFile(photo_uri(path), 1, 1)._asdict()], schema=LISTING_SCHEMA)


def test_every_photo_becomes_a_row_with_its_outcome(
    tmp_path: Path, demo_photos: Path, pipeline: FacePipeline
) -> None:
    for name in ("biden.jpg", "coffee.png"):
        shutil.copy(demo_photos / name, tmp_path)
    whole = (demo_photos / "obama2.jpg").read_bytes()
    (tmp_path / "corrupt.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("text")
    files = pa.concat_tables([listed(tmp_path), one_photo(tmp_path / "gone.jpg")])
    photos, faces = embed(pipeline, files)
    outcome = {
        Path(row["uri"]).name: (row["status"], row["reason"], row["num_faces"])
        for row in photos.to_pylist()
    }
    assert outcome == {
        "biden.jpg": ("embedded", None, 1),
        "coffee.png": ("no_face", None, 0),
        "corrupt.jpg": ("rejected", "truncated", 0),
        "empty.jpg": ("rejected", "empty_file", 0),
        "text.jpg": ("rejected", "unsupported_format", 0),
        "gone.jpg": ("rejected", "read_error", 0),
    }
    assert photos["uri"].equals(files["uri"])
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
    photos, faces = embed(pipeline, one_photo(demo_photos / "coffee.png"))
    assert (len(photos), len(faces)) == (1, 0)
    assert embedding_matrix(faces).shape == (0, 128)


def test_batches_only_bound_memory_and_change_nothing(
    demo_photos: Path, pipeline: FacePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = listed(demo_photos)
    photos, faces = embed(pipeline, files)
    for limit, value in (("BATCH_PHOTOS", 2), ("BATCH_PIXELS", 1_000_000)):
        monkeypatch.setattr(shard, limit, value)
        photos_again, faces_again = embed(pipeline, files)
        assert photos_again.equals(photos)
        assert faces_again["face_id"].equals(faces["face_id"])
        nearness = (embedding_matrix(faces) * embedding_matrix(faces_again)).sum(axis=1)
        assert nearness.min() > 0.99999


class FailsOnDarkPhotos:
    """A detector with a defect, in front of the real one."""

    def __init__(self, real: FaceDetector, *, limit: float) -> None:
        self.name, self.weights_digest = real.name, real.weights_digest
        self.real, self.limit = real, limit

    def reduction_for(self, longer_side: int) -> int:
        return self.real.reduction_for(longer_side)

    def detect(self, photos: Sequence[Photo]) -> list[list[Detection]]:
        if any(photo.image.mean() < self.limit for photo in photos):
            raise RuntimeError("defect")
        return self.real.detect(photos)


def test_a_photo_on_which_the_networks_fail_affects_no_other(
    tmp_path: Path, demo_photos: Path, pipeline: FacePipeline
) -> None:
    PIL.Image.new("RGB", (50, 50)).save(tmp_path / "black.png")
    files = listed(demo_photos, tmp_path)
    expected, expected_faces = embed(pipeline, files)
    broken = FacePipeline(FailsOnDarkPhotos(pipeline.detector, limit=1), pipeline.embedder)
    photos, faces = embed(broken, files)
    outcome = [(row["status"], row["reason"]) for row in photos.to_pylist()]
    assert outcome[-1] == ("rejected", "not_processed")
    assert outcome[:-1] == [(r["status"], r["reason"]) for r in expected.to_pylist()][:-1]
    assert faces["face_id"].equals(expected_faces["face_id"])


def test_a_photo_that_fails_alone_fails_no_job(tmp_path: Path, pipeline: FacePipeline) -> None:
    PIL.Image.new("RGB", (50, 50)).save(tmp_path / "black.png")
    broken = FacePipeline(FailsOnDarkPhotos(pipeline.detector, limit=1), pipeline.embedder)
    photos, _ = embed(broken, listed(tmp_path))
    assert photos["reason"].to_pylist() == ["not_processed"]


def test_networks_that_fail_on_every_photo_fail_the_job(
    demo_photos: Path, pipeline: FacePipeline
) -> None:
    broken = FacePipeline(FailsOnDarkPhotos(pipeline.detector, limit=256), pipeline.embedder)
    with pytest.raises(RuntimeError, match="defect"):
        embed(broken, listed(demo_photos))


def test_copies_are_embedded_once_and_keep_their_rows(
    tmp_path: Path, demo_photos: Path, pipeline: FacePipeline
) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        shutil.copy(demo_photos / "biden.jpg", tmp_path / name)
    (tmp_path / "c.jpg").write_bytes((tmp_path / "c.jpg").read_bytes() + b"\0")
    for name in ("x.png", "y.png"):
        shutil.copy(demo_photos / "coffee.png", tmp_path / name)
    photos, faces = embed(pipeline, listed(tmp_path))
    assert photos["num_faces"].to_pylist() == [1, 1, 1, 0, 0]
    assert photos["is_copy"].to_pylist() == [False, True, False, False, False]
    assert [Path(uri).name for uri in faces["uri"].to_pylist()] == ["a.jpg", "c.jpg"]
    assert len(set(faces["face_id"].to_pylist())) == 2


def test_contents_in_the_dataset_are_not_embedded_again(
    tmp_path: Path, demo_photos: Path, pipeline: FacePipeline
) -> None:
    stored, _ = embed(pipeline, listed(demo_photos))
    columns = ["num_bytes", "photo_id", "width", "height", "num_faces", "status"]
    broken = FacePipeline(FailsOnDarkPhotos(pipeline.detector, limit=256), pipeline.embedder)
    photos, faces = embed(broken, listed(demo_photos), stored=stored.select(columns))
    owned = ["is_copy", "picture_hash"]  # which the row that owns the faces has
    assert photos.drop_columns(owned).equals(stored.drop_columns(owned))
    assert photos["is_copy"].to_pylist() == [n > 0 for n in stored["num_faces"].to_pylist()]
    assert len(faces) == 0


def test_limits_are_those_of_the_run(demo_photos: Path, pipeline: FacePipeline) -> None:
    one = one_photo(demo_photos / "biden.jpg")
    size = (demo_photos / "biden.jpg").stat().st_size
    for limits, reason in (
        (PhotoLimits(max_pixels=970 * 2204 - 1), "too_large"),
        (PhotoLimits(max_bytes=size - 1), "too_large"),
        (PhotoLimits(max_bytes=size, max_pixels=970 * 2204), None),
    ):
        photos, _ = embed(pipeline, one, rules=ReadingRules(limits))
        assert photos["reason"].to_pylist() == [reason]


def test_stages_are_timed(demo_photos: Path, pipeline: FacePipeline) -> None:
    result = embed_shard(pipeline, listed(demo_photos), PHOTO_SCHEMA)
    assert result.seconds.keys() == {"read", "decode", "detect", "align", "embed"}
    assert min(result.seconds.values()) > 0
