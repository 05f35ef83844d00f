"""1:1 verification: are these two photos of one person?

LFW's protocol is that of its technical report (Huang, Ramesh, Berg, Learned-Miller, "Labeled Faces
in the Wild", UMass 07-49): of ten folds each is answered by the threshold that is best on the other
nine; the accuracy is the mean of the ten, with its standard error.
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
from facetrove.evaluation.labels import FaceChoice, in_words
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
FALSE_ACCEPT_RATES = (1e-2, 1e-3, 1e-4)
"""At which the true accept rate is given, where there are enough non-mated pairs."""

GROUPED_AT = 1e-2
"""False accept rate whose threshold groups and qualities are compared at."""


@dataclass(frozen=True)
class Verification(JsonResult):
    """How well a model tells whether two photos show one person.

    Attributes:
        num_mated, num_non_mated: pairs.
        num_without_face: of all, pairs with a photo in which no face was found; they count as not
            called one person.
        accuracy: mean of the folds, each at the threshold that is best on the others.
        accuracy_error: standard error of that mean.
        folds: where these are from: the `list`'s, or `drawn` at random; `other list`: no folds, one
            threshold from another list of pairs.
        fold_accuracies, fold_thresholds: of each.
        equal_error_rate: where false accepts and false rejects are equally many.
        area: under the curve of true against false accepts.
        true_accept_rates: by false accept rate; None where there are too few non-mated pairs.
        thresholds: of these false accept rates.
        curve: false accept and false reject rates.
        mated, non_mated: similarities.
        grouped_at: false accept rate at whose threshold groups and qualities are compared; None:
            there are too few non-mated pairs, and they are not.
        groups, qualities: see `facetrove.evaluation.breakdown`. Pairs without a face have
            no quality.
        worst: the worst errors, if they are asked for.
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
        face: which face of a photo is meant; by default the central one of LFW's lists, and else
            the largest.
        threshold_from: a list of pairs to take the threshold from, as LFW's View 1 does.
        by: columns of the list, or of the dataset's photos; error rates are also given for each of
            their values.
        examples: how many of the worst errors of each kind to name.
        seed: seed of folds that are drawn, and of intervals.

    Raises:
        WrongUsageError: a photo of the list is not in the dataset, or a kind of pair is missing.
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
    return _verification(compared, answers, _broken_down(compared, by, examples))


def _read(pairs: Pairs | str | Path) -> Pairs:
    return read_pairs(pairs) if isinstance(pairs, str | Path) else pairs


def _photo_columns(by: Sequence[str], pairs: Pairs, source: Dataset) -> list[str]:
    """Choose the columns to group by that the photos have and the list has not.

    Raises:
        WrongUsageError: neither has such a column.
    """
    columns = [name for name in by if name in source.metadata.names and name not in pairs.columns]
    for name in by:
        if name not in (*columns, *pairs.columns):
            names = ", ".join([*pairs.columns, *source.metadata.names]) or "none"
            raise WrongUsageError(f"there is no column {name!r} to group by; there are {names}")
    return columns


@dataclass(frozen=True)
class _Compared:
    """Pairs of photos whose faces were compared.

    Attributes:
        pairs: the list.
        faces: the faces of its photos.
        rows: (n, 2) rows of the pairs' faces; negative where no face was found.
        similarities: (n,) of the pairs.
        people: (n, 2) numbers of the people in the photos.
        bootstrap: over these people.
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
            WrongUsageError: there are too few pairs of a kind.
        """
        num_mated = int(pairs.mated.sum())
        if min(num_mated, len(pairs) - num_mated) < MIN_PAIRS:
            raise WrongUsageError(
                f"the list has {num_mated} pairs of one person and {len(pairs) - num_mated} of "
                f"two; it needs {MIN_PAIRS} of each at least"
            )
        rows, people = faces.rows_of(pairs), _people_numbers(pairs)
        bootstrap = Bootstrap.of(int(people.max()) + 1, seed=seed)
        return cls(pairs, faces, rows, faces.similarities(rows), people, bootstrap)

    @property
    def mated(self) -> NDArray[np.bool_]:
        """(n,) whether a pair shows one person."""
        return self.pairs.mated

    @property
    def of_one(self) -> NDArray[np.float32]:
        """Similarities of the pairs of one person."""
        return self.similarities[self.mated]

    @property
    def of_two(self) -> NDArray[np.float32]:
        """Similarities of the pairs of two people."""
        return self.similarities[~self.mated]


def _answered_at_threshold_of(other: Pairs, compared: _Compared) -> FoldAnswers:
    """Answer all pairs at the threshold that is best on another list."""
    similarities = compared.faces.similarities(compared.faces.rows_of(other))
    threshold = best_threshold(similarities, other.mated)
    accuracy = accuracy_at(compared.similarities, compared.mated, threshold)
    return FoldAnswers("other list", (accuracy,), (threshold,))


def _verification(compared: _Compared, answers: FoldAnswers, errors: Breakdown) -> Verification:
    """Compute the error rates, and put the result together."""
    mated, non_mated = compared.of_one, compared.of_two
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
    """(n, 2) who is in the photos, by numbers; where that is not known, told by the mated pairs."""
    names = pairs.people or _linked(pairs)
    encoded = pa.array([name for pair in names for name in pair], pa.string()).dictionary_encode()
    return np.asarray(encoded.indices.to_numpy().astype(np.int64).reshape(-1, 2))


def _linked(pairs: Pairs) -> list[tuple[str, str]]:
    """A name for each photo's person: photos that some pair says show one person are one's."""
    heads: dict[str, str] = {}

    def head(name: str) -> str:
        while (above := heads.setdefault(name, name)) != name:
            name = above
        return name

    for (first, second), mated in zip(pairs.photos, pairs.mated.tolist(), strict=True):
        if mated:
            heads[head(second)] = head(first)
    return [(head(first), head(second)) for first, second in pairs.photos]


def _true_accept_rate(compared: _Compared, far: float) -> Rate | None:
    """Compute the true accept rate at a FAR; None where not one non-mated pair may be accepted."""
    mated, non_mated, bootstrap = compared.of_one, compared.of_two, compared.bootstrap
    if len(non_mated) * far < 1:
        return None
    people, strangers = compared.people[compared.mated, 0], compared.people[~compared.mated]

    def replicate(some: Bootstrap) -> NDArray[np.floating]:
        weights = some.weights(strangers[:, 0], strangers[:, 1])
        thresholds = threshold_at(non_mated, far, weights)
        return 1 - miss_rate(mated, thresholds, some.weights(people))

    value = float(share_from(mated, threshold_at(non_mated, far))[0])
    return rate(value, in_chunks(bootstrap, replicate), len(np.unique(people)))


def _equal_error_rate(compared: _Compared) -> Rate:
    order = np.argsort(-compared.similarities, kind="stable")
    of_one, people = compared.mated[order], compared.people[order]
    last_of_equals = np.append(np.diff(compared.similarities[order]) != 0, True)

    def replicate(some: Bootstrap) -> NDArray[np.floating]:
        weights = some.weights(people[:, 0], people[:, 1]).astype(np.float64)
        accepted = np.cumsum(weights * ~of_one, axis=1)
        rejected = np.cumsum(weights * of_one, axis=1)
        far = accepted[:, last_of_equals] / np.maximum(accepted[:, -1:], 1e-9)
        frr = 1 - rejected[:, last_of_equals] / np.maximum(rejected[:, -1:], 1e-9)
        crossing = np.argmax(far >= frr, axis=1)
        rows = np.arange(len(far))
        return np.asarray((far + frr)[rows, crossing] / 2)

    mated, non_mated = compared.of_one, compared.of_two
    value = error_curve(mated, non_mated).equal_error_rate
    num_trials = min(len(mated), len(non_mated), len(np.unique(people)))
    return rate(value, in_chunks(compared.bootstrap, replicate), num_trials)


def _broken_down(compared: _Compared, by: Sequence[str], examples: int) -> Breakdown:
    """Tell the errors apart at the threshold of `GROUPED_AT`, where that can be told."""
    threshold = float(threshold_at(compared.of_two, GROUPED_AT)[0])
    worst = _worst(compared, threshold, examples)
    if len(compared.of_two) * GROUPED_AT < 1:
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
    """Name each pair's group: what the list says, or what both photos have, or `mixed`."""
    if column in compared.pairs.columns:
        return compared.pairs.columns[column]
    values = [*in_words(compared.faces.table[column]), "unknown"]
    named = [(values[first], values[second]) for first, second in compared.rows.tolist()]
    return [first if first == second else "mixed" for first, second in named]


def _worst(compared: _Compared, threshold: float, count: int) -> list[WrongAnswer]:
    """Name the non-mated pairs most alike and the mated least, on a threshold's wrong side."""
    mated, similarities, faces = compared.mated, compared.similarities, compared.faces
    wrong = ((similarities >= threshold) != mated) & (compared.rows >= 0).all(axis=1)
    uris, boxes = faces.table["uri"].to_pylist(), faces.table["box"].to_pylist()
    found = []
    for kind, sign in ((False, -1), (True, 1)):
        here = np.flatnonzero(wrong & (mated == kind))
        for pair in here[np.argsort(sign * similarities[here], kind="stable")][:count].tolist():
            first, second = compared.rows[pair].tolist()
            found.append(
                WrongAnswer(
                    *(uris[first], tuple(boxes[first]), uris[second], tuple(boxes[second])),
                    similarity=float(similarities[pair]),
                    mated=kind,
                )
            )
    return found
