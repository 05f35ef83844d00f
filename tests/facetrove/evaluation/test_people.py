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
from indexer.knn import similar_faces
from indexer.model_variances import (
    FaceQualities,
    ModelVariances,
    scatter_ratios,
    variances_of,
)
from indexer.snapshot import Snapshot
from tests.support.command import run_facetrove
from tests.support.labelled_faces import contract_of, labelled_index, people_around


@pytest.fixture
def known_models(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the imaginary model of tests one whose figures are known, for embeddings of 64."""
    figures = ModelVariances(0.6 / 64, 0.4 / 64, 1.0)
    monkeypatch.setitem(model_variances.VARIANCES, "namer", figures)
    monkeypatch.setattr(model_variances, "MEASURED_WITH", (("finder", "template"),))
    monkeypatch.setattr(model_variances, "NORMS", (0.5, 2.0))
    monkeypatch.setattr(model_variances, "DIMENSIONS", 64.0)
    monkeypatch.setattr(model_variances, "GAINS", ((0.9, 5.0), (0.999, 1e9)))
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
    quality = np.linspace(0.9, 1, len(people))
    index = labelled_index(tmp_path, vectors, names, quality=quality)
    result = evaluate_people(index, precision=0.9)
    assert (result.num_faces, result.num_labelled, result.num_people) == (150, 144, 30)
    assert result.agreement.bcubed_f > 0.97
    assert result.single_linkage is None  # the imaginary model has no threshold
    sizes = [(s.min_faces, s.max_faces, s.num_faces) for s in result.by_size]
    assert sizes == [(4, 4, 24), (5, 5, 120)]
    apart = evaluate_people(index, precision=0.999)
    assert apart.num_groups == 144
    assert apart.agreement.bcubed_precision == 1.0
    assert apart.agreement.pairwise_recall == 0.0


def test_similar_faces_are_those_of_exact_search(tmp_path: Path) -> None:
    vectors, people = people_around(40, 5, spread=0.8, dimension=64)
    index = labelled_index(tmp_path, vectors, people)
    version = Snapshot.open(index, "cpu")
    stored = version.embeddings(np.arange(len(vectors)))
    products = stored @ stored.T
    np.fill_diagonal(products, -1)
    similar = similar_faces(version, 0.3)
    wanted = {(int(a), int(b)) for a, b in np.argwhere(np.triu(products, 1) >= 0.3)}
    assert {(int(a), int(b)) for a, b in similar.pairs} == wanted
    assert len(similar.pairs) == len(wanted)
    one, other = similar.pairs.T
    assert similar.similarities == pytest.approx(products[one, other], abs=1e-5)
    asked = similar_faces(version, 0.3, rows=np.array([7, 90]))
    about = {pair for pair in wanted if 7 in pair or 90 in pair}
    assert {(int(a), int(b)) for a, b in asked.pairs} == about


def test_models_without_figures_are_refused(tmp_path: Path) -> None:
    vectors, people = people_around(4, 3, spread=0.5, dimension=16)
    index = labelled_index(tmp_path, vectors, people)
    with pytest.raises(WrongUsageError, match="has not been measured for namer with the detector"):
        evaluate_people(index)
    with pytest.raises(WrongUsageError, match="has no labelled face to compare groups with"):
        evaluate_people(labelled_index(tmp_path / "unlabelled", vectors, [None] * 12))


@pytest.mark.usefixtures("known_models")
def test_faces_whose_norms_say_nothing_are_judged_by_size_and_score() -> None:
    usual = 1.25 * 0.4 / 64
    means = np.zeros((6, 64), np.float32)

    def within(norms: list[float], scores: list[float], sizes: list[float]) -> list[float]:
        qualities = FaceQualities(*(np.array(column) for column in (norms, scores, sizes)))
        ratios = scatter_ratios(contract_of(64), qualities)
        found = variances_of(contract_of(64), ratios, means)
        assert found.poor.tolist() == (found.within >= 1.37 * usual).tolist()
        return (found.within / usual).tolist()

    for norm in (1.0, 7.0, np.nan):
        found = within([norm] * 4, [0.95, 0.95, 0.8, 0.95], [100, 14, 100, np.nan])
        assert found == pytest.approx([1, 2.5, 2.4, 1])
    assert within([1.0, 0.8, np.nan], [0.5] * 3, [100] * 3) == pytest.approx([1, 1 / 0.64, 2.4])


def test_the_faces_of_lfw_are_grouped(lfw_index: Path) -> None:
    finished = run_facetrove(
        "evaluate", "people", lfw_index, "--people", "folder", "--face", "central", "--json"
    )
    assert finished.returncode == 0, finished.stderr
    result = json.loads(finished.stdout)
    assert result["agreement"]["bcubed_f"] >= 0.993
    assert result["agreement"]["pairwise_f"] >= 0.991
    assert result["single_linkage"]["bcubed_f"] < result["agreement"]["bcubed_f"]
