"""Whitening: the linear head that shrinks the directions in which photos of one person differ.

The head multiplies embeddings with the inverse square root of the covariance within people (WCCN:
Hatch, Kajarekar and Stolcke, "Within-class covariance normalization for SVM-based speaker
recognition", Interspeech 2006). The covariance of few people is mixed with a multiple of the
identity (Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices",
2004): the *strength* is the share that is not the identity's, and with strength 0 the head is the
identity itself.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from facetrove.training.head_weights import HeadWeights


def learn_whitening(
    embeddings: NDArray[np.float32], people: NDArray[np.int64]
) -> Callable[[float], HeadWeights]:
    """Learn from faces; see `facetrove.training.strength.Learn` and `scatter_within`."""
    scatter = scatter_within(embeddings, people)
    return lambda strength: HeadWeights(whitening(scatter, strength))


def scatter_within(
    embeddings: NDArray[np.float32], people: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Compute the covariance of faces within people, (d, d); people with one face do not count.

    Args:
        embeddings: (n, d) float32, unit length.
        people: (n,) number of each face's person, from 0; somebody has two faces.
    """
    numbers, own = np.unique(people, return_inverse=True)
    counts = np.bincount(own)
    sums = np.zeros((len(numbers), embeddings.shape[1]))
    np.add.at(sums, own, embeddings)
    apart = (embeddings - (sums / counts[:, None])[own])[counts[own] > 1]
    freedom = int((counts[counts > 1] - 1).sum())
    return np.asarray(apart.T @ apart / freedom)


def whitening(scatter: NDArray[np.float64], strength: float) -> NDArray[np.float32]:
    """Return the matrix, (d, d) float32, that embeddings are multiplied with from the right.

    Args:
        scatter: the covariance within people, (d, d).
        strength: share of the covariance in the mixture, from 0 (none: the identity) to below 1.
    """
    size = len(scatter)
    mixed = (1 - strength) * np.eye(size) + strength * scatter * (size / np.trace(scatter))
    values, vectors = np.linalg.eigh(mixed)
    return np.asarray((vectors / np.sqrt(values)) @ vectors.T, np.float32)
