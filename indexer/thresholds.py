"""Thresholds: the similarity from which two faces count as a match.

Every face of a gallery is a chance to be taken for somebody else. So the threshold of a search is
stated by its false-positive identification rate (FPIR; ISO/IEC 19795-1, NIST FRTE Part 2), which is
the share of searches for people who are not enrolled that return a match. `facetrove calibrate`
measures the FPIR of an index by similarity and stores it with the index. Without a calibration,
`indexer.model_rates` has rates that were measured for the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from faces.core.documents import Count
from faces.core.errors import WrongUsageError

MAX_GROWTH = 2.0
"""Largest factor by which an index may have grown or shrunk since its calibration. Beyond it, the
people in the index may have changed too."""


@dataclass(frozen=True)
class Calibration:
    """The false-positive identification rate (FPIR) of an index, by similarity.

    Attributes:
        method: how faces were assigned to people: `people`, by labels, or `gallery`, by clustering
            similar faces of the gallery; see `facetrove.evaluation.calibrate`.
        num_faces: number of faces in the gallery that was measured.
        num_people: number of people, or of clusters of similar faces, that were compared.
        num_comparisons: number of pairs of faces of different people that were compared.
        similarities: thresholds, ascending, [-1, 1].
        rates: the FPIR at each of these thresholds, descending, (0, 1). The last is the lowest
            rate that this number of people supports.
        created: time of the calibration in UTC, ISO 8601.

    Raises:
        ValueError: a field is out of range or not in order.
    """

    method: Literal["people", "gallery"]
    num_faces: Count
    num_people: Count
    num_comparisons: Count
    similarities: tuple[float, ...]
    rates: tuple[float, ...]
    created: str

    def __post_init__(self) -> None:
        rates, similarities = np.array(self.rates), np.array(self.similarities)
        if not (
            len(rates) == len(similarities) >= 2
            and self.num_faces > 0
            and (np.diff(rates) < 0).all()
            and (np.diff(similarities) >= 0).all()
            and 0 < rates[-1] < rates[0] < 1
            and -1 <= similarities[0] <= similarities[-1] <= 1
        ):
            raise ValueError(
                "a calibration does not make sense: its similarities must ascend in [-1, 1] and "
                "its rates descend in (0, 1)"
            )

    def __repr__(self) -> str:
        return (
            f"<calibration: {self.num_faces:,} faces of {self.num_people:,} {self._people}, FPIR "
            f"{self.rates[0]:.2g} to {self.rates[-1]:.2g} at similarity {self.similarities[0]:.3f} "
            f"to {self.similarities[-1]:.3f}>"
        )

    @property
    def _people(self) -> str:
        return "people" if self.method == "people" else "clusters of similar faces"

    def min_fpir(self, num_faces: int) -> float:
        """Return the lowest FPIR that the calibration supports for a gallery of `num_faces` faces.

        Args:
            num_faces: number of faces in the gallery now.

        Raises:
            WrongUsageError: the size of the gallery has changed by more than `MAX_GROWTH`.
        """
        return float(self._rates_of(num_faces)[-1])

    def threshold(self, fpir: float, num_faces: int) -> float:
        """Return the smallest similarity of a match at an FPIR.

        Args:
            fpir: share of searches for people who are not enrolled that may return a match, from
                `min_fpir` to below 1.
            num_faces: number of faces in the gallery now.

        Returns:
            The similarity, in [-1, 1].

        Raises:
            WrongUsageError: the calibration does not support this rate, or the size of the
                gallery has changed by more than `MAX_GROWTH`.
        """
        rates = self._rates_of(num_faces)
        if not rates[-1] * (1 - 1e-9) <= fpir < 1:
            raise WrongUsageError(
                f"cannot guarantee FPIR {fpir:g}: a calibration on {self.num_people:,} "
                f"{self._people} supports rates from {rounded_up(rates[-1]):g} to 1; ask for a "
                "rate in between" + (", or calibrate with more labelled people" if fpir < 1 else "")
            )
        # Interpolate over the logarithm of the rate, in which similarities are nearly linear.
        return float(np.interp(-np.log(fpir), -np.log(rates), self.similarities))

    def fpir_of(self, similarities: NDArray[np.floating], num_faces: int) -> NDArray[np.float64]:
        """Compute the lowest FPIR at which matches of given similarities would still be returned.

        Args:
            similarities: (n,) similarities, in [-1, 1].
            num_faces: number of faces in the gallery now.

        Returns:
            (n,) FPIR, from `min_fpir` to 1.

        Raises:
            WrongUsageError: the size of the gallery has changed by more than `MAX_GROWTH`.
        """
        logs = np.log(self._rates_of(num_faces))
        return np.asarray(np.exp(np.interp(similarities, self.similarities, logs, left=0.0)))

    def _rates_of(self, num_faces: int) -> NDArray[np.float64]:
        """Return the rates for a gallery of another size, every face being an equal chance."""
        growth = num_faces / self.num_faces
        if not 1 / MAX_GROWTH <= growth <= MAX_GROWTH:
            raise WrongUsageError(
                f"the index was calibrated with {self.num_faces:,} faces and holds {num_faces:,} "
                "now; run `facetrove calibrate` again"
            )
        return np.asarray(-np.expm1(growth * np.log1p(-np.array(self.rates))))


def rounded_up(rate: float) -> float:
    """Round a rate up to two significant digits, so that a person can type it."""
    step = 10.0 ** (np.floor(np.log10(rate)) - 1)
    return float(f"{np.ceil(rate / step - 1e-9) * step:.2g}")
