"""Whitening: the linear head that shrinks the directions in which photos of one person differ.

The head multiplies embeddings with the inverse square root of the covariance within people (WCCN:
Hatch, Kajarekar and Stolcke, "Within-class covariance normalization for SVM-based speaker
recognition", Interspeech 2006). The covariance of few faces is uncertain, so it is mixed with a
multiple of the identity, which counts like `PRIOR_FACES` faces for each dimension (the mode under
an inverse Wishart prior; Gelman et al., "Bayesian Data Analysis", section 3.6).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from facetrove.training.head_weights import HeadWeights

PRIOR_FACES = 27
"""Number of faces for each dimension that the identity counts as. Of strengths from 0.1 to 0.7, 0.4
was best with the 1,743 people of four folds of LFW, which this number gives there; see
`benchmarks/heads.py`."""


def learn_whitening(
    embeddings: NDArray[np.float32], people: NDArray[np.int64]
) -> Callable[[float], HeadWeights]:
    """Learn from faces; see `facetrove.training.strength.Learn` and `scatter_within`."""
    scatter, freedom = scatter_within(embeddings, people)
    share = freedom / (freedom + PRIOR_FACES * len(scatter))
    return lambda strength: HeadWeights(whitening(scatter, strength * share))


def scatter_within(
    embeddings: NDArray[np.float32], people: NDArray[np.int64]
) -> tuple[NDArray[np.float64], int]:
    """Compute the covariance of faces within people; people with one face do not count.

    Args:
        embeddings: (n, d) float32, unit length.
        people: (n,) number of each face's person, from 0; somebody has two faces.

    Returns:
        The (d, d) covariance, and its degrees of freedom: the number of faces less that of people.
    """
    numbers, own = np.unique(people, return_inverse=True)
    counts = np.bincount(own)
    sums = np.zeros((len(numbers), embeddings.shape[1]))
    np.add.at(sums, own, embeddings)
    apart = (embeddings - (sums / counts[:, None])[own])[counts[own] > 1]
    freedom = int((counts[counts > 1] - 1).sum())
    return np.asarray(apart.T @ apart / freedom), freedom


def whitening(scatter: NDArray[np.float64], share: float) -> NDArray[np.float32]:
    """Return the matrix, (d, d) float32, that embeddings are multiplied with from the right.

    Args:
        scatter: the covariance within people, (d, d).
        share: share of the covariance in the mixture, from 0 (none: the identity) to below 1.
    """
    size = len(scatter)
    mixed = (1 - share) * np.eye(size) + share * scatter * (size / np.trace(scatter))
    values, vectors = np.linalg.eigh(mixed)
    return np.asarray((vectors / np.sqrt(values)) @ vectors.T, np.float32)
