"""Vectors of unit length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UNIT_LENGTH_TOLERANCE = 1e-3


def has_unit_length(vectors: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(n,) whether each of (n, d) vectors has length 1, as float32 rounding allows."""
    off = np.abs(np.linalg.norm(vectors, axis=1) - 1.0)
    return np.asarray(off <= UNIT_LENGTH_TOLERANCE)  # not so for NaN


def unit_length(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """(n, d) vectors scaled to length 1.

    Raises:
        ValueError: a vector is zero or not finite, which no face network should produce.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        raise ValueError("a network returned a vector that is zero or not finite")
    return np.asarray(vectors / lengths, dtype=np.float32)
