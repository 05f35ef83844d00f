"""Processes are killed while they index, compact, delete and purge: nothing but time is lost."""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from faces.dataset.schema import embedding_matrix
from faces.dataset.store import Dataset
from indexer.build import build_index
from indexer.compact import compact_index
from indexer.delete import delete_faces
from indexer.purge import purge
from indexer.verify import verify_index
from tests.support.small_collections import (
    Collection,
    Face,
    Photo,
    files_with,
    found_ids,
    many_photos,
    traces_of,
)

pytestmark = pytest.mark.slow

RECIPE = "IVF16,SQ8"
KILLS_AT_FIRST, KILLS_EACH = 12, 5
MIN_KILLS = 50
NUM_PEOPLE = 10  # one is deleted in each round
TRACES_STEP = 9  # only every ninth trace is searched for, as that takes long

processes = multiprocessing.get_context("forkserver")  # starts processes quickly
processes.set_forkserver_preload([__name__, "duckdb", "faiss"])


def index(folder: Path) -> None:
    build_index(folder / "dataset", folder / "index", recipe=RECIPE)


def compact(folder: Path) -> None:
    compact_index(folder / "index")


def delete(folder: Path, where: str) -> None:
    delete_faces(folder / "dataset", [folder / "index"], where)


def clean(folder: Path) -> None:
    purge(folder / "dataset", [folder / "index"])


@dataclass
class Undisturbed:
    """A run without kills, which records how long each kind of work takes."""

    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)

    def do(self, work: Callable[..., None], after: set[str], *arguments: str) -> None:
        name = work.__name__ if (self.folder / "index").exists() else "first index"
        began = time.monotonic()
        work(self.folder, *arguments)
        self.seconds[name] = time.monotonic() - began
        assert found_ids(self.folder / "index") == after


@dataclass
class Killed:
    """A run in processes that are killed at random moments until one of them finishes."""

    folder: Path
    seconds: dict[str, float]
    moments: random.Random
    kills: Counter[str] = field(default_factory=Counter)

    def do(self, work: Callable[..., None], after: set[str], *arguments: str) -> None:
        index_dir = self.folder / "index"
        before, name, num_kills = None, "first index", KILLS_AT_FIRST
        if index_dir.exists():
            before, name, num_kills = found_ids(index_dir), work.__name__, KILLS_EACH
        for _ in range(num_kills):
            moment = self.moments.uniform(0, 0.8 * self.seconds[name])
            if not self.kill(work, arguments, moment):
                break
            if before is not None or (index_dir / "CURRENT").exists():
                assert found_ids(index_dir) in (before, after)
        with started(work, self.folder, *arguments) as process:
            process.join(60)
            assert process.exitcode == 0
        assert found_ids(index_dir) == after

    def kill(self, work: Callable[..., None], arguments: tuple[str, ...], seconds: float) -> bool:
        with started(work, self.folder, *arguments) as process:
            process.join(seconds)
            process.kill()
            process.join()
            assert process.exitcode in (0, -9)
            self.kills[work.__name__] += process.exitcode == -9
            return process.exitcode == -9


@contextmanager
def started(
    work: Callable[..., None], folder: Path, *arguments: str
) -> Iterator[multiprocessing.process.BaseProcess]:
    """Start a process, and yield it when it begins the work."""
    ready = processes.Event()
    process = processes.Process(target=_work, args=(ready, work, folder, *arguments))
    process.start()
    assert ready.wait(60)
    yield process
    process.kill()
    process.join()


def _work(ready: object, work: Callable[..., None], folder: Path, *arguments: str) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    ready.set()  # type: ignore[attr-defined]
    work(folder, *arguments)


class History:
    """A history of a dataset and its index, round by round."""

    def __init__(self, doing: Undisturbed | Killed) -> None:
        self.doing = doing
        self.collection = Collection(doing.folder / "dataset")
        self.collection.embed(many_photos(320, faces=6), photos_per_part=10)
        self.purged: dict[str, Face] = {}
        doing.do(index, set(self.collection.faces()))

    def next_round(self, number: int) -> None:
        """Delete, add, change, drop, index, compact and purge."""
        collection, doing = self.collection, self.doing
        before = collection.faces()
        person = f"person {number}"
        collection.deleted |= {i for i, face in before.items() if face.person == person}
        doing.do(delete, set(collection.faces()), f"person = '{person}'")
        assert dataset_ids(doing.folder) == sorted(collection.faces())
        changed = {f"/photos/{number + 3:06d}.jpg": Photo(1000 + number, 2)}
        collection.embed(
            {**many_photos(60, first=2000 + 100 * number), **changed},
            gone=[f"/photos/{number + 103:06d}.jpg"],
            photos_per_part=10,
        )
        doing.do(index, set(collection.faces()))
        doing.do(compact, set(collection.faces()))
        doing.do(clean, set(collection.faces()))
        faces = collection.faces()
        self.purged |= {i: face for i, face in before.items() if i not in faces}
        there = set(traces_of(faces.values()))
        gone = [trace for trace in traces_of(self.purged.values()) if trace not in there]
        assert files_with(doing.folder, gone[number::TRACES_STEP]) == {}
        assert verify_index(doing.folder / "index", doing.folder / "dataset").problems == ()


def dataset_ids(folder: Path) -> list[str]:
    tables = Dataset.open(folder / "dataset").faces(["face_id"])
    return sorted(face_id for table in tables for face_id in table["face_id"].to_pylist())


@pytest.mark.slow
@pytest.mark.lasting
def test_fifty_kills_change_nothing_in_dataset_and_index(tmp_path: Path) -> None:
    undisturbed = Undisturbed(tmp_path / "undisturbed")
    killed = Killed(tmp_path / "killed", undisturbed.seconds, random.Random(7))
    histories = [History(undisturbed), History(killed)]
    for number in range(NUM_PEOPLE):
        for history in histories:
            history.next_round(number)
        if sum(killed.kills.values()) >= MIN_KILLS and len(killed.kills) == 4:
            break
    assert sum(killed.kills.values()) >= MIN_KILLS
    assert killed.kills.keys() == {"index", "compact", "delete", "clean"}
    expected, found = (everything_in(folder) for folder in (undisturbed.folder, killed.folder))
    assert found[:2] == expected[:2]
    assert np.array_equal(found[2], expected[2])
    assert kinds_of_files(killed.folder) == kinds_of_files(undisturbed.folder)


def everything_in(folder: Path) -> tuple[list[object], list[object], np.ndarray]:
    """Return the photos, faces and embeddings of a dataset, sorted, without names of parts."""
    dataset = Dataset.open(folder / "dataset")
    photos = dataset.photos().drop_columns(["part", "faces_part"]).sort_by("uri").to_pylist()
    tables = list(dataset.faces())
    faces = [face for table in tables for face in table.drop_columns(["embedding"]).to_pylist()]
    order = np.argsort([str(face["face_id"]) for face in faces])
    vectors = np.concatenate([embedding_matrix(table) for table in tables])
    return photos, [faces[row] for row in order], vectors[order]


def kinds_of_files(folder: Path) -> Counter[str]:
    """Count the files by name, with the random parts of the names left out."""
    names = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return Counter(re.sub(r"[0-9a-f]{6,}", "*", name) for name in names)
