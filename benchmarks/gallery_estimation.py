"""Estimation of the model of `benchmarks/galleries.py` on real faces, and comparison with them.

The real faces are the central faces of the photos of LFW's development split. Wrong labels are
corrected first (`MISLABELLED`, `SAME_PERSON`), because a few of them would make up most of the
non-mated pairs of highest similarity. Relatives, twins among them, are kept: to a search they are
different people.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.galleries import (
    DECADES,
    MATED_PROBABILITIES,
    NEAREST_PROBABILITIES,
    SCALE_PROBABILITIES,
    FaceModel,
    draw_faces,
    stranger_batches,
)
from benchmarks.lfw_accuracy import central_faces
from faces.dataset.store import Dataset

MISLABELLED = frozenset({"Michael_Schumacher_0008", "Recep_Tayyip_Erdogan_0004"})
"""Photos with a wrong name, which are left out. Their mean similarities to the other photos of that
name are 0.14 and 0.19. The first has a similarity of 0.62 to the ten photos of Rubens Barrichello;
other models match the second to photos of Abdullah Gul, who is not in this split. A photo that is
only dissimilar to the others of its name is kept: such photos are the lower tail of the mated
similarities."""

SAME_PERSON = {"Joseph_Blatter": "Sepp_Blatter", "Nan_Wang": "Wang_Nan"}
"""Second names of people who are under two: a nickname (similarities from 0.56 to 0.74), and the
same name in the other order (0.51)."""

BIN_WIDTH = 0.002
"""Width of the bins of histograms of similarities."""

SCALE_FACES = 4
"""Minimum number of a person's faces for measuring scatter, which is measured against the mean of
the person's other faces."""

SCALE_STEPS = 10
"""Number of iterations of the fit of scatter."""

OUTLIER_SCALES = np.arange(0.8, 2.6, 0.1)
"""Values that are tried for the logarithm of the largest scatter."""

FITTED_GALLERIES = 20
"""Number of galleries generated for each step of the fit of scatter."""

FITTED_STRANGERS = 4_000, 25_000
"""Numbers of probes and gallery faces generated for each step of the fit of look-alikes."""

LOOKALIKE_COUNTS = (200, 300, 400, 500, 600)
"""Values that are tried for `FaceModel.num_lookalikes`."""

LOOKALIKE_SHARES = (0.26, 0.28, 0.3, 0.32, 0.34)
"""Values that are tried for `FaceModel.lookalike_share`. In a coarser search of 100 to 1,000
look-alikes and shares of 0.15 to 0.4, the best values were within these ranges."""

COUNTED_FROM = 0.25
"""Minimum similarity for the survival function of generated non-mated pairs."""

MIN_COUNT = 20
"""Minimum number of pairs above a similarity for its share to be stored."""


@dataclass(frozen=True)
class Similarities:
    """The similarities of the n faces of a gallery to each other.

    Attributes:
        mated, non_mated: number of pairs in each bin of `BIN_WIDTH` from -1 to 1.
        nearest: (n,) similarity of each face to the most similar face of another person.
    """

    mated: NDArray[np.int64]
    non_mated: NDArray[np.int64]
    nearest: NDArray[np.float32]

    def __add__(self, other: Similarities) -> Similarities:
        nearest = np.concatenate([self.nearest, other.nearest])
        return Similarities(self.mated + other.mated, self.non_mated + other.non_mated, nearest)

    @property
    def mated_quantiles(self) -> NDArray[np.float64]:
        """The quantiles of the mated similarities at `MATED_PROBABILITIES`."""
        shares = np.cumsum(self.mated) / self.mated.sum()
        return np.interp(MATED_PROBABILITIES, shares, bin_ends())

    @property
    def decades(self) -> NDArray[np.float64]:
        """The similarities that shares `DECADES` of the non-mated pairs exceed."""
        return np.interp(-np.log10(DECADES), -_log10_shares(self.non_mated), bin_ends())

    @property
    def nearest_quantiles(self) -> NDArray[np.float64]:
        """The quantiles of `nearest` at `NEAREST_PROBABILITIES`."""
        return np.quantile(self.nearest, NEAREST_PROBABILITIES)

    def survival_log10(self, similarities: NDArray[np.floating]) -> NDArray[np.float64]:
        """Compute log10 of the share of non-mated pairs above each of some similarities."""
        return np.interp(similarities, bin_ends(), _log10_shares(self.non_mated))


def bin_ends() -> NDArray[np.float64]:
    """Return the upper ends of the bins of `Similarities`."""
    return np.linspace(-1 + BIN_WIDTH, 1, round(2 / BIN_WIDTH))


def _log10_shares(histogram: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute log10 of the share above each bin's upper end; with none, as of a tenth of a pair."""
    above = histogram.sum() - np.cumsum(histogram)
    return np.log10(np.maximum(above, 0.1) / histogram.sum())


def _histogram(similarities: NDArray[np.float32]) -> NDArray[np.int64]:
    bins = ((similarities + 1) * (1 / BIN_WIDTH)).astype(np.int16)
    size = round(2 / BIN_WIDTH)
    return np.bincount(bins.ravel().clip(0, size - 1), minlength=size)


def measure(faces: NDArray[np.float32], people: NDArray[np.integer]) -> Similarities:
    """Compare all faces of a small gallery with each other.

    Args:
        faces: (n, d) embeddings of unit length.
        people: (n,) number of each face's person.
    """
    similarities = faces @ faces.T
    same = people[:, None] == people[None, :]
    upper = np.triu(np.ones(same.shape, dtype=bool), 1)
    mated, non_mated = similarities[upper & same], similarities[upper & ~same]
    similarities[same] = -1
    return Similarities(_histogram(mated), _histogram(non_mated), similarities.max(axis=1))


def real_faces(dataset: Dataset) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read LFW's central faces, with corrected labels.

    Returns:
        (n, d) embeddings, person by person, and (n,) number of each face's person.
    """
    faces = central_faces(dataset)
    names = {photo: photo.rpartition("_")[0] for photo in faces if photo not in MISLABELLED}
    names = {photo: SAME_PERSON.get(name, name) for photo, name in names.items()}
    photos = sorted(names, key=lambda photo: (names[photo], photo))
    _, people = np.unique([names[photo] for photo in photos], return_inverse=True)
    return np.stack([faces[photo] for photo in photos]), people


def galleries_like(
    model: FaceModel, people: NDArray[np.integer], count: int
) -> Iterator[Similarities]:
    """Measure generated galleries in which everyone has as many faces as in `people`."""
    for seed in range(count):
        rng = np.random.Generator(np.random.SFC64([seed]))
        yield measure(draw_faces(model, people, rng), people)


def estimate(faces: NDArray[np.float32], people: NDArray[np.integer], contract: str) -> FaceModel:
    """Estimate a model on real faces, except for its survival function.

    Covariances are estimated by the method of moments: that of scatter by pooling over people, that
    of the identities from the covariance of people's mean faces, less the share of scatter in it.

    Args:
        faces: (n, 128) real embeddings.
        people: (n,) number of each face's person, from 0.
        contract: the model contract of the embeddings, as text.
    """
    counts = np.bincount(people)
    means = _sums(faces, people) / counts[:, None]
    deviations = faces - means[people]
    degrees_of_freedom = len(faces) - len(counts)
    scatter = deviations.T @ deviations / degrees_of_freedom
    covariance_of_means = np.cov(means.T)
    identities = covariance_of_means - scatter * np.mean(1 / counts)
    real = measure(faces, people)
    model = FaceModel(
        mean=means.mean(axis=0).astype(np.float32),
        identity_root=_root(_shrunk(identities, np.trace(covariance_of_means) ** 2 / len(counts))),
        scatter_root=_root(_shrunk(scatter, np.trace(scatter) ** 2 / degrees_of_freedom)),
        num_lookalikes=np.array(LOOKALIKE_COUNTS[0]),
        lookalike_share=np.float32([0.0])[0],
        person_spread=np.float32([_person_spread(faces, people)])[0],
        scale_quantiles=np.zeros(len(SCALE_PROBABILITIES), dtype=np.float32),
        survival_thresholds=np.zeros(0, dtype=np.float32),
        survival_log10=np.zeros(0, dtype=np.float32),
        survival_pairs=np.array(0),
        contract=np.array(contract),
        real_mated=real.mated_quantiles.astype(np.float32),
        real_decades=real.decades.astype(np.float32),
        real_nearest=real.nearest_quantiles.astype(np.float32),
        real_faces_per_person=np.bincount(counts),
    )
    model = _with_outliers(_with_scales(model, faces, people), people)
    return _with_lookalikes(model, real)


def _sums(faces: NDArray[np.float32], people: NDArray[np.integer]) -> NDArray[np.float64]:
    """Add up the faces of each person."""
    sums = np.zeros((people.max() + 1, faces.shape[1]))
    np.add.at(sums, people, faces)
    return sums


def _shrunk(covariance: NDArray[np.float64], noise: float) -> NDArray[np.float64]:
    """Shrink an estimated covariance towards a multiple of the identity matrix.

    The dispersion of the eigenvalues of an estimate is too large by about `noise`, the squared
    trace over the number of observations (Ledoit and Wolf, J. Multivariate Analysis 88, 2004).
    Shrinking makes it that of the true covariance.
    """
    sphere = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    excess = ((covariance - sphere) ** 2).sum()
    return sphere + np.sqrt(max(1 - noise / excess, 0)) * (covariance - sphere)


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float32]:
    """Compute the symmetric square root of a covariance."""
    values, vectors = np.linalg.eigh(covariance)
    return ((vectors * np.sqrt(values.clip(0))) @ vectors.T).astype(np.float32)


def _log_tangents(
    faces: NDArray[np.float32], people: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.integer]]:
    """Measure the scatter of faces: log tangent of the angle to the mean of the person's others.

    Returns:
        (m,) scatter of the faces of people with `SCALE_FACES` or more faces, and (m,) number of
        each face's person.
    """
    chosen = np.bincount(people)[people] >= SCALE_FACES
    others = _sums(faces, people)[people[chosen]] - faces[chosen]
    cosines = (faces[chosen] * others).sum(axis=1) / np.linalg.norm(others, axis=1)
    return np.log(np.tan(np.arccos(cosines.clip(0.03, 0.999)))), people[chosen]


def _person_spread(faces: NDArray[np.float32], people: NDArray[np.integer]) -> float:
    """Estimate `FaceModel.person_spread` by a one-way analysis of variance."""
    values, owners = _log_tangents(faces, people)
    _, owners, counts = np.unique(owners, return_inverse=True, return_counts=True)
    means = np.bincount(owners, values) / counts
    within = ((values - means[owners]) ** 2).sum() / (len(values) - len(counts))
    return float(np.sqrt(max(means.var(ddof=1) - within * np.mean(1 / counts), 0)))


def _with_scales(
    model: FaceModel, faces: NDArray[np.float32], people: NDArray[np.integer]
) -> FaceModel:
    """Fit the quantiles of scatter iteratively, so that generated faces scatter as real ones do."""
    values, owners = _log_tangents(faces, people)
    real = np.quantile(values, SCALE_PROBABILITIES)
    _, owners, counts = np.unique(owners, return_inverse=True, return_counts=True)
    deviations = values - (np.bincount(owners, values) / counts)[owners]
    quantiles = np.quantile(deviations, SCALE_PROBABILITIES)
    alike = np.repeat(np.arange(FITTED_GALLERIES * len(counts)), np.tile(counts, FITTED_GALLERIES))
    for step in range(SCALE_STEPS):
        model = replace(model, scale_quantiles=np.sort(quantiles).astype(np.float32))
        rng = np.random.Generator(np.random.SFC64(step))
        values, _ = _log_tangents(draw_faces(model, alike, rng), alike)
        quantiles += 0.5 * (real - np.quantile(values, SCALE_PROBABILITIES))
    return model


def _with_outliers(model: FaceModel, people: NDArray[np.integer]) -> FaceModel:
    """Choose the largest scatter so that the lowest mated similarities match the real ones."""
    best = (np.inf, model)
    for largest in OUTLIER_SCALES:
        quantiles = model.scale_quantiles.copy()
        quantiles[-1] = max(largest, quantiles[-2])
        tried = replace(model, scale_quantiles=quantiles)
        mated = _mated_histogram(tried, people)
        quantile = np.interp(MATED_PROBABILITIES[0], np.cumsum(mated) / mated.sum(), bin_ends())
        best = min(best, (abs(quantile - model.real_mated[0]), tried), key=lambda pair: pair[0])
    return best[1]


def _mated_histogram(model: FaceModel, people: NDArray[np.integer]) -> NDArray[np.int64]:
    """Count the mated pairs of generated galleries, with as many faces of everyone as `people`."""
    order = np.argsort(people, kind="stable")
    starts = np.flatnonzero(np.diff(people[order], prepend=-1))
    ranks = np.arange(len(people)) - np.repeat(starts, np.diff(starts, append=len(people)))
    histogram = np.zeros(round(2 / BIN_WIDTH), dtype=np.int64)
    for seed in range(FITTED_GALLERIES):
        faces = draw_faces(model, people[order], np.random.Generator(np.random.SFC64([seed])))
        for step in range(1, ranks.max() + 1):
            later = np.flatnonzero(ranks >= step)
            pairs = np.einsum("ij,ij->i", faces[later], faces[later - step])
            histogram += _histogram(pairs)
    return histogram


def _with_lookalikes(model: FaceModel, real: Similarities) -> FaceModel:
    """Choose the number and share of look-alikes to match the highest non-mated similarities."""
    best = (np.inf, model)
    for count in LOOKALIKE_COUNTS:
        for share in LOOKALIKE_SHARES:
            tried = replace(
                model, num_lookalikes=np.array(count), lookalike_share=np.float32([share])[0]
            )
            histogram = sum(map(_histogram, stranger_batches(*FITTED_STRANGERS, model=tried)))
            shares = np.interp(real.decades, bin_ends(), _log10_shares(histogram))
            error = float(np.sqrt(np.mean((shares - np.log10(DECADES)) ** 2)))
            best = min(best, (error, tried), key=lambda pair: pair[0])
    return best[1]


@dataclass(frozen=True)
class Strangers:
    """The similarities of non-mated probes to generated galleries.

    Attributes:
        histogram: number of pairs in each bin of `BIN_WIDTH` from -1 to 1; pairs up to
            `COUNTED_FROM` are all in the first bin.
        nearest: (num_probes,) highest similarity of each probe, by gallery size.
    """

    histogram: NDArray[np.int64]
    nearest: dict[int, NDArray[np.float32]]


def count_strangers(
    model: FaceModel, *, num_probes: int, gallery_sizes: Sequence[int], seed: int = 0
) -> Strangers:
    """Compare non-mated probes with galleries of several sizes, each the beginning of the next."""
    histogram = np.zeros(round(2 / BIN_WIDTH), dtype=np.int64)
    highest = np.full(num_probes, -1, dtype=np.float32)
    nearest: dict[int, NDArray[np.float32]] = {}
    seen = 0
    for size in sorted(gallery_sizes):
        for similarities in stranger_batches(
            num_probes, size - seen, first=seen, seed=seed, model=model
        ):
            np.maximum(highest, similarities.max(axis=1), out=highest)
            counted = similarities[similarities > COUNTED_FROM]
            histogram += _histogram(counted)
            histogram[0] += similarities.size - len(counted)
        seen = size
        nearest[size] = highest.copy()
    return Strangers(histogram, nearest)


def with_survival(model: FaceModel, histogram: NDArray[np.int64]) -> FaceModel:
    """Return the model with its survival function, from a histogram of non-mated similarities."""
    above = histogram.sum() - np.cumsum(histogram)
    kept = (bin_ends() > COUNTED_FROM + BIN_WIDTH) & (above >= MIN_COUNT)
    return replace(
        model,
        survival_thresholds=bin_ends()[kept].astype(np.float32),
        survival_log10=np.log10(above[kept] / histogram.sum()).astype(np.float32),
        survival_pairs=np.array(histogram.sum()),
    )


def comparison_lines(real: Similarities, generated: Sequence[Similarities]) -> Iterator[str]:
    """Yield the lines of a table that compares real and generated similarities.

    The columns `min` and `max` are over single generated galleries; `log10 S` is log10 of the share
    of generated non-mated pairs above the real similarity.
    """
    pooled = sum(generated[1:], generated[0])
    yield f"{'':28}{'real':>8}{'generated':>11}{'min':>8}{'max':>8}{'log10 S':>9}"
    shares = pooled.survival_log10(real.decades)
    for title, attribute, probabilities in (
        ("mated quantile", "mated_quantiles", MATED_PROBABILITIES),
        ("non-mated, S =", "decades", DECADES),
        ("nearest stranger quantile", "nearest_quantiles", NEAREST_PROBABILITIES),
    ):
        each = np.array([getattr(gallery, attribute) for gallery in generated])
        rows = zip(
            probabilities,
            getattr(real, attribute),
            getattr(pooled, attribute),
            each.min(axis=0),
            each.max(axis=0),
            shares if attribute == "decades" else [None] * len(probabilities),
            strict=True,
        )
        for probability, true, drawn, low, high, share in rows:
            label = f"{probability:.0e}" if attribute == "decades" else f"{probability:.1%}"
            end = "" if share is None else f"{share:9.2f}"
            yield f"{title:18.18}{label:>10}{true:8.3f}{drawn:11.3f}{low:8.3f}{high:8.3f}{end}"


def draw_histograms(real: Similarities, generated: Similarities) -> NDArray[np.uint8]:
    """Draw densities of similarities on a logarithmic scale, those of real faces with thick lines.

    Returns:
        (600, 1000, 3) uint8 BGR picture.
    """
    picture = np.full((600, 1000, 3), 255, dtype=np.uint8)
    for tenth in range(-4, 11, 2):
        x = _picture_x(tenth / 10)
        cv2.line(picture, (x, 20), (x, 560), (225, 225, 225), 1)
        _write(picture, f"{tenth / 10:.1f}", (x - 12, 580))
    for power in range(-5, 2):
        y = _picture_y(10.0**power)
        cv2.line(picture, (60, y), (990, y), (225, 225, 225), 1)
        _write(picture, f"1e{power}", (12, y + 4))
    for similarities, strength, thickness in ((real, 0.55, 5), (generated, 0.0, 1)):
        for histogram, colour in (
            (similarities.non_mated, (40, 40, 200)),
            (similarities.mated, (160, 90, 20)),
        ):
            pale = [int(255 * strength + part * (1 - strength)) for part in colour]
            density = histogram.reshape(-1, 10).sum(axis=1) / histogram.sum() / (10 * BIN_WIDTH)
            ends = bin_ends().reshape(-1, 10).mean(axis=1)
            points = [
                (_picture_x(at), _picture_y(value))
                for at, value in zip(ends, density, strict=True)
                if value
            ]
            cv2.polylines(picture, [np.array(points)], False, pale, thickness, cv2.LINE_AA)
    _write(
        picture,
        "density of similarities: non-mated red, mated blue; real faces thick, generated thin",
        (70, 15),
    )
    return picture


def _write(picture: NDArray[np.uint8], text: str, origin: tuple[int, int]) -> None:
    cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (60, 60, 60), 1, cv2.LINE_AA)


def _picture_x(similarity: float) -> int:
    return round(60 + (similarity + 0.45) / 1.45 * 930)


def _picture_y(density: float) -> int:
    return round(60 + (1 - np.log10(density)) / 7 * 500)
