"""Results of searches convert to tables that have a row for each match."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from faces.models.face import Box
from indexer.build import build_index
from search.results import CandidateLists, Probe, Probes
from search.searcher import FaceSearcher
from tests.support.small_collections import DIMENSION, Collection, Photo, many_photos
from tests.support.vectors import unit_vectors

COLUMNS = ["probe", "rank", "similarity", "uri", "box", "face_id", "photo_id", "score"]
COLUMNS += ["also_at", "fpir", "fpir_basis", "strangers", "person", "year"]


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """An index of 120 faces, and a segment of five without a person, two with copies."""
    collection = Collection(tmp_path / "d")
    collection.embed(many_photos(40))
    build_index(tmp_path / "d", tmp_path / "i")
    unlabelled = {f"/more/{n}.jpg": Photo(1000 + n % 5) for n in range(7)}
    collection.embed(unlabelled)
    build_index(tmp_path / "d", tmp_path / "i")
    return tmp_path / "i"


@pytest.fixture
def answers(index: Path) -> CandidateLists:
    return FaceSearcher.open(index).search_embeddings(unit_vectors(3, DIMENSION, seed=5), 125)


def test_a_table_has_the_values_of_the_matches(answers: CandidateLists) -> None:
    rows = answers.to_list()
    assert len(rows) == sum(map(len, answers)) == 375
    matches = [(number, match) for number, matches in enumerate(answers) for match in matches]
    for row, (number, match) in zip(rows, matches, strict=True):
        assert row == {
            "probe": number,
            "rank": match.rank,
            "similarity": pytest.approx(match.similarity),
            "uri": match.uri,
            "box": list(match.box),
            "face_id": match.face_id,
            "photo_id": match.photo_id,
            "score": match.score,
            "also_at": list(match.also_at),
            "fpir": match.fpir,
            "fpir_basis": match.fpir_basis,
            "strangers": match.strangers,
            "person": match.person,
            "year": match.metadata["year"],
        }
    assert any(row["also_at"] for row in rows)


def test_arrow_and_pandas_have_the_same_columns(answers: CandidateLists) -> None:
    table, frame = answers.to_arrow(), answers.to_pandas()
    assert table.column_names == list(frame.columns) == COLUMNS
    assert table.schema.field("year").type == pa.int64()
    assert len(frame) == table.num_rows == 375


def test_one_candidate_list_has_no_probe(answers: CandidateLists) -> None:
    table = answers[1][10:20].to_arrow()
    assert table.column_names == COLUMNS[1:]
    assert table["rank"].to_pylist() == list(range(11, 21))
    assert table["face_id"].to_pylist() == answers[1].face_ids[10:20]


def test_no_answer_is_an_empty_table(index: Path) -> None:
    searcher = FaceSearcher.open(index)
    none = searcher.search_embeddings(np.empty((0, DIMENSION), np.float32))
    assert len(none) == 0 and none == []
    assert none.to_arrow().column_names == COLUMNS
    nobody = searcher.search_embeddings(unit_vectors(2, DIMENSION, seed=5), where="year = 12345")
    assert [len(matches) for matches in nobody] == [0, 0]
    assert nobody.to_arrow().num_rows == 0
    assert nobody.to_arrow().schema == none.to_arrow().schema


def test_answers_are_shown_in_one_line(answers: CandidateLists) -> None:
    assert repr(answers) == "<3 candidate lists: 375 similar faces>"
    best, last = answers[0].similarities[[0, -1]]
    assert repr(answers[0]) == (f"<candidate list: 125 faces, similarity {best:.3f} to {last:.3f}>")
    assert repr(answers[0][:0]) == "<candidate list: no faces>"
    probe = Probe(Box(1, 2, 3, 4), 0.9, answers[0][:1])
    assert repr(Probes([probe], answers.snapshot)) == "<1 probe: 1 similar face>"


def test_answers_are_sequences(answers: CandidateLists) -> None:
    first, *others = answers
    assert len(others) == 2 and answers[0] is first
    assert isinstance(answers[1:], CandidateLists)
    assert answers[1:] == others
    assert answers[1:].to_arrow()["probe"].to_pylist()[::125] == [0, 1]
