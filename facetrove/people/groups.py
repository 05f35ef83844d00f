"""Groups of an index's faces that agree with what humans decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.progress import OnProgress, Progress, ignore_progress
from indexer.grouping import Constraints, Pairs, group_faces
from indexer.knn import similar_pairs
from indexer.model_variances import MIN_GAIN, MIN_SIMILARITY, variances_of
from indexer.snapshot import Snapshot
from indexer.vectors import Vectors

NOBODY = 0
"""The number of a face whose person is not known."""


def group_index(
    index: str | Path,
    *,
    fixed: Mapping[str, int],
    apart: Sequence[tuple[str, str]],
    previous: Mapping[str, int],
    next_person: int,
    on_progress: OnProgress = ignore_progress,
) -> pa.Table:
    """Group all faces of an index by person.

    Args:
        index: path of the index's folder.
        fixed: number of the person by face_id; all faces of one number are one group, which has
            this number, and no two numbers are one group.
        apart: pairs of face_ids of two people.
        previous: number of the person by face_id, as an earlier grouping had it.
        next_person: the smallest number that no person has had.
        on_progress: function called with the step that is being done.

    Returns:
        A table of face_id, person (number, from 1) and doubt (0 to 1), a row for each face that is
        not deleted.

    Raises:
        WrongUsageError: there is no index, or no figure of its models to group by.
        CorruptFileError: a file of the index is corrupt.
    """
    version = Snapshot.open(index, "cpu")
    live = np.flatnonzero(version.live())
    ids, photos, norms = (
        _column(version, name, live) for name in ("face_id", "photo_id", "embedding_norm")
    )
    vectors = version.embeddings(live)
    variances = variances_of(version.manifest.contract, norms.to_numpy(), vectors)
    on_progress(Progress("finding similar faces"))
    pairs, _ = similar_pairs(version, MIN_SIMILARITY)
    pairs = np.searchsorted(live, pairs)
    on_progress(Progress("grouping"))
    numbers = _numbers(ids, fixed)
    rows = {face: row for row, face in enumerate(ids.to_pylist())}
    told = [(rows[a], rows[b]) for a, b in apart if a in rows and b in rows]
    constraints = Constraints(
        _stars(numbers),
        np.concatenate([np.array(told, np.int64).reshape(-1, 2), _foes(numbers, pairs)]),
        np.asarray(photos.dictionary_encode().indices.to_numpy(), np.int64),
    )
    groups = group_faces(vectors, pairs, variances, min_gain=MIN_GAIN, constraints=constraints)
    groups = separated(groups, numbers, vectors)
    people = numbered(groups, numbers, _numbers(ids, previous), next_person)
    doubt = pa.array(_doubts(groups, vectors))
    return pa.table({"face_id": ids, "person": pa.array(people), "doubt": doubt})


def _column(version: Snapshot, name: str, positions: NDArray[np.int64]) -> pa.Array:
    chunks = [chunk for segment in version.segments for chunk in segment.faces.table[name].chunks]
    return pa.chunked_array(chunks).combine_chunks().take(pa.array(positions))


def _numbers(ids: pa.Array, numbers: Mapping[str, int]) -> NDArray[np.int64]:
    """Return (n,) the number of each face, or `NOBODY`."""
    row = pc.index_in(ids, value_set=pa.array(list(numbers), pa.string()))
    known = pa.array(list(numbers.values()), pa.int64()).take(row)
    return np.array(pc.fill_null(known, NOBODY).to_numpy(), np.int64)


def _stars(numbers: NDArray[np.int64]) -> Pairs:
    """Return pairs of rows that link all rows of a number."""
    known = np.flatnonzero(numbers != NOBODY)
    _, first, inverse = np.unique(numbers[known], return_index=True, return_inverse=True)
    return np.stack([known[first][inverse], known], axis=1)


def _foes(numbers: NDArray[np.int64], pairs: Pairs) -> Pairs:
    """Return the pairs of similar rows that have two numbers."""
    both = numbers[pairs]
    is_known = (both != NOBODY).all(axis=1)
    return np.asarray(pairs[is_known & (both[:, 0] != both[:, 1])], np.int64)


def separated(
    groups: NDArray[np.int64], numbers: NDArray[np.int64], vectors: Vectors
) -> NDArray[np.int64]:
    """Divide groups that have faces of several numbers; others go with the nearest of these.

    Args:
        groups: (n,) smallest row of each face's group.
        numbers: (n,) number of each face's person, or `NOBODY`.
        vectors: (n, d) embeddings of unit length.

    Returns:
        (n,) a row of each face's group, by which the groups differ.
    """
    groups = groups.copy()
    known = np.flatnonzero(numbers != NOBODY)
    both = np.unique(np.stack([groups[known], numbers[known]], axis=1), axis=0)
    mixed, counts = np.unique(both[:, 0], return_counts=True)
    for group in mixed[counts > 1].tolist():
        rows = np.flatnonzero(groups == group)
        anchors = rows[numbers[rows] != NOBODY]
        _, first, person = np.unique(numbers[anchors], return_index=True, return_inverse=True)
        nearest = np.argmax(vectors[rows] @ vectors[anchors].T, axis=1)
        groups[rows] = anchors[first][person[nearest]]
        groups[anchors] = anchors[first][person]
    return groups


def numbered(
    groups: NDArray[np.int64],
    fixed: NDArray[np.int64],
    previous: NDArray[np.int64],
    next_person: int,
) -> NDArray[np.int64]:
    """Number groups: by their fixed faces, else by the earlier person they share most faces with.

    Args:
        groups: (n,) a row of each face's group.
        fixed: (n,) number of each face's person, or `NOBODY`.
        previous: (n,) number of each face's earlier person, or `NOBODY`.
        next_person: the smallest number that no person has had.

    Returns:
        (n,) the number of each face's person.
    """
    number_of = np.full(len(groups), NOBODY)
    known = fixed != NOBODY
    number_of[groups[known]] = fixed[known]
    shared = (previous != NOBODY) & (number_of[groups] == NOBODY)
    shared &= ~np.isin(previous, fixed[known])
    pairs = np.stack([groups[shared], previous[shared]], axis=1)
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    taken: set[int] = set()
    for group, number in found[np.argsort(-counts, kind="stable")].tolist():
        if number_of[group] == NOBODY and number not in taken:
            number_of[group] = number
            taken.add(number)
    new = np.unique(groups[number_of[groups] == NOBODY])
    number_of[new] = next_person + np.arange(len(new))
    return np.asarray(number_of[groups], np.int64)


def _doubts(groups: NDArray[np.int64], vectors: Vectors) -> NDArray[np.float32]:
    """Return (n,) how doubtful each face is in its group: 1 less its similarity to the others."""
    _, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), vectors.shape[1]), np.float32)
    np.add.at(sums, group, vectors)
    others = sums[group] - vectors
    lengths = np.linalg.norm(others, axis=1)
    similarities = np.einsum("nd,nd->n", vectors, others) / np.maximum(lengths, 1e-9)
    doubts = np.where(counts[group] > 1, np.clip(1 - similarities, 0, 1), 0)
    return doubts.astype(np.float32)
