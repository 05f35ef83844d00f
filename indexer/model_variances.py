"""How embeddings of the built-in models vary within and between people, for grouping faces.

Measured on Labeled Faces in the Wild (the 2,181 people of its development half, 5,035 photos, yunet
and sface-int8): an identity has a variance of 0.0049 in each of the 128 dimensions, and the scatter
of a face about its person 0.40 / norm^2, where norm is that of the embedding before it was scaled
to unit length (faces of norm 7 to 8: 0.0063; 9 to 10: 0.0044; 11 to 12: 0.0030; 13 and more:
0.0023). `DIMENSIONS`, `SCATTER` and `MIN_GAIN` are those that group these faces best, of some 200
settings; they group 100,000 generated faces about as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.core.contract import ModelContract
from faces.core.errors import WrongUsageError
from indexer.grouping import Variances
from indexer.model_rates import MEASURED_WITH
from indexer.vectors import Vectors

DIMENSIONS = 180.0
"""Number of dimensions by which gains are computed, of embeddings with 128 numbers."""

SCATTER = 1.25
"""Factor of the scatter: some faces scatter more than a Gaussian has it."""

MIN_GAIN = 20.0
"""Smallest gain for which two groups are merged."""

MIN_SIMILARITY = 0.38
"""Smallest similarity of pairs of faces that are looked at: less similar ones are merged by others
of their groups, or not at all."""

NORMS = (6.0, 14.0)
"""Range of norms in which the scatter was measured; others are taken for the nearer end."""


@dataclass(frozen=True)
class ModelVariances:
    """The figures of a model.

    Attributes:
        between: variance of identities in each dimension.
        within: variance of scatter in each dimension, times norm^2.
        usual_norm: norm of the usual face, for embeddings whose norms are unknown.
    """

    between: float
    within: float
    usual_norm: float


VARIANCES = {
    "sface": ModelVariances(0.0049, 0.40, 11.7),
    "sface-int8": ModelVariances(0.0049, 0.40, 11.7),
}
"""The figures by embedder; they hold for the detector and alignment of the measurement."""


def variances_of(
    contract: ModelContract, norms: NDArray[np.floating], vectors: Vectors
) -> Variances:
    """Return how embeddings vary, by the model's figures.

    Args:
        contract: the models of the embeddings.
        norms: (n,) norm of each embedding before it was scaled; where all are equal or not finite,
            they say nothing, and each face is taken for a usual one.
        vectors: (n, d) embeddings of unit length.

    Raises:
        WrongUsageError: no figures have been measured for these models.
    """
    figures = VARIANCES.get(contract.embedder)
    if figures is None or (contract.detector, contract.alignment) != MEASURED_WITH:
        raise WrongUsageError(
            f"how faces of one person vary has not been measured for {contract.embedder} with the "
            f"detector {contract.detector} and {contract.alignment} crops, so faces cannot be "
            f"grouped; it is known for {' and '.join(VARIANCES)} with {' and '.join(MEASURED_WITH)}"
        )
    known = np.isfinite(norms)
    norms = np.where(known, norms, figures.usual_norm).astype(np.float64)
    if len(norms) and np.ptp(norms) < 1e-3 * norms[0]:
        norms = np.full(len(norms), figures.usual_norm)
    return Variances(
        mean=vectors.mean(axis=0) if len(vectors) else np.zeros(contract.dimension, np.float32),
        between=figures.between,
        within=SCATTER * figures.within / np.clip(norms, *NORMS) ** 2,
        dimensions=DIMENSIONS,
    )
