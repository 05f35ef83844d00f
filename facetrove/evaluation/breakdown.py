"""Where the errors are: by group of people or photos, by the quality of faces, and the worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facetrove.evaluation.metrics import Bootstrap, Rate, share

NUM_TENTHS = 10
REJECTED = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Shares of the worst faces that are left out, for the curve of error versus reject."""


@dataclass(frozen=True)
class GroupErrors:
    """Error rates of one group at the threshold of all.

    Attributes:
        group: its name.
        num_mated, num_non_mated: comparisons or searches of it.
        false_negative: share of the mated that are missed; None: there are none.
        false_positive: share of the non-mated that are answered; None: there are none.
    """

    group: str
    num_mated: int
    num_non_mated: int
    false_negative: Rate | None
    false_positive: Rate | None


@dataclass(frozen=True)
class QualityErrors:
    """What a measure of a face's quality says about misses, at the threshold of all.

    Attributes:
        measure: its name; a higher value is better.
        ends: (9,) values between the tenths.
        tenths: (10,) share of mated ones missed, in the worst tenth first.
        rejected: `REJECTED`.
        false_negative: share missed among the rest, when so many of the worst are left out
            (the curve of error versus reject: Grother and Tabassi, "Performance of Biometric
            Quality Measures", IEEE PAMI 29(4), 2007).
    """

    measure: str
    ends: tuple[float, ...]
    tenths: tuple[float, ...]
    rejected: tuple[float, ...]
    false_negative: tuple[Rate, ...]

    @property
    def name(self) -> str:
        """Of the measure, as people read it."""
        return self.measure.replace("_", " ")


@dataclass(frozen=True)
class WrongAnswer:
    """Two faces that were taken for one person's and are not, or the other way round.

    Attributes:
        uri, box: of the face searched for, or the first of a pair.
        other_uri, other_box: of the face it was compared with, or the nearest of somebody else.
        similarity: of the two.
        mated: whether the person is the same, or is there to be found.
    """

    uri: str
    box: tuple[float, ...]
    other_uri: str
    other_box: tuple[float, ...]
    similarity: float
    mated: bool


@dataclass(frozen=True)
class Breakdown:
    """Where the errors are, at the threshold of one false-positive rate.

    Attributes:
        at: the false-positive rate (FAR or FPIR) whose threshold groups and qualities are compared
            at; None: there are too few non-mated comparisons to tell, and they are not.
        groups: error rates of each group, by the column that tells them apart.
        qualities: misses by each measure of a face's quality.
        worst: the worst errors, if they are asked for.
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
    """Error rates by group, largest group first.

    Args:
        similarities: (n,) of comparisons, or of each search the one that counts.
        mated: (n,) bool.
        groups: (n,) their names.
        threshold: of all.
        people: (n,), or (n, 2) of comparisons, by their numbers.
        bootstrap: over these people.
    """
    encoded = pa.array(groups, pa.string()).dictionary_encode()
    numbers = encoded.indices.to_numpy()
    found = []
    for number in np.argsort(-np.bincount(numbers), kind="stable").tolist():
        here = numbers == number
        rates = []
        for kind in (True, False):
            some = np.flatnonzero(here & (mated == kind))
            wrong = (similarities[some] >= threshold) != kind
            rates.append(share(wrong, people[some], bootstrap) if len(some) else None)
        num_mated = int((here & mated).sum())
        name = encoded.dictionary[number].as_py()
        found.append(GroupErrors(name, num_mated, int(here.sum()) - num_mated, *rates))
    return found


def by_quality(
    mated: NDArray[np.floating],
    quality: Mapping[str, NDArray[np.floating]],
    *,
    threshold: float,
    people: NDArray[np.int64],
    bootstrap: Bootstrap,
) -> list[QualityErrors]:
    """What each measure says about misses.

    Args:
        mated: (n,) similarities to the right person, one or more.
        quality: (n,) of each measure.
        threshold: below, it is a miss.
        people: (n,) or (n, 2), as of `by_group`.
        bootstrap: over these people.
    """
    missed = mated < threshold
    found = []
    for measure, values in quality.items():
        order = np.argsort(values, kind="stable")
        tenths = np.array_split(missed[order], NUM_TENTHS)
        firsts = np.cumsum([len(tenth) for tenth in tenths])[:-1]
        curve = []
        for rejected in REJECTED:
            kept = order[round(rejected * len(order)) :]
            curve.append(share(missed[kept], people[kept], bootstrap))
        found.append(
            QualityErrors(
                measure,
                ends=tuple(values[order][firsts.clip(max=len(order) - 1)].astype(float).tolist()),
                tenths=tuple(float(t.mean()) if len(t) else float("nan") for t in tenths),
                rejected=REJECTED,
                false_negative=tuple(curve),
            )
        )
    return found
