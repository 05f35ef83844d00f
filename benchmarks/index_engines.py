"""Search engines under one interface, and how each is measured: facetrove and exact FAISS.

`benchmarks/index_peers.py` has the others. An engine is built in one process and searched in
another, with as many threads as there are cores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.apart import Memory, apart, peak_bytes
from benchmarks.index_galleries import Gallery, K, Recall, Rows, Vectors
from faces.core.progress import Progress
from indexer.build import build_index

PLATEAU = 0.0005
"""Where no settings reach the target, the least effort within so much of the best is taken."""


class Engine(Protocol):
    """Builds an index of a gallery, and searches it in another process.

    Attributes:
        name: as in tables.
    """

    name: str

    def build(self, gallery: Gallery, folder: Path) -> None:
        """Build it into an empty folder."""

    def open(self, gallery: Gallery, folder: Path) -> None:
        """Get ready to search."""

    def ladders(self) -> Sequence[Sequence[Any]]:
        """Settings of the search, each row of growing effort."""

    def use(self, setting: Any) -> None:
        """Search with a setting from now on."""

    def search(self, probes: Vectors) -> Any:
        """Find the ten nearest of each probe, as a user does. This is timed."""

    def rows(self, answer: Any) -> Rows:
        """(p, 10) rows of an answer."""


@dataclass(frozen=True)
class Step:
    """A step of a build: its name, seconds, and the most memory held until its end."""

    name: str
    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Built:
    """What building took."""

    steps: tuple[Step, ...]
    memory: Memory
    files: dict[str, int]

    @property
    def seconds(self) -> float:
        """Of all steps."""
        return sum(step.seconds for step in self.steps)

    @property
    def num_bytes(self) -> int:
        """Of all files."""
        return sum(self.files.values())


@dataclass(frozen=True)
class Speed:
    """How fast a search is: in batches of all probes, and one at a time."""

    probes_per_second: float
    latency_ms_p50: float
    latency_ms_p99: float


@dataclass(frozen=True)
class Effort:
    """How often and on how many probes a search is measured.

    Attributes:
        repeats: batches, of which the median counts.
        num_singles: probes asked one by one.
        target: recall of matches that settings are raised to.
    """

    repeats: int = 5
    num_singles: int = 1000
    target: float = 0.999


@dataclass(frozen=True)
class Searched:
    """How an engine searches.

    Attributes:
        setting: of its search.
        recall: with that.
        speed: with that.
        memory: of the process that searched.
        open_seconds: what opening it took.
    """

    setting: str
    recall: Recall
    speed: Speed
    memory: Memory
    open_seconds: float


def build_apart(engine: Engine, gallery: Gallery, folder: Path) -> Built:
    """Build in a process of its own, into a new folder."""
    folder.mkdir(parents=True)
    steps, memory = apart(_build, engine, gallery, folder)
    return Built(tuple(steps), memory, sizes(folder))


def search_apart(engine: Engine, gallery: Gallery, folder: Path, effort: Effort) -> Searched:
    """Measure searching in a process of its own."""
    searched, memory = apart(_search, engine, gallery, folder, effort)
    return replace(searched, memory=memory)


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of all files under a folder by their names; those of one name together."""
    found: dict[str, int] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found[path.name] = found.get(path.name, 0) + path.stat().st_size
    return found


def _build(engine: Engine, gallery: Gallery, folder: Path) -> list[Step]:
    if isinstance(engine, Facetrove):
        return engine.build_in_steps(gallery, folder)
    began = time.perf_counter()
    engine.build(gallery, folder)
    return [Step("build", time.perf_counter() - began, peak_bytes())]


def _search(engine: Engine, gallery: Gallery, folder: Path, effort: Effort) -> Searched:
    began = time.perf_counter()
    engine.open(gallery, folder)
    open_seconds = time.perf_counter() - began
    setting, recall = _settle(engine, gallery, effort.target)
    engine.use(setting)
    speed = measure_speed(engine.search, gallery.truth.probes, effort)
    nothing = Memory(0, 0, 0)
    said = "" if setting is None else str(setting)
    return Searched(said, recall, speed, nothing, open_seconds)


def _settle(engine: Engine, gallery: Gallery, target: float) -> tuple[Any, Recall]:
    """The fastest setting that reaches the target; else the least effort near the best."""
    reached: list[tuple[float, Any, Recall]] = []
    tried: list[tuple[Any, Recall]] = []
    for ladder in engine.ladders():
        for setting in ladder:
            engine.use(setting)
            began = time.perf_counter()
            answer = engine.search(gallery.truth.probes)
            seconds = time.perf_counter() - began
            recall = gallery.recall(engine.rows(answer))
            tried.append((setting, recall))
            if recall.of_matches >= target:
                reached.append((seconds, setting, recall))
                break
    if reached:
        _, setting, recall = min(reached, key=lambda entry: entry[0])
        return setting, recall
    best = max(recall.of_matches for _, recall in tried)
    return next(entry for entry in tried if entry[1].of_matches >= best - PLATEAU)


def measure_speed(search: Callable[[Vectors], object], probes: Vectors, effort: Effort) -> Speed:
    """Time a search that has been warmed up: batches of all probes, then one by one."""
    batches = [seconds_of(search, probes) for _ in range(effort.repeats)]
    singles = [
        seconds_of(search, probes[number % len(probes)][None])
        for number in range(effort.num_singles)
    ]
    return Speed(
        len(probes) / float(np.median(batches)),
        1000 * float(np.quantile(singles, 0.5)),
        1000 * float(np.quantile(singles, 0.99)),
    )


def seconds_of(search: Callable[[Vectors], object], probes: Vectors) -> float:
    """What one call takes."""
    began = time.perf_counter()
    search(probes)
    return time.perf_counter() - began


class StepTimer:
    """Takes a build's progress for the times of its steps."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._name = "opening"
        self._began = time.perf_counter()

    def __call__(self, progress: Progress) -> None:
        """Note where a step ends."""
        if progress.step != self._name:
            self._end_step()
            self._name = progress.step

    def finish(self) -> list[Step]:
        """The steps in their order."""
        self._end_step()
        return self.steps

    def _end_step(self) -> None:
        now = time.perf_counter()
        self.steps.append(Step(self._name, now - self._began, peak_bytes()))
        self._began = now


class Facetrove:
    """This program: from the dataset by its automatic recipe, asked through FaceSearcher."""

    name = "facetrove"

    def build(self, gallery: Gallery, folder: Path) -> None:
        """Build it."""
        self.build_in_steps(gallery, folder)

    def build_in_steps(self, gallery: Gallery, folder: Path) -> list[Step]:
        """The same, and what each step took."""
        timer = StepTimer()
        build_index(gallery.dataset, folder, device="cpu", on_progress=timer)
        return timer.finish()

    def open(self, gallery: Gallery, folder: Path) -> None:
        """Open the index."""
        from search.searcher import FaceSearcher

        self._searcher = FaceSearcher.open(folder, device="cpu")
        self._gallery = gallery

    def ladders(self) -> Sequence[Sequence[Any]]:
        """It was tuned when it was built."""
        return [[None]]

    def use(self, setting: Any) -> None:
        """There is nothing to set."""

    def search(self, probes: Vectors) -> Any:
        """Candidate lists."""
        return self._searcher.search_embeddings(probes, k=K)

    def rows(self, answer: Any) -> Rows:
        """Rows by face_id."""
        return self._gallery.rows_of([matches.face_ids for matches in answer])


class ExactFaiss:
    """FAISS's exact search, the embeddings in memory: what the others are compared with."""

    name = "FAISS exact"

    def build(self, gallery: Gallery, folder: Path) -> None:
        """Nothing is built."""

    def open(self, gallery: Gallery, folder: Path) -> None:
        """Read the embeddings."""
        import faiss

        vectors = np.load(gallery.vectors_path, mmap_mode="r")
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        for start in range(0, len(vectors), 1 << 16):
            self._index.add(np.ascontiguousarray(vectors[start : start + (1 << 16)]))

    def ladders(self) -> Sequence[Sequence[Any]]:
        """There is nothing to set."""
        return [[None]]

    def use(self, setting: Any) -> None:
        """There is nothing to set."""

    def search(self, probes: Vectors) -> Any:
        """(p, 10) rows."""
        return self._index.search(probes, K)[1]

    def rows(self, answer: Any) -> Rows:
        """The same."""
        return np.asarray(answer, dtype=np.int64)
