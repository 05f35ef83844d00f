"""The false-positive rates of a model, for indexes without a calibration of their own.

How often a search for a stranger finds a match depends on the model and on the number of faces. For
the built-in models the share p(t) of pairs of different people whose similarity is t or more was
measured once, on Labeled Faces in the Wild (LFW). A search for a stranger in a gallery of n faces
compares the stranger with n people at most, so

    FPIR(t, n) = 1 - (1 - p(t)) ** n.

On people who were held out, galleries with one photo of each of 10 to 1,000 people have this rate
within the error of the measurement; where people have several photos, the rate is somewhat lower,
because these resemble strangers together. `python -m benchmarks.search_rates` measures both
(benchmarks/README.md, "Searches for strangers"), and prints the constants below.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.core.contract import ModelContract
from faces.core.errors import WrongUsageError
from indexer.thresholds import Calibration, rounded_up

OPERATING_FPIR = 0.01
"""The FPIR at which `operating_threshold` sets the threshold: one search in a hundred."""

MIN_FPIR = 0.001
"""Lowest FPIR that is stated for a model. Rarer matches of strangers are mostly twins, relatives,
wrong labels and double photos, of which the 2,179 people of the measurement show too few."""

DATA = "press photos (Labeled Faces in the Wild)"
"""The photos on which the rates of the built-in models were measured."""

Points = tuple[tuple[float, float], ...]

_SFACE: Points = (
    *((-0.210, -0.0044), (-0.117, -0.0458), (-0.048, -0.1549), (0.000, -0.3010), (0.049, -0.5229)),
    *((0.078, -0.6990), (0.119, -1.0), (0.218, -2.0), (0.292, -3.0), (0.355, -4.0), (0.412, -5.0)),
    *((0.463, -6.0), (0.506, -7.0), (0.544, -8.0), (0.577, -9.0)),
)
"""For SFace: similarity, and log10 of the share of pairs of different people that reach it. Down to
1e-6 measured on `DATA` (2,179 people, 5,031 photos, sface-int8); below, extrapolated with generated
faces (see benchmarks/README.md)."""

NON_MATED = {"sface": _SFACE, "sface-int8": _SFACE, "sface-int8-mirrored": _SFACE}
"""By embedder, the points of its non-mated similarity distribution, as in `_SFACE`. Those of sface
are within 0.005 of these; so are those of sface-int8-mirrored with yunet-refined down to a share of
1e-5, and 0.015 above them at 1e-6, where their interval is six times as wide."""

MEASURED_WITH = (("yunet", "arcface-112"), ("yunet-refined", "arcface-112"))
"""Detectors and alignments for which the measurements hold: others give other crops, and so other
similarities."""


@dataclass(frozen=True)
class ModelRates:
    """The false-positive identification rate (FPIR) of a model, by similarity and gallery size.

    Attributes:
        embedder: name of the embedder.
        points: points (similarity, log10 of the share of non-mated pairs that reach it).
    """

    embedder: str
    points: Points

    @classmethod
    def of(cls, contract: ModelContract) -> ModelRates | None:
        """Return the rates of the models of a contract; None if none were measured for them."""
        points = NON_MATED.get(contract.embedder)
        if points is None or (contract.detector, contract.alignment) not in MEASURED_WITH:
            return None
        return cls(contract.embedder, points)

    def similarity_of(self, share: float) -> float:
        """Return the similarity that a share of the pairs of different people reaches.

        Args:
            share: the share, (0, 1); below the smallest that is known, its similarity is returned.
        """
        return _similarity_at(self.points, np.log10(share))

    def min_fpir(self, num_faces: int) -> float:
        """Return the lowest FPIR that is stated for a gallery of `num_faces` faces, in (0, 1)."""
        last = 10.0 ** self.points[-1][1]
        return max(MIN_FPIR, float(-np.expm1(num_faces * np.log1p(-last))))

    def threshold(self, fpir: float, num_faces: int) -> float:
        """Return the smallest similarity of a match at an FPIR.

        Args:
            fpir: share of searches for people who are not enrolled that may return a match, from
                `min_fpir` to below 1.
            num_faces: number of faces in the gallery.

        Returns:
            The similarity, in [-1, 1].

        Raises:
            WrongUsageError: no figure is stated for this rate.
        """
        lowest = self.min_fpir(num_faces)
        if not lowest * (1 - 1e-9) <= fpir < 1:
            raise WrongUsageError(
                f"cannot guarantee FPIR {fpir:g}: the figures of {self.embedder} support rates "
                f"from {rounded_up(lowest):g} to 1 in a gallery of {num_faces:,} faces; ask for a "
                "rate in between"
            )
        share = -np.expm1(np.log1p(-fpir) / max(num_faces, 1))
        return _similarity_at(self.points, np.log10(share))

    def fpir_of(self, similarities: NDArray[np.floating], num_faces: int) -> NDArray[np.float64]:
        """Compute the lowest FPIR at which matches of given similarities would still be returned.

        Args:
            similarities: (n,) similarities, in [-1, 1].
            num_faces: number of faces in the gallery.

        Returns:
            (n,) FPIR, from `min_fpir` to 1.
        """
        known, logs = np.array(self.points).T
        shares = 10.0 ** np.interp(similarities, known, logs, left=0.0)
        with np.errstate(divide="ignore"):  # a share of 1 has the rate 1
            rates = -np.expm1(num_faces * np.log1p(-shares))
        return np.asarray(np.maximum(rates, self.min_fpir(num_faces)))


def operating_threshold(
    embedder: str, num_faces: int, calibration: Calibration | None = None
) -> float | None:
    """Return the smallest similarity of a match at the FPIR `OPERATING_FPIR`, in [-1, 1].

    Args:
        embedder: name of the embedder.
        num_faces: number of faces in the gallery.
        calibration: the index's calibration, which is used if it supports that rate.

    Returns:
        The threshold; None without a calibration if the embedder is not in `NON_MATED`.
    """
    if calibration is not None:
        try:
            return calibration.threshold(OPERATING_FPIR, num_faces)
        except WrongUsageError:
            pass  # the rates of the embedder have to do
    if embedder not in NON_MATED or num_faces == 0:
        return None
    return _similarity_at(NON_MATED[embedder], np.log10(OPERATING_FPIR / num_faces))


def verification_threshold(embedder: str, far: float) -> float | None:
    """Return the similarity from which two faces count as one person's in a 1:1 comparison.

    Args:
        embedder: name of the embedder.
        far: false accept rate: share of pairs of different people that reach the threshold.

    Returns:
        The threshold, in [-1, 1]; None if nothing was measured for the embedder at this rate.
    """
    if embedder not in NON_MATED:
        return None
    points = NON_MATED[embedder]
    if not points[-1][1] <= np.log10(far) <= points[0][1]:
        return None
    return _similarity_at(points, np.log10(far))


def _similarity_at(points: Points, log_share: float) -> float:
    """Return the similarity that a share of non-mated pairs reaches, given its log10."""
    similarities, log_shares = np.array(points).T
    return float(np.interp(-log_share, -log_shares, similarities))
