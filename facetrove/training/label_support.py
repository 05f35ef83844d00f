"""Doubtful labels: faces that hardly resemble the other faces of their label.

A network that is good already tells wrong labels from right ones before anything is trained. A
face is *supported* if it is more similar to a part of the other faces of its label than nearly all
pairs of strangers are. A face that has no others of its label can be neither.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SUPPORT_SHARE = 0.3
"""Share of the other faces of a label that a face must resemble. Right faces resemble nearly all
right ones, which are 0.6 of a label's faces where 40% of the labels are wrong; wrong faces resemble
a few by chance."""

STRANGER_DEVIATIONS = 3.09
"""Standard deviations above the median of strangers' similarities from which on two faces resemble
each other: of normal ones, one pair in a thousand does."""

TRUSTED_SHARE = 0.05
"""Labels are taken as they are where at most this share of the faces that can be doubted is: these
are mostly poor photos of the right person, and the hardest to learn from."""

NUM_PAIRS = 100_000
"""Number of random pairs of different labels whose similarities are measured."""

MAX_COMPARED = 500
"""Maximum number of other faces of a label that a face is compared with."""


@dataclass(frozen=True)
class LabelSupport:
    """How well faces are supported by the other faces of their labels.

    Attributes:
        similarity: (n,) float32, the similarity that `SUPPORT_SHARE` of the other faces of the
            label reach; NaN for a face without others.
        threshold: the similarity from which on a face is supported.
    """

    similarity: NDArray[np.float32]
    threshold: float

    @property
    def is_supported(self) -> NDArray[np.bool_]:
        """(n,) bool, whether a face is supported by others of its label."""
        return np.asarray(self.similarity >= self.threshold)

    @property
    def doubtful(self) -> NDArray[np.int64]:
        """Positions of the faces that others of their label do not support, worst first."""
        order = np.argsort(self.similarity, kind="stable")
        return order[: int((self.similarity < self.threshold).sum())]

    @property
    def doubtful_share(self) -> float:
        """The share of the faces with others of their label that is doubtful, in [0, 1]."""
        return len(self.doubtful) / max(1, int(np.isfinite(self.similarity).sum()))

    def trusted(self, trust_labels: bool | None) -> NDArray[np.bool_]:
        """Return (n,) bool, the faces whose labels are learnt from.

        Args:
            trust_labels: whether these are all faces, or else only the supported ones; None: all,
                if at most `TRUSTED_SHARE` of the labels is doubtful.
        """
        if trust_labels is None:
            trust_labels = self.doubtful_share <= TRUSTED_SHARE
        return np.full(len(self.similarity), True) if trust_labels else self.is_supported


def label_support(
    embeddings: NDArray[np.float32], people: NDArray[np.int64], *, seed: int
) -> LabelSupport:
    """Measure how well each face is supported by the other faces of its label.

    Args:
        embeddings: (n, d) float32, unit length.
        people: (n,) number of each face's label, from 0.
        seed: seed of the pairs of strangers, and of the faces compared in large labels.
    """
    rng = np.random.default_rng([seed, 2])
    similarity = np.full(len(people), np.nan, np.float32)
    order = np.argsort(people, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(people[order])) + 1):
        if len(rows) < 2:
            continue
        chosen = np.arange(len(rows))
        if len(rows) > MAX_COMPARED:
            chosen = np.sort(rng.permutation(len(rows))[:MAX_COMPARED])
        scores = embeddings[rows] @ embeddings[rows[chosen]].T
        scores[chosen, np.arange(len(chosen))] = -np.inf  # a face does not support itself
        rank = int(np.ceil(SUPPORT_SHARE * (len(chosen) - 1)))
        similarity[rows] = np.sort(scores, axis=1)[:, -rank]
    return LabelSupport(similarity, _stranger_threshold(embeddings, people, rng))


def _stranger_threshold(
    embeddings: NDArray[np.float32], people: NDArray[np.int64], rng: np.random.Generator
) -> float:
    """Compute the similarity that about one pair of strangers in a thousand reaches.

    It is computed from the lower half of the similarities of faces with different labels, since
    among the upper ones are pairs of one person with a wrong label.
    """
    first, second = rng.integers(len(people), size=(2, NUM_PAIRS))
    apart = people[first] != people[second]
    scores = np.einsum("nd,nd->n", embeddings[first[apart]], embeddings[second[apart]])
    low, median = np.quantile(scores, [0.1587, 0.5])  # one standard deviation below the median
    return float(median + STRANGER_DEVIATIONS * (median - low))
