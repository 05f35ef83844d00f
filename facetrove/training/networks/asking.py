"""Asking a network about faces, some at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facetrove.training.faces import TakeInputs
from facetrove.training.networks.keras_library import keras

ASKED_AT_ONCE = 256
"""Number of crops that a network is asked about at once: 40 MB of them."""


def outputs(
    network: keras.Model, take: TakeInputs, positions: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return what a network computes for faces.

    Args:
        network: the network.
        take: returns what the network takes, such as crops.
        positions: (n,) positions of the faces.

    Returns:
        (n, m) float32, of the network's m outputs.
    """
    parts = [np.zeros((0, int(network.output.shape[-1])), np.float32)]
    for start in range(0, len(positions), ASKED_AT_ONCE):
        crops = take(positions[start : start + ASKED_AT_ONCE]).astype(np.float32)
        parts.append(np.asarray(network.predict_on_batch(crops)))
    return np.concatenate(parts)
