"""Training an embedder of crops with a margin loss, and asking it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.core.progress import OnProgress, ignore_progress
from faces.models.grey import CROP_SHAPE
from facetrove.training.discriminants import discriminants
from facetrove.training.embedder_options import EPOCHS, EmbedderOptions
from facetrove.training.faces import Draw, Take, TrainingFaces
from facetrove.training.identification import NUM_SPLITS, identify_people
from facetrove.training.imbalance import grouped_positions
from facetrove.training.networks.architectures import aligned_features
from facetrove.training.networks.asking import ASKED_AT_ONCE, outputs
from facetrove.training.networks.keras_library import keras
from facetrove.training.networks.loop import Batch, Checkpoint, History, Schedule, train
from facetrove.training.networks.margins import MarginLogits

People = NDArray[np.int64]

STOP_FPIR = 0.1
"""FPIR of the FNIR that is measured while a network is trained: the people that stop it are few."""


def embedder(dimension: int) -> keras.Model:
    """Return a network that gives embeddings of any length.

    An embedding is a linear function of oriented gradients, which `start` sets, and of what is
    learnt, which is nothing yet.
    """
    crops = keras.Input(CROP_SHAPE, name="crops")
    gradients, learnt = aligned_features(crops)
    linear = keras.layers.Dense(dimension, trainable=False, name="linear")(gradients)
    others = keras.layers.Dense(dimension, use_bias=False, kernel_initializer="zeros")(learnt)
    return keras.Model(crops, keras.layers.Add(name="embedding")([linear, others]))


def start(network: keras.Model, take: Take, positions: NDArray[np.int64], own: People) -> None:
    """Set a network to the linear discriminants of faces and mirrored faces.

    Args:
        network: the network, freshly initialised.
        take: returns crops.
        positions: (n,) positions of the faces.
        own: (n,) number of each face's person, from 0.
    """
    gradients = keras.Model(network.input, network.get_layer("gradients").output)

    def blocks() -> Iterator[tuple[NDArray[np.float32], People]]:
        for first in range(0, len(positions), ASKED_AT_ONCE):
            some = slice(first, first + ASKED_AT_ONCE)
            for mirrored in (1, -1):
                crops = take(positions[some])[:, :, ::mirrored].astype(np.float32)
                yield np.asarray(gradients.predict_on_batch(crops)), own[some]

    linear = network.get_layer("linear")
    linear.set_weights(discriminants(blocks(), int(own.max()) + 1, linear.units))


@dataclass(frozen=True, eq=False)
class EmbedderFaces:
    """The faces of an embedder's training.

    Attributes:
        take: returns crops.
        people: (n,) number of each face's person.
        learn: positions of the faces that are learnt from.
        stop: positions of the faces of other people, who say which epoch was the best.
    """

    take: Take
    people: NDArray[np.int64]
    learn: NDArray[np.int64]
    stop: NDArray[np.int64]


class _WithOwn:
    """Batches whose people are an input too, since the margin is between them and the others."""

    def __init__(self, faces: TrainingFaces) -> None:
        self._faces = faces
        self.num_faces, self.num_batches = faces.num_faces, faces.num_batches

    def batch(self, epoch: int, number: int) -> Batch:
        """Return crops and people, and the people."""
        crops, people = self._faces.batch(epoch, number)
        return (crops, people), people


def fit_embedder(
    faces: EmbedderFaces,
    options: EmbedderOptions,
    *,
    seed: int,
    epochs: int | None = None,
    checkpoint: Checkpoint | None = None,
    on_progress: OnProgress = ignore_progress,
) -> tuple[keras.Model, History]:
    """Train a network that gives embeddings, and return it with its epochs.

    Args:
        faces: the faces.
        options: how it is trained.
        seed: seed of order and corruptions; `make_deterministic` has set that of the weights.
        epochs: maximum number of epochs; None: the default; 0: the linear discriminants alone.
        checkpoint, on_progress: see `train`.
    """
    _, own = np.unique(faces.people[faces.learn], return_inverse=True)
    network = embedder(options.dimension)
    own = own.astype(np.int64)
    start(network, faces.take, faces.learn, own)
    person = keras.Input((), dtype="int32", name="person")
    margin = MarginLogits(
        int(own.max()) + 1,
        options.loss,
        options.chosen_margin,
        options.scale,
        options.sub_centres,
    )
    model = keras.Model([network.input, person], margin([network.output, person]))
    margin.begin(embeddings(network, faces.take, faces.learn), own)
    source = TrainingFaces(
        take=faces.take,
        positions=faces.learn,
        classes=own,
        draw=_draw(options.per_person),
        batch_size=options.batch_size,
        augment=options.augment,
        seed=seed,
    )

    def evaluate(_: keras.Model) -> Mapping[str, float]:
        vectors = embeddings(network, faces.take, faces.stop)
        found = identify_people(vectors, faces.people[faces.stop], splits=NUM_SPLITS, seed=seed)
        rank_one, fnir = float(found.rank_one()[0]), float(found.fnir(STOP_FPIR)[0])
        return {"rank_one": rank_one, "fnir_at_0.1": fnir, "stop": rank_one}

    history = train(
        model,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        _WithOwn(source),
        Schedule(epochs=EPOCHS if epochs is None else epochs, rate=2e-3, warm_up=2.0, patience=12),
        evaluate,
        from_start=True,
        checkpoint=checkpoint,
        on_progress=on_progress,
    )
    return network, history


def _draw(per_person: int | None) -> Draw:
    """Return what draws the order of an epoch's faces; see `EmbedderOptions.per_person`."""
    if per_person is None:
        return lambda people, rng: rng.permutation(len(people))
    return lambda people, rng: grouped_positions(people, per_person, rng)


def embeddings(
    network: keras.Model, take: Take, positions: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Ask a network about faces.

    Args:
        network: the network.
        take: returns crops.
        positions: (n,) positions of the faces.

    Returns:
        (n, d) float32 embeddings of length 1; one that the network made zero stays so.
    """
    vectors = outputs(network, take, positions)
    lengths: NDArray[np.float32] = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12))
