"""Few comparisons are made by NumPy, without FAISS, with FAISS's answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from indexer import exact_search
from indexer.exact_search import nearest_rows
from indexer.recipes import use_gpu
from indexer.vectors import RowMask
from tests.support.command import ROOT
from tests.support.vectors import unit_vectors

VECTORS = unit_vectors(500, 16, seed=1)
PROBES = unit_vectors(30, 16, seed=2)


@pytest.mark.parametrize("num_probes", [1, 30])
@pytest.mark.parametrize("k", [1, 7, 500, 600])
@pytest.mark.parametrize("share", [None, 0.5, 0.01, 0.0])
def test_numpy_finds_what_faiss_finds(
    num_probes: int, k: int, share: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = None if share is None else RowMask(np.random.default_rng(3).random(500) < share)
    probes = PROBES[:num_probes]
    by_numpy = nearest_rows(VECTORS, probes, k, mask)
    monkeypatch.setattr(exact_search, "FEW_PRODUCTS", 0)
    by_faiss = nearest_rows(VECTORS, probes, k, mask)
    np.testing.assert_array_equal(by_numpy[1], by_faiss[1])
    np.testing.assert_allclose(by_numpy[0], by_faiss[0], atol=1e-6)


def test_of_equally_similar_rows_the_first_are_found() -> None:
    vectors = np.repeat(unit_vectors(4, 16, seed=1), 5, axis=0)
    similarities, rows = nearest_rows(vectors, vectors[10:11], 7)
    assert rows[0, :5].tolist() == [10, 11, 12, 13, 14]
    assert (np.diff(similarities[0]) <= 0).all()
    assert rows[0, 5] % 5 == 0
    assert rows[0, 6] == rows[0, 5] + 1


def test_vectors_that_are_no_numbers_are_not_hidden() -> None:
    vectors = VECTORS.copy()
    vectors[3] = np.nan
    assert np.isnan(nearest_rows(vectors, PROBES, 5)[0]).any()


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_a_search_of_a_small_index_does_not_wait_for_faiss(demo_index: Path, device: str) -> None:
    if device == "auto" and use_gpu("auto"):
        pytest.skip("FAISS is asked about this machine's GPU")
    script = f"""
import sys
import numpy as np
from search.searcher import FaceSearcher
searcher = FaceSearcher.open({str(demo_index)!r}, device={device!r})
searcher.search_embeddings(np.eye(3, searcher.contract.dimension, dtype=np.float32), k=1)
print("faiss" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
