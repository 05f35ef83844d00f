from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.galleries import generate_faces
from faces.core.contract import ModelContract
from faces.core.errors import WrongUsageError
from faces.core.vectors import unit_length
from facetrove.evaluation.people import agreement_of
from indexer.group_rules import Constraints, Pairs
from indexer.grouping import Variances, group_faces
from indexer.manifest import Manifest, SegmentEntry
from indexer.model_rates import ModelRates
from indexer.model_variances import (
    FaceQualities,
    means_by_quality,
    min_gain,
    min_similarity,
    scatter_ratios,
    variances_of,
)
from indexer.options import IndexOptions, Recipe
from indexer.stranger_rates import StrangerRates
from indexer.thresholds import Calibration

DIMENSION = 64
BETWEEN, WITHIN = 0.6 / DIMENSION, 0.4 / DIMENSION
MIN_GAIN = 5.0


def faces_of(
    people: np.ndarray, seed: int = 0, within: np.ndarray | float = WITHIN
) -> tuple[np.ndarray, Variances]:
    """Draw a face for each entry of a list of people, and return how they vary, too."""
    rng = np.random.default_rng(seed)
    identities = rng.normal(size=(people.max() + 1, DIMENSION)) * BETWEEN**0.5
    within = np.broadcast_to(within, people.shape).astype(np.float64)
    scatter = rng.normal(size=(len(people), DIMENSION)) * within[:, None] ** 0.5
    vectors = (identities[people] + scatter).astype(np.float32)
    return vectors, Variances(np.zeros((1, DIMENSION), np.float32), BETWEEN, within, DIMENSION)


def all_pairs(count: int) -> Pairs:
    return np.stack(np.triu_indices(count, 1), axis=1).astype(np.int64)


def test_faces_are_grouped_by_person() -> None:
    people = np.random.default_rng(1).permutation(np.repeat(np.arange(40), 6))
    vectors, variances = faces_of(people)
    groups = group_faces(vectors, all_pairs(len(people)), variances, min_gain=MIN_GAIN)
    _, first = np.unique(people, return_index=True)
    assert (groups == first[people]).all()  # a group is known by its smallest row


def test_only_groups_that_an_edge_joins_are_merged() -> None:
    vectors, variances = faces_of(np.array([0, 0, 0, 0]))
    edges = np.array([[0, 1], [2, 3]])
    groups = group_faces(vectors, edges, variances, min_gain=MIN_GAIN)
    assert groups.tolist() == [0, 0, 2, 2]
    assert group_faces(vectors, edges[:0], variances, min_gain=MIN_GAIN).tolist() == [0, 1, 2, 3]


def test_a_higher_gain_makes_purer_groups() -> None:
    people = np.repeat(np.arange(20), 5)
    vectors, variances = faces_of(people)
    counts = [
        len(np.unique(group_faces(vectors, all_pairs(100), variances, min_gain=gain)))
        for gain in (-100.0, 5.0, 12.0, 1e6)
    ]
    assert counts[0] < 20 == counts[1] < counts[2] < counts[3] == 100


def test_poor_faces_join_a_group_and_do_not_bridge_two() -> None:
    vectors, variances = faces_of(np.repeat([0, 1], 8), seed=3)
    between = 0.55 * vectors[:8].mean(axis=0) + 0.45 * vectors[8:].mean(axis=0)
    everything = np.concatenate([vectors, np.repeat(between[None], 30, axis=0)])
    edges = all_pairs(len(everything))
    for scatter, joined in ((4 * WITHIN, 0), (WITHIN, 16)):
        within = np.append(variances.within, np.full(30, scatter))
        varying = Variances(variances.means, BETWEEN, within, DIMENSION)
        groups = group_faces(everything, edges, varying, min_gain=MIN_GAIN)
        assert groups[:16].tolist() == [0] * 8 + [8] * 8
        assert (groups[16:] == joined).all()  # good faces would be somebody else's


@settings(max_examples=60, deadline=None)
@given(data=st.data(), seed=st.integers(0, 1000))
def test_constraints_always_hold(data: st.DataObject, seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = 24
    vectors, variances = faces_of(rng.integers(0, 4, count), seed)
    photos = rng.integers(0, data.draw(st.sampled_from([3, 10, 24])), count)
    rows = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    pairs = st.lists(rows.filter(lambda pair: pair[0] != pair[1]), max_size=6)
    must, cannot = (np.array(data.draw(pairs), np.int64).reshape(-1, 2) for _ in range(2))
    gain = data.draw(st.sampled_from([-1e9, 0.0, 5.0]))
    arguments = {"min_gain": gain, "constraints": Constraints(must, cannot, photos)}
    try:
        groups = group_faces(vectors, all_pairs(count), variances, **arguments)
    except WrongUsageError:
        together = group_faces(vectors, must, variances, min_gain=-1e12)
        assert (together[cannot[:, 0]] == together[cannot[:, 1]]).any()
        return
    assert (groups[must[:, 0]] == groups[must[:, 1]]).all()
    assert (groups[cannot[:, 0]] != groups[cannot[:, 1]]).all()
    linked = group_faces(vectors, must, variances, min_gain=-1e12)
    for one, other in all_pairs(count):
        if photos[one] == photos[other] and groups[one] == groups[other]:
            # Groups that were joined by hand may have two faces of one photo, and others not.
            assert linked[one] == linked[other]


def test_contradictions_are_refused() -> None:
    vectors, variances = faces_of(np.array([0, 0, 1, 1]))
    must, cannot = np.array([[0, 1], [1, 3]]), np.array([[2, 1], [3, 0]])
    with pytest.raises(WrongUsageError, match="faces 3 and 0 are said to be one person"):
        group_faces(
            vectors,
            all_pairs(4),
            variances,
            min_gain=MIN_GAIN,
            constraints=Constraints(must, cannot),
        )


def contract(embedder: str = "sface") -> ModelContract:
    digest = "aa" * 32
    return ModelContract("yunet", digest, "arcface-112", embedder, digest, dimension=128)


def test_a_higher_precision_and_a_larger_gallery_need_a_higher_gain() -> None:
    gains = [
        [min_gain(contract(), precision, num_faces=count) for count in (10, 100_000, 1_000_000)]
        for precision in (0.9, 0.99, 0.999)
    ]
    for small, usual, large in gains:
        assert small == usual < large
    assert gains[0] < gains[1] < gains[2]
    smallest = [min_similarity(contract(), count) for count in (0, 10, 50_000, 10**6, 10**9)]
    assert smallest[0] == smallest[1] == smallest[2] < smallest[3] < smallest[4] < 1


@pytest.mark.parametrize(("shift", "rises"), [(-0.05, False), (0.05, True)])
def test_a_calibration_by_which_strangers_are_more_similar_raises_the_gain(
    shift: float, rises: bool
) -> None:
    model = ModelRates.of(contract())
    assert model is not None
    rates = [0.5, 0.1, 0.01]
    similarities = tuple(model.threshold(rate, 5_000) + shift for rate in rates)
    calibration = Calibration(
        "people", 5_000, 1_000, 10**6, similarities, tuple(rates), "2026-01-01T00:00:00+00:00"
    )
    segment = SegmentEntry("a" * 12, 5_000, 5_000, Recipe(), None, {})
    manifest = Manifest(1, contract(), IndexOptions(), (segment,), calibration=calibration)
    usual = min_gain(contract(), 0.99, num_faces=5_000)
    found = min_gain(contract(), 0.99, num_faces=5_000, rates=StrangerRates(manifest))
    assert (found > usual + 4, found < usual - 4) == (rises, not rises)


def test_blurred_faces_of_strangers_are_no_person() -> None:
    """They have a direction in common, as measured for SFace, and few are near any sharp face."""
    rng = np.random.default_rng(3)
    sharp, people, blurred = 400, 100, 300
    identities = rng.normal(0, 0.0049**0.5, (people, 128))
    vectors = np.repeat(identities, sharp // people, axis=0) + rng.normal(0, 0.05, (sharp, 128))
    common = rng.normal(size=128)
    common *= 0.9 / np.linalg.norm(common)
    norms = np.concatenate([rng.uniform(11, 13, sharp), rng.uniform(6, 10.5, blurred)])
    scatter = (0.4 * 1.25) ** 0.5 / norms[sharp:, None]
    strangers = rng.normal(0, 0.0049**0.5, (blurred, 128)) * 0.5 + common
    strangers += scatter * rng.normal(size=(blurred, 128))
    found = unit_length(np.concatenate([vectors, strangers]).astype(np.float32))
    qualities = FaceQualities(norms, np.full(len(norms), 0.95), np.full(len(norms), 100.0))
    ratios = scatter_ratios(contract(), qualities)
    variances = variances_of(contract(), ratios, means_by_quality(ratios, found))
    edges = np.argwhere(np.triu(found @ found.T, 1) >= 0.4).astype(np.int64)
    assert (edges >= sharp).all(axis=1).sum() > 2_000
    gain = min_gain(contract(), 0.99, num_faces=len(found))
    groups = group_faces(found, edges, variances, min_gain=gain)
    assert np.bincount(groups[sharp:]).max() <= 3
    assert agreement_of(groups[:sharp], np.repeat(np.arange(people), 4)).pairwise_recall > 0.9


@pytest.mark.lasting
@pytest.mark.slow
def test_the_promised_precision_is_kept_on_a_generated_gallery() -> None:
    batches = list(generate_faces(20_160, seed=3, faces_per_person=5))
    vectors, people = (np.concatenate(column) for column in zip(*batches, strict=True))
    count = len(vectors)
    smallest = min_similarity(contract(), count)
    pairs = [np.empty((0, 2), np.int64)]
    for start in range(0, count, 2_000):
        products = np.triu(vectors[start : start + 2_000] @ vectors[start:].T, 1)
        pairs.append(np.argwhere(products >= smallest) + start)
    nothing = np.full(count, np.nan)
    qualities = FaceQualities(nothing, nothing, nothing)
    ratios = scatter_ratios(contract(), qualities)
    variances = variances_of(contract(), ratios, means_by_quality(ratios, vectors))
    for promised, least in ((0.99, 0.98), (0.999, 0.998)):
        gain = min_gain(contract(), promised, num_faces=count)
        groups = group_faces(vectors, np.concatenate(pairs), variances, min_gain=gain)
        found = agreement_of(groups, people)
        assert found.pairwise_precision >= least
        assert found.pairwise_recall >= 0.95
