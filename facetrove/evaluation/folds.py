"""Accuracy on pairs by cross-validation: each fold uses the threshold best on the other folds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

NUM_FOLDS = 10
"""Number of folds that are drawn where a list has none, as in LFW's protocol."""

FoldOrigin = Literal["list", "drawn", "other list"]
"""Where folds are from: the list of pairs; drawn at random; or there is one fold with all pairs,
whose threshold is from another list."""


@dataclass(frozen=True)
class FoldAnswers:
    """The accuracy of each fold, at a threshold that was chosen on other pairs.

    Attributes:
        origin: where the folds are from: the `list` of pairs, or `drawn` at random. With
            `other list` there is one fold with all pairs, and its threshold is from another list.
        accuracies: share of each fold's pairs that are classified correctly.
        thresholds: threshold of each fold, a similarity.
    """

    origin: FoldOrigin
    accuracies: tuple[float, ...]
    thresholds: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        """The mean accuracy of the folds."""
        return float(np.mean(self.accuracies))

    @property
    def standard_error(self) -> float | None:
        """The standard error of the mean accuracy; None where there is one fold."""
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
    """Classify the pairs of each fold at the threshold that is best on the other folds.

    Args:
        similarities: (n,) similarities of the pairs.
        mated: (n,) bool, whether a pair shows one person.
        folds: (n,) number of each pair's fold. With None, or one fold only, folds are drawn.
        seed: seed of folds that are drawn.
    """
    origin: FoldOrigin = "list"
    if folds is None or len(np.unique(folds)) == 1:
        folds, origin = drawn_folds(mated, seed), "drawn"
    accuracies, thresholds = [], []
    for fold in np.unique(folds):
        in_fold = folds == fold
        threshold = best_threshold(similarities[~in_fold], mated[~in_fold])
        thresholds.append(threshold)
        accuracies.append(accuracy_at(similarities[in_fold], mated[in_fold], threshold))
    return FoldAnswers(origin, tuple(accuracies), tuple(thresholds))


def best_threshold(similarities: NDArray[np.floating], mated: NDArray[np.bool_]) -> float:
    """Choose the threshold that classifies the most pairs correctly.

    It lies halfway between two neighbouring similarities. Of several equally good thresholds, the
    middle one is chosen.

    Args:
        similarities: (n,) similarities of pairs, n >= 1.
        mated: (n,) bool, whether a pair shows one person.
    """
    order = np.argsort(-similarities, kind="stable")
    sorted_, sorted_mated = similarities[order].astype(np.float64), mated[order]
    # Entry i: with the first i pairs, those of the highest similarity, called mated.
    num_correct = np.concatenate([[0], np.cumsum(sorted_mated)]) + (
        (~mated).sum() - np.concatenate([[0], np.cumsum(~sorted_mated)])
    )
    # No threshold separates equal similarities.
    possible = np.concatenate([[True], sorted_[1:] < sorted_[:-1], [True]])
    best = np.flatnonzero(possible & (num_correct == num_correct[possible].max()))
    cut = int(best[(len(best) - 1) // 2])
    above = sorted_[cut - 1] if cut else sorted_[0] + 1e-6
    below = sorted_[cut] if cut < len(sorted_) else sorted_[-1] - 1e-6
    # Rounded to float32, the precision of the similarities that it is compared with.
    middle = np.float32((above + below) / 2)
    return float(middle if middle > below else np.float32(above))


def accuracy_at(
    similarities: NDArray[np.floating], mated: NDArray[np.bool_], threshold: float
) -> float:
    """Compute the share of pairs that a threshold classifies correctly."""
    return float(((similarities >= threshold) == mated).mean())


def drawn_folds(mated: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
    """Draw stratified folds at random: each has its share of mated and of non-mated pairs.

    Args:
        mated: (n,) bool, whether a pair shows one person.
        seed: seed of the random draw.

    Returns:
        (n,) number of each pair's fold, from 0. There are `NUM_FOLDS` folds, or fewer where there
        are fewer mated or fewer non-mated pairs.
    """
    rng = np.random.default_rng(seed)
    folds = np.empty(len(mated), np.int64)
    num_folds = min(NUM_FOLDS, int(mated.sum()), int((~mated).sum()))
    for kind in (True, False):
        rows = rng.permutation(np.flatnonzero(mated == kind))
        folds[rows] = np.arange(len(rows)) % num_folds
    return folds
