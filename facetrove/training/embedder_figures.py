"""How well embeddings tell people apart, measured on few people while a network is trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facetrove.evaluation.labels import shuffled_by_person
from facetrove.evaluation.metrics import threshold_at

NUM_SPLITS = 5
"""Number of random splits into enrolled faces and probes, whose searches are pooled."""


@dataclass(frozen=True, eq=False)
class Identified:
    """The searches of an identification test with one enrolled face of each person.

    Attributes:
        people: (p,) number of each probe's person.
        first: (p,) bool, whether the probe's person has rank 1 where everybody is enrolled.
        missed: (m,) bool, for each probe of the people enrolled in the open set, whether its person
            is not at or above the threshold.
        missed_people: (m,) number of their person.
        fpir: the FPIR that the threshold is set at.
    """

    people: NDArray[np.int64]
    first: NDArray[np.bool_]
    missed: NDArray[np.bool_]
    missed_people: NDArray[np.int64]
    fpir: float

    @property
    def rank_one(self) -> float:
        """Share of the probes whose person has rank 1."""
        return float(self.first.mean())

    @property
    def fnir(self) -> float:
        """FNIR at `fpir`, of the open set: half of the people are not enrolled."""
        return float(self.missed.mean()) if len(self.missed) else float("nan")


def identify(
    embeddings: NDArray[np.float32], people: NDArray[np.int64], *, fpir: float, seed: int
) -> Identified:
    """Search for every face but one of each person, in the closed and in the open set.

    Args:
        embeddings: (n, d) vectors of any length but 0.
        people: (n,) number of each face's person.
        fpir: FPIR of the threshold in the open set.
        seed: seed of the splits.
    """
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    numbers, people = np.unique(people, return_inverse=True)
    found, first, missed, missed_people = [], [], [], []
    for split in range(NUM_SPLITS):
        rng = np.random.default_rng([seed, 3, split])
        order, ranks = shuffled_by_person(people, rng)
        enrolled, probes = order[ranks == 0], order[ranks > 0]
        similarities = unit[probes] @ unit[enrolled].T  # enrolled stand in the order of people
        own = people[probes]
        best = similarities.argmax(axis=1)
        found.append(own)
        first.append(people[enrolled][best] == own)
        strangers = rng.permutation(len(numbers))[: len(numbers) // 2]
        in_gallery = ~np.isin(people[enrolled], strangers)
        mated = ~np.isin(own, strangers)
        scores = np.where(in_gallery, similarities, -np.inf).max(axis=1)
        if mated.all() or not mated.any() or not in_gallery.any():
            continue
        threshold = float(threshold_at(scores[~mated], fpir)[0])
        right = similarities[np.arange(len(own)), np.searchsorted(people[enrolled], own)]
        missed.append(right[mated] < threshold)
        missed_people.append(numbers[own[mated]])
    return Identified(
        numbers[np.concatenate(found)],
        np.concatenate(first),
        np.concatenate([np.zeros(0, bool), *missed]),
        np.concatenate([np.zeros(0, np.int64), *missed_people]),
        fpir,
    )
