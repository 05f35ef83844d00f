"""Other processes search an index without pause while it is written."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from indexer.build import build_index
from indexer.compact import compact_index
from indexer.delete import delete_faces
from indexer.faiss_library import faiss
from indexer.purge import purge
from search.searcher import FaceSearcher
from tests.support.small_collections import DIMENSION, Collection, Photo, many_photos
from tests.support.vectors import unit_vectors

pytestmark = pytest.mark.slow

NUM_WRITES, NUM_READERS = 20, 2
PROBE = unit_vectors(1, DIMENSION, seed=2)
EVEN = "year % 2 = 0"

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload([__name__, "duckdb", "faiss"])


def read_without_pause(number: int, index: Path, stop: Any, answers: Any) -> None:
    """Search until stopped; then send the sets of faces that were found, or the error."""
    faiss.omp_set_num_threads(1)
    everything: set[frozenset[str]] = set()
    filtered: set[frozenset[str]] = set()
    versions, num_opened = set(), 0
    try:
        searcher = FaceSearcher.open(index)
        while not stop.is_set():
            num_opened += 1
            if num_opened % 2 == number:
                searcher = FaceSearcher.open(index)
            else:
                searcher.refresh()
            versions.add(searcher.manifest.version)
            for seen, where in ((everything, None), (filtered, EVEN)):
                (matches,) = searcher.search_embeddings(PROBE, min_similarity=-1, where=where)
                seen.add(frozenset(matches.face_ids))
                assert len(matches) == len(set(matches.face_ids))
                (best,) = searcher.search_embeddings(PROBE, k=1, where=where)
                assert best[0].similarity == pytest.approx(matches[0].similarity, abs=1e-6)
    except Exception as error:
        answers.put((number, repr(error), everything, filtered, versions))
        raise
    answers.put((number, "", everything, filtered, versions))


@contextmanager
def reader(number: int, index: Path, stop: Any, answers: Any) -> Iterator[None]:
    process = processes.Process(target=read_without_pause, args=(number, index, stop, answers))
    process.start()
    try:
        yield
    finally:
        stop.set()
        process.join(30)
        process.kill()


def write(collection: Collection, index: Path, number: int) -> None:
    """Publish a new version by an update, a deletion, a compaction or a purge."""
    first = 1000 + 10 * number
    kind = number % 5
    if kind in (0, 3):
        again = {"/photos/000001.jpg": Photo(2000 + number, 2, year=number)}
        collection.embed({**many_photos(10, first=first), **again})
        build_index(collection.path, index)
    elif kind == 1:
        face_ids = sorted(collection.faces())[::40]
        collection.deleted |= set(face_ids)
        delete_faces(collection.path, [index], faces=face_ids)
    elif kind == 2:
        compact_index(index)
    else:
        collection.embed({}, gone=[sorted(collection.photos)[-1]])
        purge(collection.path, [index])


@pytest.mark.slow
@pytest.mark.lasting
def test_readers_find_one_version_or_the_next_whatever_is_written(tmp_path: Path) -> None:
    index = tmp_path / "index"
    collection = Collection(tmp_path / "dataset")
    collection.embed(many_photos(120))
    build_index(collection.path, index, recipe="IVF8,SQ8")
    versions = [collection.faces()]
    stop, answers = processes.Event(), processes.Queue()
    with ExitStack() as readers:
        for number in range(NUM_READERS):
            readers.enter_context(reader(number, index, stop, answers))
        for number in range(NUM_WRITES):
            write(collection, index, number)
            versions.append(collection.faces())
        stop.set()
        told = [answers.get(timeout=60) for _ in range(NUM_READERS)]
    whole = {frozenset(faces) for faces in versions}
    even = {
        frozenset(i for i, face in faces.items() if face.year is not None and face.year % 2 == 0)
        for faces in versions
    }
    for _, problem, everything, filtered, seen in told:
        assert problem == ""
        assert everything <= whole
        assert filtered <= even
        assert len(seen) > 3


def test_the_newest_searcher_is_another_one_only_where_the_version_is(tmp_path: Path) -> None:
    collection = Collection(tmp_path / "d")
    collection.embed(many_photos(3))
    build_index(collection.path, tmp_path / "i")
    first = FaceSearcher.open(tmp_path / "i")
    assert first.newest() is first
    collection.embed(many_photos(2, first=3))
    build_index(collection.path, tmp_path / "i")
    second = first.newest()
    assert (len(first), len(second)) == (9, 15)
    assert first.manifest.version < second.manifest.version
    assert second.newest() is second and second.snapshot.line != first.snapshot.line
