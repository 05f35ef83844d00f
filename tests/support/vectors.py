"""Random embeddings."""

from __future__ import annotations

import numpy as np


def unit_vectors(count: int, dimension: int, seed: int) -> np.ndarray:
    """Draw (count, dimension) float32 random vectors of unit length."""
    vectors = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
