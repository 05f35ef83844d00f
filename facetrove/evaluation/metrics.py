"""Error rates of comparisons (1:1) and searches (1:N), computed from similarities.

Terms are those of ISO/IEC 19795-1:2021 and of NIST's FRTE (Face Recognition Technology Evaluation)
Part 2, Identification. A similarity equal to the threshold is positive: at or above counts.

Confidence intervals come from a bootstrap over people, not over comparisons, because the photos of
one person tend to succeed or fail together. A person drawn twice counts twice, and a comparison of
two people counts as often as the product of both their counts (the vertex bootstrap, recommended
for 1:1 error rates by Fogliato, Patil, Perona, "Confidence Intervals for Error Rates in 1:1
Matching Tasks", IJCV 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

CONFIDENCE = 0.95
"""Confidence level of all intervals."""

REPLICATES = 500
"""Number of bootstrap replicates. The ends of an interval are then accurate to a tenth of its
width."""


class Interval(NamedTuple):
    """A confidence interval of a rate, at the level `CONFIDENCE`.

    Attributes:
        low, high: the ends of the interval, in [0, 1].
    """

    low: float
    high: float


class Rate(NamedTuple):
    """An error rate, or another share of trials, with its confidence interval.

    Attributes:
        value: the rate, in [0, 1].
        interval: the confidence interval, which contains the value.
    """

    value: float
    interval: Interval


@dataclass(frozen=True)
class ErrorCurve:
    """The false-positive and false-negative rates at m thresholds: a ROC or DET curve.

    Attributes:
        thresholds: (m,) similarities, descending; the first is infinite.
        false_positive: (m,) share of the non-mated comparisons (FAR) or searches (FPIR) at or above
            each threshold, ascending.
        false_negative: (m,) share of the mated ones below each threshold (FRR or FNIR), descending.
    """

    thresholds: NDArray[np.float64]
    false_positive: NDArray[np.float64]
    false_negative: NDArray[np.float64]

    @property
    def equal_error_rate(self) -> float:
        """The rate where both rates are equal, interpolated linearly between two thresholds."""
        gap = self.false_positive - self.false_negative  # ascending
        after = int(np.argmax(gap >= 0))
        if after == 0:
            return float(self.false_positive[0])
        before = after - 1
        share = -gap[before] / (gap[after] - gap[before])
        rise = self.false_positive[after] - self.false_positive[before]
        return float(self.false_positive[before] + share * rise)

    @property
    def area(self) -> float:
        """The area under the ROC curve, in [0, 1].

        It is the probability that a mated similarity exceeds a non-mated one, ties counting half.
        """
        return float(np.trapezoid(1 - self.false_negative, self.false_positive))

    def thinned(self, count: int = 400) -> ErrorCurve:
        """Return the curve at some of its thresholds, which lie closer where rates are small.

        Args:
            count: how many of the m thresholds to keep; both ends are kept besides.
        """
        if len(self.thresholds) <= count:
            return self
        floor = 1 / len(self.thresholds)
        # Equal steps along the logarithms of both rates.
        position = -np.log(self.false_positive + floor) + np.log(self.false_negative + floor)
        wanted = np.linspace(position[0], position[-1], count)
        kept = np.unique(np.searchsorted(-position, -wanted).clip(0, len(position) - 1))
        kept = np.union1d(kept, [0, len(position) - 1])
        return ErrorCurve(
            self.thresholds[kept], self.false_positive[kept], self.false_negative[kept]
        )


def error_curve(mated: Floats, non_mated: Floats) -> ErrorCurve:
    """Compute both error rates at every threshold where one of them changes.

    Args:
        mated: (m,) similarities of mated comparisons, or of mated searches to the probe's person;
            -inf where the person is not in the candidate list.
        non_mated: (n,) similarities of non-mated comparisons, or the highest of each non-mated
            search; -inf where the candidate list is empty.

    Raises:
        ValueError: `mated` or `non_mated` is empty.
    """
    if not len(mated) or not len(non_mated):
        raise ValueError(
            f"there are {len(mated)} mated and {len(non_mated)} non-mated similarities; error "
            "rates need at least one of each"
        )
    values = np.unique(np.concatenate([mated, non_mated]).astype(np.float64))[::-1]
    thresholds = np.concatenate([[np.inf], values[np.isfinite(values)]])
    return ErrorCurve(
        thresholds,
        share_from(non_mated, thresholds),
        1 - share_from(mated, thresholds),
    )


def share_from(similarities: Floats, thresholds: Floats | float) -> NDArray[np.float64]:
    """Compute the share of (n,) similarities at or above each of some thresholds."""
    ascending = np.sort(similarities)
    below = np.searchsorted(ascending, thresholds, side="left")
    return np.asarray(1 - below / len(ascending))


def threshold_at(
    non_mated: Floats, rate: float, weights: Floats | None = None
) -> NDArray[np.float64]:
    """Compute the lowest threshold whose false-positive rate does not exceed a rate.

    Args:
        non_mated: (n,) similarities of non-mated comparisons, or the highest of each search.
        rate: maximum share of them at or above the threshold, in [0, 1].
        weights: (r, n) weight of each similarity in r bootstrap replicates; by default all equal.

    Returns:
        (r,) thresholds, or (1,) without weights. A threshold is the next floating-point number
        above a similarity, or -inf where no threshold is needed.
    """
    order = np.argsort(-non_mated, kind="stable")
    descending = np.asarray(non_mated)[order]
    counted = np.ones((1, len(order))) if weights is None else weights[:, order]
    reached = np.cumsum(counted, axis=1, dtype=np.float64)
    too_many = reached > rate * reached[:, -1:] * (1 + 1e-12)
    first = np.argmax(too_many, axis=1)
    # The next number in the precision of the similarities that the threshold is compared with.
    just_above = np.nextafter(descending, descending.dtype.type(np.inf))[first]
    return np.where(too_many.any(axis=1), just_above.astype(np.float64), -np.inf)


def miss_rate(
    mated: Floats, thresholds: NDArray[np.float64], weights: Floats | None = None
) -> NDArray[np.float64]:
    """Compute the false-negative rate at one threshold per bootstrap replicate.

    Args:
        mated: (n,) similarities of mated comparisons, or of mated searches to the probe's person.
        thresholds: (r,) thresholds.
        weights: (r, n) weight of each similarity in each replicate; by default all equal.

    Returns:
        (r,) share of the mated similarities below the threshold, in [0, 1].
    """
    below = mated[None, :] < thresholds[:, None]
    if weights is None:
        return np.asarray(below.mean(axis=1))
    total = np.maximum(weights.sum(axis=1), 1e-9)
    return np.asarray((weights * below).sum(axis=1) / total)


@dataclass(frozen=True)
class Bootstrap:
    """The replicates of a bootstrap over people.

    Attributes:
        counts: (r, num_people) float32, how often each person was drawn in each of r replicates.
    """

    counts: NDArray[np.float32]

    @classmethod
    def of(cls, num_people: int, *, seed: int = 0, replicates: int = REPLICATES) -> Bootstrap:
        """Draw `num_people` people with replacement, in each of `replicates` replicates."""
        rng = np.random.default_rng(seed)
        counts = np.empty((replicates, num_people), np.float32)
        for row in counts:
            row[:] = np.bincount(rng.integers(num_people, size=num_people), minlength=num_people)
        return cls(counts)

    def weights(
        self, first: NDArray[np.integer], second: NDArray[np.integer] | None = None
    ) -> NDArray[np.float32]:
        """Compute the (r, n) weight of each comparison or search in each replicate.

        Args:
            first: (n,) person number of each search, or of each comparison's first face.
            second: (n,) person number of each comparison's second face. Where it is the same
                person, and for searches (None), the weight is that of one person.
        """
        weights = self.counts[:, first]
        if second is None:
            return weights
        return np.where(first == second, weights, weights * self.counts[:, second])


def rate(value: float, replicates: NDArray[np.floating], num_people: int) -> Rate:
    """Combine a rate and its bootstrap replicates into a rate with a confidence interval.

    Args:
        value: the rate, in [0, 1].
        replicates: (r,) rate in each replicate; NaN where a replicate drew no trials.
        num_people: number of people that the rate was measured on, or of trials where these are
            fewer. If the rate is 0 or 1, it is the same in every replicate, and the interval
            reaches 3 / num_people beyond it instead (the "rule of three": Hanley and Lippman-Hand,
            JAMA 1983).
    """
    tail = (1 - CONFIDENCE) / 2
    finite = replicates[np.isfinite(replicates)]
    ends = np.quantile(finite, [tail, 1 - tail]) if len(finite) else (value, value)
    low, high = min(float(ends[0]), value), max(float(ends[1]), value)
    reach = min(1.0, 3 / max(num_people, 1))
    if value == 0:
        high = max(high, reach)
    elif value == 1:
        low = min(low, 1 - reach)
    return Rate(value, Interval(low, high))


def share(happened: NDArray[np.bool_], people: NDArray[np.integer], bootstrap: Bootstrap) -> Rate:
    """Compute the share of trials in which something happened, with its confidence interval.

    Args:
        happened: (n,) bool, n >= 1.
        people: (n,) person number of each search, or (n, 2) person numbers of each comparison.
        bootstrap: bootstrap over these people.
    """
    if people.ndim == 1:  # all trials of a person have one weight, so sums by person suffice
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


def match_rates(ranks: NDArray[np.integer], max_rank: int) -> NDArray[np.float64]:
    """Compute the cumulative match characteristic (CMC) of closed-set searches.

    Args:
        ranks: (n,) rank of the probe's person, from 1; 0 where not in the candidate list.
        max_rank: the last rank of the curve.

    Returns:
        (max_rank,) share of searches in which that rank is 1, at most 2, at most 3, ...
    """
    counts = np.bincount(ranks[(ranks >= 1) & (ranks <= max_rank)], minlength=max_rank + 1)[1:]
    return np.cumsum(counts) / len(ranks)


def in_chunks(
    bootstrap: Bootstrap, work: Callable[[Bootstrap], NDArray[np.floating]], size: int = 50
) -> NDArray[np.floating]:
    """Apply a function to the bootstrap replicates in chunks, which bounds memory.

    Args:
        bootstrap: r replicates.
        work: computes an array with a first axis of length s from s of the replicates.
        size: maximum number of replicates in a chunk.

    Returns:
        The arrays concatenated, (r, ...).
    """
    parts = [
        work(Bootstrap(bootstrap.counts[start : start + size]))
        for start in range(0, len(bootstrap.counts), size)
    ]
    return np.concatenate(parts)
