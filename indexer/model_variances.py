"""How embeddings of the built-in models vary within and between people, for grouping faces.

Measured on Labeled Faces in the Wild (the 2,181 people of its development half, 5,035 photos, yunet
and sface-int8): an identity has a variance of 0.0049 in each of the 128 dimensions, and the scatter
of a face about its person 0.40 / norm^2, where norm is that of the embedding before it was scaled
to unit length (faces of norm 7 to 8: 0.0063; 9 to 10: 0.0044; 11 to 12: 0.0030; 13 and more:
0.0023). For sface-int8-mirrored with yunet-refined it is 0.0050 and 0.38 / norm^2. `DIMENSIONS`,
`SCATTER` and the gains are those that group the former faces best, of some 200 settings; they group
100,000 generated faces about as well.

Where norms say nothing, the scatter is told by the size of the face and the detector's score: 1,276
of these photos, of 170 people, were shrunk to 0.16 to 0.6 of their size (`SCATTER_BY_SIZE`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.core.contract import ModelContract
from faces.core.errors import WrongUsageError
from indexer.grouping import Variances
from indexer.model_rates import MEASURED_WITH, OPERATING_FPIR, ModelRates
from indexer.stranger_rates import StrangerRates
from indexer.vectors import Vectors

DIMENSIONS = 180.0
"""Number of dimensions by which gains are computed, of embeddings with 128 numbers."""

SCATTER = 1.25
"""Factor of the scatter: some faces scatter more than a Gaussian has it."""

GAINS = ((0.9, 12.0), (0.99, 20.0), (0.999, 27.0))
"""Points (precision that is promised, smallest gain for which two groups are merged)."""

GAINS_UP_TO = 100_000
"""Number of faces up to which `GAINS` hold."""

GROWTH = 2.0
"""Factor of the rise of the gain in larger galleries, where strangers are more similar, and more of
them are. A generated million needs a gain that is some 8 higher than that of 100,000 for the same
precision, and its strangers are more similar by 0.038."""

MIN_SIMILARITY = 0.38
"""Smallest similarity of pairs of faces that are looked at in a gallery of up to 75,000 faces: less
similar ones are merged by others of their groups, or not at all."""

STRANGERS = 6.0
"""Number of strangers of each face that are looked at in larger galleries, by the model's figure: a
million faces have as many from 0.423 on."""

NORMS = (6.0, 14.0)
"""Range of norms in which the scatter was measured; others are taken for the nearer end."""

SCATTER_BY_SIZE = ((14.0, 2.5), (18.0, 2.3), (22.5, 1.75), (27.5, 1.35), (35.0, 1.2), (50.0, 1.0))
"""Points (face_size in pixels, scatter as a multiple of that of a usual face)."""

SCATTER_BY_SCORE = ((0.8, 2.4), (0.875, 1.3), (0.925, 1.0))
"""Points (the detector's score, scatter as a multiple of that of a usual face). The lowest is that
of small faces: few large ones of this score are labelled."""

POOR = 1.37
"""Scatter, as a multiple of that of a usual face, from which on a face is poor: that of a norm of
10, or of 27 pixels. Any norm from 7 to 10 groups the labelled faces of the measurement about as
well, but up to 9.5 the blurred faces of 80 to 220 bystanders become one person."""

CLASSES = (1.13, 1.37, 1.69, 2.14, 2.8)
"""Ends of the classes of quality, by scatter as a multiple of that of a usual face: norms of 11,
10, 9, 8 and 7. The mean of the classes lies 0.07, 0.07, 0.17, 0.30, 0.42 and 0.48 from that of all
faces, so blurred faces of strangers are similar."""

FACES_OF_MEAN = 20
"""Number of faces as which the mean of all faces counts in that of a class, which may have few."""


@dataclass(frozen=True)
class FaceQualities:
    """What tells how good n faces are.

    Attributes:
        norms: (n,) norm of each embedding before it was scaled; NaN: not known.
        scores: (n,) the detector's score, 0 to 1.
        sizes: (n,) size in pixels; NaN: not known.
    """

    norms: NDArray[np.floating]
    scores: NDArray[np.floating]
    sizes: NDArray[np.floating]


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
    "sface-int8-mirrored": ModelVariances(0.0050, 0.38, 11.6),
}
"""The figures by embedder; they hold for the detector and alignment of the measurement."""


def scatter_ratios(contract: ModelContract, qualities: FaceQualities) -> NDArray[np.float64]:
    """Return (n,) the scatter of each face, as a multiple of that of a usual face.

    Args:
        contract: the models of the embeddings.
        qualities: how good the n faces are. Where all norms are equal, or one is not known, they
            say nothing, and the sizes and scores tell.

    Raises:
        WrongUsageError: no figures have been measured for these models.
    """
    figures = _figures_of(contract)
    ratios = np.maximum(
        _at(SCATTER_BY_SIZE, qualities.sizes), _at(SCATTER_BY_SCORE, qualities.scores)
    )
    norms = qualities.norms.astype(np.float64)
    known = np.isfinite(norms)
    if known.any() and np.ptp(norms[known]) >= 1e-3 * norms[known][0]:
        ratios[known] = (figures.usual_norm / np.clip(norms[known], *NORMS)) ** 2
    return ratios


def means_by_quality(ratios: NDArray[np.float64], vectors: Vectors) -> NDArray[np.float32]:
    """Return the (k, d) mean embedding of each class of quality, by a sample of the gallery.

    Args:
        ratios: (n,) `scatter_ratios` of the sample.
        vectors: (n, d) embeddings of the sample.
    """
    classes = np.digitize(ratios, CLASSES)
    mean = vectors.mean(axis=0) if len(vectors) else np.zeros(vectors.shape[1], np.float32)
    sums = np.tile(FACES_OF_MEAN * mean, (len(CLASSES) + 1, 1))
    np.add.at(sums, classes, vectors)
    counts = FACES_OF_MEAN + np.bincount(classes, minlength=len(sums))
    return (sums / counts[:, None]).astype(np.float32)


def variances_of(
    contract: ModelContract, ratios: NDArray[np.float64], means: NDArray[np.float32]
) -> Variances:
    """Return how embeddings vary, by the model's figures.

    Args:
        contract: the models of the embeddings.
        ratios: (n,) `scatter_ratios` of the faces.
        means: (k, d) `means_by_quality` of the gallery.

    Raises:
        WrongUsageError: no figures have been measured for these models.
    """
    figures = _figures_of(contract)
    usual = SCATTER * figures.within / figures.usual_norm**2
    return Variances(
        means=means,
        between=figures.between,
        within=usual * ratios,
        dimensions=DIMENSIONS,
        poor_from=usual * POOR,
        classes=np.digitize(ratios, CLASSES),
    )


def min_similarity(contract: ModelContract, num_faces: int) -> float:
    """Return the smallest similarity of pairs of faces that are looked at, [-1, 1].

    Args:
        contract: the models of the embeddings.
        num_faces: number of faces in the gallery.

    Raises:
        WrongUsageError: no figures have been measured for these models.
    """
    _figures_of(contract)
    rates = ModelRates.of(contract)
    if rates is None or num_faces <= STRANGERS:
        return MIN_SIMILARITY
    return max(MIN_SIMILARITY, rates.similarity_of(STRANGERS / num_faces))


def min_gain(
    contract: ModelContract,
    precision: float,
    *,
    num_faces: int,
    rates: StrangerRates | None = None,
) -> float:
    """Return the smallest gain for which groups are merged, for a precision that is promised.

    It is that of `GAINS`. In larger galleries strangers are more similar (`GROWTH`), and in some
    collections they are so at any size, as a calibration tells: then it is higher by as much as the
    gain of two usual faces rises with their similarity.

    Args:
        contract: the models of the embeddings.
        precision: share of the pairs of faces in one group that are of one person.
        num_faces: number of faces in the gallery.
        rates: how similar strangers are in the index; None: as the models have it.

    Raises:
        WrongUsageError: the precision cannot be promised, or no figures have been measured for
            these models.
    """
    figures = _figures_of(contract)
    precisions, gains = np.array(GAINS).T
    if not precisions[0] <= precision <= precisions[-1]:
        raise WrongUsageError(
            f"a precision of {precision:g} cannot be promised; give {precisions[0]:g} to "
            f"{precisions[-1]:g}"
        )
    gain = float(np.interp(-np.log(1 - precision), -np.log(1 - precisions), gains))
    model = ModelRates.of(contract)
    if model is None:
        return gain
    most = model.threshold(OPERATING_FPIR, max(num_faces, GAINS_UP_TO))
    more = GROWTH * (most - model.threshold(OPERATING_FPIR, GAINS_UP_TO))
    if rates is not None and rates.basis == "index":
        fpir = max(OPERATING_FPIR, rates.min_fpir or 0.0)
        more += rates.threshold(fpir) - model.threshold(fpir, num_faces)
    weight = figures.usual_norm**2 / (SCATTER * figures.within)
    slope = figures.between * weight**2 / (1 + 2 * figures.between * weight)
    return gain + slope * more


def _figures_of(contract: ModelContract) -> ModelVariances:
    figures = VARIANCES.get(contract.embedder)
    if figures is None or (contract.detector, contract.alignment) not in MEASURED_WITH:
        raise WrongUsageError(
            f"how faces of one person vary has not been measured for {contract.embedder} with the "
            f"detector {contract.detector} and {contract.alignment} crops, so faces cannot be "
            f"grouped; it is known for {', '.join(VARIANCES)} with "
            f"{' or '.join(' and '.join(pair) for pair in MEASURED_WITH)}"
        )
    return figures


def _at(
    points: tuple[tuple[float, float], ...], values: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return the (n,) multiples of the scatter at some values; 1 where a value is not known."""
    known, multiples = np.array(points).T
    return np.asarray(np.nan_to_num(np.interp(values.astype(float), known, multiples), nan=1.0))
