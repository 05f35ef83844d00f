"""Lookups in the gallery: small ones together in batches, large ones by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facetrove.service.batching import Batcher
from facetrove.service.gallery import Gallery
from facetrove.service.metrics import Metrics
from facetrove.service.options import ServiceLimits
from facetrove.service.refusals import too_large
from search.answering import DEFAULT_K, Query
from search.rendering import matches_to_json
from search.results import CandidateLists
from search.searcher import FaceSearcher

SMALL = 64
"""Number of embeddings up to which a request is answered together with others."""

MAX_BATCH = 64
MAX_QUEUED = 1_024

Rows = list[list[dict[str, Any]]]


@dataclass(frozen=True)
class Lookup:
    """What is looked up in one version of the index.

    Attributes:
        searcher: the version.
        query: the conditions.
        embeddings: (n, d) float32 of unit length; None: `face_id` is looked up.
        face_id: id of a face of the index.
    """

    searcher: FaceSearcher
    query: Query
    embeddings: NDArray[np.float32] | None = None
    face_id: str | None = None


class Searches:
    """Answers lookups.

    Args:
        gallery: the gallery.
        limits: limits on requests.
        metrics: measures.
    """

    def __init__(self, gallery: Gallery, limits: ServiceLimits, metrics: Metrics) -> None:
        self._gallery = gallery
        self._limits = limits
        self._batcher: Batcher[Lookup, Rows] = Batcher(
            "searches",
            _answer_batch,
            max_batch=MAX_BATCH,
            max_queued=MAX_QUEUED,
            metrics=metrics,
        )
        self._large = asyncio.Semaphore(1)

    def within_limits(self, query: Query, searcher: FaceSearcher, num_probes: int) -> Query:
        """Return a query that asks for no more matches than the limits allow.

        A query without k that has a threshold is for all matches above it, of which at most
        `max_k` are returned.

        Raises:
            RefusedError: k, or the number of matches in all, is over a limit.
        """
        limits = self._limits
        if query.k is not None and query.k > limits.max_k:
            raise too_large(
                "max_k", f"k is {query.k}; ask for {limits.max_k} matches or fewer for each face"
            )
        has_threshold = query.min_similarity is not None or query.fpir is not None
        most = limits.max_k if has_threshold else DEFAULT_K
        num_faces = max(1, len(searcher))
        k = min(most, num_faces) if query.k is None else query.k
        if num_probes * min(k, num_faces) > limits.max_matches:
            raise too_large(
                "max_matches",
                f"{num_probes} faces with {k} matches each are more than {limits.max_matches:,} "
                "matches; ask for fewer at a time",
            )
        return replace(query, k=k)

    async def rows(self, lookup: Lookup) -> Rows:
        """Return the matches of each probe as dictionaries for JSON.

        Raises:
            RefusedError: too many lookups wait.
            WrongUsageError: see `FaceSearcher.search_embeddings` and `search_face`.
        """
        if lookup.embeddings is None or len(lookup.embeddings) <= SMALL:
            return await self._batcher.submit(lookup)
        async with self._large:
            return await asyncio.to_thread(_answer_one, lookup)

    async def table(self, lookup: Lookup) -> pa.Table:
        """Return the matches of each probe as an Arrow table; see `CandidateLists.to_arrow`."""
        async with self._large:
            return await asyncio.to_thread(lambda: _lists(lookup).to_arrow())

    def close(self) -> None:
        """End the threads."""
        self._batcher.close()


def _lists(lookup: Lookup) -> CandidateLists:
    conditions = vars(lookup.query)
    if lookup.face_id is not None:
        found = lookup.searcher.search_face(lookup.face_id, **conditions)
        return CandidateLists([found], found._snapshot)
    assert lookup.embeddings is not None, "one of both is given"
    return lookup.searcher.search_embeddings(lookup.embeddings, **conditions)


def _answer_one(lookup: Lookup) -> Rows:
    return matches_to_json(_lists(lookup))


def _answer_batch(batch: Sequence[Lookup]) -> Sequence[Rows | BaseException]:
    """Answer lookups, those with the same conditions in the same version by one search."""
    answers: list[Rows | BaseException] = [[]] * len(batch)
    alike: dict[object, list[int]] = {}
    for number, lookup in enumerate(batch):
        alone = number if lookup.face_id is not None else None
        alike.setdefault((id(lookup.searcher), lookup.query, alone), []).append(number)
    for numbers in alike.values():
        try:
            rows = _answer_together([batch[number] for number in numbers])
        except Exception as error:
            for number in numbers:
                answers[number] = error
            continue
        for number, found in zip(numbers, rows, strict=True):
            answers[number] = found
    return answers


def _answer_together(lookups: Sequence[Lookup]) -> list[Rows]:
    if len(lookups) == 1:
        return [_answer_one(lookups[0])]
    probes = [lookup.embeddings for lookup in lookups if lookup.embeddings is not None]
    together = replace(lookups[0], embeddings=np.concatenate(probes))
    rows, ends = _answer_one(together), np.cumsum([len(some) for some in probes]).tolist()
    return [rows[end - len(some) : end] for some, end in zip(probes, ends, strict=True)]
