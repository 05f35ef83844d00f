"""Tune the search settings of a recipe: find the fastest that reach the target recall.

Probes are faces of the gallery, whose own rows are left out of every result. Settings are tuned on
one set of probes and measured on another.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from indexer.codes import search_rows
from indexer.exact_search import nearest_rows
from indexer.faiss_library import faiss
from indexer.manifest import Measured
from indexer.options import AUTO, IndexOptions, Recipe
from indexer.recipes import SEED, sample_rows, search_parameters, unwrapped
from indexer.vectors import Vectors

TUNING_PROBES, TESTING_PROBES = 3_000, 1_000
"""Number of faces to tune the settings with, and number of others to measure them with."""

T = TypeVar("T")

RECALL_AT = 10
"""Number of nearest faces that recall is measured on."""

CANDIDATES = (4, 8, 16, 32)
"""Values of `Recipe.candidates` to try, ascending."""

TIMED_PROBES = 1_000
"""Number of probes that settings which reach the target are timed with."""

EF_SEARCH = (16, 32, 64, 128, 256, 512)
"""Values of `Recipe.ef_search` to try."""

LATENCY_PROBES = 200
"""Number of probes that are timed one at a time."""

MARGIN = 1
"""Safety margin in standard errors: the recall must exceed the target by it. The fastest of many
settings that seem to reach the target is biased upwards."""

MIN_SPEEDUP = 1.2
"""Smallest speedup over exact search for which `auto` keeps an approximate recipe."""


@dataclass(frozen=True)
class Truth:
    """The ground truth of recall: probes, and the rows that exact search finds for them.

    Attributes:
        probes: (p, d) embeddings of unit length.
        similarities: (p, k) similarities of the nearest rows, descending.
        rows: (p, k) the nearest rows, without each probe's own row.
        own_rows: (p,) the row that each probe is a copy of.
        seconds_per_probe: time that exact search took per probe, in one batch.
    """

    probes: Vectors
    similarities: NDArray[np.float32]
    rows: NDArray[np.int64]
    own_rows: NDArray[np.int64]
    seconds_per_probe: float


def exact_truth(vectors: Vectors, own_rows: NDArray[np.int64]) -> Truth:
    """Take faces of the gallery as probes, and find their nearest rows by exact search.

    Args:
        vectors: (n, d) embeddings of the gallery, of unit length.
        own_rows: (p,) the rows to take as probes.
    """
    probes = np.ascontiguousarray(vectors[own_rows])
    began = time.perf_counter()
    similarities, rows = nearest_rows(vectors, probes, min(RECALL_AT + 1, len(vectors)))
    seconds = (time.perf_counter() - began) / len(probes)
    similarities, rows = _without_own_rows(similarities, rows, own_rows)
    return Truth(probes, similarities, rows, own_rows, seconds)


def _without_own_rows(
    similarities: NDArray[np.float32], rows: NDArray[np.int64], own_rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Drop each probe's own row from its results, or the last row if its own is not among them."""
    drop = rows == own_rows[:, None]
    drop[~drop.any(axis=1), -1] = True
    shape = (len(rows), rows.shape[1] - 1)
    return similarities[~drop].reshape(shape), rows[~drop].reshape(shape)


@dataclass(frozen=True)
class Recall:
    """The recall of a search: the shares of what exact search finds that it found.

    Attributes:
        at_1, at_10: share of the exact 1 and 10 nearest faces found, [0, 1].
        of_matches: share found of those of the ten nearest that reach the threshold, [0, 1]; None
            if there is no threshold, or no face reaches it.
        num_matches: number of faces that `of_matches` is a share of.
        num_neighbours: number of faces that `at_10` is a share of.
    """

    at_1: float
    at_10: float
    of_matches: float | None
    num_matches: int
    num_neighbours: int

    def of(self, options: IndexOptions) -> float:
        """Return the recall that the target is for; `at_10` if there are no matches to count."""
        if options.recall_of == "matches" and self.of_matches is not None:
            return self.of_matches
        return self.at_10

    def reaches(self, options: IndexOptions) -> bool:
        """Return whether the recall exceeds the target by `MARGIN` standard errors."""
        share, count = self.of(options), self.num_neighbours
        if options.recall_of == "matches" and self.of_matches is not None:
            count = self.num_matches
        return bool(share - MARGIN * (share * (1 - share) / count) ** 0.5 >= options.target_recall)


def recall(truth: Truth, rows: NDArray[np.int64], threshold: float | None) -> Recall:
    """Compute the recall of a search's results.

    Args:
        truth: the probes and their exact results.
        rows: (p, k + 1) rows found for the probes, their own rows not left out.
        threshold: smallest similarity of a match; None: no matches are counted.
    """
    _, rows = _without_own_rows(np.zeros(rows.shape, np.float32), rows, truth.own_rows)
    return _share_found(truth, _found(truth, rows), threshold)


def _found(truth: Truth, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (p, k) bool: which of the rows that exact search finds are among (p, m) others."""
    # An offset for each probe makes its rows distinct from other probes', so that one `isin` does.
    span = np.int64(max(rows.max(initial=0), truth.rows.max(initial=0)) + 2)
    offsets = span * np.arange(len(rows))[:, None]
    return np.isin(truth.rows + offsets, np.where(rows < 0, -1, rows + offsets))


def _share_found(truth: Truth, found: NDArray[np.bool_], threshold: float | None) -> Recall:
    """Compute the recall of a search from what `_found` returns."""
    if found.shape[1] == 0:
        return Recall(1.0, 1.0, None, 0, 1)
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
    """Find the fastest search settings that reach the target recall, and measure them.

    Args:
        codes: FAISS index with all rows of `vectors`.
        recipe: the recipe that the index was made from.
        vectors: (n, d) embeddings of the gallery, of unit length.
        options: the options of the index, with the target recall.
        threshold: smallest similarity of a match in a gallery of this size; None: not known.

    Returns:
        The recipe with its settings, and their recall and speed. If none reach the target, the
        settings with the highest recall; but if the recipe is `auto`, exact search, also if the
        settings are less than `MIN_SPEEDUP` times as fast.
    """
    drawn = sample_rows(len(vectors), TUNING_PROBES + TESTING_PROBES, SEED + 1)
    drawn = np.random.default_rng(SEED).permutation(drawn)
    split = -(-len(drawn) * TUNING_PROBES // (TUNING_PROBES + TESTING_PROBES))
    tuning = exact_truth(vectors, drawn[:split])
    testing = exact_truth(vectors, drawn[min(split, len(drawn) - 1) :])
    tuned, reached = _fastest(codes, recipe, vectors, options, truth=tuning, threshold=threshold)
    measured = _measure(codes, tuned, vectors, testing, threshold)
    speedup = measured.probes_per_second / measured.exact_probes_per_second
    tuned = replace(tuned, exact_share=min(1.0, 1 / speedup))
    if options.recipe == AUTO and (not reached or speedup < MIN_SPEEDUP):
        best = f"{measured.probes_per_second:,.0f} probes/s, recall {_recall_of(measured, options)}"
        return Recipe(
            reason=f"exact search is the best way to the target ({recipe.factory}: {best})"
        ), _measure(None, Recipe(), vectors, testing, threshold)
    if not reached:
        reason = f"target recall {options.target_recall} cannot be met; these settings come closest"
        tuned = replace(tuned, reason=f"{tuned.reason}; {reason}")
    return tuned, measured


def _recall_of(measured: Measured, options: IndexOptions) -> str:
    """Return the recall that the target is for, as text."""
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
    """Return the fastest settings that reach the target, or else those with the highest recall.

    The second value says whether any settings reach the target.
    """

    recalls: dict[Recipe, Recall] = {}

    def found_by(settings: Recipe) -> Recall:
        if settings not in recalls:
            recalls.update(_recalls(codes, settings, vectors, truth, threshold))
        return recalls[settings]

    def search(settings: Recipe) -> None:
        search_rows(vectors, codes, settings, truth.probes[:TIMED_PROBES], k=RECALL_AT + 1)

    reaching: list[tuple[float, Recipe]] = []
    nearest: tuple[float, Recipe] = (-1.0, recipe)
    for candidates in CANDIDATES:
        settings = list(_settings(codes, replace(recipe, candidates=candidates, exact_share=0.0)))
        first = bisect_left(settings, True, key=lambda tried: found_by(tried).reaches(options))
        if first == len(settings):
            highest = found_by(settings[-1]).of(options)
            nearest = max(nearest, (highest, settings[-1]), key=itemgetter(0))
        else:
            seconds = min(_seconds(search, settings[first]) for _ in range(2))
            reaching.append((seconds, settings[first]))
    if not reaching:
        return nearest[1], False
    return min(reaching, key=itemgetter(0))[1], True


def _recalls(
    codes: faiss.Index, settings: Recipe, vectors: Vectors, truth: Truth, threshold: float | None
) -> dict[Recipe, Recall]:
    """Return the recall of search settings, and of those with other numbers of candidates.

    Comparing candidates exactly keeps all of the exact nearest that are among them, so they need
    only be looked for there. Where the codes propose fewer candidates, they are the first of those
    that would be proposed otherwise, so that one search does for all numbers of them. Graphs, and
    codes that are refined, are searched further for more.
    """
    inner, k = unwrapped(codes), RECALL_AT + 1
    is_searched_alike = isinstance(inner, faiss.IndexIVF) and not isinstance(
        inner, faiss.IndexIVFPQR
    )
    numbers = CANDIDATES if is_searched_alike else (settings.candidates,)
    depth = min(k * max(numbers), len(vectors))
    _, proposed = codes.search(truth.probes, depth, params=search_parameters(codes, settings))
    found = np.zeros(truth.rows.shape, bool)
    found[proposed[:, min(k, depth) - 1] < 0] = True  # too few are proposed: search is exhaustive
    recalls, start = {}, 0
    for number in numbers:
        if k * number >= len(vectors):  # so it is here
            found[:] = True
        else:
            found |= _found(truth, proposed[:, start : k * number])
            start = k * number
        recalls[replace(settings, candidates=number)] = _share_found(truth, found, threshold)
    return recalls


def _settings(codes: faiss.Index, recipe: Recipe) -> Iterator[Recipe]:
    """Yield settings of growing effort, whose recall grows too, for one number of candidates."""
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
