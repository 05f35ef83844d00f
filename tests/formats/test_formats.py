"""A dataset and an index of each released format, written by the release: they open in this one.

Faces are random vectors of 8 dimensions. `expected.json` has what the release itself found.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from faces.dataset.store import Dataset
from indexer.build import build_index
from indexer.compact import compact_index
from indexer.delete import delete_faces
from indexer.manifest import FORMAT_VERSION, read_current
from indexer.purge import purge
from indexer.verify import verify_index
from search.searcher import FaceSearcher
from tests.support.small_collections import DIMENSION, files_with
from tests.support.vectors import unit_vectors

FORMATS = [3]
HERE = Path(__file__).parent


@pytest.fixture(params=FORMATS, ids="format-{}".format)
def released(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the folder of a released format, with its dataset, index and expectations."""
    return Path(shutil.copytree(HERE / f"format-{request.param}", tmp_path / "released"))


@pytest.fixture
def expected(released: Path) -> dict[str, Any]:
    return dict(json.loads((released / "expected.json").read_text()))


def found(index: Path) -> list[list[dict[str, Any]]]:
    """What the searches that the release made find now, with the columns it wrote down."""
    lists = FaceSearcher.open(index).search_embeddings(unit_vectors(5, DIMENSION, seed=1), 5)
    return [
        [
            {
                "face_id": match.face_id,
                "similarity": pytest.approx(match.similarity, abs=1e-6),
                "uri": match.uri,
                "also_at": list(match.also_at),
                "person": match.person,
                "year": match.metadata["year"],
                "fpir": pytest.approx(match.fpir),
            }
            for match in matches
        ]
        for matches in lists
    ]


def test_the_format_written_now_is_among_them() -> None:
    assert FORMATS[-1] == FORMAT_VERSION
    assert [path.name for path in sorted(HERE.glob("format-*"))] == [f"format-{n}" for n in FORMATS]


def test_a_released_dataset_opens(released: Path, expected: dict[str, Any]) -> None:
    dataset = Dataset.open(released / "faces.dataset")
    counts = dataset.counts()
    assert (counts.num_photos, counts.num_faces) == (expected["num_photos"], expected["num_faces"])
    assert counts.num_copies == 1
    assert counts.by_status == {"embedded": 42, "no_face": 1, "deleted": 4}
    assert dataset.metadata.names == ["person", "year"]
    assert len(dataset.runs()) == 1


def test_a_released_index_answers_as_it_did(released: Path, expected: dict[str, Any]) -> None:
    index = released / "faces.index"
    assert len(FaceSearcher.open(index)) == expected["num_indexed"]
    assert found(index) == expected["matches"]
    assert verify_index(index, released / "faces.dataset").problems == ()


def test_a_released_index_is_up_to_date_and_needs_no_build(released: Path) -> None:
    index = released / "faces.index"
    before = read_current(index)
    build_index(released / "faces.dataset", index)
    assert read_current(index) == before


def test_a_released_index_is_compacted_and_built_anew(
    released: Path, expected: dict[str, Any]
) -> None:
    index = released / "faces.index"
    ids = [[match["face_id"] for match in matches] for matches in expected["matches"]]
    compact_index(index)
    assert len(read_current(index).segments) == 1
    assert len(FaceSearcher.open(index)) == expected["num_indexed"]
    build_index(released / "faces.dataset", index, rebuild=True, recipe="exact")
    assert len(FaceSearcher.open(index)) == expected["num_indexed"]
    assert [[match["face_id"] for match in matches] for matches in found(index)] == ids


def test_faces_are_deleted_and_purged_from_released_files(released: Path) -> None:
    dataset, index = released / "faces.dataset", released / "faces.index"
    (match, *_), *_ = FaceSearcher.open(index).search_embeddings(
        unit_vectors(1, DIMENSION, seed=1), 5
    )

    deleted = delete_faces(dataset, [index], f"face_id = '{match.face_id}'")
    assert deleted.num_faces == 1
    purge(dataset, [index])
    assert files_with(dataset, [match.face_id.encode()]) == {}
    assert files_with(index, [match.face_id.encode()]) == {}
