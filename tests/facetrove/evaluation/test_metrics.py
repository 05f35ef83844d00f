"""Error rates, checked by hand on small cases, against known rates, and against scikit-learn."""

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


def test_the_error_rates_of_seven_similarities() -> None:
    curve = error_curve(MATED, NON_MATED)
    assert curve.thresholds.tolist() == [np.inf, 0.9, 0.8, 0.7, 0.4, 0.3, 0.2, 0.1]
    assert curve.false_positive.tolist() == [0, 0, 0, 0.25, 0.25, 0.5, 0.75, 1]
    assert np.allclose(curve.false_negative, [1, 2 / 3, 1 / 3, 1 / 3, 0, 0, 0, 0])
    # At threshold 0.7: FAR 1/4, FRR 1/3; at 0.4: 1/4 and 0. They meet at 1/4.
    assert curve.equal_error_rate == pytest.approx(0.25)
    # Of the 12 pairs of a mated and a non-mated similarity, 11 are in the right order: all but 0.4
    # and 0.7.
    assert curve.area == pytest.approx(11 / 12)


def test_a_similarity_equal_to_the_threshold_is_positive() -> None:
    assert share_from(NON_MATED, np.array([0.3, 0.3001])).tolist() == [0.5, 0.25]


def test_the_false_positive_rate_at_a_threshold_does_not_exceed_the_rate() -> None:
    for allowed, above in ((0.0, 0), (0.24, 0), (0.25, 1), (0.74, 2), (0.75, 3), (1.0, 4)):
        (threshold,) = threshold_at(NON_MATED, allowed)
        assert (threshold <= NON_MATED).sum() == above
    # Equal similarities are on the same side of any threshold.
    (threshold,) = threshold_at(np.array([0.5, 0.5, 0.1, 0.0]), 0.25)
    assert threshold > 0.5


def test_thresholds_and_miss_rates_are_weighted() -> None:
    weights = np.array([[1, 1, 1, 1], [0, 1, 1, 2], [3, 1, 0, 0]], np.float32)
    thresholds = threshold_at(NON_MATED, 0.25, weights)
    assert thresholds == pytest.approx([0.3, 0.2, 0.7], abs=1e-9)
    missed = miss_rate(MATED, thresholds, np.array([[1, 1, 1], [0, 0, 1], [1, 0, 1]], np.float32))
    assert missed == pytest.approx([0, 0, 0.5])


def test_error_rates_equal_those_of_scikit_learn() -> None:
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


def test_a_thinned_curve_has_some_points_of_the_curve() -> None:
    rng = np.random.default_rng(3)
    curve = error_curve(rng.normal(2, 1, 5000), rng.normal(0, 1, 5000))
    thin = curve.thinned(100)
    assert len(thin.thresholds) <= 102
    assert np.isin(thin.thresholds, curve.thresholds).all()
    assert thin.equal_error_rate == pytest.approx(curve.equal_error_rate, abs=0.003)
    assert (thin.false_positive < 0.01).sum() > 10  # many points are at low rates


def test_noise_scores_chance() -> None:
    rng = np.random.default_rng(0)
    curve = error_curve(rng.normal(size=4000), rng.normal(size=4000))
    assert curve.area == pytest.approx(0.5, abs=0.03)
    assert curve.equal_error_rate == pytest.approx(0.5, abs=0.03)


def test_intervals_contain_the_true_rate_of_gaussian_similarities() -> None:
    """Of 40 intervals at the 95% level, 38 are expected to contain the true rate."""
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


def test_the_equal_error_rate_of_gaussian_similarities() -> None:
    rng = np.random.default_rng(5)
    curve = error_curve(rng.normal(4, 1, 40_000), rng.normal(0, 1, 40_000))
    assert curve.equal_error_rate == pytest.approx(norm.sf(2), rel=0.05)


def test_photos_of_one_person_widen_an_interval() -> None:
    """A hundred people each succeed in all of their ten photos or in none."""
    successes = np.repeat(np.arange(100) % 2 == 0, 10)
    together = share(successes, np.repeat(np.arange(100), 10), Bootstrap.of(100))
    apart = share(successes, np.arange(1000), Bootstrap.of(1000))
    width = together.interval.high - together.interval.low
    assert width == pytest.approx(10**0.5 * (apart.interval.high - apart.interval.low), rel=0.2)
    assert width == pytest.approx(2 * 1.96 * (0.25 / 100) ** 0.5, rel=0.2)


def test_the_weight_of_a_comparison_is_the_product_of_its_people_s_counts() -> None:
    bootstrap = Bootstrap(np.array([[2, 3, 0]], np.float32))
    first, second = np.array([0, 0, 1, 2]), np.array([1, 0, 2, 2])
    assert bootstrap.weights(first, second).tolist() == [[6, 2, 0, 0]]


def test_an_error_rate_of_zero_has_an_interval_above_zero() -> None:
    flawless = share(np.ones(50, bool), np.arange(50), Bootstrap.of(50))
    assert flawless.value == 1 and flawless.interval.low == pytest.approx(1 - 3 / 50)
    pairs = np.arange(10).reshape(5, 2)  # five comparisons of ten people: the fewer count
    assert share(np.zeros(5, bool), pairs, Bootstrap.of(10)).interval.high == pytest.approx(3 / 5)
    assert rate(0.0, np.zeros(10), 300).interval.high == pytest.approx(0.01)
    assert rate(1.0, np.ones(10), 300).interval.low == pytest.approx(0.99)


def test_a_search_has_the_weight_of_a_comparison_of_its_person_with_itself() -> None:
    rng = np.random.default_rng(2)
    happened, people = rng.random(400) < 0.3, rng.integers(0, 60, 400)
    bootstrap = Bootstrap.of(60)
    alone = share(happened, people, bootstrap)
    pairs = share(happened, np.stack([people, people], axis=1), bootstrap)
    assert alone.value == pairs.value == pytest.approx(happened.mean())
    assert alone.interval == pytest.approx(pairs.interval, abs=1e-5)


def test_match_rates_are_shares_of_searches_within_a_rank() -> None:
    ranks = np.array([1, 1, 2, 5, 0])
    assert match_rates(ranks, 4).tolist() == [0.4, 0.6, 0.6, 0.6]


def test_the_error_rates_of_groups_are_at_one_threshold() -> None:
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


def test_rejecting_faces_lowers_the_error_rate_if_quality_predicts_errors() -> None:
    """Of a hundred faces, the ten of lowest quality are missed; another measure is unrelated."""
    quality = np.arange(100) / 100
    mated = np.where(quality < 0.1, 0.1, 0.9)
    predictive, unrelated = by_quality(
        mated,
        {"predictive": quality, "unrelated": np.tile(np.arange(10), 10) / 10},
        threshold=0.5,
        people=np.arange(100),
        bootstrap=Bootstrap.of(100),
    )
    assert predictive.tenths == (1, *[0] * 9)
    assert unrelated.tenths == (0.1,) * 10 or max(unrelated.tenths) <= 0.3
    assert predictive.rejected == (0, 0.01, 0.02, 0.05, 0.1, 0.2)
    values = [found.value for found in predictive.false_negative]
    assert values == pytest.approx([0.1, 9 / 99, 8 / 98, 5 / 95, 0, 0])
    assert predictive.ends[0] == pytest.approx(0.1)
