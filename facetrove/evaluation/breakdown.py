"""Error rates broken down by group and by face quality, and the worst single errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facetrove.evaluation.metrics import Bootstrap, Rate, share

NUM_DECILES = 10
"""Number of quantile bins (deciles) of a quality measure."""

REJECTED = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Shares of the lowest-quality faces left out: the x axis of the error-versus-reject curves."""


@dataclass(frozen=True)
class GroupErrors:
    """The error rates of one group, at the threshold that was chosen over all groups together.

    Attributes:
        group: the group's name, a value of the column to group by.
        num_mated, num_non_mated: numbers of the group's comparisons (1:1) or searches (1:N).
        false_negative: share of the mated ones below the threshold (FRR or FNIR); None without
            mated ones.
        false_positive: share of the non-mated ones at or above the threshold (FAR or FPIR); None
            without non-mated ones.
    """

    group: str
    num_mated: int
    num_non_mated: int
    false_negative: Rate | None
    false_positive: Rate | None


@dataclass(frozen=True)
class QualityErrors:
    """False negatives by a quality measure of the face, at the threshold chosen over all faces.

    Attributes:
        measure: the measure's name, such as `sharpness`; a higher value is better quality.
        ends: (9,) values of the measure that separate its deciles, ascending.
        tenths: (10,) false-negative rate within each decile, lowest quality first.
        rejected: (6,) shares of faces left out, `REJECTED`.
        false_negative: (6,) false-negative rate of the faces that remain when each of these shares
            of lowest quality is left out: the error-versus-reject curve (Grother and Tabassi,
            "Performance of Biometric Quality Measures", IEEE PAMI 29(4), 2007).
    """

    measure: str
    ends: tuple[float, ...]
    tenths: tuple[float, ...]
    rejected: tuple[float, ...]
    false_negative: tuple[Rate, ...]

    @property
    def name(self) -> str:
        """The measure's name with spaces, for tables and plots."""
        return self.measure.replace("_", " ")


@dataclass(frozen=True)
class WrongAnswer:
    """A false positive or a false negative, as the two faces that were compared.

    Attributes:
        uri, box: photo and box (x, y, width, height in pixels) of the probe, or of a pair's first
            face.
        other_uri, other_box: photo and box of a pair's second face, or, of a search, of the most
            similar enrolled face of another person.
        similarity: similarity of these two faces, [-1, 1].
        mated: True for a false negative (the pair shows one person, or the probe's person is
            enrolled), False for a false positive.
    """

    uri: str
    box: tuple[float, ...]
    other_uri: str
    other_box: tuple[float, ...]
    similarity: float
    mated: bool


@dataclass(frozen=True)
class Breakdown:
    """The errors at the threshold of one false-positive rate, by group and by quality.

    Attributes:
        at: the false-positive rate (FAR or FPIR) whose threshold is used; None where there are too
            few non-mated comparisons to measure it, and then groups and qualities are empty.
        groups: the error rates of each group, by column to group by.
        qualities: the false-negative rates by each quality measure.
        worst: the worst errors of each kind, as many as were asked for.
    """

    at: float | None
    groups: dict[str, list[GroupErrors]]
    qualities: list[QualityErrors]
    worst: list[WrongAnswer]


def by_group(
    similarities: NDArray[np.floating],
    mated: NDArray[np.bool_],
    groups: Sequence[str],
    *,
    threshold: float,
    people: NDArray[np.int64],
    bootstrap: Bootstrap,
) -> list[GroupErrors]:
    """Compute the error rates of each group, largest group first.

    Args:
        similarities: (n,) similarities of comparisons, or of searches: to the probe's own person
            in a mated search, the highest in a non-mated one.
        mated: (n,) bool, whether the comparison or search is mated.
        groups: (n,) name of the group that each comparison or search belongs to.
        threshold: similarity from which on a comparison or search is positive, for all groups.
        people: (n,) person number of each search, or (n, 2) person numbers of each comparison.
        bootstrap: bootstrap over these people.
    """
    encoded = pa.array(groups, pa.string()).dictionary_encode()
    codes = encoded.indices.to_numpy()
    found = []
    for code in np.argsort(-np.bincount(codes), kind="stable").tolist():
        in_group = codes == code
        rates = []
        for kind in (True, False):
            rows = np.flatnonzero(in_group & (mated == kind))
            wrong = (similarities[rows] >= threshold) != kind
            rates.append(share(wrong, people[rows], bootstrap) if len(rows) else None)
        num_mated = int((in_group & mated).sum())
        name = encoded.dictionary[code].as_py()
        found.append(GroupErrors(name, num_mated, int(in_group.sum()) - num_mated, *rates))
    return found


def by_quality(
    mated: NDArray[np.floating],
    quality: Mapping[str, NDArray[np.floating]],
    *,
    threshold: float,
    people: NDArray[np.int64],
    bootstrap: Bootstrap,
) -> list[QualityErrors]:
    """Compute the false-negative rates by each quality measure.

    Args:
        mated: (n,) similarities of mated comparisons or searches, n >= 1.
        quality: (n,) values of each measure, by its name; higher is better.
        threshold: similarity below which a mated comparison or search is a false negative.
        people: (n,) or (n, 2) person numbers, as for `by_group`.
        bootstrap: bootstrap over these people.
    """
    missed = mated < threshold
    found = []
    for measure, values in quality.items():
        order = np.argsort(values, kind="stable")
        deciles = np.array_split(missed[order], NUM_DECILES)
        firsts = np.cumsum([len(decile) for decile in deciles])[:-1]
        curve = []
        for rejected in REJECTED:
            kept = order[round(rejected * len(order)) :]
            curve.append(share(missed[kept], people[kept], bootstrap))
        found.append(
            QualityErrors(
                measure,
                ends=tuple(values[order][firsts.clip(max=len(order) - 1)].astype(float).tolist()),
                tenths=tuple(float(d.mean()) if len(d) else float("nan") for d in deciles),
                rejected=REJECTED,
                false_negative=tuple(curve),
            )
        )
    return found
