"""How doubtful it is that a face belongs to its group."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from indexer.group_rules import GroupRules
from indexer.grouping import ROWS_AT_ONCE, GroupSums, Variances
from indexer.knn import SimilarFaces
from indexer.vectors import Vectors

GAIN_PER_NAT = 4.0
"""Difference of gains that makes a face e times as doubtful: the share of wrong faces of generated
galleries of 100,000 faces falls by that."""


def doubts(
    vectors: Vectors,
    groups: GroupSums,
    similar: SimilarFaces,
    variances: Variances,
    *,
    min_gain: float,
    rules: GroupRules,
    photos: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """Compute how doubtful it is that each face belongs to its group.

    The gain of a face with the others of its group is compared with its gain with the group of the
    most similar face elsewhere, and with `min_gain`, that of being alone. A face that is alone is
    doubtful if it nearly belongs to somebody.

    Args:
        vectors: (n, d) embeddings of unit length.
        groups: the groups of these faces.
        similar: pairs of similar faces.
        variances: how embeddings vary.
        min_gain: smallest gain for which groups are merged.
        rules: the rules by which faces were grouped: no doubt is about what they exclude.
        photos: (n,) number of each face's photo, none of which has two faces of one person; None:
            nothing is known of photos.

    Returns:
        (n,) from 0, sure, to 1; 0.5 where elsewhere is as likely. It is no probability.
    """
    nearest = _nearest_elsewhere(groups, similar, rules, photos)
    sizes = np.bincount(groups.of_row, minlength=len(vectors))
    found = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        rows = np.arange(start, min(start + ROWS_AT_ONCE, len(vectors)))
        group, faces = groups.of_row[rows], variances.weighted(vectors, rows)
        weights = 1 / variances.within[rows]
        alone = variances.evidence(weights, _products(faces, faces))
        products = _products(groups.sums[group], faces)
        # The group without the face, and with it.
        sign = np.where(groups.counted[rows], -1.0, 1.0)
        changed = variances.evidence(
            np.maximum(groups.weights[group] + sign * weights, 0.0),
            groups.squares[group] + 2 * sign * products + _products(faces, faces),
        )
        here = sign * (changed - groups.evidence[group]) - alone
        here = np.where(sizes[group] > 1, here, min_gain)
        elsewhere = np.full(len(rows), -np.inf)
        near = np.flatnonzero(nearest[rows] >= 0)
        other = nearest[rows[near]]
        together = variances.evidence(
            groups.weights[other] + weights[near],
            groups.squares[other]
            + 2 * _products(groups.sums[other], faces[near])
            + _products(faces[near], faces[near]),
        )
        elsewhere[near] = together - groups.evidence[other] - alone[near]
        elsewhere = np.where(sizes[group] > 1, np.maximum(elsewhere, min_gain), elsewhere)
        found[rows] = 1 / (1 + np.exp(((here - elsewhere) / GAIN_PER_NAT).clip(-50, 50)))
    return found


def _nearest_elsewhere(
    groups: GroupSums,
    similar: SimilarFaces,
    rules: GroupRules,
    photos: NDArray[np.int64] | None,
) -> NDArray[np.int64]:
    """Return (n,) the group of the most similar face of another group, or -1 if there is none."""
    edges, ends = similar.pairs, groups.of_row[similar.pairs]
    crossing = ends[:, 0] != ends[:, 1]
    crossing[crossing] = ~rules.apart(ends[crossing, 0], ends[crossing, 1])
    if photos is not None:
        crossing &= photos[edges[:, 0]] != photos[edges[:, 1]]
    rows = np.flatnonzero(crossing)
    rows = rows[np.argsort(similar.similarities[rows], kind="stable")]
    nearest = np.full(len(groups.of_row), -1)
    faces = np.concatenate([edges[rows, 0], edges[rows, 1]]).reshape(2, -1).T.ravel()
    nearest[faces] = ends[rows][:, ::-1].ravel()  # of several, the last is the most similar
    return nearest


def _products(one: Vectors, other: Vectors) -> NDArray[np.float64]:
    return np.asarray(np.einsum("nd,nd->n", one, other), np.float64)
