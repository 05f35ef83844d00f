"""Other methods of grouping faces, on the same graph of similar faces.

Each gets the setting that suits it best for the very labels that it is measured by, which nobody
knows beforehand. Those of other packages are measured where these are installed:

    pip install scikit-learn graspologic-native networkit infomap igraph leidenalg

infomap, igraph and leidenalg are under the GPL, and nothing but this comparison uses them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.group_rules import joined
from indexer.grouping import Variances

THRESHOLDS = (0.42, 0.44, 0.46, 0.48, 0.50, 0.52, 0.54, 0.56, 0.60)
"""Similarities from which edges count."""

FEW_THRESHOLDS = (0.42, 0.46, 0.50)
"""Those that are tried of slower methods."""

RESOLUTIONS = (0.1, 0.15, 0.2, 0.25, 0.3)
"""Resolutions of Leiden's algorithm with the constant Potts model that are tried on the edges from
`LEIDEN_FROM` on."""

LEIDEN_FROM = 0.42

GAMMAS = (30.0, 100.0, 300.0, 1000.0, 3000.0)
"""Resolutions of modularity that are tried on these edges."""

HDBSCAN_FACES = 10_000
"""Number of faces up to which methods are measured that take the time of its square, or loops."""

WHISPERS_ROUNDS = 20

Groups = NDArray[np.int64]


@dataclass(frozen=True)
class Graph:
    """Faces, a graph of similar ones, and who they are.

    Attributes:
        vectors: (n, d) embeddings.
        pairs: (m, 2) rows of similar faces.
        similarities: (m,) of the pairs.
        people: (n,) number of each face's person; -1: not known.
        variances: how embeddings vary.
        min_gain: smallest gain for which facetrove merges groups.
        photos: (n,) number of each face's photo; None: each has its own.
    """

    vectors: NDArray[np.float32]
    pairs: NDArray[np.int64]
    similarities: NDArray[np.float32]
    people: NDArray[np.int64]
    variances: Variances
    min_gain: float
    photos: NDArray[np.int64] | None = None

    def edges_from(self, threshold: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the (m, 2) pairs from a similarity on, and their (m,) similarities."""
        kept = self.similarities >= threshold
        return self.pairs[kept], self.similarities[kept]


def linked(graph: Graph, threshold: float) -> Groups:
    """Group by connected components."""
    return joined(len(graph.vectors), graph.pairs[graph.similarities >= threshold])


def whispered(graph: Graph, threshold: float) -> Groups:
    """Group by Chinese whispers (Biemann 2006): everybody takes the strongest label around."""
    kept = graph.similarities >= threshold
    pairs, weights = graph.pairs[kept], graph.similarities[kept]
    one, other = np.concatenate([pairs, pairs[:, ::-1]]).T
    order = np.argsort(one, kind="stable")
    other, weights = other[order], np.concatenate([weights, weights])[order]
    starts = np.searchsorted(one[order], np.arange(len(graph.vectors) + 1))
    labels, rng = np.arange(len(graph.vectors)), np.random.default_rng(0)
    for _ in range(WHISPERS_ROUNDS):
        for face in rng.permutation(np.flatnonzero(np.diff(starts))).tolist():
            around = slice(starts[face], starts[face + 1])
            heard, inverse = np.unique(labels[other[around]], return_inverse=True)
            labels[face] = heard[np.bincount(inverse, weights[around]).argmax()]
    return labels


def densest(graph: Graph, smallest: float) -> Groups:
    """Group by HDBSCAN; faces that it calls noise are alone."""
    from sklearn.cluster import HDBSCAN

    found = HDBSCAN(min_cluster_size=int(smallest), copy=True).fit_predict(graph.vectors)
    return np.where(found < 0, len(found) + np.arange(len(found)), found)


def leiden(graph: Graph, resolution: float) -> Groups:
    """Group by Leiden's algorithm with the constant Potts model, as graspologic-native has it."""
    native = import_module("graspologic_native")
    pairs, weights = graph.edges_from(LEIDEN_FROM)
    edges = [
        (str(a), str(b), w) for (a, b), w in zip(pairs.tolist(), weights.tolist(), strict=True)
    ]
    *_, found = native.leiden(edges, resolution=resolution, use_modularity=False, seed=1)
    groups = len(graph.vectors) + np.arange(len(graph.vectors))
    for face, group in found.items():
        groups[int(face)] = group
    return groups


def leiden_of_igraph(graph: Graph, resolution: float) -> Groups:
    """Group by the same algorithm, as leidenalg has it."""
    igraph, leidenalg = import_module("igraph"), import_module("leidenalg")
    pairs, weights = graph.edges_from(LEIDEN_FROM)
    found = leidenalg.find_partition(
        igraph.Graph(len(graph.vectors), pairs.tolist()),
        leidenalg.CPMVertexPartition,
        weights=weights.tolist(),
        resolution_parameter=resolution,
        seed=1,
    )
    return np.array(found.membership)


def random_walks(graph: Graph, threshold: float) -> Groups:
    """Group by infomap."""
    walks = import_module("infomap").Infomap("--two-level --silent --seed 1")
    pairs, weights = graph.edges_from(threshold)
    rows = np.column_stack([pairs, weights]).tolist()
    walks.add_links([(int(a), int(b), w) for a, b, w in rows])
    walks.run()
    groups = len(graph.vectors) + np.arange(len(graph.vectors))
    for face, group in walks.get_modules().items():
        groups[face] = group
    return groups


def modularity(graph: Graph, gamma: float) -> Groups:
    """Group by the parallel Louvain method, as networkit has it."""
    networkit: Any = import_module("networkit")
    pairs, weights = graph.edges_from(LEIDEN_FROM)
    networkit.setSeed(1, False)
    links = networkit.GraphFromCoo(
        (weights.astype(float), (pairs[:, 0], pairs[:, 1])), n=len(graph.vectors), weighted=True
    )
    found = networkit.community.PLM(links, refine=True, gamma=gamma)
    found.run()
    return np.array(found.getPartition().getVector())


def peers(
    graph: Graph,
) -> Iterator[tuple[str, Callable[[Graph, float], Groups], tuple[float, ...]]]:
    """Yield the name of each other method, the method, and the settings that are tried."""
    yield "connected components", linked, THRESHOLDS
    if len(graph.vectors) <= HDBSCAN_FACES:
        yield "Chinese whispers", whispered, THRESHOLDS
        if find_spec("sklearn"):
            yield "HDBSCAN (scikit-learn)", densest, (2.0,)
    if find_spec("graspologic_native"):
        yield "Leiden, Potts (graspologic-native)", leiden, RESOLUTIONS
    if find_spec("leidenalg"):
        yield "Leiden, Potts (leidenalg)", leiden_of_igraph, RESOLUTIONS
    if find_spec("infomap"):
        yield "infomap", random_walks, FEW_THRESHOLDS
    if find_spec("networkit"):
        yield "Louvain, modularity (networkit)", modularity, GAMMAS
