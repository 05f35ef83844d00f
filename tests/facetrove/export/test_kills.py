"""Exports that are killed: the next one leaves nothing missing, and nothing doubled."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import facetrove as ft
from indexer.build import build_index
from tests.support.command import ROOT
from tests.support.databases import NEEDED, database
from tests.support.small_collections import Collection, many_photos

EXPORT = """
import importlib, os, signal, sys, threading, time
index, address, module, delay = sys.argv[1:]
import facetrove as ft
from facetrove.export.export import export_index
module = importlib.import_module(module)
table = next(t for name, t in vars(module).items() if name.endswith("Table") and name != "FaceTable"
             and t.__module__ == module.__name__)
table.rows_at_once = 100  # so that there are many batches
if float(delay):
    threading.Timer(float(delay), os.kill, (os.getpid(), signal.SIGKILL)).start()
began = time.perf_counter()
export_index(index, address)
print("took", time.perf_counter() - began)
os._exit(0)
"""

MODULES = {"lancedb": "lance", "postgresql": "postgres", "milvus": "milvus", "qdrant": "qdrant"}

KILLS = 20


def export_in_a_process(index: Path, address: str, kind: str, delay: float) -> float | None:
    """Run an export in a process that is killed after some seconds; return how long it took."""
    module = f"facetrove.export.{MODULES[kind]}"
    finished = subprocess.run(
        [sys.executable, "-c", EXPORT, str(index), address, module, str(delay)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if finished.returncode == -signal.SIGKILL:
        return None
    assert finished.returncode == 0, finished.stderr
    return float(re.findall(r"^took (.*)$", finished.stdout, re.MULTILINE)[0])


@pytest.mark.slow
@pytest.mark.lasting
@pytest.mark.parametrize("kind", NEEDED)
def test_an_export_that_is_killed_is_finished_by_the_next(kind: str, tmp_path: Path) -> None:
    collection, index = Collection(tmp_path / "d"), tmp_path / "i"
    collection.embed(many_photos(300))
    build_index(collection.path, index)
    (tmp_path / "timed").mkdir()
    with database(kind, tmp_path / "timed") as db:
        seconds = export_in_a_process(index, db.address, kind, 0)
    assert seconds is not None
    num_killed, number = 0, 0
    while num_killed < KILLS and number < 2 * KILLS:
        number += 1
        folder = tmp_path / str(number)
        folder.mkdir()
        with database(kind, folder) as db:
            # The golden ratio spreads the points over the time that an export takes.
            delay = 0.001 + 0.9 * seconds * (number * 0.618034 % 1)
            num_killed += export_in_a_process(index, db.address, kind, delay) is None
            result = ft.export_index(index, db.address)
            assert db.rows().keys() == collection.faces().keys(), number
            assert result.num_removed == result.num_changed == 0
    assert num_killed == KILLS


@pytest.mark.slow
@pytest.mark.lasting
@pytest.mark.parametrize("kind", NEEDED)
def test_an_update_that_is_killed_is_finished_by_the_next(kind: str, tmp_path: Path) -> None:
    collection, index = Collection(tmp_path / "d"), tmp_path / "i"
    collection.embed(many_photos(100))
    build_index(collection.path, index)
    with database(kind, tmp_path) as db:
        ft.export_index(index, db.address)
        for number in range(5):
            person = f"new {number}"
            named = {n: replace(photo, person=person) for n, photo in collection.photos.items()}
            gone = sorted(collection.photos)[:3]
            collection.embed({name: named[name] for name in sorted(named)[3:]}, gone=gone)
            build_index(collection.path, index)
            export_in_a_process(index, db.address, kind, 0.02 + 0.1 * number)
            ft.export_index(index, db.address)
            rows = db.rows()
            assert rows.keys() == collection.faces().keys(), number
            assert {row["person"] for row in rows.values()} == {f"new {number}"}
