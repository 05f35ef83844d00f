from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.apart import ProcessError, apart
from benchmarks.index_galleries import Gallery, recall_of
from tests.support.command import ROOT


def test_recall_is_the_share_of_exact_neighbours_found() -> None:
    similarities = np.array([[0.9, 0.8, 0.3], [0.7, 0.2, 0.1]], np.float32)
    exact = np.array([[1, 2, 3], [4, 5, 6]])
    found = np.array([[2, 1, 9], [5, 6, -1]])
    recall = recall_of(similarities, exact, found, threshold=0.6)
    assert (recall.at_1, recall.at_10) == (0.5, 4 / 6)
    assert (recall.of_matches, recall.num_matches) == (2 / 3, 3)


def test_recall_ignores_padding() -> None:
    padded = np.array([[1, -1]])
    recall = recall_of(np.array([[0.9, -np.inf]], np.float32), padded, padded, threshold=0.6)
    assert (recall.at_1, recall.at_10, recall.of_matches) == (1.0, 1.0, 1.0)


@pytest.mark.lasting
@pytest.mark.slow
def test_memory_is_measured_in_a_process_of_its_own() -> None:
    held = np.ones(50_000_000)
    _, without = apart(_hold, 0)
    _, memory = apart(_hold, 200_000_000)
    assert without.peak_bytes < held.nbytes
    assert memory.peak_bytes - without.peak_bytes > 150_000_000
    assert memory.private_bytes - without.private_bytes > 150_000_000
    with pytest.raises(ProcessError, match="negative"):
        apart(_hold, -1)


def _hold(num_bytes: int) -> None:
    held = np.ones(num_bytes, np.uint8)
    time.sleep(0.1)
    del held


@pytest.mark.lasting
def test_an_index_is_compared_with_exact_search(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.index_speed", "compare", "5000"]
    options = ["--work", str(tmp_path), "--probes", "100", "--repeats", "1", "--singles", "20"]
    finished = subprocess.run(
        [*command, *options], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert re.search(r"recall of matches +1\.0000 +1\.0000", finished.stdout)
    assert re.search(r"probes/s +[\d,.]+ +[\d,.]+ +[\d.]+ times", finished.stdout)
    assert Gallery(tmp_path, 5000, 100).index.is_dir()
