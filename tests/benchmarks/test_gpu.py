"""The benchmark of cards: what it compares, with the processor in the place of a card."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import gpu
from faces.models.engines import OnnxRuntimeNetwork
from indexer.faiss_library import faiss
from indexer.options import Recipe
from tests.support.command import ROOT

OPTIONS = argparse.Namespace(photos=None)


def test_parity_of_vectors_is_that_of_the_worst_pair() -> None:
    ours = np.array([[3, 4], [0, 2]], np.float32)
    same = gpu.parity_of_vectors(ours, ours)
    assert same == gpu.Parity(pytest.approx(1.0), 0.0)
    turned = gpu.parity_of_vectors(ours, np.array([[3, 4], [2, 0]], np.float32))
    assert turned == gpu.Parity(0.0, 2.0)
    with pytest.raises(ValueError, match="not the same vectors"):
        gpu.parity_of_vectors(ours, ours[:1])


def test_matches_may_be_others_that_are_as_similar() -> None:
    exact = np.array([[0.9, 0.8], [0.7, 0.6]], np.float32)
    rows = np.array([[1, 2], [3, 4]])
    assert gpu.parity_of_matches(exact, rows, exact, 1e-5) == (1.0, 0.0)
    worse = exact - np.array([[0, 0], [0, 0.1]], np.float32)
    share, difference = gpu.parity_of_matches(worse, rows, exact, 1e-3)
    assert share == 0.75
    assert difference == pytest.approx(0.1, abs=1e-6)
    rows[0, 1] = -1
    assert gpu.parity_of_matches(exact, rows, exact, 1e-3) == (0.75, np.inf)


@pytest.mark.lasting
def test_exact_search_is_compared_with_every_block() -> None:
    whole = gpu.measure_flat(faiss.IndexFlatIP(16), 250_000, 16, tolerance=1e-5)
    assert (whole.share, whole.latency_ms > 0) == (1.0, True)
    coarse = faiss.index_factory(16, "SQ4", faiss.METRIC_INNER_PRODUCT)
    coarse.train(next(gpu.random_blocks(1000, 16)))
    assert gpu.measure_flat(coarse, 2000, 16, tolerance=1e-5).share < 0.5
    first, second, third = gpu.random_blocks(250_000, 16)
    assert (len(first), len(third)) == (100_000, 50_000)
    assert not np.isclose(first[:1000], second[:1000]).all(axis=1).any()


def test_datasets_are_compared_face_by_face(demo_dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(demo_dataset, tmp_path / "d")
    share, parity = gpu.parity_of_datasets(tmp_path / "d", demo_dataset)
    assert share == 1.0
    assert parity.min_cosine == pytest.approx(1.0)


@pytest.mark.lasting
@pytest.mark.slow
def test_networks_and_indexes_are_measured_where_there_is_a_card(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def on_processor(path: Path, *, threads: int, placement: Any = None) -> OnnxRuntimeNetwork:
        return OnnxRuntimeNetwork(path, threads=threads)

    def flat(resources: object, dimension: int, config: object) -> faiss.IndexFlatIP:
        return faiss.IndexFlatIP(dimension)

    monkeypatch.setattr(gpu, "OnnxRuntimeNetwork", on_processor)
    monkeypatch.setattr(gpu, "missing_provider", lambda _: None)
    monkeypatch.setattr(gpu, "missing_faiss", lambda: None)
    monkeypatch.setattr(gpu, "BATCHES", (1, 2))
    monkeypatch.setattr(gpu, "_products_per_second", lambda _: 1e12)
    monkeypatch.setattr(gpu, "seconds_of", lambda work, least=0: [work() is None or 0.001])
    gpu.measure_networks(OPTIONS)
    printed = capsys.readouterr().out
    assert printed.count("sface cuda fp32") == printed.count("yunet tensorrt fp16") == 2
    assert "1,724" in printed  # of 1e12 multiply-adds a second, 0.58e9 a crop
    monkeypatch.setattr(gpu, "FLAT", ((3000, 16),))
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "GpuIndexFlatConfig", argparse.Namespace, raising=False)
    monkeypatch.setattr(faiss, "GpuIndexFlatIP", flat, raising=False)
    gpu.measure_search(OPTIONS)
    assert capsys.readouterr().out.count("1.0000") == 2
    monkeypatch.setattr(gpu, "choose_recipe", lambda *_: Recipe("IVF4,PQ64x4fs"))
    device, *_, recall = gpu._built("cpu", 2000)
    assert (device, float(recall) > 0.9) == ("cpu", True)


def test_without_a_card_each_part_says_what_is_missing() -> None:
    if gpu.card():
        pytest.skip("there is a card")
    command = [sys.executable, "-m", "benchmarks.gpu"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    for part in ("networks on cuda", "networks on tensorrt", "search", "building", "job"):
        assert f"{part}: unmeasured; missing: " in done.stdout
    assert "FAISS's BLAS: " in done.stdout
