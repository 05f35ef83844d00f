from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from faces.errors import WrongUsageError
from indexer.recipes import EXACT_UP_TO_FACES, Recipe, build_faiss_index, choose_recipe
from tests.conftest import unit_vectors


def in_batches(vectors: np.ndarray, size: int = 700) -> Iterator[np.ndarray]:
    return (vectors[start : start + size] for start in range(0, len(vectors), size))


def test_auto_is_exact_for_few_faces_and_ivf_for_many() -> None:
    assert choose_recipe("auto", EXACT_UP_TO_FACES) == Recipe("exact", "Flat")
    assert choose_recipe("auto", EXACT_UP_TO_FACES + 1).name == "ivf"
    assert choose_recipe("exact", 10**7).name == "exact"
    assert choose_recipe("ivf", 1_000_000).factory == "IVF4000,Flat"
    with pytest.raises(WrongUsageError, match="choose from auto, exact, ivf"):
        choose_recipe("magic", 1)


def test_exact_returns_what_numpy_returns() -> None:
    vectors = unit_vectors(2_000, 16, seed=1)
    index, recipe, recall = build_faiss_index(
        choose_recipe("exact", 2_000), lambda: in_batches(vectors), num_faces=2_000, dimension=16
    )
    probes = unit_vectors(20, 16, seed=2)
    similarities, rows = index.search(probes, 5)
    expected = np.argsort(-(probes @ vectors.T), axis=1)[:, :5]
    assert np.array_equal(rows, expected)
    assert similarities == pytest.approx(
        np.take_along_axis(probes @ vectors.T, expected, 1), abs=1e-5
    )
    assert (recipe.nprobe, recall.recall_at_1, recall.recall_at_10) == (None, 1.0, 1.0)


def people(num_people: int, faces_each: int, dimension: int, spread: float) -> np.ndarray:
    centres = np.repeat(unit_vectors(num_people, dimension, seed=3), faces_each, axis=0)
    noise = unit_vectors(len(centres), dimension, seed=4)
    vectors = centres + spread * noise
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_ivf_is_tuned_to_its_target_and_states_its_true_recall() -> None:
    vectors = people(400, 20, 32, spread=0.5)
    count = len(vectors)
    index, recipe, recall = build_faiss_index(
        choose_recipe("ivf", count), lambda: in_batches(vectors), num_faces=count, dimension=32
    )
    assert recipe.nprobe is not None
    assert 1 <= recipe.nprobe <= index.nlist
    assert recall.recall_at_10 >= 0.99
    # Measured again, another way, on all faces: the figure must be close to what it says.
    index.nprobe = recipe.nprobe
    _, found = index.search(vectors, 11)
    exact = np.argsort(-(vectors @ vectors.T), axis=1, kind="stable")[:, :11]
    hits = sum(
        len(np.intersect1d(f[f != row][:10], e[e != row][:10]))
        for row, (f, e) in enumerate(zip(found, exact, strict=True))
    )
    assert hits / (10 * count) == pytest.approx(recall.recall_at_10, abs=0.01)


def test_recall_is_not_flattered_by_a_probe_finding_itself() -> None:
    """Scattered vectors in many groups: one group holds little but the probe itself."""
    vectors = unit_vectors(3_000, 32, seed=5)
    index, recipe, _ = build_faiss_index(
        choose_recipe("ivf", 3_000), lambda: in_batches(vectors), num_faces=3_000, dimension=32
    )
    assert recipe.nprobe is not None
    assert recipe.nprobe > index.nlist // 4


@pytest.mark.parametrize("count", [1, 2, 5, 63, 64, 130])
@pytest.mark.parametrize("name", ["exact", "ivf"])
def test_tiny_collections_build_too(name: str, count: int) -> None:
    vectors = unit_vectors(count, 8, seed=6)
    index, recipe, recall = build_faiss_index(
        choose_recipe(name, count), lambda: in_batches(vectors, 3), num_faces=count, dimension=8
    )
    if recipe.nprobe is not None:
        index.nprobe = recipe.nprobe
    _, rows = index.search(vectors, 1)
    assert rows[:, 0].tolist() == list(range(count))
    assert 0.99 <= recall.recall_at_10 <= 1.0
