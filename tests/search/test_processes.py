"""A searcher in several processes: forked, started anew, or pickled."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from search.searcher import FaceSearcher

SCRIPT = """
import multiprocessing, os, sys
import numpy as np
from search.searcher import FaceSearcher

searcher = FaceSearcher.open(sys.argv[1])
dimension = searcher.contract.dimension
probes = np.eye(64, dimension, dtype=np.float32)

def look(answer):
    try:
        answer.send(len(searcher.search_embeddings(probes, k=1)))
    except Exception as error:
        answer.send(f"{type(error).__name__}: {error}")

if sys.argv[2] == "after":
    print(len(searcher.search_embeddings(probes, k=1)))
mine, its = multiprocessing.Pipe()
child = multiprocessing.get_context("fork").Process(target=look, args=(its,))
child.start()
print(mine.recv() if mine.poll(30) else "hangs", flush=True)
child.kill()
os._exit(0)
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_forked_child_answers_or_raises_at_once(
    tmp_path: Path, demo_index: Path, moment: str
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-W", "ignore", tmp_path / "script.py", demo_index, moment]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    lines = finished.stdout.splitlines()
    if moment == "before":
        assert lines == ["64"]
    else:
        assert lines[0] == "64"
        assert lines[1].startswith("WrongUsageError: this process was forked from one that had")
        assert "start child processes by multiprocessing's 'spawn'" in lines[1]


def test_a_pickled_searcher_opens_the_index_again(
    demo_index: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(demo_index.parent)
    content = pickle.dumps(FaceSearcher.open(demo_index.name, device="cpu"))
    assert len(content) < 1000
    monkeypatch.chdir(tmp_path)
    again = pickle.loads(content)
    assert len(again) == len(FaceSearcher.open(demo_index))
    assert again.device == "cpu"
