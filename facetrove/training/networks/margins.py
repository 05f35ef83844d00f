"""Margin losses: logits of people by the angle between an embedding and the centres of each."""

from __future__ import annotations

import math

from facetrove.training.embedder_options import MarginKind
from facetrove.training.networks.keras_library import keras, tf


class MarginLogits(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """The logits of people, of which a face's own is lowered by a margin while it is learnt.

    With the angle t between an embedding and the nearest of a person's centres, a logit is
    scale * cos(t); that of the own person is scale * cos(t + margin) (ArcFace: Deng et al., CVPR
    2019) or scale * (cos(t) - margin) (CosFace: Wang et al., CVPR 2018). Several centres for a
    person let faces with wrong labels gather at one of them (sub-centre ArcFace: Deng et al., ECCV
    2020).

    Args:
        num_people: number of people.
        kind: `arcface` or `cosface`.
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

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Return (n, people) logits of (n, d) embeddings, of which (n,) people are the own."""
        embeddings, own = inputs
        unit = keras.ops.normalize(embeddings, axis=-1)
        centres = keras.ops.normalize(self._centres, axis=0)
        cosines = keras.ops.matmul(unit, centres)
        shape = (-1, self._num_people, self._sub_centres)
        cosines = keras.ops.max(keras.ops.reshape(cosines, shape), axis=-1)
        lowered = self._lowered(cosines)
        is_own = keras.ops.one_hot(keras.ops.cast(own, "int32"), self._num_people, dtype="bool")
        return self._scale * keras.ops.where(is_own, lowered, cosines)

    def _lowered(self, cosines: tf.Tensor) -> tf.Tensor:
        """Return what the cosines are with the margin."""
        if self._kind == "cosface":
            return cosines - self._margin
        sines = keras.ops.sqrt(keras.ops.clip(1.0 - cosines**2, 1e-6, 1.0))
        turned = cosines * math.cos(self._margin) - sines * math.sin(self._margin)
        # Beyond the angle of 180 degrees less the margin, cos(t + margin) would rise again.
        too_far = cosines <= math.cos(math.pi - self._margin)
        return keras.ops.where(too_far, cosines - self._margin * math.sin(self._margin), turned)
