"""Linear discriminants, and a training that is never worse than what it began with."""

from __future__ import annotations

import numpy as np
import pytest

from faces.core.vectors import unit_length
from facetrove.training.discriminants import discriminants
from facetrove.training.identification import identify_people
from tests.support.training import needs_keras

NUM_PEOPLE, SIZE = 120, 24


def faces_of(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return features whose first half tells people apart, and whose loud second half does not."""
    people = np.repeat(np.arange(NUM_PEOPLE), 4)
    means = rng.normal(size=(NUM_PEOPLE, SIZE)) * (np.arange(SIZE) < SIZE // 2)
    loud = np.where(np.arange(SIZE) < SIZE // 2, 0.5, 5.0)
    features = 3 + means[people] + rng.normal(size=(len(people), SIZE)) * loud
    return features.astype(np.float32), people


def rank_one(vectors: np.ndarray, people: np.ndarray) -> float:
    return float(identify_people(unit_length(vectors), people, splits=5, seed=0).rank_one()[0])


def test_discriminants_of_some_people_tell_others_apart() -> None:
    rng = np.random.default_rng(0)
    features, people = faces_of(rng)
    kernel, bias = discriminants([(features, people)], NUM_PEOPLE, SIZE // 2)
    others, numbers = faces_of(rng)
    centred = others - features.mean(axis=0)
    assert rank_one(others @ kernel + bias, numbers) > rank_one(centred, numbers) + 0.5
    assert np.allclose(features.mean(axis=0) @ kernel + bias, 0, atol=1e-3)
    share = np.abs(kernel[: SIZE // 2]).mean() / np.abs(kernel[SIZE // 2 :]).mean()
    assert share > 10


def test_discriminants_by_blocks_are_the_same_and_those_that_there_are_not_are_zero() -> None:
    features, people = faces_of(np.random.default_rng(1))
    whole, bias = discriminants([(features, people)], NUM_PEOPLE, 64)
    order = np.random.default_rng(2).permutation(len(people))
    blocks = [(features[some], people[some]) for some in np.array_split(order, 7)]
    parted, _ = discriminants(blocks, NUM_PEOPLE, 64)
    assert whole.shape == (SIZE, 64) and bias.shape == (64,)
    assert not whole[:, SIZE:].any() and whole[:, :SIZE].any(axis=0).all()
    assert np.allclose(np.abs(whole), np.abs(parted), atol=1e-3)


@pytest.mark.lasting
@needs_keras
@pytest.mark.slow
@pytest.mark.parametrize(("stops", "best"), [([0.9, 0.5, 0.7], 0), ([0.2, 0.5, 0.4], 1)])
def test_a_training_is_never_worse_than_its_start(stops: list[float], best: int) -> None:
    from facetrove.training.faces import TrainingFaces
    from facetrove.training.networks.keras_library import keras
    from facetrove.training.networks.loop import Schedule, train

    crops = np.random.default_rng(0).integers(0, 255, (16, 112, 112, 3), dtype=np.uint8)
    inputs = keras.Input((112, 112, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(pooled))
    seen: list[np.ndarray] = []

    def evaluate(given: keras.Model) -> dict[str, float]:
        seen.append(given.get_weights()[0].copy())
        return {"stop": stops[len(seen) - 1]}

    source = TrainingFaces(
        lambda positions: crops[positions],
        np.arange(16),
        np.arange(16) % 2,
        lambda own, rng: rng.permutation(len(own)),
        batch_size=8,
        augment=False,
        seed=0,
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    history = train(model, loss, source, Schedule(2), evaluate, from_start=True)
    assert history.best == best and len(history.curve) == 2
    assert np.array_equal(model.get_weights()[0], seen[best])
    assert not np.array_equal(seen[0], seen[2])
