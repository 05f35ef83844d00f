"""1:1 verification: are these two photos of one person?

LFW's protocol is that of its technical report (Huang, Ramesh, Berg, Learned-Miller, "Labeled Faces
in the Wild", UMass 07-49): of ten folds each is answered by the threshold that is best on the other
nine; the accuracy is the mean of the ten, with its standard error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.dataset.store import Dataset
from facetrove.evaluation.breakdown import (
    GroupErrors,
    QualityErrors,
    WrongAnswer,
    by_group,
    by_quality,
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
from facetrove.evaluation.pair_lists import Pairs

NUM_FOLDS = 10
LEAST_PAIRS = 2
FALSE_ACCEPT_RATES = (1e-2, 1e-3, 1e-4)
"""At which the true accept rate is given, where there are enough non-mated pairs."""

GROUPED_AT = 1e-2
"""False accept rate whose threshold groups and qualities are compared at."""


@dataclass(frozen=True)
class Verification:
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
    folds: Literal["list", "drawn", "other list"]
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
    pairs: Pairs,
    *,
    face: FaceChoice | None = None,
    threshold_from: Pairs | None = None,
    by: Sequence[str] = (),
    num_worst: int = 0,
    seed: int = 0,
) -> Verification:
    """Measure how well a dataset's embeddings tell whether two photos show one person.

    Args:
        dataset: with the photos of the pairs.
        pairs: the list.
        face: which face of a photo is meant; by default the central one of LFW's lists, and else
            the largest.
        threshold_from: take the threshold from these pairs, as LFW's View 1 does.
        by: columns of the list, or of the dataset's photos, whose groups are told apart.
        num_worst: how many of the worst errors to name, of each kind.
        seed: of folds that are drawn, and of intervals.

    Raises:
        WrongUsageError: a photo of the list is not in the dataset, or a kind of pair is missing.
    """
    source = Dataset.open(Path(dataset))
    by = list(dict.fromkeys(by))
    columns = [name for name in by if name in source.metadata.names and name not in pairs.columns]
    for name in by:
        if name not in (*columns, *pairs.columns):
            names = ", ".join([*pairs.columns, *source.metadata.names]) or "none"
            raise WrongUsageError(f"there is no column {name!r} to group by; there are {names}")
    lists = [pairs, *filter(None, [threshold_from])]
    meant = face or ("central" if pairs.of_lfw else "largest")
    faces = PairFaces.of(source, lists, meant, columns)
    rows = faces.rows_of(pairs)
    similarities = faces.similarities(rows)
    mated, non_mated = similarities[pairs.mated], similarities[~pairs.mated]
    if min(len(mated), len(non_mated)) < LEAST_PAIRS:
        raise WrongUsageError(
            f"the list has {len(mated)} pairs of one person and {len(non_mated)} of two; it needs "
            f"{LEAST_PAIRS} of each at least"
        )
    people = _people_numbers(pairs)
    bootstrap = Bootstrap.of(int(people.max()) + 1, seed=seed)
    curve = error_curve(mated, non_mated)
    accuracies, thresholds, folds = _accuracies(pairs, similarities, seed)
    error: float | None = None
    if threshold_from is not None:
        other = faces.similarities(faces.rows_of(threshold_from))
        thresholds = (best_threshold(other, threshold_from.mated),)
        accuracies, folds = (accuracy_at(similarities, pairs.mated, thresholds[0]),), "other list"
    elif len(accuracies) > 1:
        error = float(np.std(accuracies, ddof=1) / len(accuracies) ** 0.5)
    grouped_at = GROUPED_AT if len(non_mated) * GROUPED_AT >= 1 else None
    at = float(threshold_at(non_mated, GROUPED_AT)[0])
    known = pairs.mated & (rows >= 0).all(axis=1)
    rates = {
        far: _true_accept_rate(similarities, pairs.mated, far, people, bootstrap)
        for far in FALSE_ACCEPT_RATES
    }
    return Verification(
        num_mated=len(mated),
        num_non_mated=len(non_mated),
        num_without_face=int((rows < 0).any(axis=1).sum()),
        accuracy=float(np.mean(accuracies)),
        accuracy_error=error,
        folds=folds,
        fold_accuracies=accuracies,
        fold_thresholds=thresholds,
        equal_error_rate=_equal_error_rate(similarities, pairs.mated, people, bootstrap),
        area=curve.area,
        true_accept_rates=rates,
        thresholds={
            far: None if rates[far] is None else float(threshold_at(non_mated, far)[0])
            for far in FALSE_ACCEPT_RATES
        },
        curve=curve,
        mated=mated,
        non_mated=non_mated,
        grouped_at=grouped_at,
        groups={
            column: by_group(
                similarities,
                pairs.mated,
                _groups_of_pairs(column, pairs, faces, rows),
                threshold=at,
                people=people,
                bootstrap=bootstrap,
            )
            for column in by
            if grouped_at is not None
        },
        qualities=[]
        if grouped_at is None or not known.any()
        else by_quality(
            similarities[known],
            faces.quality(rows[known]),
            threshold=at,
            people=people[known],
            bootstrap=bootstrap,
        ),
        worst=_worst(faces, rows, similarities, mated=pairs.mated, threshold=at, count=num_worst),
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


def best_threshold(similarities: NDArray[np.floating], mated: NDArray[np.bool_]) -> float:
    """The threshold with the most right answers; in the middle between the similarities beside it.

    Of several that do equally well the middle one.
    """
    order = np.argsort(-similarities, kind="stable")
    sorted_, of_one = similarities[order].astype(np.float64), mated[order]
    right = np.concatenate([[0], np.cumsum(of_one)]) + (
        (~mated).sum() - np.concatenate([[0], np.cumsum(~of_one)])
    )
    possible = np.concatenate([[True], sorted_[1:] < sorted_[:-1], [True]])  # not between equals
    best = np.flatnonzero(possible & (right == right[possible].max()))
    cut = int(best[(len(best) - 1) // 2])
    above = sorted_[cut - 1] if cut else sorted_[0] + 1e-6
    below = sorted_[cut] if cut < len(sorted_) else sorted_[-1] - 1e-6
    middle = np.float32((above + below) / 2)  # as precise as what it is compared with
    return float(middle if middle > below else np.float32(above))


def accuracy_at(
    similarities: NDArray[np.floating], mated: NDArray[np.bool_], threshold: float
) -> float:
    """Share of pairs on the right side of a threshold."""
    return float(((similarities >= threshold) == mated).mean())


def _accuracies(
    pairs: Pairs, similarities: NDArray[np.float32], seed: int
) -> tuple[tuple[float, ...], tuple[float, ...], Literal["list", "drawn", "other list"]]:
    """Accuracy and threshold of each fold."""
    folds, origin = pairs.folds, "list"
    if folds is None or len(np.unique(folds)) == 1:
        folds, origin = drawn_folds(pairs.mated, seed), "drawn"
    accuracies, thresholds = [], []
    for fold in np.unique(folds):
        here = folds == fold
        threshold = best_threshold(similarities[~here], pairs.mated[~here])
        thresholds.append(threshold)
        accuracies.append(accuracy_at(similarities[here], pairs.mated[here], threshold))
    return tuple(accuracies), tuple(thresholds), origin  # type: ignore[return-value]


def drawn_folds(mated: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
    """(n,) ten folds at random, each with its share of mated and non-mated pairs.

    Fewer where there are fewer pairs of a kind.
    """
    rng = np.random.default_rng(seed)
    folds = np.empty(len(mated), np.int64)
    num_folds = min(NUM_FOLDS, int(mated.sum()), int((~mated).sum()))
    for kind in (True, False):
        rows = rng.permutation(np.flatnonzero(mated == kind))
        folds[rows] = np.arange(len(rows)) % num_folds
    return folds


def _true_accept_rate(
    similarities: NDArray[np.float32],
    mated: NDArray[np.bool_],
    far: float,
    people: NDArray[np.int64],
    bootstrap: Bootstrap,
) -> Rate | None:
    """None where not one non-mated pair may be accepted."""
    if (~mated).sum() * far < 1:
        return None

    def replicate(some: Bootstrap) -> NDArray[np.floating]:
        thresholds = threshold_at(
            similarities[~mated], far, some.weights(people[~mated, 0], people[~mated, 1])
        )
        return 1 - miss_rate(similarities[mated], thresholds, some.weights(people[mated, 0]))

    threshold = threshold_at(similarities[~mated], far)
    value = float(share_from(similarities[mated], threshold)[0])
    num_people = len(np.unique(people[mated, 0]))
    return rate(value, in_chunks(bootstrap, replicate), num_people)


def _equal_error_rate(
    similarities: NDArray[np.float32],
    mated: NDArray[np.bool_],
    people: NDArray[np.int64],
    bootstrap: Bootstrap,
) -> Rate:
    order = np.argsort(-similarities, kind="stable")
    of_one = mated[order]
    last_of_equals = np.append(np.diff(similarities[order]) != 0, True)

    def replicate(some: Bootstrap) -> NDArray[np.floating]:
        weights = some.weights(people[order, 0], people[order, 1]).astype(np.float64)
        accepted = np.cumsum(weights * ~of_one, axis=1)
        rejected = np.cumsum(weights * of_one, axis=1)
        far = accepted[:, last_of_equals] / np.maximum(accepted[:, -1:], 1e-9)
        frr = 1 - rejected[:, last_of_equals] / np.maximum(rejected[:, -1:], 1e-9)
        crossing = np.argmax(far >= frr, axis=1)
        rows = np.arange(len(far))
        return np.asarray((far + frr)[rows, crossing] / 2)

    value = error_curve(similarities[mated], similarities[~mated]).equal_error_rate
    num_trials = min(int(mated.sum()), int((~mated).sum()), len(np.unique(people)))
    return rate(value, in_chunks(bootstrap, replicate), num_trials)


def _groups_of_pairs(
    column: str, pairs: Pairs, faces: PairFaces, rows: NDArray[np.int64]
) -> list[str]:
    """The group of each pair: what the list says, or what both photos have, or `mixed`."""
    if column in pairs.columns:
        return pairs.columns[column]
    values = [*in_words(faces.table[column]), "unknown"]
    named = [(values[first], values[second]) for first, second in rows.tolist()]
    return [first if first == second else "mixed" for first, second in named]


def _worst(
    faces: PairFaces,
    rows: NDArray[np.int64],
    similarities: NDArray[np.float32],
    *,
    mated: NDArray[np.bool_],
    threshold: float,
    count: int,
) -> list[WrongAnswer]:
    """The non-mated pairs most alike and the mated least, on the wrong side of a threshold."""
    wrong = ((similarities >= threshold) != mated) & (rows >= 0).all(axis=1)
    uris, boxes = faces.table["uri"].to_pylist(), faces.table["box"].to_pylist()
    found = []
    for kind, sign in ((False, -1), (True, 1)):
        here = np.flatnonzero(wrong & (mated == kind))
        for pair in here[np.argsort(sign * similarities[here], kind="stable")][:count].tolist():
            first, second = rows[pair].tolist()
            found.append(
                WrongAnswer(
                    *(uris[first], tuple(boxes[first]), uris[second], tuple(boxes[second])),
                    similarity=float(similarities[pair]),
                    mated=kind,
                )
            )
    return found
