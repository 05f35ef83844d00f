"""Comparisons of an index's faces with each other, which show how similar different people look.

Some of the faces, the probes, are compared with all faces. The bulk of the non-mated similarities
is Gaussian. Its mean and standard deviation are fitted to the lower half of all similarities, on
which pairs of one person have hardly any influence: they are few, and their similarities are high.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from faces.core.errors import WrongUsageError
from faces.core.progress import OnProgress, Progress
from faces.core.words import counted
from facetrove.evaluation.labels import shuffled_by_person
from indexer.snapshot import Snapshot

MIN_PEOPLE = 200
"""Minimum number of different people for a calibration. With fewer, not even an FPIR of 0.05 could
be measured."""

MIN_PROBES = 1_000
"""Minimum number of probes, whatever the size of the gallery."""

MAX_COMPARISONS = 2_000_000_000
"""Maximum number of pairs that are compared, which takes some 15 seconds on two cores."""

SAMPLED = 1_000, 2_000
"""Numbers of probes and of faces in the sample that the bulk is fitted to."""

BLOCK = 1_024, 16_384
"""Numbers of probes and of faces compared at once: 67 MB of similarities."""

MAX_STD_RATIO = 1.3
"""Maximum ratio of two standard deviations: the one fitted to the second quarter of all
similarities, over the one fitted to the first. They would be equal if all pairs were non-mated. At
this ratio some third of the pairs show one person, too many for non-mated pairs to be told from
similarities alone."""


@dataclass(frozen=True)
class Bulk:
    """The mean and standard deviation of the Gaussian bulk of the non-mated similarities."""

    mean: float
    std: float

    def similarity_at(self, share: float) -> float:
        """Compute the similarity that a share of the non-mated pairs would reach, if Gaussian."""
        return self.mean - self.std * float(ndtri(share))


@dataclass(frozen=True)
class Comparisons:
    """The n faces of a gallery that are compared, p of them as probes against all n.

    Attributes:
        version: the version of the index that the faces are in.
        index_rows: (n,) row of each face in the index, counted through all its segments.
        people: (n,) number of each face's person, from 0.
        probes: (p,) positions of the probes among the n faces, ascending.
        bulk: the Gaussian bulk of the non-mated similarities.
        on_progress: called with the step that is being done.
    """

    version: Snapshot
    index_rows: NDArray[np.int64]
    people: NDArray[np.int64]
    probes: NDArray[np.int64]
    bulk: Bulk
    on_progress: OnProgress

    @classmethod
    def of(
        cls,
        version: Snapshot,
        index_rows: NDArray[np.int64],
        people: NDArray[np.int64],
        on_progress: OnProgress,
    ) -> Comparisons:
        """Draw the probes at random, and fit the bulk to a random sample of the pairs.

        Raises:
            WrongUsageError: there are too few faces, or most pairs seem to show one person.
        """
        num_faces = len(index_rows)
        if num_faces < MIN_PEOPLE:
            raise too_few(counted(num_faces, "face"))
        rng = np.random.default_rng(0)
        probes = _drawn_probes(people, max(MIN_PROBES, MAX_COMPARISONS // num_faces), rng)
        sample = [rng.permutation(num_faces)[:count] for count in SAMPLED]
        vectors = [version.embeddings(index_rows[rows]) for rows in sample]
        differ = people[sample[0]][:, None] != people[sample[1]][None, :]
        bulk = _bulk_of((vectors[0] @ vectors[1].T)[differ])
        return cls(version, index_rows, people, probes, bulk, on_progress)

    def embeddings(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read the (m, d) embeddings of the faces at (m,) positions among the n faces."""
        return self.version.embeddings(self.index_rows[rows])

    def blocks(
        self, step: str
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
        """Compare the probes with all faces, block by block.

        Args:
            step: the name of the step, for progress.

        Yields:
            (a,) positions of probes, (b,) positions of faces, both among the n faces, and their
            (a, b) similarities.
        """
        vectors = self.embeddings(self.probes)
        num_faces = len(self.index_rows)
        for start in range(0, num_faces, BLOCK[1]):
            self.on_progress(Progress(step, start, num_faces))
            rows = np.arange(start, min(num_faces, start + BLOCK[1]))
            faces = self.embeddings(rows)
            for first in range(0, len(vectors), BLOCK[0]):
                some = slice(first, first + BLOCK[0])
                yield self.probes[some], rows, vectors[some] @ faces.T


def too_few(what: str) -> WrongUsageError:
    """Return the error that an index with `what` (such as "50 faces") is too small to calibrate."""
    return WrongUsageError(
        f"an index with {what} is too small to calibrate; a calibration takes at least "
        f"{MIN_PEOPLE} different people; until then, searches use the models' figures if these are "
        "known"
    )


def _drawn_probes(
    people: NDArray[np.int64], max_count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw at most `max_count` probes: one face of each person, then a second of each, and so on.

    Returns:
        Their positions in `people`, ascending.
    """
    order, ranks = shuffled_by_person(people, rng)
    chosen = order[np.lexsort((rng.random(len(order)), ranks))]
    return np.sort(chosen[:max_count])


def _bulk_of(similarities: NDArray[np.float32]) -> Bulk:
    """Fit a Gaussian to the lower half of similarities, by least squares on the quantiles.

    Raises:
        WrongUsageError: the lower half is not Gaussian; see `MAX_STD_RATIO`.
    """
    shares = np.linspace(0.05, 0.5, 20)
    quantiles = np.quantile(similarities, shares)
    low_std, high_std = (
        np.polyfit(ndtri(shares[part]), quantiles[part], 1)[0]
        for part in (slice(0, 10), slice(10, 20))
    )
    if not 0 < high_std < MAX_STD_RATIO * low_std:
        raise WrongUsageError(
            "most pairs of faces seem to show one and the same person, so different people cannot "
            "be told apart by similarity; calibrate with labelled people (--people)"
        )
    std, mean = np.polyfit(ndtri(shares), quantiles, 1)
    return Bulk(float(mean), float(std))
