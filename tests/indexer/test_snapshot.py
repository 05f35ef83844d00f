"""Snapshots: what is asked about some faces is what is asked about all of them."""

from __future__ import annotations

import numpy as np
import pytest

from faces.core.errors import WrongUsageError
from indexer.build import build_index
from indexer.delete import delete_faces
from indexer.snapshot import Snapshot
from search.searcher import FaceSearcher
from tests.support.people import group
from tests.support.small_collections import Collection, Photo, face_id_of, many_photos


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """An index of several segments, with deleted faces, copies and a people book."""
    folder = tmp_path_factory.mktemp("snapshot")
    collection, index = Collection(folder / "d"), folder / "i"
    for first, count in ((0, 40), (100, 10), (200, 2)):
        collection.embed(many_photos(count, first=first))
        build_index(collection.path, index)
    collection.embed({"/copies/1.jpg": Photo(100, 3, person="somebody else", year=1900)})
    build_index(collection.path, index)
    delete_faces(collection.path, index, faces=[face_id_of(1, 0), face_id_of(101, 1)])
    group(collection.path, {face_id_of(2, 0): 1, face_id_of(102, 0): 1, face_id_of(200, 0): 2})
    found = FaceSearcher.open(index).snapshot
    assert len(found.segments) >= 2 and found.people is not None
    return found


def test_the_positions_of_many_faces_are_those_of_each(snapshot: Snapshot) -> None:
    faces = [face_id_of(c, n) for c in (1, 2, 101, 100, 200, 777) for n in range(3)][::-1]
    expected = [snapshot.position_of(face) for face in faces]
    assert None in expected
    found = snapshot.positions_of(faces).tolist()
    assert found == [-1 if position is None else position for position in expected]
    assert snapshot.positions_of([]).tolist() == []


@pytest.mark.parametrize(
    "where",
    [
        "year > 20",
        "year = 1900",
        "photo_person = 'somebody else'",
        "person_id = 1",
        "person_id IS NULL",
        "uri LIKE '/copies/%'",
        "uri = '/photos/ä.jpg'",
        "TRUE",
    ],
)
def test_a_filter_of_some_faces_is_that_of_all(snapshot: Snapshot, where: str) -> None:
    masks = [mask.rows for mask in snapshot.masks(where) if mask is not None]
    expected = np.concatenate(masks)
    positions = np.random.default_rng(1).permutation(np.flatnonzero(snapshot.live()))[::2]
    assert np.array_equal(snapshot.matching(where, positions), expected[positions])


def test_a_filter_that_is_none_is_refused_for_some_faces_too(snapshot: Snapshot) -> None:
    with pytest.raises(WrongUsageError, match="no_column"):
        snapshot.matching("no_column = 1", np.array([0]))
    assert snapshot.matching("TRUE", np.zeros(0, np.int64)).tolist() == []
