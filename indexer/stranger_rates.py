"""How often searches for strangers find a match: what an index says about it, and on what basis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from indexer.manifest import Manifest
from indexer.model_rates import DATA, ModelRates
from indexer.thresholds import Calibration, rounded_up

FpirBasis = Literal["index", "model"]
"""Where an FPIR comes from: `index`, the index's own calibration; `model`, figures that were
measured for the index's models on other photos."""


@dataclass(frozen=True)
class StrangerRates:
    """The false-positive identification rate (FPIR) of an index, by similarity.

    It is the index's calibration if it has one for about its present size, else the figure of its
    models for a gallery of that size. There may be none.

    Attributes:
        manifest: the version of the index.
    """

    manifest: Manifest

    @cached_property
    def basis(self) -> FpirBasis | None:
        """Where the rates come from; None: there are none."""
        if self._fitting_calibration is not None:
            return "index"
        return None if self._source is None else "model"

    @cached_property
    def explanation(self) -> str:
        """A sentence that says what the rates rest on, or why there are none and what helps."""
        calibration, contract = self.manifest.calibration, self.manifest.contract
        if self.basis == "index":
            assert calibration is not None
            people = "people" if calibration.method == "people" else "clusters of similar faces"
            return f"measured on {calibration.num_people:,} {people} of this index"
        advice = "`facetrove calibrate` measures it here, with 200 people or more"
        if calibration is not None:
            advice = (
                f"its calibration is of {calibration.num_faces:,} faces: run `facetrove calibrate` "
                "again"
            )
        num_faces = self.manifest.num_faces
        if self.basis == "model":
            faces = "1 face" if num_faces == 1 else f"{num_faces:,} faces"
            return (
                f"the figure of {contract.embedder} for {faces}, measured on {DATA}, "
                f"not on this index; {advice}"
            )
        return (
            f"no figure has been measured for {contract.embedder} with the detector "
            f"{contract.detector} and {contract.alignment} crops; {advice}"
        )

    @property
    def min_fpir(self) -> float | None:
        """The lowest FPIR that is supported, in (0, 1); None: there are no rates."""
        source = self._source
        return None if source is None else source.min_fpir(self.manifest.num_faces)

    def threshold(self, fpir: float) -> float:
        """Return the smallest similarity of a match at an FPIR, in [-1, 1].

        Args:
            fpir: share of searches for people who are not enrolled that may return a match, from
                `min_fpir` to below 1.

        Raises:
            WrongUsageError: the rate is not supported, or there are no rates.
        """
        # A calibration that does not fit the index's size, where the model has no figure, raises.
        source = self._source or self.manifest.calibration
        if source is None:
            raise WrongUsageError(f"no threshold at FPIR {fpir:g} is known: {self.explanation}")
        return source.threshold(fpir, self.manifest.num_faces)

    def fpir_of(self, similarities: NDArray[np.floating]) -> NDArray[np.float64] | None:
        """Compute the lowest FPIR at which matches of given similarities would still be returned.

        Args:
            similarities: (n,) similarities, in [-1, 1].

        Returns:
            (n,) FPIR, from `min_fpir` to 1; None: there are no rates.
        """
        source = self._source
        return None if source is None else source.fpir_of(similarities, self.manifest.num_faces)

    def in_words(self, fpirs: Sequence[float] | NDArray[np.floating]) -> list[str]:
        """Say in words how many searches for strangers find a match as similar, as `1 in 27`.

        Args:
            fpirs: (n,) FPIR, in (0, 1].

        Returns:
            n texts; see `odds`.
        """
        lowest = self.min_fpir or 0.0
        shown, numbers = np.unique(_as_said(np.asarray(fpirs, float)), return_inverse=True)
        words = [odds(fpir) for fpir in shown.tolist()]
        if words and lowest:
            words.append(odds(lowest, at_most=True))
            numbers = np.where(np.asarray(fpirs) <= lowest, len(words) - 1, numbers)
        return [words[number] for number in numbers.tolist()]

    @cached_property
    def _fitting_calibration(self) -> Calibration | None:
        """The index's calibration if it holds for the present number of faces."""
        calibration = self.manifest.calibration
        try:
            if calibration is not None:
                calibration.min_fpir(self.manifest.num_faces)
        except WrongUsageError:  # the number of faces has changed too much since calibration
            return None
        return calibration

    @cached_property
    def _source(self) -> Calibration | ModelRates | None:
        return self._fitting_calibration or ModelRates.of(self.manifest.contract)


def odds(fpir: float, *, at_most: bool = False) -> str:
    """Say in words what share of searches an FPIR is, such as `1 in 27`.

    Args:
        fpir: share of searches for people who are not enrolled, in (0, 1].
        at_most: whether the true share may be lower.

    Returns:
        `1 in 27`, `1 in 350`, `84 in 100`, `nearly all`, or `at most 1 in 59`, to two digits.
    """
    if at_most and fpir <= 0.5:
        return f"at most 1 in {_two_digits(1 / rounded_up(fpir)):,.0f}"
    if fpir > 0.995:
        return "nearly all"
    if round(100 * fpir) > 50:
        return f"{round(100 * fpir)} in 100"
    return f"1 in {_two_digits(1 / fpir):,.0f}"


def _two_digits(numbers: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Round numbers of 1 or more to whole ones, and from 100 on to two significant digits."""
    steps = 10.0 ** np.maximum(np.floor(np.log10(numbers)) - 1, 0)
    return np.asarray(np.round(numbers / steps) * steps)


def _as_said(fpirs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round FPIRs such that few different ones remain, whose `odds` are those of the originals."""
    percents = np.round(100 * fpirs)
    return np.where(percents > 50, percents / 100, 1 / _two_digits(1 / np.maximum(fpirs, 1e-300)))


def threshold_at(rates: StrangerRates, fpir: float, index: Path) -> float:
    """Return the smallest similarity of a match at an FPIR.

    Args:
        rates: the rates of the index.
        fpir: false-positive identification rate, from the lowest that the rates have to below 1.
        index: path of the index, for messages.

    Raises:
        WrongUsageError: neither the calibration nor the models have a threshold at this rate.
    """
    if rates.min_fpir is None and rates.manifest.calibration is None:
        raise WrongUsageError(
            f"index {index} is not calibrated; run `facetrove calibrate {index}` "
            f"({rates.explanation})"
        )
    return rates.threshold(fpir)
