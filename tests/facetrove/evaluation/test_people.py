from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import pair_confusion_matrix

from faces.core.errors import WrongUsageError
from facetrove.evaluation.people import agreement_of, evaluate_people
from indexer import model_variances
from indexer.knn import similar_pairs
from indexer.model_variances import ModelVariances, variances_of
from indexer.snapshot import Snapshot
from tests.support.command import run_facetrove
from tests.support.labelled_faces import contract_of, labelled_index, people_around


@pytest.fixture
def known_models(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the imaginary model of tests one whose figures are known, for embeddings of 64."""
    figures = ModelVariances(0.6 / 64, 0.4 / 64, 1.0)
    monkeypatch.setitem(model_variances.VARIANCES, "namer", figures)
    monkeypatch.setattr(model_variances, "MEASURED_WITH", ("finder", "template"))
    monkeypatch.setattr(model_variances, "NORMS", (0.5, 2.0))
    monkeypatch.setattr(model_variances, "DIMENSIONS", 64.0)
    yield


def test_agreement_is_that_of_a_case_done_by_hand() -> None:
    # Groups {a a b} and {b}: BCubed precision (2/3 + 2/3 + 1/3 + 1) / 4, recall (1+1+1/2+1/2) / 4.
    found = agreement_of(np.array([0, 0, 0, 1]), np.array([7, 7, 9, 9]))
    assert found.bcubed_precision == pytest.approx(2 / 3)
    assert found.bcubed_recall == pytest.approx(3 / 4)
    assert found.bcubed_f == pytest.approx(12 / 17)
    assert found.pairwise_precision == pytest.approx(1 / 3)
    assert found.pairwise_recall == pytest.approx(1 / 2)
    assert found.pairwise_f == pytest.approx(2 / 5)


def test_pairwise_figures_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(4)
    groups, people = rng.integers(0, 30, 200), rng.integers(0, 25, 200)
    (_, false), (missed, true) = pair_confusion_matrix(people, groups)
    found = agreement_of(groups, people)
    assert found.pairwise_precision == pytest.approx(true / (true + false))
    assert found.pairwise_recall == pytest.approx(true / (true + missed))


def test_single_faces_have_no_pairs_to_be_wrong_about() -> None:
    found = agreement_of(np.arange(5), np.arange(5))
    assert (found.bcubed_f, found.pairwise_f) == (1.0, 1.0)


@pytest.mark.usefixtures("known_models")
def test_groups_of_an_index_are_compared_with_its_labels(tmp_path: Path) -> None:
    vectors, people = people_around(30, 5, spread=0.8, dimension=64)
    names: list[str | None] = [None if n % 25 == 0 else name for n, name in enumerate(people)]
    index = labelled_index(tmp_path, vectors, names)
    result = evaluate_people(index, min_gain=5.0)
    assert (result.num_faces, result.num_labelled, result.num_people) == (150, 144, 30)
    assert result.agreement.bcubed_f > 0.97
    assert result.single_linkage is None  # the imaginary model has no threshold
    sizes = [(s.min_faces, s.max_faces, s.num_faces) for s in result.by_size]
    assert sizes == [(4, 4, 24), (5, 5, 120)]
    apart = evaluate_people(index, min_gain=1e9)
    assert apart.num_groups == 144
    assert apart.agreement.bcubed_precision == 1.0
    assert apart.agreement.pairwise_recall == 0.0


def test_similar_pairs_are_those_of_exact_search(tmp_path: Path) -> None:
    vectors, people = people_around(40, 5, spread=0.8, dimension=64)
    index = labelled_index(tmp_path, vectors, people)
    version = Snapshot.open(index, "cpu")
    stored = version.embeddings(np.arange(len(vectors)))
    products = stored @ stored.T
    np.fill_diagonal(products, -1)
    pairs, similarities = similar_pairs(version, 0.3)
    wanted = {(int(a), int(b)) for a, b in np.argwhere(products >= 0.3)}
    assert {(int(a), int(b)) for a, b in pairs} == wanted
    assert similarities == pytest.approx(products[pairs[:, 0], pairs[:, 1]], abs=1e-5)


def test_models_without_figures_are_refused(tmp_path: Path) -> None:
    vectors, people = people_around(4, 3, spread=0.5, dimension=16)
    index = labelled_index(tmp_path, vectors, people)
    with pytest.raises(WrongUsageError, match="has not been measured for namer with the detector"):
        evaluate_people(index)
    with pytest.raises(WrongUsageError, match="has no labelled face to compare groups with"):
        evaluate_people(labelled_index(tmp_path / "unlabelled", vectors, [None] * 12))


@pytest.mark.usefixtures("known_models")
def test_faces_whose_norms_say_nothing_are_usual_ones() -> None:
    vectors = np.zeros((3, 64), np.float32)
    for norms in ([1.0, 1.0, 1.0], [7.0, 7.0, 7.0], [np.nan] * 3):
        found = variances_of(contract_of(64), np.array(norms, np.float32), vectors)
        assert found.within == pytest.approx([1.25 * 0.4 / 64] * 3)
    found = variances_of(contract_of(64), np.array([0.6, 1.0, 1.5], np.float32), vectors)
    assert found.within[0] > found.within[1] > found.within[2]


def test_the_faces_of_lfw_are_grouped(lfw_index: Path) -> None:
    finished = run_facetrove(
        "evaluate", "people", lfw_index, "--people", "folder", "--face", "central", "--json"
    )
    assert finished.returncode == 0, finished.stderr
    result = json.loads(finished.stdout)
    assert result["agreement"]["bcubed_f"] >= 0.993
    assert result["agreement"]["pairwise_f"] >= 0.991
    assert result["single_linkage"]["bcubed_f"] < result["agreement"]["bcubed_f"]
