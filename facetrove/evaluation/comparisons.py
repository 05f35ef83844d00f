"""Faces of an index that are compared with each other, to see how similar different people look.

Some of them, the probes, are compared with all. The bulk of the similarities of different people is
Gaussian: its mean and standard deviation are read off the lower half of all similarities, which
pairs of one person, few and alike, hardly move.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from faces.core.errors import WrongUsageError
from faces.core.progress import OnProgress, Progress
from facetrove.evaluation.labels import drawn_turns
from indexer.snapshot import Snapshot

MIN_PEOPLE = 200
"""With fewer, not even an FPIR of 0.05 could be told."""

MIN_PROBES = 1_000

MAX_COMPARISONS = 2_000_000_000
"""Pairs compared: some 15 seconds on two cores."""

SAMPLED = 1_000, 2_000
"""Probes and faces of the sample that the bulk is read off."""

BLOCK = 1_024, 16_384
"""Probes and faces compared at once: 67 MB of similarities."""

MAX_BENT = 1.3
"""How much more the second quarter of all similarities may spread than the first, were they
Gaussian, before pairs of one person are so many that strangers cannot be told: some third."""


@dataclass(frozen=True)
class Bulk:
    """Mean and standard deviation of the similarities of different people."""

    mean: float
    std: float

    def similarity_at(self, share: float) -> float:
        """Compute the similarity that this share of strangers' pairs reach, were all Gaussian."""
        return self.mean - self.std * float(ndtri(share))


@dataclass(frozen=True)
class Comparisons:
    """Faces that are compared with each other: some of them, the probes, with all.

    Attributes:
        version: the version of the index that the faces are in.
        places: (n,) places of the faces in that version.
        people: (n,) number of each face's person, from 0.
        probes: (p,) rows of the probes among the n faces, ascending.
        bulk: of the similarities of different people.
        on_progress: called with the step that is being done.
    """

    version: Snapshot
    places: NDArray[np.int64]
    people: NDArray[np.int64]
    probes: NDArray[np.int64]
    bulk: Bulk
    on_progress: OnProgress

    @classmethod
    def of(
        cls,
        version: Snapshot,
        places: NDArray[np.int64],
        people: NDArray[np.int64],
        on_progress: OnProgress,
    ) -> Comparisons:
        """Draw the probes, and read the bulk off a sample.

        Raises:
            WrongUsageError: there are too few faces, or most of them seem to be one person's.
        """
        if len(places) < MIN_PEOPLE:
            raise too_few(f"{len(places)} faces")
        rng = np.random.default_rng(0)
        probes = _drawn(people, max(MIN_PROBES, MAX_COMPARISONS // len(places)), rng)
        some = [rng.permutation(len(places))[:count] for count in SAMPLED]
        vectors = [version.embeddings(places[rows]) for rows in some]
        differ = people[some[0]][:, None] != people[some[1]][None, :]
        bulk = _bulk_of((vectors[0] @ vectors[1].T)[differ])
        return cls(version, places, people, probes, bulk, on_progress)

    def embeddings(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read the embeddings, (m, d), of the faces at m rows."""
        return self.version.embeddings(self.places[rows])

    def blocks(
        self, step: str
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
        """Compare the probes with all faces, block by block.

        Args:
            step: the name of the step, for progress.

        Yields:
            Rows of a probes, rows of b faces, and their similarities, (a, b).
        """
        vectors = self.embeddings(self.probes)
        num_faces = len(self.places)
        for start in range(0, num_faces, BLOCK[1]):
            self.on_progress(Progress(step, start, num_faces))
            rows = np.arange(start, min(num_faces, start + BLOCK[1]))
            faces = self.embeddings(rows)
            for first in range(0, len(vectors), BLOCK[0]):
                some = slice(first, first + BLOCK[0])
                yield self.probes[some], rows, vectors[some] @ faces.T


def too_few(what: str) -> WrongUsageError:
    """Make the error that says an index is too small to calibrate, holding only `what`."""
    return WrongUsageError(f"an index with {what} is too small to calibrate; it takes {MIN_PEOPLE}")


def _drawn(people: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw rows of so many faces at most: one of each person, then a second of each, ..."""
    order, turns = drawn_turns(people, rng)
    chosen = order[np.lexsort((rng.random(len(order)), turns))]
    return np.sort(chosen[:most])


def _bulk_of(similarities: NDArray[np.float32]) -> Bulk:
    shares = np.linspace(0.05, 0.5, 20)
    quantiles = np.quantile(similarities, shares)
    low, high = (
        np.polyfit(ndtri(shares[part]), quantiles[part], 1)[0]
        for part in (slice(0, 10), slice(10, 20))
    )
    if not 0 < high < MAX_BENT * low:
        raise WrongUsageError(
            "most pairs of faces seem to show one and the same person, so strangers cannot be "
            "told by likeness; calibrate by labelled people"
        )
    std, mean = np.polyfit(ndtri(shares), quantiles, 1)
    return Bulk(float(mean), float(std))
