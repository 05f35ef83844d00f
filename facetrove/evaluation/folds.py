"""The best threshold between mated and non-mated pairs, and the accuracy in folds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

NUM_FOLDS = 10

FoldOrigin = Literal["list", "drawn", "other list"]


@dataclass(frozen=True)
class FoldAnswers:
    """How many pairs are answered rightly, each fold at a threshold chosen on other pairs.

    Attributes:
        origin: where the folds are from: the `list`'s, or `drawn` at random; `other list`: no
            folds, one threshold from another list of pairs.
        accuracies, thresholds: of each fold.
    """

    origin: FoldOrigin
    accuracies: tuple[float, ...]
    thresholds: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        """Mean accuracy of the folds."""
        return float(np.mean(self.accuracies))

    @property
    def standard_error(self) -> float | None:
        """Standard error of the mean accuracy; None where there is one fold."""
        if len(self.accuracies) == 1:
            return None
        return float(np.std(self.accuracies, ddof=1) / len(self.accuracies) ** 0.5)


def answer_in_folds(
    similarities: NDArray[np.floating],
    mated: NDArray[np.bool_],
    folds: NDArray[np.int64] | None,
    *,
    seed: int,
) -> FoldAnswers:
    """Answer the pairs of each fold at the threshold that is best on the other folds.

    Args:
        similarities: (n,) of the pairs.
        mated: (n,) bool, whether a pair shows one person.
        folds: (n,) fold of each pair; None, or all the same: they are drawn at random.
        seed: seed of folds that are drawn.
    """
    origin: FoldOrigin = "list"
    if folds is None or len(np.unique(folds)) == 1:
        folds, origin = drawn_folds(mated, seed), "drawn"
    accuracies, thresholds = [], []
    for fold in np.unique(folds):
        here = folds == fold
        threshold = best_threshold(similarities[~here], mated[~here])
        thresholds.append(threshold)
        accuracies.append(accuracy_at(similarities[here], mated[here], threshold))
    return FoldAnswers(origin, tuple(accuracies), tuple(thresholds))


def best_threshold(similarities: NDArray[np.floating], mated: NDArray[np.bool_]) -> float:
    """Choose the threshold with the most right answers, in the middle between two similarities.

    Of several thresholds that do equally well the middle one is chosen.

    Args:
        similarities: (n,) of pairs.
        mated: (n,) bool, whether a pair shows one person.
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
    """Count the share of pairs on the right side of a threshold."""
    return float(((similarities >= threshold) == mated).mean())


def drawn_folds(mated: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
    """Draw the fold of each pair at random, (n,): every fold has its share of both kinds of pairs.

    There are ten folds, or fewer where there are fewer pairs of a kind.
    """
    rng = np.random.default_rng(seed)
    folds = np.empty(len(mated), np.int64)
    num_folds = min(NUM_FOLDS, int(mated.sum()), int((~mated).sum()))
    for kind in (True, False):
        rows = rng.permutation(np.flatnonzero(mated == kind))
        folds[rows] = np.arange(len(rows)) % num_folds
    return folds
