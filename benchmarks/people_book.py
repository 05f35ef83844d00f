"""How long a decision about people takes to be written, and to be seen by a search.

    python -m benchmarks.people_book --faces 1000000 --people 200000

A dataset of generated faces is written to a temporary folder, with an index and a grouping. Its
embeddings have 8 dimensions: what is measured is the people book, not the search for vectors.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from faces.core.contract import ModelContract
from faces.core.machine import available_threads
from faces.dataset.header import DatasetSettings
from faces.dataset.people_book import PeopleBook
from faces.dataset.people_groups import Groups
from faces.dataset.people_verbs import merge_people, name_person, undo_decision
from faces.dataset.schema import column_of, face_schema
from faces.dataset.writing import DatasetWriter
from indexer.build import build_index
from search.searcher import FaceSearcher

DIMENSION = 8
FACES_PER_PHOTO = 2
PART_PHOTOS = 50_000
ROUNDS, COLD_ROUNDS = 15, 5

T = TypeVar("T")

TIMES: dict[str, list[tuple[float, ...]]] = {}
"""Seconds that each piece of work took, by the clock and of the processor: the machine may be
busy."""

COLD_SEARCH = """
import sys, time
import facetrove as ft
start, cpu = time.perf_counter(), time.process_time()
index = ft.open_index(sys.argv[1])
found = len(index.list_faces(f"person = '{sys.argv[2]}'"))
print(found, time.perf_counter() - start, time.process_time() - cpu)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=1_000_000)
    parser.add_argument("--people", type=int, default=200_000)
    parser.add_argument("--decisions", type=int, default=1_000, help="decisions made before")
    options = parser.parse_args()
    print(" ".join(sys.orig_argv), f"({available_threads()} cores)")
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.faces, options.people, options.decisions)


def measure(folder: Path, num_faces: int, num_people: int, num_decisions: int) -> None:
    book = made_book(folder, num_faces, num_people, num_decisions)
    searcher = FaceSearcher.open(folder / "i")
    probe = np.eye(1, DIMENSION, dtype=np.float32)
    searcher.list_faces("person = 'nobody'")  # joins the grouping with the index, once
    report(book, searcher, probe, folder / "i")


def made_book(folder: Path, num_faces: int, num_people: int, num_decisions: int) -> PeopleBook:
    """Make a dataset `d`, its index `i` and its people book in a folder; return the book."""
    dataset = folder / "d"
    face_ids = write_dataset(dataset, num_faces)
    build_index(dataset, folder / "i", recipe="exact")
    rng = np.random.default_rng(0)
    people = rng.permutation(num_faces) % num_people + 1
    columns = [face_ids, pa.array(people), pa.array(rng.random(num_faces, np.float32) / 5)]
    table = pa.table(
        [*columns, pa.nulls(num_faces, pa.string())], ["face_id", "person", "doubt", "listed"]
    )
    book = PeopleBook(dataset, "benchmark")
    with book.writing() as view:
        timed("grouping written", book.replace_groups, Groups.of(table), view)
    timed("read model built from the grouping", PeopleBook(dataset, "benchmark").view)
    for number in range(num_decisions):
        if number % 3:
            name_person(book, 3 * number + 1000, f"person {number}")
        else:
            merge_people(book, [3 * number + 1000, 3 * number + 1001])
    return book


def report(book: PeopleBook, searcher: FaceSearcher, probe: np.ndarray, index: Path) -> None:
    for number in range(ROUNDS):
        name, pair = f"Zoe {number}", [2 * number + 1, 2 * number + 2]
        where = f"person = '{name}'"
        timed("name written", name_person, book, pair[0], name)
        timed("seen by a search, 10 matches", shown_matches, searcher, probe)
        found = timed("seen by a search, person = ...", searcher.list_faces, where)
        assert found
        if number < COLD_ROUNDS:
            command = [sys.executable, "-c", COLD_SEARCH, str(index), name]
            answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            count, *seconds = answer.split()
            assert int(count) == len(found)
            TIMES.setdefault("seen by a new process", []).append(tuple(map(float, seconds)))
        merge = timed("merge written", merge_people, book, pair)
        more = timed("seen by a search, person = ...", searcher.list_faces, where)
        assert len(more) > len(found)
        timed("undo written", undo_decision, book, merge.decision_id)
        timed("seen by a search, person = ...", searcher.list_faces, where)
    print_times()


def print_times() -> None:
    """Print what the work took that was timed."""
    for what, times in TIMES.items():
        wall, cpu = zip(*times, strict=True)
        print(
            f"{what}: {1000 * statistics.median(wall):.0f} ms, at most {1000 * max(wall):.0f} ms; "
            f"processor's time {1000 * statistics.median(cpu):.0f} ms, 95% below "
            f"{1000 * float(np.quantile(cpu, 0.95)):.0f} ms"
        )


def shown_matches(searcher: FaceSearcher, probe: np.ndarray) -> list[str | None]:
    return [match.person for match in searcher.search_embeddings(probe, 10)[0]]


def timed(what: str, work: Callable[..., T], *arguments: object) -> T:
    """Do work, and note the time that it takes."""
    start, cpu = time.perf_counter(), time.process_time()
    result = work(*arguments)
    seconds = time.perf_counter() - start, time.process_time() - cpu
    TIMES.setdefault(what, []).append(seconds)
    return result


def write_dataset(path: Path, num_faces: int) -> pa.Array:
    """Write a dataset of generated faces, and return their ids."""
    contract = ModelContract(
        "finder", "aa" * 32, "template", "namer", "bb" * 32, dimension=DIMENSION
    )
    ids = [pa.array([], pa.string())]
    with DatasetWriter.open(path, DatasetSettings(contract)) as writer:
        schema = writer.dataset.photo_schema
        for number, start in enumerate(range(0, num_faces // FACES_PER_PHOTO, PART_PHOTOS)):
            count = min(PART_PHOTOS, num_faces // FACES_PER_PHOTO - start)
            photos, faces = part(start, count, schema)
            ids.append(faces["face_id"].combine_chunks())
            writer.write_part(writer.part_name(number), photos, faces, {})
        writer.finish(None)
    return pa.concat_arrays(ids)


def part(start: int, count: int, schema: pa.Schema) -> tuple[pa.Table, pa.Table]:
    numbers = range(start, start + count)
    photo_ids = [hashlib.sha256(str(number).encode()).hexdigest() for number in numbers]
    uris = [f"/photos/{number:07d}.jpg" for number in numbers]
    values = {
        "num_bytes": 1,
        "mtime_ns": 1,
        "width": 100,
        "height": 100,
        "is_copy": False,
        "num_faces": FACES_PER_PHOTO,
        "status": "embedded",
    }
    columns = {"uri": pa.array(uris), "photo_id": pa.array(photo_ids)}
    photos = pa.table(
        [columns.get(f.name, pa.array([values.get(f.name)] * count, f.type)) for f in schema],
        schema=schema,
    )
    total = count * FACES_PER_PHOTO
    vectors = np.random.default_rng(start).normal(size=(total, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    repeated = {
        "photo_id": np.repeat(photo_ids, FACES_PER_PHOTO),
        "uri": np.repeat(uris, FACES_PER_PHOTO),
    }
    face_ids = [
        hashlib.md5(f"{p}{n % 2}".encode()).hexdigest() for n, p in enumerate(repeated["photo_id"])
    ]
    arrays = []
    for field in face_schema(DIMENSION):
        if field.name == "embedding":
            arrays.append(column_of(vectors))
        elif field.name == "face_id":
            arrays.append(pa.array(face_ids))
        elif field.name in repeated:
            arrays.append(pa.array(repeated[field.name], pa.string()))
        elif pa.types.is_fixed_size_list(field.type):
            arrays.append(column_of(np.ones((total, field.type.list_size), np.float32)))
        else:
            arrays.append(pa.array(np.full(total, 0.5, np.float32)))
    return photos, pa.table(arrays, schema=face_schema(DIMENSION))


if __name__ == "__main__":
    main()
