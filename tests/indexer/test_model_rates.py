"""An index without a calibration says what its models' figures say about strangers, and says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gallery_estimation import real_faces
from faces.core.contract import ModelContract
from faces.core.errors import WrongUsageError
from faces.dataset.store import Dataset
from indexer.manifest import Manifest, read_current
from indexer.model_rates import MIN_FPIR, NON_MATED, ModelRates, operating_threshold
from indexer.stranger_rates import StrangerRates, odds
from indexer.thresholds import Calibration

SFACE = ModelContract("yunet", "aa" * 32, "arcface-112", "sface-int8", "bb" * 32, dimension=128)


@pytest.fixture
def rates() -> ModelRates:
    found = ModelRates.of(SFACE)
    assert found is not None
    return found


def test_each_face_of_the_gallery_is_a_chance(rates: ModelRates) -> None:
    at_a_hundredth = np.array([0.218])  # which a hundredth of the pairs of different people reach
    for num_faces in (1, 7, 100):
        expected = 1 - 0.99**num_faces
        assert rates.fpir_of(at_a_hundredth, num_faces)[0] == pytest.approx(expected)
        assert rates.threshold(expected, num_faces) == pytest.approx(0.218)


def test_the_rate_of_a_threshold_is_the_one_it_was_asked_for(rates: ModelRates) -> None:
    for num_faces in (1, 7, 1_000, 1_000_000):
        for fpir in (0.5, 0.1, 0.01, 0.001):
            threshold = rates.threshold(fpir, num_faces)
            assert rates.fpir_of(np.array([threshold]), num_faces)[0] == pytest.approx(fpir)
    assert rates.threshold(0.01, 1_000_000) > rates.threshold(0.01, 1_000) + 0.1


def test_no_rate_is_stated_that_the_measurement_is_too_small_for(rates: ModelRates) -> None:
    assert rates.fpir_of(np.array([-1.0, 0.999]), 7).tolist() == [1.0, MIN_FPIR]
    assert rates.min_fpir(1_000) == MIN_FPIR
    assert rates.min_fpir(100_000_000) == pytest.approx(0.1, rel=0.05)
    for fpir, num_faces in ((0.0001, 7), (0.01, 100_000_000), (1.0, 7), (float("nan"), 7)):
        with pytest.raises(WrongUsageError, match="figures of sface-int8 support rates from"):
            rates.threshold(fpir, num_faces)


def test_figures_are_for_the_models_that_were_measured() -> None:
    assert ModelRates.of(replace(SFACE, embedder="sface")) is not None
    for change in ({"embedder": "deepface:SFace"}, {"alignment": "deepface"}, {"detector": "x"}):
        assert ModelRates.of(replace(SFACE, **change)) is None
    for points in NON_MATED.values():
        similarities, logs = np.array(points).T
        assert (np.diff(similarities) > 0).all() and (np.diff(logs) < 0).all()
    threshold = operating_threshold("sface-int8", 1_000)
    found = ModelRates.of(SFACE)
    assert found is not None and threshold is not None
    assert found.threshold(0.01, 1_000) == pytest.approx(threshold, abs=0.001)


def manifest_of(index: Path, contract: ModelContract, calibration: Calibration | None) -> Manifest:
    return replace(read_current(index), contract=contract, calibration=calibration)


def calibration_of(num_faces: int) -> Calibration:
    return Calibration("people", num_faces, 500, 10**6, (0.2, 0.5), (0.9, 0.02), "2026-01-01")


def test_a_calibration_comes_first_then_the_models_figure_then_none(demo_index: Path) -> None:
    measured = StrangerRates(manifest_of(demo_index, SFACE, calibration_of(7)))
    assert measured.basis == "index" and measured.min_fpir == pytest.approx(0.02)
    assert measured.explanation == "measured on 500 people of this index"
    assert measured.threshold(0.02) == pytest.approx(0.5)
    assert measured.in_words([0.02, 0.04]) == ["at most 1 in 50", "1 in 25"]
    with pytest.raises(WrongUsageError, match="a calibration on 500 people supports rates from"):
        measured.threshold(0.01)

    outgrown = StrangerRates(manifest_of(demo_index, SFACE, calibration_of(700)))
    assert outgrown.basis == "model" and outgrown.threshold(0.01) < 0.3
    assert "its calibration is of 700 faces: run `facetrove calibrate` again" in (
        outgrown.explanation
    )

    figure = StrangerRates(manifest_of(demo_index, SFACE, None))
    assert figure.basis == "model" and figure.min_fpir == MIN_FPIR
    assert "the figure of sface-int8 for 7 faces" in figure.explanation
    assert "not on this index; `facetrove calibrate` measures it here" in figure.explanation

    unknown = StrangerRates(manifest_of(demo_index, replace(SFACE, embedder="mine"), None))
    assert unknown.basis is None and unknown.min_fpir is None
    assert unknown.fpir_of(np.array([0.5])) is None
    assert "no figure has been measured for mine with the detector yunet" in unknown.explanation
    assert "`facetrove calibrate`" in unknown.explanation


def test_rates_are_said_in_words() -> None:
    assert [odds(rate) for rate in (1 / 27, 0.5, 1 / 351.4, 0.84, 0.999, 1.0)] == [
        *("1 in 27", "1 in 2", "1 in 350", "84 in 100", "nearly all", "nearly all")
    ]
    assert odds(0.001, at_most=True) == "at most 1 in 1,000"
    assert odds(0.0331, at_most=True) == "at most 1 in 29"
    assert odds(0.9, at_most=True) == "90 in 100"


def test_many_rates_are_said_as_one_by_one(demo_index: Path) -> None:
    rates = StrangerRates(manifest_of(demo_index, SFACE, None))
    many = 10 ** np.random.default_rng(0).uniform(-2.9, 0, 2_000)
    assert rates.in_words(many) == [odds(rate) for rate in many]
    assert rates.in_words([]) == []


@pytest.mark.slow
def test_the_models_figure_holds_on_galleries_of_lfw(lfw_dataset: Path) -> None:
    """Galleries of one photo of each of 10 to 1,000 people are searched for all other people."""
    vectors, people = real_faces(Dataset.open(lfw_dataset))
    rng = np.random.default_rng(0)
    order = rng.permutation(len(vectors))
    photos = order[np.unique(people[order], return_index=True)[1]]  # one photo of each person
    figure = ModelRates.of(SFACE)
    assert figure is not None
    for num_faces in (10, 100, 1_000):
        for fpir in (0.1, 0.01):
            threshold = figure.threshold(fpir, num_faces)
            rates = []
            for _ in range(20):
                shuffled = rng.permutation(photos)
                gallery, probes = vectors[shuffled[:num_faces]], vectors[shuffled[num_faces:]]
                rates.append(((probes @ gallery.T).max(axis=1) >= threshold).mean())
            assert 0.7 * fpir < np.mean(rates) < 1.4 * fpir
