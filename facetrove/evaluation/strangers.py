"""How similar strangers look: the FPIR of an index by similarity, measured and fitted.

By FPIR 100 / people the highest similarities speak for themselves. Below they are few, and
look-alikes that happen to be there decide; there the pairs help, of which there are thousands of
times as many. With S(t) the share of pairs at or above t, and z the point where a standard normal
distribution has S above it, t is nearly linear in z (it would be exactly so if similarities of
strangers were Gaussian): a parabola is fitted, from the bulk to that FPIR. Then
FPIR(t) = 1 - exp(-theta n S(t)) in a gallery of n faces. Theta, the extremal index (Leadbetter,
Lindgren, Rootzen, "Extremes and Related Properties of Random Sequences", Springer 1983), says how
much less than independent the n chances are; it is read off the probes where they speak for
themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from facetrove.evaluation.comparisons import Comparisons

Method = Literal["people", "gallery"]
"""What tells faces of different people apart: labelled people, or the gallery's own likenesses."""

FITTED_FROM = {"people": 2.0, "gallery": 1.0}
"""z from which on the parabola is fitted. Of the tail alone it is truer; where people had to be
told apart by likeness, more of the bulk makes it steadier."""

ANCHORS = np.array([0.5, 1.0, 2.0, 3.0])
"""FPIRs, in units of the least that is measured, where the extremal index is read off."""

BIN_WIDTH = 0.0005


@dataclass(frozen=True)
class Strangers:
    """How similar different people look.

    Attributes:
        method: what tells them apart.
        ends: (b,) similarities, ascending.
        survival: (b,) share of pairs at or above them.
        highest: (p,) highest similarity of each probe.
        weights: (p,) weights of the probes, of sum 1.
        num_faces: number of faces that each probe was compared with.
        num_comparisons: number of comparisons in all.
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
        """Compare the probes with the faces of all other people."""
        people, probes = compared.people, compared.probes
        own = people[probes]
        # A stranger is anybody: each person counts once, however many photos there are. Groups by
        # likeness are no people: a person's poor photos stand apart, and would count for many.
        weights = np.ones(len(probes))
        if method == "people":
            weights = 1.0 / np.bincount(own)[own]
        floor = compared.bulk.similarity_at(float(ndtr(-FITTED_FROM[method] + 0.2)))
        num_bins = max(1, int(np.ceil((1 - floor) / BIN_WIDTH)) + 1)
        histogram = np.zeros(num_bins)
        highest = np.full(len(probes), -1.0, np.float32)
        for some, rows, similarities in compared.blocks("comparing with strangers"):
            where = np.searchsorted(probes, some)
            similarities[people[some][:, None] == people[rows][None, :]] = -2.0
            highest[where] = np.maximum(highest[where], similarities.max(axis=1))
            above, column = np.nonzero(similarities >= floor)
            bins = ((similarities[above, column] - floor) / BIN_WIDTH).astype(np.int64)
            histogram += np.bincount(
                bins.clip(0, num_bins - 1), weights[where][above], minlength=num_bins
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

    def thresholds(self, rates: NDArray[np.float64], measured: float) -> NDArray[np.float64]:
        """Compute the similarities, ascending, at (m,) FPIRs; fewer where the fit ends before.

        Args:
            rates: FPIRs, descending.
            measured: the least FPIR that the highest similarities tell by themselves.
        """
        z = np.linspace(FITTED_FROM[self.method], -float(ndtri(measured / self.num_faces)), 60)
        shares = ndtr(-z)
        parabola = np.polyfit(z, self._similarity_at(shares), 2, w=shares**0.1)
        anchors = ANCHORS[measured * ANCHORS < 0.8] * measured
        expected = self.num_faces * self._share_above(self._highest_at(anchors))
        theta = float(np.exp(np.mean(np.log(-np.log1p(-anchors) / expected))))
        shares = np.minimum(-np.log1p(-rates) / (theta * self.num_faces), 0.5)
        fitted = np.polyval(parabola, -ndtri(shares))
        by_probes = rates >= ANCHORS[-1] * measured
        found = np.where(by_probes, self._highest_at(rates), fitted)
        # Where the parabola turns back it tells nothing any more.
        back = np.flatnonzero(~by_probes[1:] & (np.diff(fitted) <= 0))
        end = int(back[0]) + 1 if len(back) else len(found)
        return np.maximum.accumulate(found[:end])

    def _similarity_at(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute the similarities that these shares of the pairs reach."""
        logs = np.log(np.maximum(self.survival, 1e-300))
        return np.interp(-np.log(shares), -logs, self.ends)

    def _share_above(self, similarities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute the share of pairs at or above similarities, at least that of one comparison."""
        logs = np.log(np.maximum(self.survival, 1 / self.num_comparisons))
        return np.exp(np.interp(similarities, self.ends, logs))

    def _highest_at(self, rates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute the similarities that these shares of the probes reach."""
        order = np.argsort(-self.highest, kind="stable")
        reached = np.cumsum(self.weights[order])
        return np.interp(rates, reached, self.highest[order].astype(np.float64))
