"""A common interface of search engines, its measurements, and two engines: facetrove, exact FAISS.

`benchmarks/index_peers.py` has the other engines. An index is built in one process and searched in
another, with one thread per core.
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
"""Tolerance in recall. Where no setting reaches the target recall, the setting of least effort
whose recall is within this of the highest is measured."""


class Engine(Protocol):
    """A search engine, which builds an index of a gallery and searches it in another process.

    Attributes:
        name: the engine's name in tables.
    """

    name: str

    def build(self, gallery: Gallery, folder: Path) -> None:
        """Build the index into an empty folder."""

    def open(self, gallery: Gallery, folder: Path) -> None:
        """Open the index for searches."""

    def ladders(self) -> Sequence[Sequence[Any]]:
        """Return sequences of search settings, each in order of growing effort."""

    def use(self, setting: Any) -> None:
        """Use a setting for the searches that follow."""

    def search(self, probes: Vectors) -> Any:
        """Find the ten nearest faces of each probe, as a user would; this is timed."""

    def rows(self, answer: Any) -> Rows:
        """Return the (p, 10) rows of the faces that a search returned."""


@dataclass(frozen=True)
class Step:
    """A step of a build.

    Attributes:
        name: the step's name.
        seconds: duration of the step.
        peak_bytes: peak resident memory of the process until the end of the step.
    """

    name: str
    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Built:
    """The cost of building an index.

    Attributes:
        steps: the steps of the build, in order.
        memory: the memory of the process that built.
        files: bytes of the files that were written, by name.
    """

    steps: tuple[Step, ...]
    memory: Memory
    files: dict[str, int]

    @property
    def seconds(self) -> float:
        """The duration of all steps."""
        return sum(step.seconds for step in self.steps)

    @property
    def num_bytes(self) -> int:
        """The size of all files."""
        return sum(self.files.values())


@dataclass(frozen=True)
class Speed:
    """The speed of searches.

    Attributes:
        probes_per_second: throughput in batches of all probes.
        latency_ms_p50, latency_ms_p99: quantiles of the time for one probe alone.
    """

    probes_per_second: float
    latency_ms_p50: float
    latency_ms_p99: float


@dataclass(frozen=True)
class Effort:
    """The options of measuring a search.

    Attributes:
        repeats: number of batches of all probes; their median time counts.
        num_singles: number of probes that are searched for one by one.
        target: recall of matches that the settings must reach.
    """

    repeats: int = 5
    num_singles: int = 1000
    target: float = 0.999


@dataclass(frozen=True)
class Searched:
    """The measurements of an engine's search.

    Attributes:
        setting: the search setting that was chosen.
        recall: the recall with that setting.
        speed: the speed with that setting.
        memory: the memory of the process that searched.
        open_seconds: time to open the index.
    """

    setting: str
    recall: Recall
    speed: Speed
    memory: Memory
    open_seconds: float


def build_apart(engine: Engine, gallery: Gallery, folder: Path) -> Built:
    """Build an index in a process of its own, into a new folder."""
    folder.mkdir(parents=True)
    steps, memory = apart(_build, engine, gallery, folder)
    return Built(tuple(steps), memory, sizes(folder))


def search_apart(engine: Engine, gallery: Gallery, folder: Path, effort: Effort) -> Searched:
    """Measure searches of an index in a process of its own."""
    searched, memory = apart(_search, engine, gallery, folder, effort)
    return replace(searched, memory=memory)


def sizes(folder: Path) -> dict[str, int]:
    """Return the bytes of all files under a folder, by file name; files of one name are added."""
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
    """Choose the fastest setting that reaches the target recall.

    Where none reaches it, the first setting within `PLATEAU` of the highest recall is chosen.
    """
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
    """Time a search in batches of all probes, then with single probes.

    The search must have been run before, so that nothing is loaded meanwhile.
    """
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
    """Time one call, in seconds."""
    began = time.perf_counter()
    search(probes)
    return time.perf_counter() - began


class StepTimer:
    """A receiver of a build's progress that times its steps."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._name = "opening"
        self._began = time.perf_counter()

    def __call__(self, progress: Progress) -> None:
        """End the current step where another one begins."""
        if progress.step != self._name:
            self._end_step()
            self._name = progress.step

    def finish(self) -> list[Step]:
        """End the last step, and return all steps in order."""
        self._end_step()
        return self.steps

    def _end_step(self) -> None:
        now = time.perf_counter()
        self.steps.append(Step(self._name, now - self._began, peak_bytes()))
        self._began = now


class Facetrove:
    """facetrove: an index by automatic recipe, built from the dataset, searched by FaceSearcher."""

    name = "facetrove"

    def build(self, gallery: Gallery, folder: Path) -> None:
        """Build the index."""
        self.build_in_steps(gallery, folder)

    def build_in_steps(self, gallery: Gallery, folder: Path) -> list[Step]:
        """Build the index, and time the steps."""
        timer = StepTimer()
        build_index(gallery.dataset, folder, device="cpu", on_progress=timer)
        return timer.finish()

    def open(self, gallery: Gallery, folder: Path) -> None:
        """Open the index."""
        from search.searcher import FaceSearcher

        self._searcher = FaceSearcher.open(folder, device="cpu")
        self._gallery = gallery

    def ladders(self) -> Sequence[Sequence[Any]]:
        """Return no setting to choose, as the index is tuned when it is built."""
        return [[None]]

    def use(self, setting: Any) -> None:
        """Do nothing."""

    def search(self, probes: Vectors) -> Any:
        """Return candidate lists."""
        return self._searcher.search_embeddings(probes, k=K)

    def rows(self, answer: Any) -> Rows:
        """Look the rows up by face_id."""
        return self._gallery.rows_of([matches.face_ids for matches in answer])


class ExactFaiss:
    """FAISS's exact search of embeddings in memory, the reference for all engines."""

    name = "FAISS exact"

    def build(self, gallery: Gallery, folder: Path) -> None:
        """Do nothing."""

    def open(self, gallery: Gallery, folder: Path) -> None:
        """Read the embeddings into memory."""
        from indexer.faiss_library import faiss

        vectors = np.load(gallery.vectors_path, mmap_mode="r")
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        for start in range(0, len(vectors), 1 << 16):
            self._index.add(np.ascontiguousarray(vectors[start : start + (1 << 16)]))

    def ladders(self) -> Sequence[Sequence[Any]]:
        """Return no setting to choose."""
        return [[None]]

    def use(self, setting: Any) -> None:
        """Do nothing."""

    def search(self, probes: Vectors) -> Any:
        """Return the (p, 10) rows of the nearest faces."""
        return self._index.search(probes, K)[1]

    def rows(self, answer: Any) -> Rows:
        """Return the rows as they are."""
        return np.asarray(answer, dtype=np.int64)
