from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from faces.core.contract import ModelContract
from faces.core.errors import WrongUsageError
from indexer import recipes, tuning
from indexer.build import build_index
from indexer.codes import search_rows
from indexer.delete import delete_faces
from indexer.exact_search import nearest_rows
from indexer.faiss_library import faiss
from indexer.options import IndexOptions, Recipe
from indexer.recipes import EXACT_UP_TO_FACES, add, choose_recipe, train, use_gpu
from indexer.tuning import exact_truth, recall, tune
from indexer.vectors import RowMask
from search.searcher import FaceSearcher
from tests.support.parts import write
from tests.support.vectors import unit_vectors


def people(num_people: int, faces_each: int, dimension: int, spread: float) -> np.ndarray:
    means = np.repeat(unit_vectors(num_people, dimension, seed=3), faces_each, axis=0)
    noise = unit_vectors(len(means), dimension, seed=4)
    vectors = means + spread * noise
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def built(recipe: str, vectors: np.ndarray) -> tuple[faiss.Index, Recipe]:
    chosen = choose_recipe(IndexOptions(recipe), len(vectors), vectors.shape[1])
    codes = train(chosen, vectors)
    for _ in add(codes, vectors):
        pass
    return codes, chosen


def exact_rows(vectors: np.ndarray, probes: np.ndarray, k: int) -> np.ndarray:
    return np.argsort(-(probes @ vectors.T), axis=1, kind="stable")[:, :k]


def test_auto_is_exact_for_few_faces_and_ivf_for_many() -> None:
    assert choose_recipe(IndexOptions(), EXACT_UP_TO_FACES, 128).is_exact
    assert choose_recipe(IndexOptions(), 1_000_000, 128).factory == "IVF4096,PQ64x4fs"
    assert choose_recipe(IndexOptions(), 10_000_000, 128).factory == "IVF8192,PQ64x4fs"
    assert choose_recipe(IndexOptions(), 1_000_000, 512).factory == "IVF4096,PQ256x4fs"
    assert choose_recipe(IndexOptions(), 1_000_000, 4096).factory == "IVF4096,PQ256x4fs"
    assert choose_recipe(IndexOptions("exact"), 10**7, 128).is_exact
    assert choose_recipe(IndexOptions("HNSW32,SQ8"), 10, 128).factory == "HNSW32,SQ8"


def test_codes_shrink_to_fit_the_memory() -> None:
    roomy = choose_recipe(IndexOptions(memory_bytes=4 << 30), 50_000_000, 128)
    tight = choose_recipe(IndexOptions(memory_bytes=1 << 30), 50_000_000, 128)
    assert roomy.factory.endswith("PQ64x4fs")
    assert tight.factory.endswith("PQ16x4fs")
    with pytest.raises(WrongUsageError, match="give at least"):
        choose_recipe(IndexOptions(memory_bytes=100 << 20), 50_000_000, 128)


@pytest.mark.parametrize("recipe", ["magic", "LSH", "IVF0,Flat", "PQ16x4fs", "IDMap,Flat"])
def test_recipes_that_cannot_be_searched_are_refused(recipe: str) -> None:
    with pytest.raises(
        WrongUsageError, match=r"FAISS cannot make an index|cannot be applied|0 inverted lists"
    ):
        choose_recipe(IndexOptions(recipe), 1000, 128)


def test_a_target_is_a_share() -> None:
    for target in (0, -1, 1.1, float("nan")):
        with pytest.raises(WrongUsageError, match="target recall"):
            IndexOptions(target_recall=target)


@pytest.mark.parametrize("num_probes", [1, 19, 20, 300])
@pytest.mark.parametrize("share", [None, 0.5, 0.001, 0.0])
def test_exact_returns_what_numpy_returns(num_probes: int, share: float | None) -> None:
    vectors, probes = unit_vectors(3_000, 16, seed=1), unit_vectors(num_probes, 16, seed=2)
    selected = None if share is None else np.random.default_rng(3).random(len(vectors)) < share
    similarities, rows = nearest_rows(
        vectors, probes, 7, None if selected is None else RowMask(selected)
    )
    products = probes @ vectors.T
    if selected is not None:
        products[:, ~selected] = -np.inf
    expected = np.argsort(-products, axis=1, kind="stable")[:, :7]
    best = np.take_along_axis(products, expected, 1)
    assert np.array_equal(rows, np.where(np.isinf(best), -1, expected))
    assert similarities == pytest.approx(best, abs=1e-5)


@pytest.mark.lasting
@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    ["IVF64,PQ16x4fs", "IVF64,SQ8", "HNSW16,SQ8", "RR32,IVF64,SQ8", "SQ4"],
)
def test_recipes_are_tuned_to_their_target_and_state_their_true_recall(recipe: str) -> None:
    vectors = people(600, 20, 32, spread=0.5)
    codes, chosen = built(recipe, vectors)
    options = IndexOptions(recipe, target_recall=0.98, recall_of="neighbours")
    tuned, measured = tune(codes, chosen, vectors, options, None)
    assert measured.recall_at_10 >= 0.97
    assert "cannot be met" not in tuned.reason
    # The recall computed by hand with other probes must be close to the stated one.
    rows = np.random.default_rng(9).choice(len(vectors), 1_000, replace=False)
    _, found = search_rows(vectors, codes, tuned, vectors[rows], k=11)
    exact = exact_rows(vectors, vectors[rows], 11)
    hits = sum(
        len(np.intersect1d(f[f != row][:10], e[e != row][:10]))
        for row, f, e in zip(rows, found, exact, strict=True)
    )
    assert hits / 10_000 == pytest.approx(measured.recall_at_10, abs=0.015)


def test_similarities_are_exact_whatever_the_recipe() -> None:
    vectors, probes = people(300, 10, 32, spread=0.5), unit_vectors(50, 32, seed=8)
    for recipe in ("IVF32,PQ8x4fs", "HNSW8,SQ8", "SQ4"):
        codes, chosen = built(recipe, vectors)
        similarities, rows = search_rows(vectors, codes, chosen, probes, k=5)
        found = np.take_along_axis(probes @ vectors.T, rows, 1)
        assert similarities == pytest.approx(found, abs=1e-5)
        assert (np.diff(similarities, axis=1) <= 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["IVF64,PQ16x4fs", "HNSW16,SQ8"])
@pytest.mark.parametrize("count", [0, 1, 3, 50, 3000])
def test_a_mask_returns_all_selected_rows_at_any_selectivity(recipe: str, count: int) -> None:
    vectors, probes = people(600, 10, 32, spread=0.5), unit_vectors(30, 32, seed=8)
    codes, chosen = built(recipe, vectors)
    selected = np.zeros(len(vectors), dtype=bool)
    selected[np.random.default_rng(2).choice(len(vectors), count, replace=False)] = True
    for share in (0.0, 1.0):  # by candidates where enough rows are selected, and exactly
        settings = Recipe(chosen.factory, nprobe=4, ef_search=32, candidates=4, exact_share=share)
        similarities, rows = search_rows(
            vectors, codes, settings, probes, k=10, mask=RowMask(selected)
        )
        found = rows >= 0
        assert found.sum(axis=1).tolist() == [min(10, count)] * len(probes)
        assert selected[rows[found]].all()
        assert np.isneginf(similarities[~found]).all()
        if share == 1.0:
            products = np.where(selected, probes @ vectors.T, -np.inf)
            best = np.sort(products, axis=1)[:, ::-1][:, :10]
            assert similarities == pytest.approx(best, abs=1e-5)


def test_recall_is_not_flattered_by_a_probe_finding_itself() -> None:
    """Random vectors in many inverted lists: one list has few of the probe's neighbours."""
    vectors = unit_vectors(3_000, 32, seed=5)
    codes, chosen = built("IVF64,SQ8", vectors)
    truth = exact_truth(vectors, np.arange(0, 3_000, 10))
    settings = Recipe(chosen.factory, nprobe=1, candidates=4)
    _, rows = search_rows(vectors, codes, settings, truth.probes, k=11)
    assert (rows[:, 0] == truth.own_rows).all()
    assert recall(truth, rows, None).at_1 < 0.5


def test_recall_by_hand() -> None:
    """Four vectors at known angles, so that their neighbours can be checked by eye."""
    angles = np.radians([0, 10, 30, 70])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    truth = exact_truth(vectors, np.array([0, 3]))
    assert truth.rows.tolist() == [[1, 2, 3], [2, 1, 0]]
    found = np.array([[0, 1, 3, -1], [3, 2, 1, 0]])
    got = recall(truth, found, threshold=np.cos(np.radians(45)))
    assert (got.at_1, got.at_10) == (1.0, 5 / 6)
    assert (got.num_matches, got.of_matches) == (3, 2 / 3)  # 10 and 30 degrees; 40 degrees


def test_a_target_that_cannot_be_met_is_reported_with_the_closest_settings() -> None:
    vectors = unit_vectors(4_000, 32, seed=5)
    codes, chosen = built("IVF1,PQ2x4fs", vectors)
    options = IndexOptions("IVF1,PQ2x4fs", target_recall=0.999, recall_of="neighbours")
    tuned, measured = tune(codes, chosen, vectors, options, None)
    assert "cannot be met" in tuned.reason
    assert measured.recall_at_10 < 0.999
    best, _ = tune(codes, chosen, vectors, IndexOptions("auto", recall_of="neighbours"), None)
    assert best.is_exact
    assert "exact search is the best way to the target (IVF1,PQ2x4fs: " in best.reason


@pytest.mark.parametrize("count", [1, 2, 5, 63])
def test_tiny_collections_build_too(count: int) -> None:
    vectors = unit_vectors(count, 8, seed=6)
    codes, chosen = built("IVF1,SQ8", vectors)
    tuned, measured = tune(codes, chosen, vectors, IndexOptions("IVF1,SQ8"), 0.5)
    _, rows = search_rows(vectors, codes, tuned, vectors, k=1)
    assert rows[:, 0].tolist() == list(range(count))
    assert 0.9 <= measured.recall_at_10 <= 1.0


@pytest.mark.slow
@pytest.mark.lasting
@pytest.mark.parametrize("factory", ["IVF16,PQ8x4fs", "IVF16,SQ8", "IVF16,PQ8", "HNSW8,SQ8"])
def test_tuning_knows_the_recall_of_a_search_without_making_it(factory: str) -> None:
    """Whether an exact neighbour is found is known from the candidates that the codes propose."""
    vectors = unit_vectors(2000, 16, seed=4)
    codes = train(Recipe(factory), vectors)
    assert list(add(codes, vectors))[-1] == 2000
    truth = exact_truth(vectors, np.arange(0, 2000, 20))
    settings = Recipe(factory, nprobe=2, ef_search=1, candidates=4, exact_share=0.0)
    found = tuning._recalls(codes, settings, vectors, truth, 0.5)
    assert len(found) == (1 if "HNSW" in factory else len(tuning.CANDIDATES))
    for tried, known in found.items():
        rows = search_rows(vectors, codes, tried, truth.probes, k=11)[1]
        searched = recall(truth, rows, 0.5)
        assert searched.num_matches == known.num_matches > 0
        assert searched.at_10 == pytest.approx(known.at_10, abs=0.005)  # ties in the codes' order
        assert searched.of_matches == pytest.approx(known.of_matches, abs=0.005)
    assert found[settings].at_10 < 0.95


def test_a_gpu_is_used_where_there_is_one_and_never_silently_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    assert not use_gpu("auto")
    with pytest.raises(WrongUsageError, match="FAISS sees no GPU"):
        use_gpu("cuda")
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(recipes, "_GPU_DRIVERS", ("/nowhere",))
    assert not use_gpu("auto")  # FAISS need not be loaded to know it
    monkeypatch.setattr(recipes, "_GPU_DRIVERS", ("/nowhere", os.devnull))
    assert use_gpu("auto")
    assert use_gpu("cuda")
    assert not use_gpu("cpu")


class FakeGpuIndex(faiss.IndexFlatIP):
    """A stand-in for FAISS's index on a GPU that runs on the CPU: it tests our calls of FAISS."""

    def __init__(self, resources: object, dimension: int) -> None:
        super().__init__(dimension)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "_GPU_DRIVERS", (os.devnull,))
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "GpuIndexFlatIP", FakeGpuIndex, raising=False)


@pytest.mark.usefixtures("gpu")
def test_search_on_a_gpu_answers_as_on_the_cpu(tmp_path: Path, contract: ModelContract) -> None:
    write(tmp_path / "d", contract, {f"{n}": 2 for n in range(100)})
    build_index(tmp_path / "d", tmp_path / "i", device="cpu")
    delete_faces(tmp_path / "d", [tmp_path / "i"], "uri IN ('3', '4')")
    on_cpu = FaceSearcher.open(tmp_path / "i", device="cpu")
    on_gpu = FaceSearcher.open(tmp_path / "i")
    assert (on_cpu.device, on_gpu.device) == ("cpu", "cuda")
    probes = unit_vectors(30, 8, seed=1)
    for query in ({"k": 5}, {"k": 196}, {"k": 9, "where": "uri < '5'"}, {"min_similarity": 0.3}):
        expected = on_cpu.search_embeddings(probes, **query)
        for found, options in zip(on_gpu.search_embeddings(probes, **query), expected, strict=True):
            assert found.face_ids == options.face_ids
            assert found.similarities == pytest.approx(options.similarities, abs=1e-6)


@pytest.mark.usefixtures("gpu")
def test_embeddings_that_do_not_fit_the_gpu_are_searched_on_the_cpu(
    tmp_path: Path, contract: ModelContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: FakeGpuIndex, vectors: np.ndarray) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(FakeGpuIndex, "add", full)
    write(tmp_path / "d", contract, {"a": 2})
    build_index(tmp_path / "d", tmp_path / "i", device="cpu")
    assert FaceSearcher.open(tmp_path / "i").device == "cpu"
    with pytest.raises(WrongUsageError, match=r"2 embeddings cannot .*out of memory.*give cpu"):
        FaceSearcher.open(tmp_path / "i", device="cuda")
