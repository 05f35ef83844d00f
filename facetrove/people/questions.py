"""Which two people may be one: the pairs where an answer joins or separates most faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.core.vectors import unit_length
from faces.dataset.people_book import PeopleView
from indexer.snapshot import Snapshot
from indexer.vectors import Vectors

MAX_ASKED = 20_000
"""People with most faces among whom pairs are looked for: comparing all of them takes 2 s."""

NEAREST = 5
"""Most similar other people of each person that are looked at."""

MIN_SIMILARITY = 0.2
"""Similarity of two people's mean embeddings below which nobody would take them for one."""

BLOCK = 1024
"""People compared with all others at once."""

QUESTION_SCHEMA = pa.schema(
    [
        ("person_id", pa.int64()),
        ("person", pa.string()),
        ("face_id", pa.string()),
        ("uri", pa.string()),
        ("other_id", pa.int64()),
        ("other", pa.string()),
        ("other_face_id", pa.string()),
        ("other_uri", pa.string()),
        ("similarity", pa.float64()),
        ("num_faces", pa.int64()),
    ]
)


def find_questions(view: PeopleView, index: str | Path, *, k: int) -> pa.Table:
    """Return pairs of people who may be one; see `People.questions`.

    People who are in one photo are not asked about: they are two. The order is by the number of
    faces of the smaller of the two, weighted by the similarity of their means: that many faces
    change their person, or are sure to keep it.

    Args:
        view: what the people book says.
        index: path of the index's folder.
        k: maximum number of pairs.

    Raises:
        WrongUsageError: there is no index, or k is below 1.
        CorruptFileError: a file of the index is corrupt.
    """
    if k < 1:
        raise WrongUsageError(f"k is {k}; ask for 1 pair or more")
    version = Snapshot.open(index, "cpu")
    live = np.flatnonzero(version.live())
    if view.is_empty or not len(live):
        return QUESTION_SCHEMA.empty_table()
    ids = pa.chunked_array([pa.array(version.values("face_id", live), pa.string())])
    numbers = view.numbers_of(ids)
    people, sizes = _asked_about(view, numbers)
    means = np.empty((len(people), version.manifest.contract.dimension), np.float32)
    order = np.argsort(numbers, kind="stable")
    starts = np.searchsorted(numbers[order], people)
    rows_of = [order[start : start + size] for start, size in zip(starts, sizes, strict=True)]
    for row, rows in enumerate(rows_of):
        means[row] = version.embeddings(live[rows]).sum(axis=0)
    means = unit_length(means) if len(means) else means
    pairs, similarities = _similar_people(means)
    smaller = np.minimum(sizes[pairs[:, 0]], sizes[pairs[:, 1]])
    best = np.argsort(-smaller * similarities, kind="stable")
    photos = np.array(version.values("photo_id", live), object)
    found: list[dict[str, Any]] = []
    for pair in best.tolist():
        one, other = pairs[pair].tolist()
        both = int(people[one]), int(people[other])
        if len(found) == k:
            break
        in_one_photo = set(photos[rows_of[one]]) & set(photos[rows_of[other]])
        if not in_one_photo and not _are_told_apart(view, *both):
            found.append(_question(view, version, live, both, rows_of[one], rows_of[other]))
    return pa.Table.from_pylist(found, schema=QUESTION_SCHEMA)


def _are_told_apart(view: PeopleView, one: int, other: int) -> bool:
    """Whether humans said that two people are different, or gave them different names."""
    names = [view.state.said_of(number).name for number in (one, other)]
    return other in view.state.apart.get(one, {}) or (None not in names and names[0] != names[1])


def _asked_about(
    view: PeopleView, numbers: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the people who are asked about, and how many faces they have: (p,) and (p,)."""
    people, sizes = np.unique(numbers[numbers > 0], return_counts=True)
    said = [view.state.said_of(number) for number in people.tolist()]
    kept = np.array([not (one.hidden or one.ignored) for one in said], bool)
    people, sizes = people[kept], sizes[kept]
    largest = np.sort(np.argsort(-sizes, kind="stable")[:MAX_ASKED])
    return people[largest], sizes[largest]


def _similar_people(means: Vectors) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return pairs of rows of similar means, each once, and their similarities."""
    pairs: dict[tuple[int, int], float] = {}
    for start in range(0, len(means), BLOCK):
        products = means[start : start + BLOCK] @ means.T
        rows = np.arange(len(products))
        products[rows, rows + start] = -1
        count = min(NEAREST, len(means))
        nearest = np.argpartition(-products, count - 1, axis=1)[:, :count]
        for row in rows.tolist():
            for other in nearest[row].tolist():
                if products[row, other] >= MIN_SIMILARITY:
                    one, two = sorted((row + start, other))
                    pairs[one, two] = float(products[row, other])
    found = np.array(list(pairs), np.int64).reshape(-1, 2)
    return found, np.array(list(pairs.values()), np.float32)


def _question(
    view: PeopleView,
    version: Snapshot,
    live: NDArray[np.int64],
    people: tuple[int, int],
    rows: NDArray[np.int64],
    others: NDArray[np.int64],
) -> dict[str, Any]:
    """Return a question about two people, with the two faces of them that are most alike."""
    a, b = live[rows[:BLOCK]], live[others[:BLOCK]]
    products = version.embeddings(a) @ version.embeddings(b).T
    one, other = np.unravel_index(int(np.argmax(products)), products.shape)
    faces = [version.face(int(p), ("face_id", "uri")) for p in (a[one], b[other])]
    return {
        "person_id": people[0],
        "person": view.names.get(people[0]),
        "face_id": faces[0]["face_id"],
        "uri": faces[0]["uri"],
        "other_id": people[1],
        "other": view.names.get(people[1]),
        "other_face_id": faces[1]["face_id"],
        "other_uri": faces[1]["uri"],
        "similarity": float(products[one, other]),
        "num_faces": min(len(rows), len(others)),
    }
