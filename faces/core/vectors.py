"""Scale vectors to unit length, and check that vectors have unit length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UNIT_LENGTH_TOLERANCE = 1e-3
"""Maximum difference from 1 of a stored embedding's length. Rounding to float32 causes less than
1e-6 for a few hundred dimensions."""


def has_unit_length(vectors: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which vectors have length 1, within `UNIT_LENGTH_TOLERANCE`.

    Args:
        vectors: the vectors, (n, d) floating point.

    Returns:
        (n,) bool, one value per vector; False for a vector with a NaN.
    """
    differences = np.abs(np.linalg.norm(vectors, axis=1) - 1.0)
    return np.asarray(differences <= UNIT_LENGTH_TOLERANCE)


def unit_length(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scale each vector to length 1.

    Args:
        vectors: the vectors as a network returned them, (n, d) floating point.

    Returns:
        The scaled vectors, (n, d) float32.

    Raises:
        ValueError: a vector has length 0 or is not finite, which no face network should return.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        raise ValueError("a network returned a vector that is zero or not finite")
    return np.asarray(vectors / lengths, dtype=np.float32)
