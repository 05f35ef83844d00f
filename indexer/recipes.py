"""Recipes: which FAISS index to build, and how exact it turned out.

Inner product on unit vectors is the only metric. `exact` compares with every face. `ivf`
groups the faces around centroids and compares with the nearest groups only; the vectors stay
whole, so similarities are exact and only the choice of faces is approximate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from faces.errors import WrongUsageError

if TYPE_CHECKING:
    import faiss

EXACT_UP_TO_FACES = 200_000
"""Below, exact search answers in a millisecond or less and nothing is gained by less."""

TARGET_RECALL = 0.99
"""Recall@10 that the number of groups looked at (nprobe) is chosen for."""

RECALL_AT = 10
RECALL_PROBES = 1_000
TRAINING_FACES_PER_GROUP = 64  # FAISS warns below 39 and gains little from more than 256
SEED = 20260101

RECIPE_NAMES = ("auto", "exact", "ivf")


@dataclass(frozen=True)
class Recipe:
    """What was built, as the manifest records it.

    Attributes:
        name: one of `RECIPE_NAMES` but auto.
        factory: the FAISS factory string.
        nprobe: groups looked at in a search; None for exact.
    """

    name: str
    factory: str
    nprobe: int | None = None


@dataclass(frozen=True)
class MeasuredRecall:
    """How much of exact search the index returned on probes drawn from its own faces.

    A probe's own row is left out of both answers, or every index would look good.

    Attributes:
        recall_at_1, recall_at_10: share of the exact nearest 1 and 10 returned, in [0, 1]; in
            an index of fewer other faces, of as many as there are.
        num_probes: how many were drawn, with `seed`.
    """

    recall_at_1: float
    recall_at_10: float
    num_probes: int
    seed: int = SEED


def choose_recipe(name: str, num_faces: int) -> Recipe:
    """The recipe of a name (`RECIPE_NAMES`) for a number of faces; nprobe is tuned later."""
    if name not in RECIPE_NAMES:
        raise WrongUsageError(
            f"no recipe is called {name!r}; choose from {', '.join(RECIPE_NAMES)}"
        )
    if name == "exact" or (name == "auto" and num_faces <= EXACT_UP_TO_FACES):
        return Recipe("exact", "Flat")
    # Some 4 sqrt(n) groups balance finding the groups against looking through them
    # (guidelines of the FAISS wiki); more than n / 64 could not be trained.
    num_groups = max(1, min(round(4 * num_faces**0.5), num_faces // TRAINING_FACES_PER_GROUP))
    return Recipe("ivf", f"IVF{num_groups},Flat", nprobe=1)


Batches = Callable[[], Iterable[NDArray[np.float32]]]
"""Gives the (n, d) float32 embeddings from the start, some thousands at a time."""


def build_faiss_index(
    recipe: Recipe, batches: Batches, *, num_faces: int, dimension: int
) -> tuple[faiss.Index, Recipe, MeasuredRecall]:
    """Train, fill, tune and measure.

    Returns:
        The index over rows 0 to n - 1 in the order of `batches`, the recipe with its nprobe,
        and its recall against exact search.
    """
    import faiss

    index = faiss.index_factory(dimension, recipe.factory, faiss.METRIC_INNER_PRODUCT)
    if isinstance(index, faiss.IndexIVF):
        index.cp.min_points_per_centroid = 1  # few faces are no reason for FAISS to print
        wanted = int(index.nlist) * TRAINING_FACES_PER_GROUP
        index.train(_rows(batches, _sample_rows(num_faces, min(wanted, num_faces))))
    for batch in batches():
        index.add(batch)
    probes = _sample_rows(num_faces, min(RECALL_PROBES, num_faces))
    if not isinstance(index, faiss.IndexIVF):
        return index, recipe, MeasuredRecall(1.0, 1.0, len(probes))
    vectors = _rows(batches, probes)
    exact = _exact_neighbours(batches, vectors, num_faces)
    nprobe = 1
    while True:
        index.nprobe = nprobe
        recall = _measure(index, vectors, probes, exact)
        if recall.recall_at_10 >= TARGET_RECALL or nprobe >= index.nlist:
            return index, Recipe(recipe.name, recipe.factory, nprobe), recall
        nprobe = min(2 * nprobe, int(index.nlist))


def _sample_rows(num_faces: int, count: int) -> NDArray[np.int64]:
    generator = np.random.default_rng(SEED)
    return np.sort(generator.choice(num_faces, size=count, replace=False)).astype(np.int64)


def _rows(batches: Batches, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """The embeddings of sorted row numbers, reading only forwards."""
    picked, start = [], 0
    for batch in batches():
        inside = rows[(rows >= start) & (rows < start + len(batch))] - start
        picked.append(batch[inside])
        start += len(batch)
    return np.concatenate(picked)


def _exact_neighbours(
    batches: Batches, vectors: NDArray[np.float32], num_faces: int
) -> NDArray[np.int64]:
    """(p, k + 1) rows nearest each probe by exhaustive search, block by block."""
    import faiss

    heap = faiss.ResultHeap(len(vectors), min(RECALL_AT + 1, num_faces), keep_max=True)
    start = 0
    for batch in batches():
        block = faiss.IndexFlatIP(vectors.shape[1])
        block.add(batch)
        similarities, rows = block.search(vectors, min(heap.k, len(batch)))
        heap.add_result(similarities, rows + start)
        start += len(batch)
    heap.finalize()
    return np.asarray(heap.I, dtype=np.int64)


def _measure(
    index: faiss.Index,
    vectors: NDArray[np.float32],
    probes: NDArray[np.int64],
    exact: NDArray[np.int64],
) -> MeasuredRecall:
    _, found = index.search(vectors, exact.shape[1])
    hits_1 = hits_10 = wanted_10 = 0
    for probe, exact_row, found_row in zip(probes, exact, found, strict=True):
        right = exact_row[exact_row != probe][:RECALL_AT]
        answer = found_row[found_row != probe][: len(right)]
        hits_1 += int(len(right) == 0 or (len(answer) > 0 and answer[0] == right[0]))
        hits_10 += len(np.intersect1d(answer, right))
        wanted_10 += len(right)
    share_10 = hits_10 / wanted_10 if wanted_10 else 1.0
    return MeasuredRecall(hits_1 / len(probes), share_10, len(probes))
