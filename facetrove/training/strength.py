"""Choosing how strong a head is, by identification of people it did not learn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.core.vectors import unit_length
from facetrove.evaluation.metrics import Bootstrap
from facetrove.training.identification import Identification, can_identify, identify_people
from facetrove.training.splits import folds_by_person

FOLDS = 5
"""Number of folds of people: each fold is searched with a head that the others were learnt from."""

SPLITS = 6
"""Number of random enrolments in each fold."""

REPLICATES = 200
"""Number of bootstrap replicates that standard errors are computed from."""

Head = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""A function from (n, d) embeddings to (n, k) vectors of any length."""

Learn = Callable[[NDArray[np.float32], NDArray[np.int64]], Callable[[float], Head]]
"""A function from faces and their people to what was learnt, which gives a head of each strength,
from 0, which changes nothing, to 1, which is all that was learnt."""

STRENGTHS = (1.0, 0.5, 0.0)
"""Strengths that are tried, the strongest first. More of them would only be chosen by chance."""

MAX_LOSS = 1.0
"""Standard errors by which a head may seem worse than none, and be taken: chance alone makes one in
six of equal heads seem as bad."""


@dataclass(frozen=True)
class Choice:
    """The strength that was chosen, and how all of them did.

    Attributes:
        strength: the chosen strength; 0: every head was worse than none.
        scores: for each strength a dict of `strength`, `fnir` (the mean FNIR), `difference` (from
            no head) and `standard_error` (of that difference).
    """

    strength: float
    scores: list[dict[str, float]]


def choose_strength(
    learn: Learn,
    embeddings: NDArray[np.float32],
    people: NDArray[np.int64],
    *,
    seed: int,
    trusted: NDArray[np.bool_] | None = None,
) -> Choice:
    """Choose the strongest head that is not worse than none.

    The mean FNIR is measured by cross-validation over people. A head is not worse than none if its
    mean FNIR is at most `MAX_LOSS` standard errors higher, by a paired bootstrap over people.

    Args:
        learn: learns from faces and people.
        embeddings: (n, d) float32, unit length.
        people: (n,) number of each face's person.
        seed: seed of folds, enrolments and bootstrap.
        trusted: (n,) bool, whether a face's label is trusted; None: all are. Others are not learnt
            from, see also `identify_people`.
    """
    trusted = np.full(len(people), True) if trusted is None else trusted
    folds = folds_by_person(people, np.zeros_like(people), FOLDS, seed=seed)
    parts: list[list[Identification]] = [[] for _ in STRENGTHS]
    for fold in range(FOLDS):
        inside, outside = np.flatnonzero((folds != fold) & trusted), np.flatnonzero(folds == fold)
        sure = trusted[outside]
        if not can_identify(people[outside[sure]]) or not can_identify(people[inside]):
            continue
        of_strength = learn(embeddings[inside], people[inside])
        for strength, found in zip(STRENGTHS, parts, strict=True):
            vectors = unit_length(of_strength(strength)(embeddings[outside]))
            found.append(
                identify_people(vectors, people[outside], splits=SPLITS, seed=seed, trusted=sure)
            )
    if not parts[0]:
        return Choice(0.0, [])
    bootstrap = Bootstrap.of(int(people.max()) + 1, seed=seed, replicates=REPLICATES)
    pooled = [Identification.joined(found) for found in parts]
    rates = np.array([found.mean_fnir()[0] for found in pooled])
    replicates = np.stack([found.mean_fnir(bootstrap) for found in pooled])
    errors = np.nanstd(replicates - replicates[-1], axis=1)
    scores = [
        {
            "strength": strength,
            "fnir": float(rate),
            "difference": float(rate - rates[-1]),
            "standard_error": float(error),
        }
        for strength, rate, error in zip(STRENGTHS, rates, errors, strict=True)
    ]
    chosen = next(
        score["strength"]
        for score in scores
        if score["difference"] <= MAX_LOSS * score["standard_error"]
    )
    return Choice(chosen, scores)
