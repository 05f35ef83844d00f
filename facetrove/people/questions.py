"""Which two people may be one: the pairs where an answer joins or separates most faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.dataset.people_book import PeopleView
from faces.dataset.schema import embedding_matrix
from faces.dataset.store import Dataset
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


def find_questions(view: PeopleView, dataset: Dataset, *, k: int) -> pa.Table:
    """Return pairs of people who may be one; see `People.questions`.

    People who are in one photo are not asked about: they are two. The order is by the number of
    faces of the smaller of the two, weighted by the similarity of their means: that many faces
    change their person, or are sure to keep it.

    Args:
        view: what the people book says.
        dataset: the dataset.
        k: maximum number of pairs.

    Raises:
        WrongUsageError: k is below 1.
        CorruptFileError: a file of the dataset is corrupt.
    """
    if k < 1:
        raise WrongUsageError(f"k is {k}; ask for 1 pair or more")
    if view.is_empty:
        return QUESTION_SCHEMA.empty_table()
    faces = dataset.faces(["face_id", "photo_id", "uri"]).to_arrow()
    numbers = view.numbers_of(faces["face_id"])
    people, sizes = _asked_about(view, numbers)
    if not len(people):
        return QUESTION_SCHEMA.empty_table()
    pairs, similarities = _similar_people(_means(dataset, view, people))
    smaller = np.minimum(sizes[pairs[:, 0]], sizes[pairs[:, 1]])
    photos = np.array(faces["photo_id"].to_pylist(), object)
    order = np.argsort(numbers, kind="stable")
    starts = np.searchsorted(numbers[order], people)
    asked: list[tuple[int, int]] = []
    for pair in np.argsort(-smaller * similarities, kind="stable").tolist():
        one, other = pairs[pair].tolist()
        in_photos = [
            set(photos[order[starts[row] : starts[row] + sizes[row]]]) for row in (one, other)
        ]
        both = int(people[one]), int(people[other])
        if not in_photos[0] & in_photos[1] and not _are_told_apart(view, *both):
            asked.append(both)
        if len(asked) == k:
            break
    if not asked:
        return QUESTION_SCHEMA.empty_table()
    shown = _Faces.of(dataset, view, {number for both in asked for number in both})
    found = [shown.question(view, *both) for both in asked]
    return pa.Table.from_pylist(found, schema=QUESTION_SCHEMA)


def _means(dataset: Dataset, view: PeopleView, people: NDArray[np.int64]) -> Vectors:
    """Return (p, d) the mean embeddings of people, of unit length."""
    sums = np.zeros((len(people), dataset.contract.dimension), np.float32)
    for table in dataset.faces(["face_id", "embedding"]):
        numbers = view.numbers_of(table["face_id"])
        rows = np.minimum(np.searchsorted(people, numbers), len(people) - 1)
        known = np.flatnonzero(people[rows] == numbers)
        np.add.at(sums, rows[known], embedding_matrix(table)[known])
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / np.maximum(lengths, 1e-9), np.float32)


@dataclass(frozen=True, eq=False)
class _Faces:
    """The faces of some people, with their embeddings.

    Attributes:
        table: n faces: face_id, uri.
        vectors: (n, d) embeddings of unit length.
        people: (n,) number of each face's person.
    """

    table: pa.Table
    vectors: Vectors
    people: NDArray[np.int64]

    @classmethod
    def of(cls, dataset: Dataset, view: PeopleView, numbers: set[int]) -> _Faces:
        wanted = np.array(sorted(numbers), np.int64)
        columns = ["face_id", "uri", "embedding"]
        tables, people = [], []
        for table in dataset.faces(columns):
            of_table = view.numbers_of(table["face_id"])
            here = np.isin(of_table, wanted)
            tables.append(table.filter(pa.array(here)))
            people.append(of_table[here])
        joined = pa.concat_tables(tables)
        return cls(joined, embedding_matrix(joined), np.concatenate(people))

    def question(self, view: PeopleView, one: int, other: int) -> dict[str, Any]:
        """Return a question about two people, with the two faces of them that are most alike."""
        a, b = (np.flatnonzero(self.people == number)[:BLOCK] for number in (one, other))
        products = self.vectors[a] @ self.vectors[b].T
        row, column = np.unravel_index(int(np.argmax(products)), products.shape)
        faces = self.table.select(["face_id", "uri"]).take([int(a[row]), int(b[column])])
        first, second = faces.to_pylist()
        sizes = [int((self.people == number).sum()) for number in (one, other)]
        return {
            "person_id": one,
            "person": view.names.get(one),
            "face_id": first["face_id"],
            "uri": first["uri"],
            "other_id": other,
            "other": view.names.get(other),
            "other_face_id": second["face_id"],
            "other_uri": second["uri"],
            "similarity": float(products[row, column]),
            "num_faces": min(sizes),
        }


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
