"""Grouping faces by person: facetrove's groups beside other methods on the same graph.

    python -m benchmarks.people_groups generated 100000 --faces-per-person 10
    python -m benchmarks.people_groups labelled lfw.index --people folder --face central

The other methods get the threshold that suits them best for these very labels, which nobody knows
beforehand; facetrove has its defaults. HDBSCAN (scikit-learn) is measured where there are at most
`HDBSCAN_FACES` faces, Leiden (graspologic-native) where it is installed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from benchmarks.galleries import generate_faces
from benchmarks.measure import print_header
from faces.models.registry import load_pipeline
from facetrove.evaluation.labels import FaceChoice, labelled_faces
from facetrove.evaluation.people import agreement_of
from indexer.face_groups import IndexFaces
from indexer.group_decisions import DecidedFaces, Decisions
from indexer.group_rules import Constraints
from indexer.grouping import Variances, group_faces
from indexer.inverted_lists import InvertedLists
from indexer.model_variances import MIN_SIMILARITY, FaceQualities, min_gain, variances_of
from indexer.options import Recipe
from indexer.recipes import add, train
from indexer.snapshot import Snapshot

PRECISION = 0.99
"""The precision that facetrove promises by default."""

K = 50
"""Neighbours of each face in the graph."""

THRESHOLDS = np.arange(0.40, 0.62, 0.02)
"""Similarities from which edges count, of which each other method gets the one that suits it."""

RESOLUTIONS = (0.1, 0.15, 0.2, 0.25, 0.3)
"""Resolutions of Leiden that are tried on the edges from 0.42 on."""

HDBSCAN_FACES = 10_000

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


def generated(count: int, faces_per_person: float, seed: int) -> Graph:
    """Return a generated gallery with its graph."""
    batches = list(generate_faces(count, seed=seed, faces_per_person=faces_per_person))
    vectors = np.concatenate([faces for faces, _ in batches])
    began, cpu = time.perf_counter(), time.process_time()
    codes = train(Recipe(f"IVF{1 << int(np.log2(4 * count**0.5))},SQ8"), vectors, device="cpu")
    for _ in add(codes, vectors):
        pass
    lists = InvertedLists(vectors, codes, None)
    nprobe = lists.lists_to_probe(K, target_recall=0.99, threshold=MIN_SIMILARITY)
    pairs, similarities = [], []
    for start in range(0, count, 1 << 16):
        probes = vectors[start : start + (1 << 16)]
        near, rows = lists.nearest(probes, K + 1, nprobe=nprobe, min_similarity=MIN_SIMILARITY)
        here, column = np.nonzero((rows >= 0) & (rows != np.arange(len(rows))[:, None] + start))
        pairs.append(np.stack([here + start, rows[here, column]], axis=1))
        similarities.append(near[here, column])
    print(
        f"graph of {sum(map(len, pairs)):,} pairs, {nprobe} of {lists.nlist} lists probed, "
        f"with training: {time.perf_counter() - began:.0f} s, {time.process_time() - cpu:.0f} s CPU"
    )
    contract = load_pipeline(threads=1).contract
    variances = variances_of(contract, usual_faces(count), vectors.mean(axis=0))
    people = np.concatenate([people for _, people in batches])
    least = min_gain(contract, PRECISION)
    return Graph(
        vectors, np.concatenate(pairs), np.concatenate(similarities), people, variances, least
    )


def usual_faces(count: int) -> FaceQualities:
    """Return what is known of how good generated faces are: nothing."""
    nothing = np.full(count, np.nan)
    return FaceQualities(nothing, nothing, nothing)


def labelled(index: Path, people: str | None, face: FaceChoice) -> Graph:
    """Return the faces of an index with their graph and labels."""
    version = Snapshot.open(index, "cpu")
    known = labelled_faces(index, version, people=people, face=face)
    faces = IndexFaces.of(version, PRECISION)
    every = np.arange(len(faces.live))
    similar = faces.similar()
    of_face = np.full(len(known.table), -1)
    of_face[known.index_rows] = known.people
    constraints = DecidedFaces(Decisions(), faces.face_ids, faces.photo_ids).constraints
    return Graph(
        version.embeddings(faces.live),
        similar.pairs,
        similar.similarities,
        of_face[faces.live],
        faces.variances(every),
        faces.min_gain,
        constraints.photos,
    )


def ours(graph: Graph) -> Groups:
    """Group by default settings."""
    constraints = Constraints(photos=graph.photos)
    return group_faces(
        graph.vectors,
        graph.pairs,
        graph.variances,
        min_gain=graph.min_gain,
        constraints=constraints,
    )


def linked(graph: Graph, threshold: float) -> Groups:
    """Group by connected components."""
    pairs, size = graph.pairs[graph.similarities >= threshold], len(graph.vectors)
    links = coo_array((np.ones(len(pairs), bool), pairs.T), (size, size))
    return cast(Groups, connected_components(links, directed=False)[1])


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
    """Group by Leiden's algorithm with the constant Potts model."""
    native = import_module("graspologic_native")
    kept = (graph.similarities >= 0.42) & (graph.pairs[:, 0] < graph.pairs[:, 1])
    rows, weights = graph.pairs[kept].tolist(), graph.similarities[kept].tolist()
    edges = [(str(a), str(b), w) for (a, b), w in zip(rows, weights, strict=True)]
    *_, found = native.leiden(edges, resolution=resolution, use_modularity=False, seed=1)
    groups = len(graph.vectors) + np.arange(len(graph.vectors))
    for face, group in found.items():
        groups[int(face)] = group
    return groups


def peers(
    graph: Graph,
) -> Iterator[tuple[str, Callable[[Graph, float], Groups], tuple[float, ...]]]:
    """Yield the name of each other method, the method, and the settings that are tried."""
    thresholds = tuple(THRESHOLDS.tolist())
    yield "connected components", linked, thresholds
    if len(graph.vectors) <= HDBSCAN_FACES:
        yield "Chinese whispers", whispered, thresholds
        yield "HDBSCAN", densest, (2.0,)
    if find_spec("graspologic_native"):
        yield "Leiden", leiden, RESOLUTIONS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, dest="command")
    subparser = commands.add_parser("generated")
    subparser.add_argument("count", type=int, help="number of faces")
    subparser.add_argument("--faces-per-person", type=float, default=10)
    subparser.add_argument("--seed", type=int, default=0)
    subparser = commands.add_parser("labelled")
    subparser.add_argument("index", type=Path, help="index of labelled photos")
    subparser.add_argument("--people", help="column of labels, or folder")
    subparser.add_argument("--face", choices=["largest", "central", "only"], default="largest")
    options = parser.parse_args()
    print_header()
    if options.command == "generated":
        graph = generated(options.count, options.faces_per_person, options.seed)
    else:
        graph = labelled(options.index, options.people, options.face)
    known = graph.people >= 0
    print(f"{len(known):,} faces, {known.sum():,} labelled, {graph.people.max() + 1:,} people\n")
    print(f"{'method':44}{'BCubed F':>9}{'pairwise F':>12}{'CPU s':>8}")

    def tell(name: str, groups: Groups, seconds: float) -> None:
        found = agreement_of(groups[known], graph.people[known])
        print(f"{name:44}{found.bcubed_f:9.4f}{found.pairwise_f:12.4f}{seconds:8.1f}", flush=True)

    began = time.process_time()
    groups = ours(graph)
    tell("facetrove, by default", groups, time.process_time() - began)
    for name, method, settings in peers(graph):
        tried = []
        for setting in settings:
            began = time.process_time()
            groups = method(graph, setting)
            seconds = time.process_time() - began
            found = agreement_of(groups[known], graph.people[known])
            tried.append((found.bcubed_f + found.pairwise_f, setting, groups, seconds))
        _, setting, groups, seconds = max(tried, key=lambda one: one[0])
        tell(f"{name}, best setting {setting:g}", groups, seconds)


if __name__ == "__main__":
    main()
