"""Faces grouped by likeness, in place of labels that say whose faces they are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from faces.core.progress import Progress
from facetrove.evaluation.comparisons import BLOCK, Comparisons
from indexer.snapshot import RowMasks

LINK_FPIR = 0.01
"""FPIR, in a gallery of all faces, of the similarity from which on two faces are linked."""

LINKS_FOLLOWED = 64
"""Nearest faces of a linked face that are looked at, in galleries too large to compare all."""

MAX_WAITING = 2_000_000
"""Links kept until they are worked in: 32 MB."""


def people_by_likeness(compared: Comparisons) -> NDArray[np.int64]:
    """Take faces that are linked, directly or through others, for one person's.

    Returns:
        (n,) number of each face's group, from 0.
    """
    num_faces = len(compared.places)
    groups = _Groups(num_faces)
    link = compared.bulk.similarity_at(LINK_FPIR / num_faces)
    linked = np.zeros(num_faces, bool)
    for probes, rows, similarities in compared.blocks("grouping faces by likeness"):
        first, second = np.nonzero(similarities >= link)
        groups.join(probes[first], rows[second])
        linked[rows[second]] = True
    if len(compared.probes) < num_faces:  # follow the links one step further
        linked[compared.probes] = False
        for first, second in _links_of(compared, np.flatnonzero(linked), link):
            groups.join(first, second)
    return groups.numbers()


def _links_of(
    compared: Comparisons, rows: NDArray[np.int64], link: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Search the index for the faces that some are linked with; gives rows of both."""
    version, places = compared.version, compared.places
    k = min(LINKS_FOLLOWED, len(places))
    everywhere: RowMasks = [None] * len(version.segments)
    for start in range(0, len(rows), BLOCK[0]):
        compared.on_progress(Progress("following links", start, len(rows)))
        some = rows[start : start + BLOCK[0]]
        similarities, found = version.nearest(compared.embeddings(some), k, everywhere)
        first, second = np.nonzero((similarities >= link) & (found >= 0))
        yield some[first], np.searchsorted(places, found[first, second])


class _Groups:
    """Faces joined into groups, by pairs."""

    def __init__(self, num_faces: int) -> None:
        self._groups = np.arange(num_faces)
        self._waiting: list[NDArray[np.int64]] = []
        self._num_waiting = 0

    def join(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> None:
        """Put the faces of each of some pairs into one group."""
        pairs = np.sort(np.stack([self._groups[first], self._groups[second]], axis=1), axis=1)
        pairs = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
        self._waiting.append(pairs)
        self._num_waiting += len(pairs)
        if self._num_waiting > MAX_WAITING:
            self._merge()

    def numbers(self) -> NDArray[np.int64]:
        """Number the groups from 0, and give each face's, (n,)."""
        self._merge()
        return np.unique(self._groups, return_inverse=True)[1].astype(np.int64)

    def _merge(self) -> None:
        pairs = np.concatenate([np.zeros((0, 2), np.int64), *self._waiting])
        self._waiting, self._num_waiting = [], 0
        count = len(self._groups)
        graph = coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (count, count))
        _, numbers = connected_components(graph.tocsr(), directed=False)
        self._groups = numbers[self._groups].astype(np.int64)
