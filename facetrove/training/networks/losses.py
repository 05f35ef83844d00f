"""Losses of classifiers: how errors of classes of different sizes count."""

from __future__ import annotations

from collections.abc import Sequence

from facetrove.training.imbalance import Balance
from facetrove.training.networks.keras_library import keras, tf

FOCUS = 2.0
"""Exponent of the focal loss, that of its authors."""


def classifier_loss(
    balance: Balance, weights: Sequence[float], log_shares: Sequence[float]
) -> keras.losses.Loss:
    """Return the cross-entropy of logits (n, c) and class numbers (n,), as `balance` changes it.

    Args:
        balance: how rare classes are handled.
        weights: (c,) weight of an error of each class.
        log_shares: (c,) logarithm of each class's share of the faces.
    """
    return _ClassifierLoss(balance, weights, log_shares)


class _ClassifierLoss(keras.losses.Loss):  # type: ignore[misc]  # Keras is untyped
    def __init__(
        self, balance: Balance, weights: Sequence[float], log_shares: Sequence[float]
    ) -> None:
        super().__init__(name="loss")
        self._balance = balance
        self._weights = keras.ops.convert_to_tensor(weights, "float32")
        self._log_shares = keras.ops.convert_to_tensor(log_shares, "float32")

    def call(self, classes: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Return the (n,) losses of a batch."""
        if self._balance == "logits":
            logits = logits + self._log_shares
        classes = keras.ops.reshape(keras.ops.cast(classes, "int32"), (-1,))
        losses = keras.ops.sparse_categorical_crossentropy(classes, logits, from_logits=True)
        if self._balance == "focal":
            losses = losses * (1.0 - keras.ops.exp(-losses)) ** FOCUS
        # One-hot products instead of a gather, whose gradient is not deterministic.
        own = keras.ops.one_hot(classes, len(self._weights))
        return losses * keras.ops.sum(own * self._weights, axis=-1)
