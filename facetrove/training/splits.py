"""Splits by person: nobody's photos are both learnt from and measured on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def folds_by_person(
    people: NDArray[np.int64], classes: NDArray[np.int64], num_folds: int, *, seed: int
) -> NDArray[np.int64]:
    """Divide people at random into folds that have about as many faces of every class.

    People are drawn in random order, those with a face of the rarest class first; each goes to the
    fold that has the smallest share of that person's rarest class so far, and among equal ones the
    fewest faces.

    Args:
        people: (n,) number of each face's person, from 0.
        classes: (n,) number of each face's class, from 0; where there are none, zeros.
        num_folds: number of folds, 2 or more, and no more than there are people.
        seed: seed of the random order.

    Returns:
        (n,) int64 number of each face's fold, from 0.
    """
    numbers, person_of = np.unique(people, return_inverse=True)
    frequency = np.bincount(classes)
    counts = np.zeros((len(numbers), len(frequency)), np.int64)
    np.add.at(counts, (person_of, classes), 1)
    by_rarity = np.argsort(frequency, kind="stable")
    has = counts[:, by_rarity] > 0
    rarest = by_rarity[has.argmax(axis=1)]
    order = np.random.default_rng([seed, 0]).permutation(len(numbers))
    order = order[np.argsort(frequency[rarest[order]], kind="stable")]
    fold_of = np.empty(len(numbers), np.int64)
    in_fold = np.zeros((num_folds, len(frequency)), np.int64)
    for person in order.tolist():
        fullness = in_fold[:, rarest[person]], in_fold.sum(axis=1)
        fold = int(np.lexsort((fullness[1], fullness[0]))[0])
        fold_of[person] = fold
        in_fold[fold] += counts[person]
    return fold_of[person_of]


def held_out_by_person(
    people: NDArray[np.int64], classes: NDArray[np.int64], share: float, *, seed: int
) -> NDArray[np.bool_]:
    """Draw about a share of the people at random, with that share of the faces of every class.

    Args:
        people, classes: see `folds_by_person`.
        share: share of the faces to hold out, above 0 and at most 0.5.
        seed: seed of the random draw.

    Returns:
        (n,) bool, whether a face's person is held out; at least one person is, and one is not.
    """
    num_folds = min(max(2, round(1 / share)), len(np.unique(people)))
    folds: NDArray[np.int64] = folds_by_person(people, classes, num_folds, seed=seed)
    return np.equal(folds, 0)
