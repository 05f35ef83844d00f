"""Crops for training: cut as the embed job cuts them, cached, and gone after a purge."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from beam_jobs.crops import cut_missing_crops, reduction_of
from faces.core.errors import BusyError, CorruptFileError
from faces.dataset import crop_cache
from faces.dataset.crop_cache import CropCache, purge_crops
from faces.dataset.cropping import FACE_COLUMNS, cut_crops
from faces.dataset.deletions import face_digests
from faces.dataset.store import Dataset
from faces.models.pipeline import FacePipeline
from indexer.build import build_index
from indexer.delete import delete_faces
from indexer.purge import purge


def faces_of(dataset: Dataset) -> pa.Table:
    return dataset.faces(FACE_COLUMNS).to_arrow()


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that serves as the cache, so that its crops are this test's alone."""
    monkeypatch.setattr(crop_cache, "cache_dir", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "crops"


@pytest.fixture
def dataset(demo_dataset: Path, tmp_path: Path) -> Dataset:
    shutil.copytree(demo_dataset, tmp_path / "d")
    return Dataset.open(tmp_path / "d")


def test_embedding_a_crop_gives_the_embedding_of_the_job(
    dataset: Dataset, pipeline: FacePipeline
) -> None:
    faces = faces_of(dataset)
    cut = dict(cut_crops(faces, reduction_for=reduction_of(dataset)))
    assert set(cut) == set(faces["face_id"].to_pylist())
    vectors = pipeline.embedder.embed(np.stack([cut[i] for i in faces["face_id"].to_pylist()]))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert (vectors * dataset.embeddings()).sum(axis=1).min() > 0.999


@pytest.mark.slow
def test_crops_are_cut_once_on_workers_and_kept(dataset: Dataset, cached: Path) -> None:
    faces = faces_of(dataset)
    crops = cut_missing_crops(dataset, faces, workers=1)
    expected = dict(cut_crops(faces, reduction_for=reduction_of(dataset)))
    everything = crops.take(np.arange(len(faces)))
    for face_id, crop in zip(faces["face_id"].to_pylist(), everything, strict=True):
        assert np.array_equal(crop, expected[face_id])
    before = {path: path.stat().st_mtime_ns for path in cached.rglob("part-*")}
    again = cut_missing_crops(dataset, faces.slice(2, 3), workers=1)
    assert np.array_equal(again.take(np.array([2, 0])), everything[[4, 2]])
    assert before == {path: path.stat().st_mtime_ns for path in cached.rglob("part-*")}
    assert not list(cached.rglob("work*"))


def fill(dataset: Dataset) -> dict[str, bytes]:
    """Put crops of noise into the cache, and return the bytes of each by face_id."""
    ids = faces_of(dataset)["face_id"].to_pylist()
    noise = np.random.default_rng(0).integers(0, 255, (len(ids), 112, 112, 3), dtype=np.uint8)
    cache = CropCache.of(dataset.path, dataset.contract)
    cache.write(ids[:3], noise[:3])
    cache.write(ids[3:], noise[3:])
    return {face_id: crop.tobytes() for face_id, crop in zip(ids, noise, strict=True)}


def test_a_face_without_a_crop_is_told(dataset: Dataset, cached: Path) -> None:
    noise = fill(dataset)
    ids = list(noise)
    crops = CropCache.of(dataset.path, dataset.contract).open(pa.array([ids[1], "other", ids[-1]]))
    assert crops.present.tolist() == [True, False, True]
    assert crops.take(np.array([2]))[0].tobytes() == noise[ids[-1]]


def test_a_purge_removes_crops_of_deleted_faces_from_caches_of_all_copies_of_the_dataset(
    dataset: Dataset, cached: Path, tmp_path: Path
) -> None:
    noise = fill(dataset)
    shutil.copytree(dataset.path, tmp_path / "copy")
    fill(Dataset.open(tmp_path / "copy"))
    build_index(dataset.path, tmp_path / "i")
    gone = sorted(noise)[:2]
    delete_faces(dataset.path, [tmp_path / "i"], faces=gone)
    report = purge(dataset.path, [tmp_path / "i"])
    assert report.num_crops_removed == 4
    assert any("trained on these faces" in line for line in report.limits)
    left = b"".join(path.read_bytes() for path in cached.rglob("part-*"))
    for face_id, crop in noise.items():
        assert (crop in left) == (face_id not in gone)
        assert (face_id.encode() in left) == (face_id not in gone)
    other = CropCache.of(tmp_path / "copy", dataset.contract)
    assert sorted(other.face_ids().to_pylist()) == sorted(set(noise) - set(gone))
    assert len(CropCache.of(dataset.path, dataset.contract).face_ids()) == 0


def test_a_purge_and_a_job_that_cuts_wait_for_each_other(dataset: Dataset, cached: Path) -> None:
    noise = fill(dataset)
    cache = CropCache.of(dataset.path, dataset.contract)
    with cache.writing():
        assert cut_missing_crops(dataset, faces_of(dataset)).present.all()
        cache.folder.remove(next(name for name in cache.folder.names() if "part-" in name))
        assert len(cache.face_ids()) < len(noise)
        with pytest.raises(BusyError, match="the crops in"):
            purge_crops(dataset.path, face_digests(cache.face_ids()))
        with pytest.raises(BusyError, match="the crops in"):
            cut_missing_crops(dataset, faces_of(dataset), workers=1)


def test_damaged_crops_are_refused_by_name(dataset: Dataset, cached: Path) -> None:
    fill(dataset)
    path = next(cached.rglob("part-*"))
    for content in (path.read_bytes()[:-100], b"", b"no Arrow file"):
        path.write_bytes(content)
        with pytest.raises(CorruptFileError, match=path.name):
            CropCache.of(dataset.path, dataset.contract).face_ids()
