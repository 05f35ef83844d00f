"""Properties of generated galleries that benchmarks rely on, compared with those of real faces."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import gallery_estimation
from benchmarks.galleries import (
    BLOCK_FACES,
    DECADES,
    STATISTICS_PATH,
    FaceModel,
    default_model,
    face_ids,
    generate_faces,
    non_mated_survival,
    threshold_for,
    write_gallery_dataset,
)
from benchmarks.gallery_estimation import estimate, galleries_like
from faces.dataset.schema import embedding_matrix
from faces.dataset.store import Dataset
from faces.models.pipeline import FacePipeline


@cache
def gallery(
    count: int, seed: int = 0, first: int = 0, batch_size: int = BLOCK_FACES
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    batches = list(generate_faces(count, seed=seed, first=first, batch_size=batch_size))
    assert all(len(faces) == batch_size for faces, _ in batches[:-1])
    faces, people = zip(*batches, strict=True)
    return np.concatenate(faces), np.concatenate(people)


def test_a_gallery_is_determined_by_its_seed() -> None:
    faces, people = gallery(2000)
    again = next(generate_faces(2000))
    assert np.array_equal(faces, again[0]) and np.array_equal(people, again[1])
    assert not np.array_equal(faces, gallery(2000, seed=1)[0])


def test_faces_do_not_depend_on_batch_size_or_first_face() -> None:
    count = BLOCK_FACES + 3000
    faces, people = gallery(count)
    for read, start in (
        (gallery(count, batch_size=7000), 0),
        (gallery(5000, first=count - 5000), count - 5000),
        (gallery(1000), 0),
    ):
        stop = start + len(read[0])
        assert np.array_equal(read[0], faces[start:stop])
        assert np.array_equal(read[1], people[start:stop])


def test_embeddings_are_of_unit_length() -> None:
    faces, _ = gallery(2000)
    assert faces.dtype == np.float32 and faces.shape == (2000, 128)
    assert np.abs(np.linalg.norm(faces, axis=1) - 1).max() < 1e-5


def test_people_are_numbered_without_gaps_and_their_faces_are_scattered() -> None:
    _, people = gallery(2 * BLOCK_FACES)
    counts = np.bincount(people)
    assert counts.min() == 1 and counts.mean() == 5 and 3 <= np.median(counts) < 5
    assert counts.max() > 40
    assert (np.diff(people) == 0).mean() < 0.002


@pytest.mark.parametrize("wanted", [1, 4, 10])
def test_with_spread_0_everyone_has_equally_many_faces(wanted: int) -> None:
    _, people = next(generate_faces(BLOCK_FACES, faces_per_person=wanted, spread=0))
    assert set(np.bincount(people)) == {wanted}


def test_impossible_numbers_of_faces_per_person_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 1 to 1000"):
        next(generate_faces(10, faces_per_person=0.5))


def test_similarities_match_those_of_lfw() -> None:
    model = default_model()
    # As many generated people as LFW has, each with as many faces.
    counts = np.repeat(np.arange(len(model.real_faces_per_person)), model.real_faces_per_person)
    people = np.repeat(np.arange(len(counts)), counts)
    first, second = galleries_like(model, people, 2)
    generated = first + second
    mated = np.abs(generated.mated_quantiles - model.real_mated)
    assert mated[0] < 0.1  # 0.1% of LFW's mated pairs are only ten pairs
    assert mated[1:-1].max() < 0.04
    assert mated[-1] < 0.05  # near-duplicate photos are not modelled
    shares = generated.survival_log10(model.real_decades) - np.log10(DECADES)
    assert np.abs(shares[:5]).max() < 0.2
    assert abs(shares[5]) < 0.5  # a millionth of LFW's non-mated pairs are only twelve pairs
    assert np.abs(generated.nearest_quantiles - model.real_nearest).max() < 0.02


def test_the_stored_survival_function_is_that_of_generated_faces() -> None:
    probes, _ = gallery(2000, seed=5)
    faces, _ = gallery(50_000, seed=6)
    similarities = probes @ faces.T
    for similarity in (0.3, 0.36, 0.42, 0.46):
        counted = (similarities > similarity).mean()
        assert np.log10(counted) == pytest.approx(
            np.log10(non_mated_survival(similarity)), abs=0.12
        )


def test_larger_galleries_need_higher_thresholds() -> None:
    thresholds = [threshold_for(10**power) for power in (3, 4, 5, 6, 7)]
    assert thresholds == sorted(thresholds) and 0.4 < thresholds[0] < thresholds[-1] < 0.7
    assert 1e5 * non_mated_survival(thresholds[2]) == pytest.approx(0.01, rel=0.05)
    with pytest.raises(ValueError, match="outside"):
        threshold_for(10**12)


def test_the_statistics_file_is_small_and_holds_no_embeddings() -> None:
    assert STATISTICS_PATH.stat().st_size < 300_000
    with np.load(STATISTICS_PATH, allow_pickle=False) as arrays:
        shapes = {name: array.shape for name, array in arrays.items() if array.ndim == 2}
    assert shapes == {"identity_root": (128, 128), "scatter_root": (128, 128)}


def test_a_model_estimated_from_generated_faces_is_near_the_generating_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("SCALE_STEPS", 3),
        ("FITTED_GALLERIES", 4),
        ("FITTED_STRANGERS", (100, 1000)),
        ("OUTLIER_SCALES", (1.5,)),
        ("LOOKALIKE_COUNTS", (600,)),
        ("LOOKALIKE_SHARES", (0.32,)),
    ):
        monkeypatch.setattr(gallery_estimation, name, value)
    faces, people = gallery(BLOCK_FACES)
    chosen = people < 500
    model = estimate(faces[chosen], people[chosen], "generated")
    model.save(tmp_path / "model.npz")
    read = FaceModel.load(tmp_path / "model.npz")
    assert str(read.contract) == "generated"
    true = default_model()
    assert np.linalg.norm(read.mean - true.mean) < 0.08
    for name in ("identity_root", "scatter_root"):
        size = np.linalg.norm(getattr(true, name))
        assert np.linalg.norm(getattr(read, name)) == pytest.approx(size, rel=0.1)


def test_a_gallery_dataset_holds_the_generated_faces_and_can_grow(
    tmp_path: Path, pipeline: FacePipeline
) -> None:
    path = tmp_path / "gallery.dataset"
    write_gallery_dataset(path, 700, seed=3)
    write_gallery_dataset(path, 300, first=700, seed=3, faces_per_part=200)
    dataset = Dataset.open(path)
    assert dataset.contract == pipeline.contract
    assert len(dataset.committed_parts()) == 5 + 2

    tables = list(dataset.faces())
    numbers = {name: number for number, name in enumerate(face_ids(range(1000), seed=3))}
    faces, people = gallery(1000, seed=3)
    photo_people = {}
    for table in tables:
        rows = [numbers.pop(name) for name in table["face_id"].to_pylist()]
        assert np.array_equal(embedding_matrix(table), faces[rows])
        assert np.isfinite(table["box"].combine_chunks().flatten().to_numpy()).all()
        for uri, row in zip(table["uri"].to_pylist(), rows, strict=True):
            photo_people.setdefault(uri, people[row])
    assert not numbers

    photos = dataset.photos()
    assert 1.2 < 1000 / len(photos) < 1.7
    assert sum(photos["num_faces"].to_pylist()) == 1000
    for row in photos.select(["uri", "person", "album", "taken"]).to_pylist():
        assert row["person"] == f"person-{photo_people[row['uri']]:06d}"
        assert row["uri"].startswith(f"/archive/{row['taken']:%Y/%m}/photo-")
    assert len(set(photos["album"].to_pylist())) > 90
    dataset.require_whole()
