"""Identification among a few people, to compare networks while they are trained.

The experiment is that of `facetrove.evaluation.identify`: one face of each person is enrolled, half
of the people are strangers, and everybody else is searched for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facetrove.evaluation.metrics import Bootstrap, miss_rate, threshold_at
from facetrove.evaluation.protocol import keep_out, split_faces

NUM_SPLITS = 5
"""Number of random splits by which a network that is trained from nothing is measured."""

MAX_PEOPLE = 2000
"""Maximum number of people in one experiment, drawn at random, which bounds memory and time."""

STRANGER_SHARE = 0.5
"""Share of the people who are not enrolled, as in `facetrove evaluate identify`."""

FPIRS = (0.01, 0.02, 0.05, 0.1)
"""FPIRs whose mean FNIR compares networks: the mean is less noisy than the rate at one of them."""

TOP_SHARE, MIN_TOP = 5, 1000
"""The share of strangers' searches, as a multiple of the FPIR, and the number of them, among which
each bootstrap replicate finds its threshold; one has hardly twice the FPIR there."""

MIN_FALSE_POSITIVES = 3
"""Minimum number of searches above the threshold of an FPIR, for it to count."""


@dataclass(frozen=True)
class Identification:
    """The searches of an experiment. People are numbered as the caller numbers them.

    Attributes:
        right: (m,) similarity of each mated search to the enrolled face of its person.
        right_people: (m,) person of each mated search.
        wrong: (s,) highest similarity of each search for a stranger.
        wrong_people: (s,) person of each search for a stranger.
        first: (c,) bool, whether a search among all people has its person at rank 1.
        first_people: (c,) person of each of these searches.
    """

    right: NDArray[np.float32]
    right_people: NDArray[np.int64]
    wrong: NDArray[np.float32]
    wrong_people: NDArray[np.int64]
    first: NDArray[np.bool_]
    first_people: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: Sequence[Identification]) -> Identification:
        """Return the pooled searches of several experiments."""
        names = vars(parts[0])
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def rank_one(self, bootstrap: Bootstrap | None = None) -> NDArray[np.floating]:
        """Return the rank-1 rate, (1,), or (r,) that of each bootstrap replicate."""
        return _weighted_share(self.first, self.first_people, bootstrap)

    def fnir(self, fpir: float, bootstrap: Bootstrap | None = None) -> NDArray[np.floating]:
        """Return FNIR at an FPIR, (1,), or (r,) that of each bootstrap replicate."""
        if bootstrap is None:
            return miss_rate(self.right, threshold_at(self.wrong, fpir))
        # Only the highest similarities of strangers can be thresholds, and only the mated searches
        # below the highest threshold can be misses: so replicates need a small part of both.
        order = np.argsort(-self.wrong, kind="stable")
        top = order[: max(MIN_TOP, round(TOP_SHARE * fpir * len(order)))]
        allowed = fpir * _total(bootstrap, self.wrong_people)
        above = np.cumsum(bootstrap.counts[:, self.wrong_people[top]], axis=1, dtype=np.float64)
        first = (above > allowed[:, None] * (1 + 1e-12)).argmax(axis=1)
        thresholds = np.nextafter(self.wrong[top], np.float32(np.inf))[first]
        low = np.flatnonzero(self.right < thresholds.max())
        missed = self.right[low] < thresholds[:, None]
        weights = bootstrap.counts[:, self.right_people[low]]
        total = _total(bootstrap, self.right_people)
        return np.asarray((weights * missed).sum(axis=1) / total.clip(1e-9))

    def mean_fnir(self, bootstrap: Bootstrap | None = None) -> NDArray[np.floating]:
        """Return the mean FNIR over those of `FPIRS` that enough strangers carry; see `fnir`."""
        fpirs = [fpir for fpir in FPIRS if fpir * len(self.wrong) >= MIN_FALSE_POSITIVES]
        rates = [self.fnir(fpir, bootstrap) for fpir in fpirs or FPIRS[-1:]]
        return np.asarray(np.mean(rates, axis=0))


def _weighted_share(
    happened: NDArray[np.bool_], people: NDArray[np.int64], bootstrap: Bootstrap | None
) -> NDArray[np.floating]:
    """Return the share of (n,) searches in which something happened: (1,), or (r,) replicates."""
    if bootstrap is None:
        return np.atleast_1d(happened.mean())
    size = bootstrap.counts.shape[1]
    happenings = np.bincount(people, weights=happened, minlength=size)
    return np.asarray(bootstrap.counts @ happenings / _total(bootstrap, people).clip(1e-9))


def _total(bootstrap: Bootstrap, people: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the (r,) number of searches in each replicate."""
    size = bootstrap.counts.shape[1]
    return np.asarray(bootstrap.counts @ np.bincount(people, minlength=size).astype(np.float64))


def can_identify(people: NDArray[np.int64]) -> bool:
    """Tell whether there are people for an experiment: four, of whom two have two faces or more."""
    counts = np.unique(people, return_counts=True)[1]
    return len(counts) >= 4 and int((counts > 1).sum()) >= 2


def identify_people(
    embeddings: NDArray[np.float32],
    people: NDArray[np.int64],
    *,
    splits: int,
    seed: int,
    trusted: NDArray[np.bool_] | None = None,
) -> Identification:
    """Enrol one face of each person, and search for the others.

    Where labels are doubtful, only trusted faces are enrolled, or are strangers. All others are
    searched for as the people that they are labelled as: those that are not will be missed with
    any network, and those that are may be hard ones, which are what networks differ by.

    Args:
        embeddings: (n, d) float32, unit length.
        people: (n,) number of each face's person; `can_identify` those of trusted faces.
        splits: number of random splits, which are pooled.
        seed: seed of the splits; with the same people, the same splits.
        trusted: (n,) bool, whether a face's label is trusted; None: all are.
    """
    trusted = np.full(len(people), True) if trusted is None else trusted
    numbers = np.unique(people[trusted])
    if len(numbers) > MAX_PEOPLE:
        numbers = np.random.default_rng([seed, 1]).permutation(numbers)[:MAX_PEOPLE]
    kept = np.isin(people, numbers)
    sure, unsure = np.flatnonzero(kept & trusted), np.flatnonzero(kept & ~trusted)
    rows = np.concatenate([sure, unsure])
    embeddings, people = embeddings[rows], people[rows]
    own = np.unique(people, return_inverse=True)[1]
    of_sure, unsure = own[: len(sure)], np.arange(len(sure), len(rows))
    num_people = len(numbers)
    parts = []
    for number in range(splits):
        rng = np.random.default_rng([seed, 0, number])
        enrolled, probes = split_faces(of_sure, 1, rng)
        num_strangers = round(STRANGER_SHARE * num_people)
        _, mated, strangers = keep_out(of_sure, enrolled, probes, num_strangers, rng)
        is_known = np.full(num_people, True)
        is_known[of_sure[strangers]] = False
        mated = np.concatenate([mated, unsure[is_known[own[unsure]]]])
        probes = np.concatenate([probes, unsure])
        gallery = enrolled[np.argsort(of_sure[enrolled])]  # a row a person, in their order
        scores = embeddings @ embeddings[gallery].T
        parts.append(
            Identification(
                right=scores[mated, own[mated]],
                right_people=people[mated],
                wrong=scores[np.ix_(strangers, np.flatnonzero(is_known))].max(axis=1),
                wrong_people=people[strangers],
                first=scores[probes].argmax(axis=1) == own[probes],
                first_people=people[probes],
            )
        )
    return Identification.joined(parts)
