"""Margin losses: logits of people by the angle between an embedding and the centres of each."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from facetrove.training.embedder_options import MarginKind
from facetrove.training.networks.keras_library import keras, tf

QUALITY_SHARE = 0.333
"""Share of AdaFace's qualities between -1 and 1 that one standard deviation of lengths makes; the
authors' `h`."""


class MarginLogits(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """The logits of people, of which a face's own is lowered by a margin while it is learnt.

    With the angle t between an embedding and the nearest of a person's centres, a logit is
    scale * cos(t); that of the own person is scale * cos(t + margin) (ArcFace: Deng et al., CVPR
    2019) or scale * (cos(t) - margin) (CosFace: Wang et al., CVPR 2018). Several centres for a
    person let faces with wrong labels gather at one of them (sub-centre ArcFace: Deng et al., ECCV
    2020).

    With AdaFace (Kim et al., CVPR 2022) the margin goes by quality, for which the length of an
    embedding stands. With z from -1 to 1, how far the length is from its mean over the batch, the
    logit is scale * (cos(t - margin * z) - margin * (1 + z)): the hardest faces count most where
    quality is high, and least where it is low. The authors' mean is one over many batches.

    Args:
        num_people: number of people.
        kind: `arcface`, `cosface` or `adaface`.
        margin: the margin, in radians or as a cosine.
        scale: the largest logit.
        sub_centres: number of centres of a person.
    """

    def __init__(
        self, num_people: int, kind: MarginKind, margin: float, scale: float, sub_centres: int
    ) -> None:
        super().__init__(name="margin")
        self._num_people, self._sub_centres = num_people, sub_centres
        self._kind, self._margin, self._scale = kind, margin, scale

    def build(self, shapes: list[tuple[int, ...]]) -> None:
        """Make the centres of all people."""
        self._centres = self.add_weight(
            shape=(shapes[0][-1], self._num_people * self._sub_centres),
            initializer="glorot_uniform",
            name="centres",
        )

    def begin(self, embeddings: NDArray[np.float32], own: NDArray[np.int64]) -> None:
        """Set all centres of a person near the mean of the person's embeddings.

        Args:
            embeddings: (n, d) float32, unit length.
            own: (n,) number of each face's person; everybody has a face.
        """
        means = np.zeros((self._num_people, embeddings.shape[1]), np.float32)
        np.add.at(means, own, embeddings)
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        around = self._centres.numpy() * (self._sub_centres > 1)
        self._centres.assign(np.repeat(means, self._sub_centres, axis=0).T + around)

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Return (n, people) logits of (n, d) embeddings, of which (n,) people are the own."""
        embeddings, own = inputs
        unit = keras.ops.normalize(embeddings, axis=-1)
        centres = keras.ops.normalize(self._centres, axis=0)
        cosines = keras.ops.matmul(unit, centres)
        shape = (-1, self._num_people, self._sub_centres)
        cosines = keras.ops.max(keras.ops.reshape(cosines, shape), axis=-1)
        lowered = self._lowered(cosines, embeddings)
        is_own = keras.ops.one_hot(keras.ops.cast(own, "int32"), self._num_people, dtype="bool")
        return self._scale * keras.ops.where(is_own, lowered, cosines)

    def _lowered(self, cosines: tf.Tensor, embeddings: tf.Tensor) -> tf.Tensor:
        """Return what the cosines are with the margin."""
        if self._kind == "cosface":
            return cosines - self._margin
        sines = keras.ops.sqrt(keras.ops.clip(1.0 - cosines**2, 1e-6, 1.0))
        if self._kind == "adaface":
            quality = _quality(embeddings)
            angles = -self._margin * quality
            turned = cosines * keras.ops.cos(angles) - sines * keras.ops.sin(angles)
            return turned - self._margin * (1.0 + quality)
        turned = cosines * math.cos(self._margin) - sines * math.sin(self._margin)
        # Beyond the angle of 180 degrees less the margin, cos(t + margin) would rise again.
        too_far = cosines <= math.cos(math.pi - self._margin)
        return keras.ops.where(too_far, cosines - self._margin * math.sin(self._margin), turned)


def _quality(embeddings: tf.Tensor) -> tf.Tensor:
    """Return (n, 1) how far (n, d) embeddings are longer than the mean of the batch, -1 to 1."""
    lengths = keras.ops.stop_gradient(keras.ops.norm(embeddings, axis=-1, keepdims=True))
    away = lengths - keras.ops.mean(lengths)
    return keras.ops.clip(away / (keras.ops.std(lengths) + 1e-3) * QUALITY_SHARE, -1.0, 1.0)
