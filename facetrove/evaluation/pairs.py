"""1:1 verification: error rates of deciding whether two photos show one person.

The protocol is that of LFW's technical report (Huang, Ramesh, Berg, Learned-Miller, "Labeled Faces
in the Wild", UMass 07-49): each of ten folds is classified at the threshold that is best on the
other nine, and the accuracy is the mean over the ten folds, with its standard error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.dataset.store import Dataset
from facetrove.evaluation.as_json import JsonResult
from facetrove.evaluation.breakdown import (
    Breakdown,
    GroupErrors,
    QualityErrors,
    WrongAnswer,
    by_group,
    by_quality,
)
from facetrove.evaluation.folds import (
    FoldAnswers,
    FoldOrigin,
    accuracy_at,
    answer_in_folds,
    best_threshold,
)
from facetrove.evaluation.labels import FaceChoice, group_names
from facetrove.evaluation.metrics import (
    Bootstrap,
    ErrorCurve,
    Rate,
    error_curve,
    in_chunks,
    miss_rate,
    rate,
    share_from,
    threshold_at,
)
from facetrove.evaluation.pair_faces import PairFaces
from facetrove.evaluation.pair_lists import Pairs, read_pairs

MIN_PAIRS = 2
"""Minimum number of mated, and of non-mated, pairs in a list."""

FALSE_ACCEPT_RATES = (1e-2, 1e-3, 1e-4)
"""FARs at which the true accept rate is reported, each with at least 1 / FAR non-mated pairs."""

GROUPED_AT = 1e-2
"""FAR whose threshold is used for error rates by group and quality."""


@dataclass(frozen=True)
class Verification(JsonResult):
    """The result of `evaluate_pairs`: accuracy and error rates of 1:1 verification.

    Attributes:
        num_mated, num_non_mated: numbers of pairs of one person and of two people.
        num_without_face: number of pairs with a photo in which no face was found. They are
            rejected: called two people.
        accuracy: mean over the folds of the share of pairs classified correctly, each fold at the
            threshold that is best on the other folds.
        accuracy_error: standard error of that mean; None where there is one fold.
        folds: where the folds are from: the `list` of pairs, or `drawn` at random. With
            `other list` there is one fold with all pairs, and its threshold is from another list.
        fold_accuracies, fold_thresholds: accuracy and threshold (a similarity) of each fold.
        equal_error_rate: the rate where the false accept and the false reject rate are equal.
        area: area under the ROC curve, in [0, 1].
        true_accept_rates: true accept rate (TAR) by false accept rate (FAR); None where there are
            fewer than 1 / FAR non-mated pairs.
        thresholds: similarity threshold at each of these FARs; None where the TAR is.
        curve: false accept and false reject rates by threshold.
        mated, non_mated: (num_mated,) and (num_non_mated,) float32 similarities of the pairs; -1
            where no face was found in a photo.
        grouped_at: the FAR whose threshold is used for groups and qualities; None where there are
            too few non-mated pairs, and then both are empty.
        groups: error rates by group, for each column of `by`; see `GroupErrors`.
        qualities: error rates by quality measure, the lower value of the two faces; see
            `QualityErrors`. Pairs without a face are left out.
        worst: the worst errors of each kind, as many as were asked for; see `WrongAnswer`.
    """

    num_mated: int
    num_non_mated: int
    num_without_face: int
    accuracy: float
    accuracy_error: float | None
    folds: FoldOrigin
    fold_accuracies: tuple[float, ...]
    fold_thresholds: tuple[float, ...]
    equal_error_rate: Rate
    area: float
    true_accept_rates: dict[float, Rate | None]
    thresholds: dict[float, float | None]
    curve: ErrorCurve
    mated: NDArray[np.float32]
    non_mated: NDArray[np.float32]
    grouped_at: float | None
    groups: dict[str, list[GroupErrors]]
    qualities: list[QualityErrors]
    worst: list[WrongAnswer]


def evaluate_pairs(
    dataset: str | Path,
    pairs: Pairs | str | Path,
    *,
    face: FaceChoice | None = None,
    threshold_from: Pairs | str | Path | None = None,
    by: Sequence[str] = (),
    examples: int = 0,
    seed: int = 0,
) -> Verification:
    """Measure how well a dataset's embeddings tell whether two photos show one person.

    Args:
        dataset: the folder of a dataset that has the photos of the pairs.
        pairs: the list of pairs, or the path of its file, which `read_pairs` then reads.
        face: which face of a photo is compared: `largest`; `central`, the one nearest the photo's
            centre; or `only`, the face of a photo with no other. By default `central` for LFW's
            lists, and otherwise `largest`.
        threshold_from: another list of pairs, or its path: all pairs are classified at the
            threshold that is best on it, instead of in folds, as in LFW's View 1.
        by: columns to group by, of the list or of the dataset's photos; error rates are also
            computed for each of their values.
        examples: maximum number of worst errors of each kind to return.
        seed: seed of folds that are drawn, and of the bootstrap.

    Raises:
        WrongUsageError: there is no dataset, a photo of a list is not in the dataset, a column does
            not exist, or there are fewer than two mated or two non-mated pairs.
        CorruptFileError: a file of the dataset is not what was written.
    """
    pairs = _read(pairs)
    threshold_from = None if threshold_from is None else _read(threshold_from)
    source = Dataset.open(Path(dataset))
    by = list(dict.fromkeys(by))
    columns = _photo_columns(by, pairs, source)
    lists = [pairs, *filter(None, [threshold_from])]
    faces = PairFaces.of(source, lists, face or ("central" if pairs.of_lfw else "largest"), columns)
    compared = _Compared.of(pairs, faces, seed)
    if threshold_from is None:
        answers = answer_in_folds(compared.similarities, compared.mated, pairs.folds, seed=seed)
    else:
        answers = _answered_at_threshold_of(threshold_from, compared)
    return _verification(compared, answers, _breakdown_of(compared, by, examples))


def _read(pairs: Pairs | str | Path) -> Pairs:
    """Read a list of pairs, unless it has been read."""
    return read_pairs(pairs) if isinstance(pairs, str | Path) else pairs


def _photo_columns(by: Sequence[str], pairs: Pairs, source: Dataset) -> list[str]:
    """Choose the columns to group by that have to be read from the dataset's photos.

    Raises:
        WrongUsageError: neither the list nor the photos have such a column.
    """
    columns = [name for name in by if name in source.metadata.names and name not in pairs.columns]
    for name in by:
        if name not in (*columns, *pairs.columns):
            names = ", ".join([*pairs.columns, *source.metadata.names]) or "none"
            raise WrongUsageError(f"there is no column {name!r} to group by; there are {names}")
    return columns


@dataclass(frozen=True)
class _Compared:
    """The n pairs of a list with the similarities of their faces.

    Attributes:
        pairs: the list of pairs.
        faces: the faces of the list's photos.
        rows: (n, 2) rows of the pairs' faces in `faces`; negative where no face was found.
        similarities: (n,) similarities of the pairs.
        people: (n, 2) numbers of the people in the two photos.
        bootstrap: bootstrap over these people.
    """

    pairs: Pairs
    faces: PairFaces
    rows: NDArray[np.int64]
    similarities: NDArray[np.float32]
    people: NDArray[np.int64]
    bootstrap: Bootstrap

    @classmethod
    def of(cls, pairs: Pairs, faces: PairFaces, seed: int) -> _Compared:
        """Compare the two faces of each pair.

        Raises:
            WrongUsageError: there are fewer than `MIN_PAIRS` mated or non-mated pairs.
        """
        num_mated = int(pairs.mated.sum())
        if min(num_mated, len(pairs) - num_mated) < MIN_PAIRS:
            raise WrongUsageError(
                f"the list has {num_mated} pairs of one person and {len(pairs) - num_mated} of two "
                f"people; expected at least {MIN_PAIRS} of each; add pairs to the list"
            )
        rows, people = faces.rows_of(pairs), _people_numbers(pairs)
        bootstrap = Bootstrap.of(int(people.max()) + 1, seed=seed)
        return cls(pairs, faces, rows, faces.similarities(rows), people, bootstrap)

    @property
    def mated(self) -> NDArray[np.bool_]:
        """(n,) bool, whether a pair shows one person."""
        return self.pairs.mated

    @property
    def mated_similarities(self) -> NDArray[np.float32]:
        """The similarities of the mated pairs."""
        return self.similarities[self.mated]

    @property
    def non_mated_similarities(self) -> NDArray[np.float32]:
        """The similarities of the non-mated pairs."""
        return self.similarities[~self.mated]


def _answered_at_threshold_of(other: Pairs, compared: _Compared) -> FoldAnswers:
    """Classify all pairs at the threshold that is best on another list."""
    similarities = compared.faces.similarities(compared.faces.rows_of(other))
    threshold = best_threshold(similarities, other.mated)
    accuracy = accuracy_at(compared.similarities, compared.mated, threshold)
    return FoldAnswers("other list", (accuracy,), (threshold,))


def _verification(compared: _Compared, answers: FoldAnswers, errors: Breakdown) -> Verification:
    """Compute the error rates and assemble the result."""
    mated, non_mated = compared.mated_similarities, compared.non_mated_similarities
    curve = error_curve(mated, non_mated)
    rates = {far: _true_accept_rate(compared, far) for far in FALSE_ACCEPT_RATES}
    return Verification(
        num_mated=len(mated),
        num_non_mated=len(non_mated),
        num_without_face=int((compared.rows < 0).any(axis=1).sum()),
        accuracy=answers.accuracy,
        accuracy_error=answers.standard_error,
        folds=answers.origin,
        fold_accuracies=answers.accuracies,
        fold_thresholds=answers.thresholds,
        equal_error_rate=_equal_error_rate(compared),
        area=curve.area,
        true_accept_rates=rates,
        thresholds={
            far: None if rates[far] is None else float(threshold_at(non_mated, far)[0])
            for far in FALSE_ACCEPT_RATES
        },
        curve=curve,
        mated=mated,
        non_mated=non_mated,
        grouped_at=errors.at,
        groups=errors.groups,
        qualities=errors.qualities,
        worst=errors.worst,
    )


def _people_numbers(pairs: Pairs) -> NDArray[np.int64]:
    """Return the (n, 2) numbers of the people in the photos of n pairs."""
    names = pairs.people or _people_by_mated_pairs(pairs)
    encoded = pa.array([name for pair in names for name in pair], pa.string()).dictionary_encode()
    return np.asarray(encoded.indices.to_numpy().astype(np.int64).reshape(-1, 2))


def _people_by_mated_pairs(pairs: Pairs) -> list[tuple[str, str]]:
    """Name the person in each photo after one of the person's photos, where a list has no names.

    Photos that mated pairs connect, directly or through other photos, show one person (union-find).
    """
    parents: dict[str, str] = {}

    def root(name: str) -> str:
        while (parent := parents.setdefault(name, name)) != name:
            name = parent
        return name

    for (first, second), mated in zip(pairs.photos, pairs.mated.tolist(), strict=True):
        if mated:
            parents[root(second)] = root(first)
    return [(root(first), root(second)) for first, second in pairs.photos]


def _true_accept_rate(compared: _Compared, far: float) -> Rate | None:
    """Compute the TAR at a FAR; None where that FAR allows not even one false accept."""
    mated, non_mated = compared.mated_similarities, compared.non_mated_similarities
    if len(non_mated) * far < 1:
        return None
    mated_people = compared.people[compared.mated, 0]
    non_mated_people = compared.people[~compared.mated]

    def replicate(some: Bootstrap) -> NDArray[np.floating]:
        weights = some.weights(non_mated_people[:, 0], non_mated_people[:, 1])
        thresholds = threshold_at(non_mated, far, weights)
        return 1 - miss_rate(mated, thresholds, some.weights(mated_people))

    value = float(share_from(mated, threshold_at(non_mated, far))[0])
    replicates = in_chunks(compared.bootstrap, replicate)
    return rate(value, replicates, len(np.unique(mated_people)))


def _equal_error_rate(compared: _Compared) -> Rate:
    """Compute the equal error rate, with its confidence interval."""
    order = np.argsort(-compared.similarities, kind="stable")
    is_mated, people = compared.mated[order], compared.people[order]
    last_of_equals = np.append(np.diff(compared.similarities[order]) != 0, True)

    def replicate(some: Bootstrap) -> NDArray[np.floating]:
        weights = some.weights(people[:, 0], people[:, 1]).astype(np.float64)
        # Weights of the pairs at or above each similarity, that is, accepted.
        false_accepts = np.cumsum(weights * ~is_mated, axis=1)
        true_accepts = np.cumsum(weights * is_mated, axis=1)
        far = false_accepts[:, last_of_equals] / np.maximum(false_accepts[:, -1:], 1e-9)
        frr = 1 - true_accepts[:, last_of_equals] / np.maximum(true_accepts[:, -1:], 1e-9)
        crossing = np.argmax(far >= frr, axis=1)
        rows = np.arange(len(far))
        return np.asarray((far + frr)[rows, crossing] / 2)

    mated, non_mated = compared.mated_similarities, compared.non_mated_similarities
    value = error_curve(mated, non_mated).equal_error_rate
    num_trials = min(len(mated), len(non_mated), len(np.unique(people)))
    return rate(value, in_chunks(compared.bootstrap, replicate), num_trials)


def _breakdown_of(compared: _Compared, by: Sequence[str], examples: int) -> Breakdown:
    """Break the errors down by group and quality, at the threshold of the FAR `GROUPED_AT`."""
    non_mated = compared.non_mated_similarities
    threshold = float(threshold_at(non_mated, GROUPED_AT)[0])
    worst = _worst(compared, threshold, examples)
    if len(non_mated) * GROUPED_AT < 1:
        return Breakdown(None, {}, [], worst)
    groups = {
        column: by_group(
            compared.similarities,
            compared.mated,
            _groups_of_pairs(column, compared),
            threshold=threshold,
            people=compared.people,
            bootstrap=compared.bootstrap,
        )
        for column in by
    }
    qualities = []
    found = compared.mated & (compared.rows >= 0).all(axis=1)
    if found.any():
        qualities = by_quality(
            compared.similarities[found],
            compared.faces.quality(compared.rows[found]),
            threshold=threshold,
            people=compared.people[found],
            bootstrap=compared.bootstrap,
        )
    return Breakdown(GROUPED_AT, groups, qualities, worst)


def _groups_of_pairs(column: str, compared: _Compared) -> list[str]:
    """Name each pair's group: the list's value, or both photos' value; `mixed` where they differ.

    A photo without a value, or without a face, counts as `unknown`.
    """
    if column in compared.pairs.columns:
        return compared.pairs.columns[column]
    # Row -1, a photo without a face, takes the last value.
    values = [*group_names(compared.faces.table[column]), "unknown"]
    named = [(values[first], values[second]) for first, second in compared.rows.tolist()]
    return [first if first == second else "mixed" for first, second in named]


def _worst(compared: _Compared, threshold: float, count: int) -> list[WrongAnswer]:
    """Select the false accepts of highest similarity and the false rejects of lowest similarity."""
    mated, similarities, faces = compared.mated, compared.similarities, compared.faces
    wrong = ((similarities >= threshold) != mated) & (compared.rows >= 0).all(axis=1)
    uris, boxes = faces.table["uri"].to_pylist(), faces.table["box"].to_pylist()
    found = []
    for kind, sign in ((False, -1), (True, 1)):
        errors = np.flatnonzero(wrong & (mated == kind))
        for pair in errors[np.argsort(sign * similarities[errors], kind="stable")][:count].tolist():
            first, second = compared.rows[pair].tolist()
            found.append(
                WrongAnswer(
                    *(uris[first], tuple(boxes[first]), uris[second], tuple(boxes[second])),
                    similarity=float(similarities[pair]),
                    mated=kind,
                )
            )
    return found
