"""Clusters of similar faces, which stand for people where faces have no labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from faces.core.errors import WrongUsageError
from faces.core.progress import Progress
from facetrove.evaluation.comparisons import BLOCK, Comparisons
from indexer.snapshot import RowMasks

LINK_FPIR = 0.01
"""FPIR, in a gallery of all faces, whose similarity is the minimum for a link between two faces."""

LINKS_FOLLOWED = 64
"""Number of nearest faces among which links of a linked face are sought, in galleries too large to
compare all pairs."""

MAX_PENDING_LINKS = 2_000_000
"""Maximum number of links that are collected before clusters are merged: 32 MB."""


MIN_CLUSTERED = 0.05
"""Minimum share of the probes that are in a cluster with other faces. Strangers alone link a
hundredth of them (`LINK_FPIR`) or somewhat more. With no more links than that, either everybody has
one photo, or the embeddings do not bring a person's photos together; similarities do not tell which
of the two, and in the second case they would be taken for those of strangers."""


def people_by_likeness(compared: Comparisons) -> NDArray[np.int64]:
    """Cluster the faces by single linkage, so that a cluster stands for a person.

    Returns:
        (n,) number of each face's cluster, from 0.

    Raises:
        WrongUsageError: next to no clusters form; see `MIN_CLUSTERED`.
    """
    num_faces = len(compared.index_rows)
    clusters = _Clusters(num_faces)
    min_similarity = compared.bulk.similarity_at(LINK_FPIR / num_faces)
    linked = np.zeros(num_faces, bool)
    for probes, rows, similarities in compared.blocks("clustering faces by similarity"):
        first, second = np.nonzero(similarities >= min_similarity)
        clusters.link(probes[first], rows[second])
        linked[rows[second]] = True
    if len(compared.probes) < num_faces:
        # Faces that are no probes have not been compared with each other. Those that are linked to
        # a probe may have links of their own: follow these one step further.
        linked[compared.probes] = False
        for first, second in _links_of(compared, np.flatnonzero(linked), min_similarity):
            clusters.link(first, second)
    people = clusters.numbers()
    _require_clusters(compared, people)
    return people


def _require_clusters(compared: Comparisons, people: NDArray[np.int64]) -> None:
    """Raise WrongUsageError where too few probes are in a cluster with other faces."""
    num_probes = len(compared.probes)
    clustered = int((np.bincount(people)[people[compared.probes]] > 1).sum())
    if clustered >= MIN_CLUSTERED * num_probes:
        return
    contract = compared.version.manifest.contract
    raise WrongUsageError(
        f"only {clustered:,} of {num_probes:,} faces form clusters of similar faces, fewer than "
        f"{MIN_CLUSTERED:.0%}: either nearly everybody has one photo, or the embeddings "
        f"({contract.embedder} with {contract.alignment} crops) do not bring a person's photos "
        "together; calibrate with labelled people (--people), add further photos of the same "
        "people, or embed with another model or alignment"
    )


def _links_of(
    compared: Comparisons, rows: NDArray[np.int64], min_similarity: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Search the index for the faces that some faces are linked to.

    Args:
        compared: the faces of the gallery.
        rows: positions of the faces whose links are sought.
        min_similarity: minimum similarity of two linked faces.

    Yields:
        Positions of the two faces of each link.
    """
    version, index_rows = compared.version, compared.index_rows
    k = min(LINKS_FOLLOWED, len(index_rows))
    all_faces: RowMasks = [None] * len(version.segments)
    for start in range(0, len(rows), BLOCK[0]):
        compared.on_progress(Progress("following links", start, len(rows)))
        batch = rows[start : start + BLOCK[0]]
        similarities, found = version.nearest(compared.embeddings(batch), k, all_faces)
        first, second = np.nonzero((similarities >= min_similarity) & (found >= 0))
        yield batch[first], np.searchsorted(index_rows, found[first, second])


class _Clusters:
    """Clusters of faces that grow as links between faces are added."""

    def __init__(self, num_faces: int) -> None:
        self._clusters = np.arange(num_faces)
        self._pending: list[NDArray[np.int64]] = []
        self._num_pending = 0

    def link(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> None:
        """Join the clusters of the (m,) faces `first` and the (m,) faces `second`, pair by pair."""
        pairs = np.sort(np.stack([self._clusters[first], self._clusters[second]], axis=1), axis=1)
        pairs = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
        self._pending.append(pairs)
        self._num_pending += len(pairs)
        if self._num_pending > MAX_PENDING_LINKS:
            self._merge()

    def numbers(self) -> NDArray[np.int64]:
        """Number the clusters from 0 without gaps, and return the (n,) number of each face's."""
        self._merge()
        return np.unique(self._clusters, return_inverse=True)[1].astype(np.int64)

    def _merge(self) -> None:
        """Join the clusters of all pending links."""
        pairs = np.concatenate([np.zeros((0, 2), np.int64), *self._pending])
        self._pending, self._num_pending = [], 0
        count = len(self._clusters)
        graph = coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (count, count))
        _, numbers = connected_components(graph.tocsr(), directed=False)
        self._clusters = numbers[self._clusters].astype(np.int64)
