"""Error rates: cases small enough to check by eye, known answers, and scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import auc, roc_curve

from facetrove.evaluation.breakdown import by_group, by_quality
from facetrove.evaluation.metrics import (
    Bootstrap,
    error_curve,
    match_rates,
    miss_rate,
    rate,
    share,
    share_from,
    threshold_at,
)

MATED = np.array([0.9, 0.8, 0.4])
NON_MATED = np.array([0.7, 0.3, 0.2, 0.1])


def test_error_rates_of_a_few_similarities() -> None:
    curve = error_curve(MATED, NON_MATED)
    assert curve.thresholds.tolist() == [np.inf, 0.9, 0.8, 0.7, 0.4, 0.3, 0.2, 0.1]
    assert curve.false_positive.tolist() == [0, 0, 0, 0.25, 0.25, 0.5, 0.75, 1]
    assert np.allclose(curve.false_negative, [1, 2 / 3, 1 / 3, 1 / 3, 0, 0, 0, 0])
    # At threshold 0.7: FAR 1/4, FRR 1/3; at 0.4: 1/4 and 0. They meet at 1/4.
    assert curve.equal_error_rate == pytest.approx(0.25)
    # Of 12 pairs of a mated and a non-mated, 11 are in the right order: only 0.4 is below 0.7.
    assert curve.area == pytest.approx(11 / 12)


def test_a_similarity_at_the_threshold_is_above_it() -> None:
    assert share_from(NON_MATED, np.array([0.3, 0.3001])).tolist() == [0.5, 0.25]


def test_a_threshold_lets_no_more_than_the_rate_through() -> None:
    for allowed, above in ((0.0, 0), (0.24, 0), (0.25, 1), (0.74, 2), (0.75, 3), (1.0, 4)):
        (threshold,) = threshold_at(NON_MATED, allowed)
        assert (threshold <= NON_MATED).sum() == above
    # Equal similarities pass together or not at all.
    (threshold,) = threshold_at(np.array([0.5, 0.5, 0.1, 0.0]), 0.25)
    assert threshold > 0.5


def test_a_threshold_counts_as_the_weights_say() -> None:
    weights = np.array([[1, 1, 1, 1], [0, 1, 1, 2], [3, 1, 0, 0]], np.float32)
    thresholds = threshold_at(NON_MATED, 0.25, weights)
    assert thresholds == pytest.approx([0.3, 0.2, 0.7], abs=1e-9)
    missed = miss_rate(MATED, thresholds, np.array([[1, 1, 1], [0, 0, 1], [1, 0, 1]], np.float32))
    assert missed == pytest.approx([0, 0, 0.5])


def test_rates_are_scikit_learn_s() -> None:
    rng = np.random.default_rng(3)
    mated, non_mated = rng.normal(1, 1, 500).round(2), rng.normal(0, 1, 700).round(2)  # with ties
    curve = error_curve(mated, non_mated)
    labels = np.repeat([1, 0], [500, 700])
    far, tar, thresholds = roc_curve(
        labels, np.concatenate([mated, non_mated]), drop_intermediate=False
    )
    assert np.allclose(curve.thresholds, thresholds)
    assert np.allclose(curve.false_positive, far)
    assert np.allclose(1 - curve.false_negative, tar)
    assert curve.area == pytest.approx(auc(far, tar))


def test_a_thinned_curve_is_a_part_of_the_whole() -> None:
    rng = np.random.default_rng(3)
    curve = error_curve(rng.normal(2, 1, 5000), rng.normal(0, 1, 5000))
    thin = curve.thinned(100)
    assert len(thin.thresholds) <= 102
    assert np.isin(thin.thresholds, curve.thresholds).all()
    assert thin.equal_error_rate == pytest.approx(curve.equal_error_rate, abs=0.003)
    assert (thin.false_positive < 0.01).sum() > 10  # where it matters there are points


def test_noise_scores_chance() -> None:
    rng = np.random.default_rng(0)
    curve = error_curve(rng.normal(size=4000), rng.normal(size=4000))
    assert curve.area == pytest.approx(0.5, abs=0.03)
    assert curve.equal_error_rate == pytest.approx(0.5, abs=0.03)


def test_known_rates_of_gaussian_similarities_lie_in_their_intervals() -> None:
    """Of 40 intervals of 95%, of independent people, some 38 hold the truth."""
    inside = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        mated, non_mated = rng.normal(3, 1, 800), rng.normal(0, 1, 2000)
        people = np.arange(800)
        bootstrap = Bootstrap.of(2000, seed=seed, replicates=300)
        thresholds = threshold_at(non_mated, 0.01, bootstrap.weights(np.arange(2000)))
        missed = miss_rate(mated, thresholds, bootstrap.weights(people))
        at = threshold_at(non_mated, 0.01)
        found = rate(float(miss_rate(mated, at)[0]), missed, 800)
        truth = norm.cdf(norm.isf(0.01) - 3)
        inside += found.interval.low <= truth <= found.interval.high
    assert inside >= 34


def test_the_equal_error_rate_of_gaussian_similarities_is_the_known_one() -> None:
    rng = np.random.default_rng(5)
    curve = error_curve(rng.normal(4, 1, 40_000), rng.normal(0, 1, 40_000))
    assert curve.equal_error_rate == pytest.approx(norm.sf(2), rel=0.05)


def test_photos_of_one_person_widen_an_interval() -> None:
    """A hundred people who succeed in all of their ten photos, or in none."""
    successes = np.repeat(np.arange(100) % 2 == 0, 10)
    together = share(successes, np.repeat(np.arange(100), 10), Bootstrap.of(100))
    apart = share(successes, np.arange(1000), Bootstrap.of(1000))
    width = together.interval.high - together.interval.low
    assert width == pytest.approx(10**0.5 * (apart.interval.high - apart.interval.low), rel=0.2)
    assert width == pytest.approx(2 * 1.96 * (0.25 / 100) ** 0.5, rel=0.2)


def test_a_comparison_counts_as_often_as_both_its_people() -> None:
    bootstrap = Bootstrap(np.array([[2, 3, 0]], np.float32))
    first, second = np.array([0, 0, 1, 2]), np.array([1, 0, 2, 2])
    assert bootstrap.weights(first, second).tolist() == [[6, 2, 0, 0]]


def test_no_error_seen_is_not_no_error() -> None:
    flawless = share(np.ones(50, bool), np.arange(50), Bootstrap.of(50))
    assert flawless.value == 1 and flawless.interval.low == pytest.approx(1 - 3 / 50)
    pairs = np.arange(10).reshape(5, 2)  # five comparisons, whatever the people
    assert share(np.zeros(5, bool), pairs, Bootstrap.of(10)).interval.high == pytest.approx(3 / 5)
    assert rate(0.0, np.zeros(10), 300).interval.high == pytest.approx(0.01)
    assert rate(1.0, np.ones(10), 300).interval.low == pytest.approx(0.99)


def test_a_rate_by_people_is_that_of_their_comparisons_with_themselves() -> None:
    rng = np.random.default_rng(2)
    happened, people = rng.random(400) < 0.3, rng.integers(0, 60, 400)
    bootstrap = Bootstrap.of(60)
    alone = share(happened, people, bootstrap)
    pairs = share(happened, np.stack([people, people], axis=1), bootstrap)
    assert alone.value == pairs.value == pytest.approx(happened.mean())
    assert alone.interval == pytest.approx(pairs.interval, abs=1e-5)


def test_match_rates_count_who_is_within_a_rank() -> None:
    ranks = np.array([1, 1, 2, 5, 0])
    assert match_rates(ranks, 4).tolist() == [0.4, 0.6, 0.6, 0.6]


def test_groups_are_told_apart_at_the_common_threshold() -> None:
    similarities = np.array([0.9, 0.2, 0.8, 0.7, 0.6, 0.1])
    mated = np.array([True, True, True, False, False, False])
    groups = ["a", "a", "b", "a", "b", "b"]
    found = by_group(
        similarities,
        mated,
        groups,
        threshold=0.5,
        people=np.arange(6),
        bootstrap=Bootstrap.of(6),
    )
    by_name = {group.group: group for group in found}
    assert by_name["a"].false_negative and by_name["a"].false_negative.value == 0.5
    assert by_name["a"].false_positive and by_name["a"].false_positive.value == 1.0
    assert by_name["b"].false_negative and by_name["b"].false_negative.value == 0.0
    assert by_name["b"].false_positive and by_name["b"].false_positive.value == 0.5
    assert (by_name["a"].num_mated, by_name["b"].num_non_mated) == (2, 2)
    only = by_group(
        *(similarities[:1], mated[:1], ["a"]),
        threshold=0.5,
        people=np.array([0]),
        bootstrap=Bootstrap.of(1),
    )
    assert only[0].false_positive is None


def test_leaving_out_the_worst_faces_helps_where_quality_tells() -> None:
    """Of a hundred, the ten worst are missed; a measure that says nothing is no help."""
    quality = np.arange(100) / 100
    mated = np.where(quality < 0.1, 0.1, 0.9)
    telling, silent = by_quality(
        mated,
        {"telling": quality, "silent": np.tile(np.arange(10), 10) / 10},
        threshold=0.5,
        people=np.arange(100),
        bootstrap=Bootstrap.of(100),
    )
    assert telling.tenths == (1, *[0] * 9)
    assert silent.tenths == (0.1,) * 10 or max(silent.tenths) <= 0.3
    assert telling.rejected == (0, 0.01, 0.02, 0.05, 0.1, 0.2)
    values = [found.value for found in telling.false_negative]
    assert values == pytest.approx([0.1, 9 / 99, 8 / 98, 5 / 95, 0, 0])
    assert telling.ends[0] == pytest.approx(0.1)
