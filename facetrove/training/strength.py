"""Choosing how strong a head is, by identification of people it did not learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
"""A function from faces and their people to what was learnt, which gives a head of each strength;
that of strength 0 changes nothing."""


@dataclass(frozen=True)
class Choice:
    """The strength that was chosen, and how all of them did.

    Attributes:
        strength: the chosen strength; 0: none was better than no head.
        scores: for each strength a dict of `strength`, `fnir` (the mean FNIR), `difference` (from
            the best) and `standard_error` (of that difference).
    """

    strength: float
    scores: list[dict[str, float]]


def choose_strength(
    learn: Learn,
    embeddings: NDArray[np.float32],
    people: NDArray[np.int64],
    strengths: Sequence[float],
    *,
    seed: int,
) -> Choice:
    """Choose the weakest head that is as good as the best, up to chance.

    The mean FNIR is measured by cross-validation over people. Of all strengths whose difference
    from the best is at most its standard error, the smallest is chosen (the rule of Breiman,
    Friedman, Olshen and Stone, "Classification and Regression Trees", 1984). So a head has to be
    better than none by more than chance.

    Args:
        learn: learns from faces and people.
        embeddings: (n, d) float32, unit length.
        people: (n,) number of each face's person.
        strengths: the strengths, ascending; the first is 0, no head.
        seed: seed of folds, enrolments and bootstrap.
    """
    folds = folds_by_person(people, np.zeros_like(people), FOLDS, seed=seed)
    parts: list[list[Identification]] = [[] for _ in strengths]
    for fold in range(FOLDS):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        if not can_identify(people[outside]) or not can_identify(people[inside]):
            continue
        of_strength = learn(embeddings[inside], people[inside])
        for strength, found in zip(strengths, parts, strict=True):
            vectors = unit_length(of_strength(strength)(embeddings[outside]))
            found.append(identify_people(vectors, people[outside], splits=SPLITS, seed=seed))
    if not parts[0]:
        return Choice(0.0, [])
    bootstrap = Bootstrap.of(int(people.max()) + 1, seed=seed, replicates=REPLICATES)
    pooled = [Identification.joined(found) for found in parts]
    rates = np.array([found.mean_fnir()[0] for found in pooled])
    replicates = np.stack([found.mean_fnir(bootstrap) for found in pooled])
    best = int(rates.argmin())
    errors = np.nanstd(replicates - replicates[best], axis=1)
    scores = [
        {
            "strength": strength,
            "fnir": float(rate),
            "difference": float(rate - rates[best]),
            "standard_error": float(error),
        }
        for strength, rate, error in zip(strengths, rates, errors, strict=True)
    ]
    chosen = next(s["strength"] for s in scores if s["difference"] <= s["standard_error"])
    return Choice(chosen, scores)
