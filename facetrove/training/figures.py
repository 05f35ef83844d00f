"""Figures of a classifier: for every class, not accuracy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facetrove.evaluation.metrics import Bootstrap


@dataclass(frozen=True)
class ClassifierFigures:
    """How well n faces were classified.

    Attributes:
        accuracy: share of the faces that are classified correctly.
        mean_recall: mean over the classes that occur of the share of their faces that are
            classified correctly: also called balanced accuracy.
        mean_recall_interval: its 95% interval by a bootstrap over people.
        recalls: (num_classes,) share of each class's faces that are classified correctly; NaN for
            a class that does not occur.
        precisions: (num_classes,) share of the faces called so that are; NaN where none are.
        counts: (num_classes,) number of each class's faces.
    """

    accuracy: float
    mean_recall: float
    mean_recall_interval: tuple[float, float]
    recalls: NDArray[np.float64]
    precisions: NDArray[np.float64]
    counts: NDArray[np.int64]


def classifier_figures(
    classes: NDArray[np.int64],
    found: NDArray[np.int64],
    people: NDArray[np.int64],
    num_classes: int,
    *,
    seed: int = 0,
) -> ClassifierFigures:
    """Compute the figures of a classifier on labelled faces.

    Args:
        classes: (n,) number of each face's class.
        found: (n,) number of the class that it was given.
        people: (n,) number of its person.
        num_classes: number of classes.
        seed: seed of the bootstrap.
    """
    drawn = drawn_recalls(classes, found, people, num_classes, seed=seed)
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    counts = np.bincount(classes, minlength=num_classes)
    right = np.bincount(classes[classes == found], minlength=num_classes)
    called = np.bincount(found, minlength=num_classes)
    with np.errstate(invalid="ignore", divide="ignore"):
        recalls, precisions = right / counts, right / called
    return ClassifierFigures(
        accuracy=float((classes == found).mean()),
        mean_recall=float(np.nanmean(recalls)),
        mean_recall_interval=(low, high),
        recalls=recalls,
        precisions=precisions,
        counts=counts,
    )


def drawn_recalls(
    classes: NDArray[np.int64],
    found: NDArray[np.int64],
    people: NDArray[np.int64],
    num_classes: int,
    *,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return the mean recall in each draw of a bootstrap over people, the same for one seed.

    So the draws of two classifiers of the same faces can be subtracted: a paired bootstrap.

    Args:
        classes, found, people, num_classes, seed: see `classifier_figures`.
    """
    numbers, person_of = np.unique(people, return_inverse=True)
    weights = Bootstrap.of(len(numbers), seed=seed).weights(person_of).astype(np.float64)
    own = np.eye(num_classes)[classes]
    totals = weights @ own
    right = weights @ (own * (classes == found)[:, None])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.nanmean(right / totals, axis=1))
