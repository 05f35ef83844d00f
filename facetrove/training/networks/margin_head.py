"""A head that is trained with a margin loss, by Keras.

The loss is CosFace's (Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition",
CVPR 2018): each person has a prototype, and the cosine between a face and its own prototype must
exceed all others by a margin. Training begins with no head at all: the linear layer is the
identity, the second layer adds nothing, and prototypes are the mean embeddings of the people.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facetrove.training.head_weights import HeadWeights
from facetrove.training.networks.keras_library import keras, make_deterministic

SCALE, MARGIN = 24.0, 0.2
"""Scale of the cosines in the softmax, and margin; a margin of 0.35 was worse on other people."""

PULL = 0.1
"""Weight of the mean squared difference of the linear layer from the identity."""

LEARNING_RATE = 2e-3
BATCH_FACES = 256
EPOCHS = 20

HIDDEN_UNITS = 128
"""Units of the hidden layer of a head of two layers."""


def learn_margin(
    embeddings: NDArray[np.float32],
    people: NDArray[np.int64],
    *,
    layers: int = 1,
    epochs: int | None = None,
    seed: int = 0,
    threads: int = 1,
) -> Callable[[float], HeadWeights]:
    """Train a head; see `facetrove.training.strength.Learn`.

    Args:
        embeddings: (n, d) float32, unit length.
        people: (n,) number of each face's person. People with one face are others to tell from.
        layers: 1 for a linear head, 2 for one with a hidden layer beside it.
        epochs: number of passes over the faces; None: `EPOCHS`.
        seed: seed of first weights and of the order of faces.
        threads: number of processor cores to use.
    """
    make_deterministic(seed, threads=threads)
    numbers, own = np.unique(people, return_inverse=True)
    size = embeddings.shape[1]
    means = np.zeros((len(numbers), size), np.float32)
    np.add.at(means, own, embeddings)
    inputs = keras.Input((size,))
    linear = keras.layers.Dense(
        size,
        use_bias=False,
        kernel_initializer=keras.initializers.Identity(),
        kernel_regularizer=_pull_to_identity,
    )
    vectors = linear(inputs)
    first_weights = keras.initializers.GlorotUniform(seed)
    hidden = keras.layers.Dense(HIDDEN_UNITS, activation="relu", kernel_initializer=first_weights)
    added = keras.layers.Dense(size, use_bias=False, kernel_initializer="zeros")
    if layers == 2:
        vectors = vectors + added(hidden(inputs))
    outputs = _Cosines(len(numbers), size)(vectors)
    model = keras.Model(inputs, outputs)
    model.layers[-1].set_weights([means / np.linalg.norm(means, axis=1, keepdims=True)])
    epochs = epochs or EPOCHS
    steps = epochs * -(-len(embeddings) // BATCH_FACES)
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    model.compile(keras.optimizers.Adam(rate), loss=_margin_loss)
    model.fit(embeddings, own, batch_size=BATCH_FACES, epochs=epochs, verbose=0)
    if layers == 2:
        found = HeadWeights(*linear.get_weights(), *hidden.get_weights(), *added.get_weights())
    else:
        found = HeadWeights(*linear.get_weights())
    return found.towards_identity


class _Cosines(keras.layers.Layer):  # type: ignore[misc]
    """Cosines between vectors and the prototypes of people: (n, d) to (n, people)."""

    def __init__(self, num_people: int, size: int) -> None:
        super().__init__()
        self.prototypes = self.add_weight(shape=(num_people, size), name="prototypes")

    def call(self, vectors: Any) -> Any:
        unit = keras.ops.normalize(vectors, axis=-1)
        return unit @ keras.ops.transpose(keras.ops.normalize(self.prototypes, axis=-1))


def _margin_loss(own: Any, cosines: Any) -> Any:
    """Compute the cross-entropy with the margin; `own` is (n, 1), the number of the person."""
    own = keras.ops.cast(keras.ops.reshape(own, (-1,)), "int32")
    margin = MARGIN * keras.ops.one_hot(own, cosines.shape[-1])
    return keras.losses.sparse_categorical_crossentropy(
        own, SCALE * (cosines - margin), from_logits=True
    )


def _pull_to_identity(kernel: Any) -> Any:
    size = kernel.shape[0]
    return PULL / (2 * size) * keras.ops.sum(keras.ops.square(kernel - keras.ops.eye(size)))
