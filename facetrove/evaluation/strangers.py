"""The FPIR of an index by threshold, from non-mated similarities: measured, then extrapolated.

`min_measured` is the lowest FPIR that the probes measure directly. At three times that rate and
above, the threshold is a quantile of the probes' highest similarities. Below, few probes are left,
and a few look-alikes would decide the result. There the similarities of all non-mated pairs are
used, of which there are thousands of times as many. Let S(t) be the share of pairs with a
similarity of at least t, and z such that a standard normal variable exceeds z with probability
S(t). Then t is nearly linear in z (and exactly so if non-mated similarities are Gaussian), and a
parabola t(z) is fitted, from the bulk to the z of `min_measured`. In a gallery of n faces,
FPIR(t) = 1 - exp(-theta n S(t)). Theta, the extremal index (Leadbetter, Lindgren, Rootzen,
"Extremes and Related Properties of Random Sequences", Springer 1983), is 1 if the n comparisons of
a search are independent and smaller if they are not; it is estimated from the probes' highest
similarities near `min_measured`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from facetrove.evaluation.comparisons import Comparisons

Method = Literal["people", "gallery"]
"""How different people are told apart: by labels (`people`), or by clusters of similar faces."""

FITTED_FROM = {"people": 2.0, "gallery": 1.0}
"""Lowest z of the fitted parabola, by method. A fit to the tail alone (higher z) is more accurate.
Where people are clusters of similar faces, part of the bulk is included, which makes it stabler."""

ANCHORS = np.array([0.5, 1.0, 2.0, 3.0])
"""FPIRs at which the extremal index is estimated, as multiples of the lowest FPIR that the probes
measure directly."""

BIN_WIDTH = 0.0005
"""Width of the histogram's bins, as a similarity."""


@dataclass(frozen=True)
class Strangers:
    """The distribution of the similarities of p non-mated probes to the faces of a gallery.

    Attributes:
        method: how different people are told apart.
        ends: (b,) similarities, ascending: the lower ends of the histogram's bins.
        survival: (b,) share of non-mated pairs with at least these similarities.
        highest: (p,) highest similarity of each probe to a face of another person.
        weights: (p,) weight of each probe; they add up to 1.
        num_faces: number of faces in the gallery.
        num_comparisons: number of non-mated pairs that were compared.
    """

    method: Method
    ends: NDArray[np.float64]
    survival: NDArray[np.float64]
    highest: NDArray[np.float32]
    weights: NDArray[np.float64]
    num_faces: int
    num_comparisons: int

    @classmethod
    def among(cls, compared: Comparisons, method: Method) -> Strangers:
        """Compare each probe with the faces of all other people."""
        people, probes = compared.people, compared.probes
        own = people[probes]
        # Each person has the same weight, however many photos there are. Clusters do not: poor
        # photos of one person form clusters of their own, and would count as many people.
        weights = np.ones(len(probes))
        if method == "people":
            weights = 1.0 / np.bincount(own)[own]
        floor = compared.bulk.similarity_at(float(ndtr(-FITTED_FROM[method] + 0.2)))
        num_bins = max(1, int(np.ceil((1 - floor) / BIN_WIDTH)) + 1)
        histogram = np.zeros(num_bins)
        highest = np.full(len(probes), -1.0, np.float32)
        for block, rows, similarities in compared.blocks("comparing different people"):
            probe_rows = np.searchsorted(probes, block)
            # Pairs of one person get a value below all similarities.
            similarities[people[block][:, None] == people[rows][None, :]] = -2.0
            highest[probe_rows] = np.maximum(highest[probe_rows], similarities.max(axis=1))
            above, column = np.nonzero(similarities >= floor)
            bins = ((similarities[above, column] - floor) / BIN_WIDTH).astype(np.int64)
            histogram += np.bincount(
                bins.clip(0, num_bins - 1), weights[probe_rows][above], minlength=num_bins
            )
        others = len(people) - np.bincount(people)[own]
        return cls(
            method=method,
            ends=floor + BIN_WIDTH * np.arange(num_bins, dtype=np.float64),
            survival=histogram[::-1].cumsum()[::-1] / (weights * others).sum(),
            highest=highest,
            weights=weights / weights.sum(),
            num_faces=len(people),
            num_comparisons=int(others.sum()),
        )

    def thresholds(self, rates: NDArray[np.float64], min_measured: float) -> NDArray[np.float64]:
        """Compute the thresholds at FPIRs.

        Args:
            rates: (m,) FPIRs in (0, 1), descending.
            min_measured: the lowest FPIR that the probes measure directly, in (0, 1).

        Returns:
            Similarities, ascending, at the first FPIRs of `rates`: at all m of them, or fewer where
            the fitted parabola stops rising.
        """
        z = np.linspace(FITTED_FROM[self.method], -float(ndtri(min_measured / self.num_faces)), 60)
        shares = ndtr(-z)
        parabola = np.polyfit(z, self._similarity_at(shares), 2, w=shares**0.1)
        anchors = ANCHORS[min_measured * ANCHORS < 0.8] * min_measured
        expected = self.num_faces * self._share_above(self._highest_at(anchors))
        theta = float(np.exp(np.mean(np.log(-np.log1p(-anchors) / expected))))
        shares = np.minimum(-np.log1p(-rates) / (theta * self.num_faces), 0.5)
        fitted = np.polyval(parabola, -ndtri(shares))
        by_probes = rates >= ANCHORS[-1] * min_measured
        found = np.where(by_probes, self._highest_at(rates), fitted)
        # Beyond its vertex the parabola would give lower thresholds at lower rates.
        falling = np.flatnonzero(~by_probes[1:] & (np.diff(fitted) <= 0))
        end = int(falling[0]) + 1 if len(falling) else len(found)
        return np.maximum.accumulate(found[:end])

    def _similarity_at(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute the similarities that given shares of the non-mated pairs reach."""
        logs = np.log(np.maximum(self.survival, 1e-300))
        return np.interp(-np.log(shares), -logs, self.ends)

    def _share_above(self, similarities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute the share of non-mated pairs at or above similarities, at least one pair's."""
        logs = np.log(np.maximum(self.survival, 1 / self.num_comparisons))
        return np.exp(np.interp(similarities, self.ends, logs))

    def _highest_at(self, rates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute the similarities that given (weighted) shares of the probes reach."""
        order = np.argsort(-self.highest, kind="stable")
        reached = np.cumsum(self.weights[order])
        return np.interp(rates, reached, self.highest[order].astype(np.float64))
