"""How rare classes are drawn and weighed, and how crops are changed."""

from __future__ import annotations

import numpy as np
import pytest

from facetrove.training.augmentation import augmented, corrupted
from facetrove.training.faces import TrainingFaces
from facetrove.training.figures import classifier_figures, drawn_recalls
from facetrove.training.imbalance import (
    class_weights,
    drawn_positions,
    grouped_positions,
    log_shares,
)
from tests.support.training import needs_keras

CLASSES = np.array([0] * 90 + [1] * 8 + [2] * 2)


def test_balanced_batches_have_as_many_faces_of_each_class() -> None:
    order = drawn_positions("batches", CLASSES, np.random.default_rng(0))
    for start in range(0, 99, 9):
        assert np.bincount(CLASSES[order[start : start + 9]]).tolist() == [3, 3, 3]
    plain = drawn_positions("none", CLASSES, np.random.default_rng(0))
    assert sorted(plain) == list(range(100))


def test_grouped_batches_have_several_faces_of_each_person_and_all_people_equally_often() -> None:
    people = np.repeat([7, 3, 5, 9], [20, 2, 1, 9])
    order = grouped_positions(people, 4, np.random.default_rng(0))
    assert len(order) == len(people)
    for start in range(0, 32, 16):
        batch = people[order[start : start + 16]]
        assert np.unique(batch, return_counts=True)[1].tolist() == [4, 4, 4, 4]
    of_the_largest = order[people[order] == 7]
    assert len(np.unique(of_the_largest)) == 8


def test_weights_make_all_classes_count_as_much_and_have_the_mean_one() -> None:
    weights = np.array(class_weights(CLASSES, 3, "weights"))
    assert np.allclose(weights * [90, 8, 2], 100 / 3)
    assert class_weights(CLASSES, 3, "none") == [1.0, 1.0, 1.0]
    assert np.allclose(np.exp(log_shares(CLASSES, 3)), [0.9, 0.08, 0.02])


@needs_keras
@pytest.mark.slow
def test_losses_are_what_their_authors_write() -> None:
    from facetrove.training.networks.losses import classifier_loss

    logits, own = np.array([[2.0, 0.0, -1.0], [0.5, 0.0, 0.0]], np.float32), np.array([0, 2])
    shares, weights = np.array([0.9, 0.08, 0.02]), [0.5, 1.0, 2.0]

    def entropy(values: np.ndarray) -> np.ndarray:
        powers = np.exp(values)
        return -np.log(powers[[0, 1], own] / powers.sum(axis=1))

    plain = entropy(logits)
    expected = {
        "none": plain,
        "weights": plain * [0.5, 2.0],
        "focal": plain * (1 - np.exp(-plain)) ** 2 * [0.5, 2.0],
        "logits": entropy(logits + np.log(shares)),
    }
    for balance, losses in expected.items():
        used = [1.0] * 3 if balance in ("none", "logits") else weights
        loss = classifier_loss(balance, used, np.log(shares).tolist())  # type: ignore[arg-type]
        assert np.allclose(loss(own, logits), losses.mean(), atol=1e-5), balance


def test_changed_crops_depend_on_the_seed_alone_and_stay_crops() -> None:
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 255, (12, 112, 112, 3), dtype=np.uint8)
    first, again, other = (augmented(crops, np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert first.shape == crops.shape and first.dtype == np.uint8
    for seed in range(40):
        assert corrupted(crops[0], np.random.default_rng(seed)).shape == (112, 112, 3)


def test_a_batch_depends_on_seed_epoch_and_number_alone() -> None:
    crops = np.random.default_rng(0).integers(0, 255, (10, 112, 112, 3), dtype=np.uint8)

    def faces(seed: int) -> TrainingFaces:
        return TrainingFaces(
            lambda positions: crops[positions],
            np.arange(10),
            np.arange(10) % 2,
            lambda classes, rng: rng.permutation(len(classes)),
            batch_size=4,
            augment=False,
            seed=seed,
        )

    assert faces(0).num_batches == 3
    seen = np.concatenate([faces(0).batch(1, number)[0][:, 0, 0, 0] for number in range(3)])
    assert sorted(seen) == sorted(crops[:, 0, 0, 0])
    assert np.array_equal(faces(0).batch(2, 1)[0], faces(0).batch(2, 1)[0])
    assert not np.array_equal(faces(0).batch(2, 1)[0], faces(0).batch(3, 1)[0])


def test_mean_recall_counts_classes_alike_and_draws_are_paired() -> None:
    classes = np.array([0] * 8 + [1] * 2)
    found = np.zeros(10, np.int64)
    figures = classifier_figures(classes, found, np.arange(10), 3)
    assert figures.accuracy == 0.8 and figures.mean_recall == 0.5
    assert figures.recalls[:2].tolist() == [1.0, 0.0] and np.isnan(figures.recalls[2])
    one = drawn_recalls(classes, found, np.arange(10), 3)
    assert np.array_equal(one, drawn_recalls(classes, found, np.arange(10), 3))
