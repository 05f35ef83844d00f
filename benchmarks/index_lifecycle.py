"""Measurements of an index's lifecycle: opening, adding faces, deleting faces, filtered searches.

Measurements that change the dataset or the index work on a copy made of hard links. That is safe
because neither is ever changed by writing into an existing file.
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
from faces.dataset.schema import embedding_matrix
from faces.dataset.store import Dataset
from indexer.build import build_index
from indexer.delete import delete_faces


@dataclass(frozen=True)
class Opening:
    """The times of opening an index in a fresh process.

    Attributes:
        import_seconds: time to import the modules.
        open_seconds: time to open the index after that.
        answer_seconds: time to search for the first probe and read its matches after that.
    """

    import_seconds: float
    open_seconds: float
    answer_seconds: float


def opening(gallery: Gallery, *, cold: bool) -> tuple[Opening, Memory]:
    """Open the index in a fresh process, and search for one probe.

    Args:
        gallery: the gallery, whose index exists.
        cold: whether to drop the index's files from the page cache before (Linux only).
    """
    if cold:
        for path in gallery.index.rglob("*"):
            if path.is_file():
                drop_from_cache(path)
    return apart(_open_and_ask, gallery)


def drop_from_cache(path: Path) -> None:
    """Drop a file from the page cache, so that it is read from the disk again."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _open_and_ask(gallery: Gallery) -> Opening:
    """Time imports, opening the index, and the first search, in this process."""
    began = time.perf_counter()
    from indexer.faiss_library import faiss  # noqa: F401
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
    """Copy the gallery's dataset and index as hard links, and remove the copy afterwards."""
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
    """The cost of adding faces to an index.

    Attributes:
        num_faces: number of faces added.
        built: cost of updating the index; its files are those that were written.
        speed: the speed of searches afterwards.
    """

    num_faces: int
    built: Built
    speed: Speed


def adding(gallery: Gallery, num_faces: int, effort: Effort) -> Added:
    """Add faces to the dataset and update the index, on a copy."""
    with changed_copy(gallery) as copy:
        apart(_grow, copy, num_faces)
        before = {path for path in copy.index.rglob("*") if path.is_file()}
        steps, memory = apart(_update_index, copy)
        new = [path for path in copy.index.rglob("*") if path.is_file() and path not in before]
        files: dict[str, int] = {}
        for path in new:
            files[path.name] = files.get(path.name, 0) + path.stat().st_size
        speed, _ = apart(_speed, copy, effort)
        return Added(num_faces, Built(tuple(steps), memory, files), speed)


def _grow(gallery: Gallery, num_faces: int) -> None:
    """Add the next faces of the generator to the dataset."""
    write_gallery_dataset(
        gallery.dataset,
        num_faces,
        first=gallery.num_probes + gallery.count,
        faces_per_part=gallery.faces_per_part,
    )


def _update_index(gallery: Gallery) -> list[Any]:
    """Update the index, and time the steps."""
    timer = StepTimer()
    build_index(gallery.dataset, gallery.index, device="cpu", on_progress=timer)
    return timer.finish()


def _speed(gallery: Gallery, effort: Effort) -> Speed:
    """Measure the speed of searches, after a warm-up."""
    engine = Facetrove()
    engine.open(gallery, gallery.index)
    engine.search(gallery.truth.probes)
    return measure_speed(engine.search, gallery.truth.probes, effort)


@dataclass(frozen=True)
class Deletion:
    """The time of deleting faces.

    Attributes:
        what: the deleted faces, in words.
        num_faces: number of deleted faces.
        unfound_seconds: time until an open searcher, refreshed, did not find them any more.
        done_seconds: time until they were withheld from the dataset and marked in the index.
        fresh_seconds: time for a fresh process to open the index after that and not find them.
    """

    what: str
    num_faces: int
    unfound_seconds: float
    done_seconds: float
    fresh_seconds: float


def deleting(gallery: Gallery) -> list[Deletion]:
    """Delete one face and then all faces of one person, on a copy."""
    with changed_copy(gallery) as copy:
        truth = copy.truth
        # The face is the nearest of the first probe, the person that of the second probe.
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
    """Delete faces by a condition, and check that an open searcher does not find them any more.

    Returns:
        The times, and the face_ids of the deleted faces, which the probe found before.
    """
    from search.searcher import FaceSearcher

    searcher = FaceSearcher.open(gallery.index, device="cpu")
    probes = gallery.truth.probes[probe : probe + 1]
    (matches,) = searcher.search_embeddings(probes, k=1000, where=where)
    gone = matches.face_ids
    began = time.perf_counter()
    deleted = delete_faces(gallery.dataset, [gallery.index], where)
    done = time.perf_counter() - began
    searcher.refresh()
    _require_unfound(searcher, gone, probes)
    unfound = time.perf_counter() - began
    return Deletion("", deleted.num_faces, unfound, done, 0.0), gone


def _require_gone(gallery: Gallery, gone: Sequence[str], probe: int) -> None:
    """Open the index and check that deleted faces are not found."""
    from search.searcher import FaceSearcher

    searcher = FaceSearcher.open(gallery.index, device="cpu")
    _require_unfound(searcher, gone, gallery.truth.probes[probe : probe + 1])


def _require_unfound(searcher: Any, gone: Sequence[str], probes: Any) -> None:
    """Check that a search finds none of the deleted faces."""
    (matches,) = searcher.search_embeddings(probes, k=100)
    if found := set(gone) & set(matches.face_ids):
        raise AssertionError(f"deleted faces were found: {', '.join(sorted(found))}")


@dataclass(frozen=True)
class Filter:
    """A filter, as facetrove's condition and as an Arrow expression."""

    name: str
    where: str
    expression: pc.Expression


def filters(gallery: Gallery) -> list[Filter]:
    """Return filters that match 1%, 10% and half of the faces, and the faces of one person."""
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
    """The measurements of searches with a filter.

    Attributes:
        name: the filter's name.
        num_selected: number of faces that match the filter.
        recall: recall against exact search among these faces.
        speed: the speed with a filter that has been used before.
        first_ms: median time in milliseconds for one probe with a filter that is used for the first
            time, over seven probes.
    """

    name: str
    num_selected: int
    recall: Recall
    speed: Speed
    first_ms: float


FILTER_PROBES = 1000
"""Number of probes that are searched for with filters."""


def filtering(gallery: Gallery, effort: Effort) -> list[Filtered]:
    """Measure searches with several filters, in a process of its own."""
    return apart(_filtering, gallery, effort)[0]


def _filtering(gallery: Gallery, effort: Effort) -> list[Filtered]:
    """Measure searches with several filters in this process."""
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
            where = f"({condition.where}) AND {number} = {number}"  # a filter not used before
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
    """Map face_ids to numbers, so that exact and returned faces can be compared as rows.

    Args:
        true: (p, 10) face_ids of the exact nearest faces; empty for padding.
        found: the face_ids that a search returned for each of the p probes.

    Returns:
        (p, 10) numbers of the exact faces, -1 for padding, and (p, 10) numbers of the returned
        faces, -2 for padding and for a face that is no exact one.
    """
    numbers: dict[str, int] = {"": -1}
    exact = np.array([[numbers.setdefault(i, len(numbers)) for i in row] for row in true])
    rows = np.full(exact.shape, -2, dtype=np.int64)
    for number, ids in enumerate(found):
        rows[number, : len(ids)] = [numbers.get(face_id, -2) for face_id in ids]
    return exact, rows


def _exact_filtered(
    gallery: Gallery, chosen: Sequence[Filter]
) -> list[tuple[Any, list[list[str]], int]]:
    """Search exactly with each filter, in the dataset instead of the index.

    Returns:
        For each filter, (p, 10) similarities and (p, 10) face_ids of the nearest faces, and the
        number of faces that match the filter.
    """
    from indexer.faiss_library import faiss

    probes = gallery.truth.probes[:FILTER_PROBES]
    heaps = [faiss.ResultHeap(len(probes), K, keep_max=True) for _ in chosen]
    ids: list[list[str]] = [[] for _ in chosen]
    pending: list[pa.Table] = []
    columns = ["face_id", "album", "taken", "person", "sharpness", "embedding"]

    def compare() -> None:
        table = pa.concat_tables(pending)
        pending.clear()
        for number, condition in enumerate(chosen):
            selected = table.filter(condition.expression)
            if len(selected) == 0:
                continue
            vectors = embedding_matrix(selected)
            similarities, rows = faiss.knn(
                probes, vectors, min(K, len(vectors)), metric=faiss.METRIC_INNER_PRODUCT
            )
            heaps[number].add_result(similarities, rows + len(ids[number]))
            ids[number] += selected["face_id"].to_pylist()

    for table in Dataset.open(gallery.dataset).faces(columns):
        pending.append(table)
        if sum(map(len, pending)) >= 1 << 16:
            compare()
    if pending:
        compare()
    answers = []
    for heap, names in zip(heaps, ids, strict=True):
        heap.finalize()
        found = [[names[row] if row >= 0 else "" for row in rows] for rows in heap.I.tolist()]
        answers.append((heap.D, found, len(names)))
    return answers


def index_bytes(gallery: Gallery) -> dict[str, int]:
    """Return the bytes of the index's files, by name."""
    return sizes(gallery.index)
