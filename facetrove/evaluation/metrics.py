"""Error rates of comparisons and searches, from similarities alone.

Terms are those of ISO/IEC 19795-1:2021 and of NIST's FRTE (Face Recognition Technology Evaluation)
Part 2, Identification. A similarity at the threshold counts as above it.

Intervals come from a bootstrap over people, not over comparisons: photos of one person succeed and
fail together. A person drawn twice counts twice, and a comparison of two people as often as the
product of both (the vertex bootstrap, recommended for 1:1 error rates by Fogliato, Patil, Perona,
"Confidence Intervals for Error Rates in 1:1 Matching Tasks", IJCV 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

CONFIDENCE = 0.95
REPLICATES = 500
"""Of a bootstrap: the ends of an interval are then known to a tenth of its width."""


class Interval(NamedTuple):
    """Where a rate lies with a probability of `CONFIDENCE`."""

    low: float
    high: float


class Rate(NamedTuple):
    """A share, and how well it is known."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class ErrorCurve:
    """Two error rates against each other, by thresholds.

    Attributes:
        thresholds: (m,) similarities, descending.
        false_positive: (m,) share of non-mated comparisons (FAR) or searches (FPIR) at or above.
        false_negative: (m,) share of mated ones below: FRR, or FNIR.
    """

    thresholds: NDArray[np.float64]
    false_positive: NDArray[np.float64]
    false_negative: NDArray[np.float64]

    @property
    def equal_error_rate(self) -> float:
        """Where both rates are equal, on the line between the thresholds beside that."""
        gap = self.false_positive - self.false_negative  # ascends from -1 or so
        after = int(np.argmax(gap >= 0))
        if after == 0:
            return float(self.false_positive[0])
        before = after - 1
        share = -gap[before] / (gap[after] - gap[before])
        rise = self.false_positive[after] - self.false_positive[before]
        return float(self.false_positive[before] + share * rise)

    @property
    def area(self) -> float:
        """Under the curve of true against false positives: that a mated similarity is higher."""
        return float(np.trapezoid(1 - self.false_negative, self.false_positive))

    def thinned(self, count: int = 400) -> ErrorCurve:
        """The same curve with at most so many points, close together where rates are small."""
        if len(self.thresholds) <= count:
            return self
        floor = 1 / len(self.thresholds)
        place = -np.log(self.false_positive + floor) + np.log(self.false_negative + floor)
        wanted = np.linspace(place[0], place[-1], count)
        kept = np.unique(np.searchsorted(-place, -wanted).clip(0, len(place) - 1))
        kept = np.union1d(kept, [0, len(place) - 1])
        return ErrorCurve(
            self.thresholds[kept], self.false_positive[kept], self.false_negative[kept]
        )


def error_curve(mated: Floats, non_mated: Floats) -> ErrorCurve:
    """Error rates at every threshold where one changes.

    Args:
        mated: (m,) similarities of comparisons, or of a search to the right person; -inf: none.
        non_mated: (n,) those to somebody else; of a search the highest.

    Raises:
        ValueError: one of them is empty.
    """
    if not len(mated) or not len(non_mated):
        raise ValueError("error rates take mated and non-mated similarities")
    values = np.unique(np.concatenate([mated, non_mated]).astype(np.float64))[::-1]
    thresholds = np.concatenate([[np.inf], values[np.isfinite(values)]])
    return ErrorCurve(
        thresholds,
        share_from(non_mated, thresholds),
        1 - share_from(mated, thresholds),
    )


def share_from(similarities: Floats, thresholds: Floats | float) -> NDArray[np.float64]:
    """Share of (n,) similarities at or above each threshold."""
    ascending = np.sort(similarities)
    below = np.searchsorted(ascending, thresholds, side="left")
    return np.asarray(1 - below / len(ascending))


def threshold_at(
    non_mated: Floats, rate: float, weights: Floats | None = None
) -> NDArray[np.float64]:
    """The lowest threshold at which no more than a share of similarities is at or above it.

    Args:
        non_mated: (n,).
        rate: the share.
        weights: (r, n) how much each counts, in r replicates; all the same by default.

    Returns:
        (r,), or (1,) without weights: just above a similarity, or -inf where all may be above.
    """
    order = np.argsort(-non_mated, kind="stable")
    descending = np.asarray(non_mated)[order]
    counted = np.ones((1, len(order))) if weights is None else weights[:, order]
    reached = np.cumsum(counted, axis=1, dtype=np.float64)
    too_many = reached > rate * reached[:, -1:] * (1 + 1e-12)
    first = np.argmax(too_many, axis=1)
    # The next number of the same precision, with which it is going to be compared.
    just_above = np.nextafter(descending, descending.dtype.type(np.inf))[first]
    return np.where(too_many.any(axis=1), just_above.astype(np.float64), -np.inf)


def miss_rate(
    mated: Floats, thresholds: NDArray[np.float64], weights: Floats | None = None
) -> NDArray[np.float64]:
    """(r,) share of (n,) mated similarities below each of (r,) thresholds, under (r, n) weights."""
    below = mated[None, :] < thresholds[:, None]
    if weights is None:
        return np.asarray(below.mean(axis=1))
    total = np.maximum(weights.sum(axis=1), 1e-9)
    return np.asarray((weights * below).sum(axis=1) / total)


@dataclass(frozen=True)
class Bootstrap:
    """How often each person counts in each replicate.

    Attributes:
        counts: (r, people) float32.
    """

    counts: NDArray[np.float32]

    @classmethod
    def of(cls, num_people: int, *, seed: int = 0, replicates: int = REPLICATES) -> Bootstrap:
        """Draw as many people as there are, with replacement, so many times."""
        rng = np.random.default_rng(seed)
        counts = np.empty((replicates, num_people), np.float32)
        for row in counts:
            row[:] = np.bincount(rng.integers(num_people, size=num_people), minlength=num_people)
        return cls(counts)

    def weights(
        self, first: NDArray[np.integer], second: NDArray[np.integer] | None = None
    ) -> NDArray[np.float32]:
        """(r, n) weights of comparisons, by the numbers of the people in each.

        Args:
            first: (n,) people.
            second: (n,) those they are compared with; None, or the same person: nobody else.
        """
        weights = self.counts[:, first]
        if second is None:
            return weights
        return np.where(first == second, weights, weights * self.counts[:, second])


def rate(value: float, replicates: NDArray[np.floating], num_people: int) -> Rate:
    """A rate with its bootstrap interval.

    Args:
        value: the rate.
        replicates: (r,) of it; NaN where a replicate has nobody to tell.
        num_people: that it was measured on, or comparisons, where these are fewer. Where all or
            none failed every replicate says the same; then the interval reaches 3 / people further
            ("rule of three", Hanley and Lippman-Hand, JAMA 1983).
    """
    tail = (1 - CONFIDENCE) / 2
    known = replicates[np.isfinite(replicates)]
    ends = np.quantile(known, [tail, 1 - tail]) if len(known) else (value, value)
    low, high = min(float(ends[0]), value), max(float(ends[1]), value)
    reach = min(1.0, 3 / max(num_people, 1))
    if value == 0:
        high = max(high, reach)
    elif value == 1:
        low = min(low, 1 - reach)
    return Rate(value, Interval(low, high))


def share(happened: NDArray[np.bool_], people: NDArray[np.integer], bootstrap: Bootstrap) -> Rate:
    """The share of trials in which something happened, with its interval.

    Args:
        happened: (n,) bool, one or more.
        people: (n,) whose trial each was; (n, 2) of comparisons, by their numbers.
        bootstrap: over these people.
    """
    if people.ndim == 1:  # all trials of a person count alike: their sums suffice
        size = bootstrap.counts.shape[1]
        successes = np.bincount(people, happened, minlength=size)
        reached = bootstrap.counts @ successes.astype(np.float32)
        total = bootstrap.counts @ np.bincount(people, minlength=size).astype(np.float32)
    else:

        def sums(some: Bootstrap) -> NDArray[np.floating]:
            weights = some.weights(people[:, 0], people[:, 1])
            return np.stack([weights @ happened, weights.sum(axis=1)], axis=1)

        reached, total = in_chunks(bootstrap, sums).T
    replicates = np.where(total > 0, reached / np.maximum(total, 1e-9), np.nan)
    num_people = min(len(happened), len(np.unique(people)))
    return rate(float(happened.mean()), replicates, num_people)


def match_rates(ranks: NDArray[np.integer], most: int) -> NDArray[np.float64]:
    """(most,) share of searches whose right answer has at most rank 1, 2, ...: the CMC.

    Args:
        ranks: (n,) of the right person, from 1; 0: not in the candidate list.
        most: the last rank.
    """
    counts = np.bincount(ranks[(ranks >= 1) & (ranks <= most)], minlength=most + 1)[1:]
    return np.cumsum(counts) / len(ranks)


def in_chunks(
    bootstrap: Bootstrap, work: Callable[[Bootstrap], NDArray[np.floating]], size: int = 50
) -> NDArray[np.floating]:
    """(r, ...) what `work` makes of the replicates, some at a time, which bounds memory."""
    parts = [
        work(Bootstrap(bootstrap.counts[start : start + size]))
        for start in range(0, len(bootstrap.counts), size)
    ]
    return np.concatenate(parts)
