"""The operating threshold of a gallery: from which similarity on a match is worth a look.

A gallery of n faces answers a stranger with n chances to look alike, so the threshold rises with
n. It is where a stranger gets any answer in one search of a hundred (a false-positive
identification rate, FPIR, of 0.01), by the share S(t) of pairs of different people in Labeled
Faces in the Wild whose similarity exceeds t: n S(t) = 0.01.
"""

from __future__ import annotations

import numpy as np

FPIR = 0.01

_SFACE = (
    *((0.197, -1.0), (0.290, -2.0), (0.359, -3.0), (0.417, -4.0), (0.470, -5.0), (0.523, -6.0)),
    *((0.564, -7.0), (0.597, -8.0), (0.627, -9.0)),
)
"""Measured down to 1e-6; below, of generated faces (see benchmarks/README.md): an extrapolation."""

NON_MATED = {"sface": _SFACE, "sface-int8": _SFACE}  # float's are within 0.005 of these
"""By embedder: similarities t and log10 S(t)."""


def operating_threshold(embedder: str, num_faces: int) -> float | None:
    """The similarity from which on a match counts, or None where the model's is not known."""
    if embedder not in NON_MATED or num_faces == 0:
        return None
    similarities, shares = np.array(NON_MATED[embedder]).T
    return float(np.interp(-np.log10(FPIR / num_faces), -shares, similarities))
