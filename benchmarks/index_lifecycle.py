"""An index's life measured: opening, adding, deleting, filtered searches.

What changes the dataset or the index works on a copy of hard links; neither ever writes into a
file that is there.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.apart import Memory, apart
from benchmarks.galleries import write_gallery_dataset
from benchmarks.index_engines import (
    Built,
    Effort,
    Facetrove,
    Speed,
    StepTimer,
    measure_speed,
    seconds_of,
    sizes,
)
from benchmarks.index_galleries import Gallery, K, Recall, recall_of
from faces.core.progress import Progress
from faces.dataset.schema import embedding_matrix
from faces.dataset.store import Dataset
from indexer.build import build_index
from indexer.delete import delete_faces


@dataclass(frozen=True)
class Opening:
    """Seconds in a fresh process.

    Attributes:
        import_seconds: until everything was imported.
        open_seconds: then, until the index was open.
        answer_seconds: then, until the first probe was answered and its matches read.
    """

    import_seconds: float
    open_seconds: float
    answer_seconds: float


def opening(gallery: Gallery, *, cold: bool) -> tuple[Opening, Memory]:
    """Open the index in a fresh process and ask it one probe.

    Args:
        gallery: with its index.
        cold: drop the index's files from the page cache before (Linux).
    """
    if cold:
        for path in gallery.index.rglob("*"):
            if path.is_file():
                drop_from_cache(path)
    return apart(_open_and_ask, gallery)


def drop_from_cache(path: Path) -> None:
    """Forget what memory holds of a file, so that it is read from the disk again."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _open_and_ask(gallery: Gallery) -> Opening:
    began = time.perf_counter()
    import faiss  # noqa: F401

    from search.searcher import FaceSearcher

    imported = time.perf_counter()
    searcher = FaceSearcher.open(gallery.index, device="cpu")
    opened = time.perf_counter()
    (matches,) = searcher.search_embeddings(gallery.truth.probes[:1], k=K)
    list(matches)
    answered = time.perf_counter()
    return Opening(imported - began, opened - imported, answered - opened)


@contextmanager
def changed_copy(gallery: Gallery) -> Iterator[Gallery]:
    """The gallery's dataset and index as hard links, removed afterwards."""
    copy = replace(gallery, work=gallery.work / "changed")
    shutil.rmtree(copy.path, ignore_errors=True)
    copy.path.mkdir(parents=True)
    ignore = shutil.ignore_patterns(".*")
    for ours, theirs in ((gallery.dataset, copy.dataset), (gallery.index, copy.index)):
        shutil.copytree(ours, theirs, copy_function=os.link, ignore=ignore)
    os.link(gallery.path / "truth.npz", copy.path / "truth.npz")
    try:
        yield copy
    finally:
        copy.remove()


@dataclass(frozen=True)
class Added:
    """Faces added to an index.

    Attributes:
        num_faces: how many.
        built: what bringing the index up to date took; its files are the new ones.
        speed: of the search afterwards.
    """

    num_faces: int
    built: Built
    speed: Speed


def adding(gallery: Gallery, num_faces: int, effort: Effort) -> Added:
    """Grow the dataset and bring the index up to date, on a copy."""
    with changed_copy(gallery) as copy:
        apart(_grow, copy, num_faces)
        before = {path for path in copy.index.rglob("*") if path.is_file()}
        steps, memory = apart(_bring_up_to_date, copy)
        new = [path for path in copy.index.rglob("*") if path.is_file() and path not in before]
        files: dict[str, int] = {}
        for path in new:
            files[path.name] = files.get(path.name, 0) + path.stat().st_size
        speed, _ = apart(_speed, copy, effort)
        return Added(num_faces, Built(tuple(steps), memory, files), speed)


def _grow(gallery: Gallery, num_faces: int) -> None:
    write_gallery_dataset(
        gallery.dataset,
        num_faces,
        first=gallery.num_probes + gallery.count,
        faces_per_part=gallery.faces_per_part,
    )


def _bring_up_to_date(gallery: Gallery) -> list[Any]:
    timer = StepTimer()
    build_index(gallery.dataset, gallery.index, device="cpu", on_progress=timer)
    return timer.finish()


def _speed(gallery: Gallery, effort: Effort) -> Speed:
    engine = Facetrove()
    engine.open(gallery, gallery.index)
    engine.search(gallery.truth.probes)
    return measure_speed(engine.search, gallery.truth.probes, effort)


@dataclass(frozen=True)
class Deletion:
    """Faces deleted.

    Attributes:
        what: was deleted.
        num_faces: how many that were.
        unfound_seconds: until a searcher that was open, refreshed, found them no more.
        done_seconds: until they were out of the dataset's parts too.
        fresh_seconds: then, until a fresh process had opened the index and found them no more.
    """

    what: str
    num_faces: int
    unfound_seconds: float
    done_seconds: float
    fresh_seconds: float


def deleting(gallery: Gallery) -> list[Deletion]:
    """Delete one face and then one person, on a copy."""
    with changed_copy(gallery) as copy:
        truth = copy.truth
        # The face nearest to the first probe; the person of the second.
        (face_id,) = copy.ids(truth.rows[:1, 0])
        person = f"person = 'person-{int(truth.people[1]):06d}'"
        found = []
        for what, where, probe in (
            ("one face", f"face_id = '{face_id}'", 0),
            ("one person", person, 1),
        ):
            deletion, gone = apart(_delete, copy, where, probe)[0]
            began = time.perf_counter()
            apart(_require_gone, copy, gone, probe)
            fresh = time.perf_counter() - began
            found.append(replace(deletion, what=what, fresh_seconds=fresh))
        return found


def _delete(gallery: Gallery, where: str, probe: int) -> tuple[Deletion, list[str]]:
    from search.searcher import FaceSearcher

    searcher = FaceSearcher.open(gallery.index, device="cpu")
    probes = gallery.truth.probes[probe : probe + 1]
    (matches,) = searcher.search_embeddings(probes, k=1000, where=where)
    gone = matches.face_ids
    unfound = [0.0]

    def watch(progress: Progress) -> None:
        # Said once the indexes are done.
        if progress.step == "looking through the dataset":
            searcher.refresh()
            _require_unfound(searcher, gone, probes)
            unfound[0] = time.perf_counter() - began

    began = time.perf_counter()
    deleted = delete_faces(gallery.dataset, [gallery.index], where, on_progress=watch)
    done = time.perf_counter() - began
    return Deletion("", deleted.num_faces, unfound[0], done, 0.0), gone


def _require_gone(gallery: Gallery, gone: Sequence[str], probe: int) -> None:
    from search.searcher import FaceSearcher

    searcher = FaceSearcher.open(gallery.index, device="cpu")
    _require_unfound(searcher, gone, gallery.truth.probes[probe : probe + 1])


def _require_unfound(searcher: Any, gone: Sequence[str], probes: Any) -> None:
    (matches,) = searcher.search_embeddings(probes, k=100)
    if set(gone) & set(matches.face_ids):
        raise AssertionError("a deleted face was found")


@dataclass(frozen=True)
class Filter:
    """A condition, for us and for Arrow."""

    name: str
    where: str
    expression: pc.Expression


def filters(gallery: Gallery) -> list[Filter]:
    """Conditions that pass 1%, 10% and half of the faces, and those of one person."""
    person = f"person-{int(gallery.truth.people[0]):06d}"
    days = (pa.scalar(date(2010, 1, 1)), pa.scalar(date(2012, 1, 1)))
    return [
        Filter("one album", "album = 'album-07'", pc.field("album") == "album-07"),
        Filter(
            "two years",
            "taken >= DATE '2010-01-01' AND taken < DATE '2012-01-01'",
            (pc.field("taken") >= days[0]) & (pc.field("taken") < days[1]),
        ),
        Filter("sharp", "sharpness > 0.17", pc.field("sharpness") > 0.17),
        Filter("one person", f"person = '{person}'", pc.field("person") == person),
    ]


@dataclass(frozen=True)
class Filtered:
    """Filtered searches.

    Attributes:
        name: of the filter; none: without one, for comparison.
        num_selected: faces that pass.
        recall: against exact answers.
        speed: with the filter asked before.
        first_ms: of one probe, with a filter that was not; median of seven.
    """

    name: str
    num_selected: int
    recall: Recall
    speed: Speed
    first_ms: float


FILTER_PROBES = 1000


def filtering(gallery: Gallery, effort: Effort) -> list[Filtered]:
    """Search with filters."""
    return apart(_filtering, gallery, effort)[0]


def _filtering(gallery: Gallery, effort: Effort) -> list[Filtered]:
    from search.searcher import FaceSearcher

    chosen = filters(gallery)
    exact = _exact_filtered(gallery, chosen)
    searcher = FaceSearcher.open(gallery.index, device="cpu")
    probes = gallery.truth.probes[:FILTER_PROBES]
    results = []
    for condition, (similarities, ids, num_selected) in zip(chosen, exact, strict=True):
        found = searcher.search_embeddings(probes, k=K, where=condition.where)
        rows = _numbered(ids, [matches.face_ids for matches in found])
        recall = recall_of(similarities, rows[0], rows[1], gallery.threshold)
        speed = measure_speed(
            lambda some, where=condition.where: searcher.search_embeddings(some, k=K, where=where),
            probes,
            effort,
        )
        firsts = []
        for number in range(7):
            where = f"({condition.where}) AND {number} = {number}"  # not asked before
            firsts.append(
                seconds_of(
                    lambda some, where=where: searcher.search_embeddings(some, k=K, where=where),
                    probes[number : number + 1],
                )
            )
        first_ms = 1000 * float(np.median(firsts))
        results.append(Filtered(condition.name, num_selected, recall, speed, first_ms))
    return results


def _numbered(true: Any, found: Sequence[Sequence[str]]) -> tuple[Any, Any]:
    """Ids as numbers: (p, 10) of the exact answers and of those found; -1 for none."""
    numbers: dict[str, int] = {"": -1}
    exact = np.array([[numbers.setdefault(i, len(numbers)) for i in row] for row in true])
    rows = np.full(exact.shape, -2, dtype=np.int64)
    for number, ids in enumerate(found):
        rows[number, : len(ids)] = [numbers.get(face_id, -2) for face_id in ids]
    return exact, rows


def _exact_filtered(
    gallery: Gallery, chosen: Sequence[Filter]
) -> list[tuple[Any, list[list[str]], int]]:
    """For each filter: (p, 10) similarities and ids of the exact answers, and how many pass.

    Read from the dataset, not from the index.
    """
    import faiss

    probes = gallery.truth.probes[:FILTER_PROBES]
    heaps = [faiss.ResultHeap(len(probes), K, keep_max=True) for _ in chosen]
    ids: list[list[str]] = [[] for _ in chosen]
    waiting: list[pa.Table] = []
    columns = ["face_id", "album", "taken", "person", "sharpness", "embedding"]

    def compare() -> None:
        table = pa.concat_tables(waiting)
        waiting.clear()
        for number, condition in enumerate(chosen):
            passing = table.filter(condition.expression)
            if len(passing) == 0:
                continue
            vectors = embedding_matrix(passing)
            similarities, rows = faiss.knn(
                probes, vectors, min(K, len(vectors)), metric=faiss.METRIC_INNER_PRODUCT
            )
            heaps[number].add_result(similarities, rows + len(ids[number]))
            ids[number] += passing["face_id"].to_pylist()

    for table in Dataset.open(gallery.dataset).faces(columns):
        waiting.append(table)
        if sum(map(len, waiting)) >= 1 << 16:
            compare()
    if waiting:
        compare()
    answers = []
    for heap, names in zip(heaps, ids, strict=True):
        heap.finalize()
        found = [[names[row] if row >= 0 else "" for row in rows] for rows in heap.I.tolist()]
        answers.append((heap.D, found, len(names)))
    return answers


def index_bytes(gallery: Gallery) -> dict[str, int]:
    """Bytes of the index's files by name."""
    return sizes(gallery.index)
