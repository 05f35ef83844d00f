"""The faces that are learnt from, batch by batch, and those that are measured on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facetrove.training.augmentation import augmented

Take = Callable[[NDArray[np.int64]], NDArray[np.uint8]]
"""Returns the crops of the faces at some positions: (len(positions), 112, 112, 3) uint8."""

TakeInputs = Callable[[NDArray[np.int64]], NDArray[np.generic]]
"""Returns what a network takes of the faces at some positions: crops, or features of them."""

Draw = Callable[[NDArray[np.int64], np.random.Generator], NDArray[np.int64]]
"""Returns the order of an epoch's faces, as positions among the (n,) classes given."""


@dataclass(frozen=True, eq=False)
class TrainingFaces:
    """The faces that are learnt from; every batch depends on seed, epoch and number alone.

    Attributes:
        take: returns crops.
        positions: (n,) positions of the faces, as `take` takes them.
        classes: (n,) number of each face's class.
        draw: draws the order of an epoch.
        batch_size: number of faces of a batch, but of the last one.
        augment: whether crops are changed at random.
        seed: seed of order and changes.
    """

    take: Take
    positions: NDArray[np.int64]
    classes: NDArray[np.int64]
    draw: Draw
    batch_size: int
    augment: bool
    seed: int

    @property
    def num_faces(self) -> int:
        """The number of faces of an epoch."""
        return len(self.positions)

    @property
    def num_batches(self) -> int:
        """The number of batches of an epoch."""
        return math.ceil(len(self.positions) / self.batch_size)

    def batch(self, epoch: int, number: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return (m, 112, 112, 3) float32 crops and (m,) classes of one batch of an epoch."""
        order = self.draw(self.classes, np.random.default_rng([self.seed, 1, epoch]))
        chosen = order[number * self.batch_size : (number + 1) * self.batch_size]
        crops = self.take(self.positions[chosen])
        if self.augment:
            crops = augmented(crops, np.random.default_rng([self.seed, 2, epoch, number]))
        return crops.astype(np.float32), self.classes[chosen]
