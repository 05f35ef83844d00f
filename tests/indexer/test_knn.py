from __future__ import annotations

import numpy as np
import pytest

from indexer import inverted_lists, knn
from indexer.build import build_index
from indexer.delete import delete_faces
from indexer.knn import similar_faces
from indexer.snapshot import Snapshot
from tests.support.small_collections import Collection, many_photos

MIN_SIMILARITY = 0.6


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Some 800 faces in two segments, of which one has inverted lists; some are deleted."""
    collection = Collection(tmp_path_factory.mktemp("knn") / "dataset")
    collection.embed(many_photos(250), photos_per_part=50)
    index = collection.path.with_name("index")
    build_index(collection.path, index, recipe="IVF32,SQ8", target_recall=0.99)
    collection.embed(many_photos(40, first=1000))
    build_index(collection.path, index)
    delete_faces(collection.path, [index], "year = 7")
    found = Snapshot.open(index, "cpu")
    assert len(found.segments) == 2 and not found.live().all()
    return found


def exact_pairs(version: Snapshot, k: int) -> set[tuple[int, int]]:
    """Return the pairs of which one is among the k nearest of the other, by comparing all."""
    vectors = version.embeddings(np.flatnonzero(version.live()))
    products = vectors @ vectors.T
    np.fill_diagonal(products, -1)
    nearest = np.argsort(-products, axis=1)[:, :k]
    return {
        (min(one, other), max(one, other))
        for one in range(len(vectors))
        for other in nearest[one].tolist()
        if products[one, other] >= MIN_SIMILARITY
    }


@pytest.mark.parametrize("sorted_up_to", [0, 1 << 23])
@pytest.mark.parametrize("probes_at_once", [100, 1 << 17])
def test_similar_faces_of_inverted_lists_are_those_of_exact_search(
    version: Snapshot, monkeypatch: pytest.MonkeyPatch, sorted_up_to: int, probes_at_once: int
) -> None:
    monkeypatch.setattr(inverted_lists, "MAX_ABOVE", sorted_up_to)
    monkeypatch.setattr(knn, "PROBES_AT_ONCE", probes_at_once)
    monkeypatch.setattr(knn, "PAIRS_RECALL", 1.0)
    similar = similar_faces(version, MIN_SIMILARITY, k=400)
    found = {(int(one), int(other)) for one, other in similar.pairs}
    assert len(found) == len(similar.pairs)
    wanted = exact_pairs(version, 400)
    assert len(wanted) > 2_000
    assert found <= wanted
    assert len(found) > 0.99 * len(wanted)
    vectors = version.embeddings(np.flatnonzero(version.live()))
    one, other = similar.pairs.T
    products = np.einsum("nd,nd->n", vectors[one], vectors[other])
    assert similar.similarities == pytest.approx(products, abs=1e-5)


def test_no_more_than_the_k_nearest_of_each_face_are_taken(version: Snapshot) -> None:
    for k in (1, 3):
        found = {(int(one), int(other)) for one, other in similar_faces(version, -1.0, k=k).pairs}
        live = int(np.count_nonzero(version.live()))
        assert live * k / 2 <= len(found) <= live * k
        best = exact_pairs(version, k)
        assert len(best & found) > 0.9 * len(best)


def test_pairs_that_either_face_finds_need_fewer_lists(version: Snapshot) -> None:
    nearest = knn.NearestFaces(version, {})
    one, either = (
        nearest.effort(50, target_recall=0.97, threshold=0.8, either=either)
        for either in (False, True)
    )
    (segment,) = one
    assert 1 < either[segment] < one[segment]
    pairs = similar_faces(version, 0.8, k=400).pairs
    vectors = version.embeddings(np.flatnonzero(version.live()))
    exact = int(np.count_nonzero(np.triu(vectors @ vectors.T, 1) >= 0.8))
    assert len(pairs) > 0.95 * exact
