from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beam_jobs.index_pieces import build_index_in_pieces
from faces.core.errors import CorruptFileError, FaceTroveError, WrongUsageError
from faces.dataset.layout import part_file
from faces.dataset.store import Dataset
from indexer.build import build_index
from indexer.faiss_library import faiss
from indexer.manifest import read_current
from indexer.verify import verify_index
from search.searcher import FaceSearcher
from tests.support.small_collections import DIMENSION, Collection, Photo, found_ids, many_photos
from tests.support.vectors import unit_vectors

pytestmark = [pytest.mark.slow, pytest.mark.lasting]

PROBES = unit_vectors(40, DIMENSION, seed=3)


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Some thousand faces in several parts, with a copy and superseded rows."""
    collection = Collection(tmp_path_factory.mktemp("pieces") / "dataset")
    collection.embed(many_photos(1000), photos_per_part=100)
    collection.embed(
        {
            "/elsewhere.jpg": collection.photos["/photos/000500.jpg"],
            "/photos/000001.jpg": Photo(9000),
        }
    )
    return collection


def answers(index: Path) -> list[list[dict[str, Any]]]:
    searcher = FaceSearcher.open(index)
    found = list(searcher.search_embeddings(PROBES, k=10))
    found += searcher.search_embeddings(PROBES[:5], k=10, where="person = 'person 3'")
    return [[match.to_json() for match in matches] for matches in found]


def assert_same_codes(ours: Path, theirs: Path, k: int = 30) -> None:
    """FAISS proposes the same candidates, however many inverted lists are probed."""

    def found(index: Path, nprobe: int) -> tuple[np.ndarray, np.ndarray]:
        (path,) = index.glob(f"segments/{read_current(index).segments[0].segment_id}/codes.faiss")
        codes = faiss.read_index(str(path))
        parameters = faiss.SearchParametersIVF(nprobe=nprobe)
        similarities, rows = codes.search(PROBES, k, params=parameters)
        order = np.lexsort((rows, -similarities), axis=1)
        return np.take_along_axis(similarities, order, 1), np.take_along_axis(rows, order, 1)

    for nprobe in (1, 4, 16):
        for one, other in zip(found(ours, nprobe), found(theirs, nprobe), strict=True):
            assert (one == other).mean() > 0.99  # equal codes at the end of the list may differ


@pytest.mark.parametrize(("recipe", "pieces"), [("IVF16,SQ8", (3,)), ("IVF16,PQ4x4fs", (1, 7))])
def test_an_index_built_in_pieces_answers_as_one_built_at_once(
    collection: Collection, tmp_path: Path, recipe: str, pieces: tuple[int, ...]
) -> None:
    at_once = tmp_path / "at-once"
    build_index(collection.path, at_once, recipe=recipe, target_recall=1.0)
    for num_pieces in pieces:
        index = tmp_path / f"pieces-{num_pieces}"
        manifest = build_index_in_pieces(
            collection.path,
            index,
            num_pieces=num_pieces,
            workers=2,
            recipe=recipe,
            target_recall=1.0,
        )
        assert manifest == read_current(index)
        assert manifest.segments[0].recipe.factory == recipe
        assert not (index / "work").exists()
        assert verify_index(index, collection.path).problems == ()
        assert_same_codes(index, at_once)
        assert found_ids(index) == set(collection.faces())
        if manifest.segments[0].recipe.nprobe == 16:
            assert answers(index) == answers(at_once)


def test_inverted_lists_that_end_with_a_block_are_joined(tmp_path: Path) -> None:
    """FAISS 1.15 writes beyond the end of a list whose codes fill blocks of 32: here two blocks."""
    collection = Collection(tmp_path / "dataset")
    collection.embed(many_photos(64 * 5, faces=1), photos_per_part=64)
    build_index(collection.path, tmp_path / "at-once", recipe="IVF1,PQ4x4fs")
    for num_pieces in (5, 3):
        index = tmp_path / f"pieces-{num_pieces}"
        build_index_in_pieces(
            collection.path, index, num_pieces=num_pieces, workers=1, recipe="IVF1,PQ4x4fs"
        )
        assert verify_index(index, collection.path).problems == ()
        assert_same_codes(index, tmp_path / "at-once", k=320)
        assert found_ids(index) == set(collection.faces())


def test_more_pieces_than_parts_do_no_harm(tmp_path: Path) -> None:
    collection = Collection(tmp_path / "dataset")
    collection.embed(many_photos(60), photos_per_part=30)
    index = tmp_path / "index"
    build_index_in_pieces(collection.path, index, num_pieces=9, workers=2, recipe="IVF2,SQ8")
    assert found_ids(index) == set(collection.faces())
    assert verify_index(index, collection.path).problems == ()


def test_recipes_without_inverted_lists_are_refused(collection: Collection, tmp_path: Path) -> None:
    build_index(collection.path, tmp_path / "index")
    before = read_current(tmp_path / "index")
    for index in (tmp_path / "index", tmp_path / "new"):
        with pytest.raises(
            WrongUsageError, match=r"recipes with inverted lists; choose auto or .* IVF"
        ):
            build_index_in_pieces(collection.path, index, num_pieces=2, workers=1, recipe="HNSW16")
    assert read_current(tmp_path / "index") == before
    assert not (tmp_path / "index" / "work").exists()
    assert not (tmp_path / "new").exists()
    with pytest.raises(WrongUsageError, match="the number of pieces is 0"):
        build_index_in_pieces(collection.path, tmp_path / "index", num_pieces=0)


def test_a_failed_piece_leaves_the_index_as_it_was(tmp_path: Path) -> None:
    collection = Collection(tmp_path / "dataset")
    collection.embed(many_photos(60), photos_per_part=10)
    build_index(collection.path, tmp_path / "index")
    before, ids = read_current(tmp_path / "index"), found_ids(tmp_path / "index")
    part = Dataset.open(collection.path).committed_parts()[3]
    path = collection.path / part_file("faces", part)
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    for index in (tmp_path / "index", tmp_path / "new"):
        with pytest.raises(FaceTroveError, match="run the same command again") as caught:
            build_index_in_pieces(
                collection.path, index, num_pieces=3, workers=2, recipe="IVF2,SQ8"
            )
        assert part in str(caught.value) or isinstance(caught.value, CorruptFileError)
    assert read_current(tmp_path / "index") == before
    assert found_ids(tmp_path / "index") == ids
    assert not (tmp_path / "index" / "work").exists()
    assert not (tmp_path / "new").exists()
    path.write_bytes(content)
    build_index_in_pieces(
        collection.path, tmp_path / "index", num_pieces=3, workers=2, recipe="IVF2,SQ8"
    )
    assert found_ids(tmp_path / "index") == ids
