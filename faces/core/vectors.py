"""Scaling vectors to unit length, and telling whether they have it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UNIT_LENGTH_TOLERANCE = 1e-3
"""How far from 1 the length of a stored embedding may be. Rounding to float32 gives less than 1e-6
for a few hundred dimensions."""


def has_unit_length(vectors: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Tell which vectors have length 1, as far as `UNIT_LENGTH_TOLERANCE`.

    Args:
        vectors: (n, d).

    Returns:
        (n,) bool; False for a vector with a NaN.
    """
    off = np.abs(np.linalg.norm(vectors, axis=1) - 1.0)
    return np.asarray(off <= UNIT_LENGTH_TOLERANCE)


def unit_length(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scale each vector to length 1.

    Args:
        vectors: (n, d), as a network returned them.

    Returns:
        (n, d) float32.

    Raises:
        ValueError: a vector is zero or not finite, which no face network should produce.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        raise ValueError("a network returned a vector that is zero or not finite")
    return np.asarray(vectors / lengths, dtype=np.float32)
