"""How exact a recipe is, and which settings of its search reach a target fastest.

Probes are faces of the gallery, their own rows left out of every answer. Settings are tuned on one
set of probes and measured on another.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TypeVar

import faiss
import numpy as np
from numpy.typing import NDArray

from indexer.codes import search_rows
from indexer.exact_search import nearest_rows
from indexer.manifest import Measured
from indexer.options import AUTO, IndexOptions, Recipe
from indexer.recipes import SEED, sample_rows, unwrapped
from indexer.vectors import Vectors

TUNING_PROBES, TESTING_PROBES = 3_000, 1_000

T = TypeVar("T")

RECALL_AT = 10
CANDIDATES = (4, 8, 16, 32)
EF_SEARCH = (16, 32, 64, 128, 256, 512)
LATENCY_PROBES = 200

MARGIN = 1
"""Standard errors by which the target is to be reached: of many settings tried, the fastest that
seems to reach it is one that chance has favoured."""

WORTH_IT = 1.2
"""An approximate recipe must be so many times as fast as exact search, or exact is chosen."""


@dataclass(frozen=True)
class Truth:
    """Probes and what exact search finds for them.

    Attributes:
        probes: (p, d).
        similarities, rows: (p, k) of the nearest, descending, their own row left out.
        own: (p,) row of each probe.
        seconds_per_probe: what exact search took in a batch.
    """

    probes: Vectors
    similarities: NDArray[np.float32]
    rows: NDArray[np.int64]
    own: NDArray[np.int64]
    seconds_per_probe: float


def exact_truth(vectors: Vectors, own: NDArray[np.int64]) -> Truth:
    """Search exactly for faces of the gallery."""
    probes = np.ascontiguousarray(vectors[own])
    began = time.perf_counter()
    similarities, rows = nearest_rows(vectors, probes, min(RECALL_AT + 1, len(vectors)))
    seconds = (time.perf_counter() - began) / len(probes)
    similarities, rows = _without_own(similarities, rows, own)
    return Truth(probes, similarities, rows, own, seconds)


def _without_own(
    similarities: NDArray[np.float32], rows: NDArray[np.int64], own: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Drop each probe's own row, or the last where its own is not among them."""
    drop = rows == own[:, None]
    drop[~drop.any(axis=1), -1] = True
    shape = (len(rows), rows.shape[1] - 1)
    return similarities[~drop].reshape(shape), rows[~drop].reshape(shape)


@dataclass(frozen=True)
class Recall:
    """Shares found of the exact nearest 1, 10, and of the matches; and how many these are."""

    at_1: float
    at_10: float
    of_matches: float | None
    num_matches: int

    num_neighbours: int

    def of(self, options: IndexOptions) -> float:
        """The one that the target is for: matches where there are some to go by."""
        if options.recall_of == "matches" and self.of_matches is not None:
            return self.of_matches
        return self.at_10

    def reaches(self, options: IndexOptions) -> bool:
        """Whether it reaches the target by `MARGIN`, so that other probes bear it out."""
        share, count = self.of(options), self.num_neighbours
        if options.recall_of == "matches" and self.of_matches is not None:
            count = self.num_matches
        return bool(share - MARGIN * (share * (1 - share) / count) ** 0.5 >= options.target_recall)


def recall(truth: Truth, rows: NDArray[np.int64], threshold: float | None) -> Recall:
    """Compare an answer with exact search.

    Args:
        truth: the probes.
        rows: (p, k + 1) rows found for them, their own among them.
        threshold: least similarity of a match.
    """
    if truth.rows.shape[1] == 0:
        return Recall(1.0, 1.0, None, 0, 1)
    _, rows = _without_own(np.zeros(rows.shape, np.float32), rows, truth.own)
    # Sorted sets of one probe each, told apart by an offset, so that one lookup serves all.
    span = np.int64(max(rows.max(initial=0), truth.rows.max(initial=0)) + 2)
    offsets = span * np.arange(len(rows))[:, None]
    found = np.isin(truth.rows + offsets, np.where(rows < 0, -1, rows + offsets))
    matches = np.zeros_like(found)
    if threshold is not None:
        matches = truth.similarities >= threshold
    num_matches = int(matches.sum())
    return Recall(
        at_1=float(found[:, 0].mean()),
        at_10=float(found.mean()),
        of_matches=float(found[matches].mean()) if num_matches else None,
        num_matches=num_matches,
        num_neighbours=found.size,
    )


def tune(
    codes: faiss.Index,
    recipe: Recipe,
    vectors: Vectors,
    options: IndexOptions,
    threshold: float | None,
) -> tuple[Recipe, Measured]:
    """Find the fastest settings that reach the target, or the nearest to it, and measure them.

    Args:
        codes: filled, over the rows of `vectors`.
        recipe: what it was made by.
        vectors: (n, d).
        options: the target.
        threshold: least similarity of a match, at this gallery's size.

    Returns:
        The recipe with its settings, or the exact one where that is the best way to the target
        and the choice is ours; and how it does.
    """
    both = sample_rows(len(vectors), TUNING_PROBES + TESTING_PROBES, SEED + 1)
    both = np.random.default_rng(SEED).permutation(both)
    split = -(-len(both) * TUNING_PROBES // (TUNING_PROBES + TESTING_PROBES))
    tuning = exact_truth(vectors, both[:split])
    testing = exact_truth(vectors, both[min(split, len(both) - 1) :])
    tuned, reached = _fastest(codes, recipe, vectors, options, truth=tuning, threshold=threshold)
    measured = _measure(codes, tuned, vectors, testing, threshold)
    speedup = measured.probes_per_second / measured.exact_probes_per_second
    tuned = replace(tuned, exact_share=min(1.0, 1 / speedup))
    if options.recipe == AUTO and (not reached or speedup < WORTH_IT):
        best = f"{measured.probes_per_second:,.0f} probes/s, recall {_said(measured, options)}"
        return Recipe(
            reason=f"exact search is the best way to the target ({recipe.factory}: {best})"
        ), _measure(None, Recipe(), vectors, testing, threshold)
    if not reached:
        reason = f"the target of {options.target_recall} cannot be met; this is the nearest"
        tuned = replace(tuned, reason=f"{tuned.reason}; {reason}")
    return tuned, measured


def _said(measured: Measured, options: IndexOptions) -> str:
    if options.recall_of == "matches" and measured.recall_of_matches is not None:
        return f"{measured.recall_of_matches:.4f} of matches"
    return f"{measured.recall_at_10:.4f} of the ten nearest"


def _fastest(
    codes: faiss.Index,
    recipe: Recipe,
    vectors: Vectors,
    options: IndexOptions,
    *,
    truth: Truth,
    threshold: float | None,
) -> tuple[Recipe, bool]:
    """The fastest settings that reach the target, or those nearest to it; and whether any does."""

    def found_by(settings: Recipe) -> Recall:
        _, rows = search_rows(vectors, codes, settings, truth.probes, k=RECALL_AT + 1)
        return recall(truth, rows, threshold)

    reaching: list[tuple[float, Recipe]] = []
    nearest: tuple[float, Recipe] = (-1.0, recipe)
    for candidates in CANDIDATES:
        efforts = list(_effort(codes, replace(recipe, candidates=candidates, exact_share=0.0)))
        least = bisect_left(efforts, True, key=lambda e: found_by(e).reaches(options))
        if least == len(efforts):
            most = found_by(efforts[-1]).of(options)
            nearest = max(nearest, (most, efforts[-1]), key=itemgetter(0))
        else:
            seconds = min(_seconds(found_by, efforts[least]) for _ in range(2))
            reaching.append((seconds, efforts[least]))
    if not reaching:
        return nearest[1], False
    return min(reaching, key=itemgetter(0))[1], True


def _effort(codes: faiss.Index, recipe: Recipe) -> Iterator[Recipe]:
    """Settings of growing effort, for one number of candidates: the recall grows with them."""
    inner = unwrapped(codes)
    if isinstance(inner, faiss.IndexIVF):
        steps = 2 ** np.arange(0, np.log2(inner.nlist), 0.25)
        for nprobe in [*np.unique(steps.astype(int)).tolist(), int(inner.nlist)]:
            yield replace(recipe, nprobe=nprobe)
    elif isinstance(inner, faiss.IndexHNSW):
        for ef_search in EF_SEARCH:
            yield replace(recipe, ef_search=ef_search)
    else:
        yield recipe


def _measure(
    codes: faiss.Index | None,
    recipe: Recipe,
    vectors: Vectors,
    truth: Truth,
    threshold: float | None,
) -> Measured:
    def search(probes: Vectors) -> NDArray[np.int64]:
        return search_rows(vectors, codes, recipe, probes, k=min(RECALL_AT + 1, len(vectors)))[1]

    found = recall(truth, search(truth.probes), threshold)
    singles = [_seconds(search, probe[None]) for probe in truth.probes[:LATENCY_PROBES]]
    batch = sorted(_seconds(search, truth.probes) for _ in range(3))[1]
    return Measured(
        recall_at_1=found.at_1,
        recall_at_10=found.at_10,
        recall_of_matches=found.of_matches,
        threshold=threshold,
        num_probes=len(truth.probes),
        num_matches=found.num_matches,
        probes_per_second=len(truth.probes) / batch,
        exact_probes_per_second=1 / truth.seconds_per_probe,
        latency_ms_p50=1000 * float(np.quantile(singles, 0.5)),
        latency_ms_p99=1000 * float(np.quantile(singles, 0.99)),
        num_threads=int(faiss.omp_get_max_threads()),
    )


def _seconds(work: Callable[[T], object], what: T) -> float:
    began = time.perf_counter()
    work(what)
    return time.perf_counter() - began
