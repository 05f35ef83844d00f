"""Where to draw the line: from which similarity on a match is worth a look.

A gallery of n faces answers a stranger with n chances to look alike, so a threshold is stated as
the share of strangers' searches that it lets get an answer: the false-positive identification rate
(FPIR; ISO/IEC 19795-1, NIST FRTE Part 2). `facetrove calibrate` measures that on a gallery and
keeps it with the index. Until then `operating_threshold` goes by what is known of the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError

FPIR = 0.01
"""Of `operating_threshold`."""

MAX_GROWTH = 2.0
"""A calibration serves an index that has grown or shrunk by this factor; beyond, who is in it may
have changed too."""


@dataclass(frozen=True)
class Calibration:
    """The false-positive identification rate of an index, by similarity.

    Attributes:
        method: measured on `people` with labels, or on the `gallery` itself, its faces grouped by
            likeness; see `facetrove.evaluation.calibrate`.
        num_faces: of the gallery that it is for.
        num_people: different people, or groups of like faces, that were compared.
        num_comparisons: pairs of faces of two people that were compared.
        similarities: ascending.
        rates: FPIR with these as thresholds, descending, in (0, 1). Nothing is said beyond the
            last: the faces compared do not carry further.
        created: when, in UTC, ISO 8601.
    """

    method: Literal["people", "gallery"]
    num_faces: int
    num_people: int
    num_comparisons: int
    similarities: tuple[float, ...]
    rates: tuple[float, ...]
    created: str

    def __post_init__(self) -> None:
        rates, similarities = np.array(self.rates), np.array(self.similarities)
        counts = (self.num_faces, self.num_people, self.num_comparisons)
        if not (
            self.method in ("people", "gallery")
            and all(type(count) is int for count in counts)
            and isinstance(self.created, str)
            and len(rates) == len(similarities) >= 2
            and self.num_faces > 0
            and (np.diff(rates) < 0).all()
            and (np.diff(similarities) >= 0).all()
            and 0 < rates[-1] < rates[0] < 1
            and -1 <= similarities[0] <= similarities[-1] <= 1
        ):
            raise ValueError("a calibration does not make sense")

    def min_fpir(self, num_faces: int) -> float:
        """The lowest FPIR that is known for a gallery of so many faces.

        Raises: as `threshold`.
        """
        return float(self._rates_of(num_faces)[-1])

    def threshold(self, fpir: float, num_faces: int) -> float:
        """The least similarity of a match at an FPIR.

        Args:
            fpir: share of strangers' searches that may get an answer.
            num_faces: in the gallery now.

        Raises:
            WrongUsageError: the calibration does not reach there, or the gallery is another.
        """
        rates = self._rates_of(num_faces)
        if not rates[-1] * (1 - 1e-9) <= fpir < 1:
            raise WrongUsageError(
                f"an FPIR of {fpir:g} cannot be promised: the {self.num_people:,} "
                f"{'people' if self.method == 'people' else 'groups of like faces'} that were "
                f"compared carry from {rounded_up(rates[-1]):g} to 1; ask for a rate in between"
                + (", or calibrate with more labelled people" if fpir < 1 else "")
            )
        # Linear in the logarithm of the rate, as similarities of strangers nearly are.
        return float(np.interp(-np.log(fpir), -np.log(rates), self.similarities))

    def fpir_of(self, similarities: NDArray[np.floating], num_faces: int) -> NDArray[np.float64]:
        """(n,) the lowest FPIR at which matches of (n,) similarities would still be returned.

        It is never lower than `min_fpir`, where what is known ends.

        Raises: as `threshold`.
        """
        logs = np.log(self._rates_of(num_faces))
        return np.asarray(np.exp(np.interp(similarities, self.similarities, logs, left=0.0)))

    def _rates_of(self, num_faces: int) -> NDArray[np.float64]:
        """Rates for a gallery of another size: n faces are n chances."""
        growth = num_faces / self.num_faces
        if not 1 / MAX_GROWTH <= growth <= MAX_GROWTH:
            raise WrongUsageError(
                f"the index was calibrated with {self.num_faces:,} faces and holds {num_faces:,} "
                "now; run `facetrove calibrate` again"
            )
        return np.asarray(-np.expm1(growth * np.log1p(-np.array(self.rates))))


def rounded_up(rate: float) -> float:
    """A rate that a person can type, not below it: two digits."""
    step = 10.0 ** (np.floor(np.log10(rate)) - 1)
    return float(f"{np.ceil(rate / step - 1e-9) * step:.2g}")


_SFACE = (
    *((0.119, -1.0), (0.218, -2.0), (0.292, -3.0), (0.355, -4.0), (0.412, -5.0), (0.463, -6.0)),
    *((0.506, -7.0), (0.544, -8.0), (0.577, -9.0)),
)
"""Measured on Labeled Faces in the Wild down to 1e-6; below, on generated faces (see
benchmarks/README.md): an extrapolation."""

NON_MATED = {"sface": _SFACE, "sface-int8": _SFACE}  # float's are within 0.005 of these
"""By embedder: similarities t, and log10 of the share of pairs of different people above t."""


def operating_threshold(
    embedder: str, num_faces: int, calibration: Calibration | None = None
) -> float | None:
    """The similarity from which on a match counts, at `FPIR`; None where nothing is known.

    Args:
        embedder: its name.
        num_faces: in the gallery.
        calibration: of the index, if there is one.
    """
    if calibration is not None:
        try:
            return calibration.threshold(FPIR, num_faces)
        except WrongUsageError:
            pass  # it does not reach there: go by the model
    if embedder not in NON_MATED or num_faces == 0:
        return None
    similarities, shares = np.array(NON_MATED[embedder]).T
    return float(np.interp(-np.log10(FPIR / num_faces), -shares, similarities))


def verification_threshold(embedder: str, far: float) -> float | None:
    """The similarity from which on two faces count as one person's in a 1:1 comparison.

    Args:
        embedder: its name.
        far: false accept rate: share of pairs of different people that reach the threshold.

    Returns:
        None where nothing was measured for this embedder, or not down to this rate.
    """
    if embedder not in NON_MATED:
        return None
    similarities, log_shares = np.array(NON_MATED[embedder]).T
    if not log_shares[-1] <= np.log10(far) <= log_shares[0]:
        return None
    return float(np.interp(-np.log10(far), -log_shares, similarities))
