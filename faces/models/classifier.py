"""Classifiers of faces: an ONNX file that gives the probability of each class of a crop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.models.alignment import ARCFACE_112
from faces.models.classifier_file import ClassifierFile
from faces.models.engines import OnnxRuntimeNetwork, output_shapes

BATCH_CROPS = 64
"""Number of crops that are classified at once."""


class FaceClassifier:
    """A classifier that is loaded.

    Args:
        path: path of its TOML file.
        threads: number of processor cores to use.

    Attributes:
        described: what the TOML file says.

    Raises:
        WrongUsageError: the TOML file describes no classifier, or its network is missing, another
            one, or none that gives probabilities of these classes.
    """

    def __init__(self, path: Path, *, threads: int) -> None:
        self.described = ClassifierFile.read(path)
        network = self.described.network_path(path)
        sample = np.zeros((1, ARCFACE_112.height, ARCFACE_112.width, 3), np.float32)
        shapes = list(output_shapes(network, sample).values())
        expected = (1, len(self.described.classes))
        if shapes != [expected]:
            raise WrongUsageError(
                f"{network} gives {shapes} for one crop, expected one output of the shape "
                f"{expected}: a probability for each class that {path.name} names"
            )
        self._network = OnnxRuntimeNetwork(network, threads=threads)

    def classify(self, crops: NDArray[np.uint8]) -> tuple[list[str], list[float]]:
        """Classify crops.

        Args:
            crops: (n, 112, 112, 3) uint8 RGB.

        Returns:
            The most probable class of each crop, and its probability, in [0, 1].

        Raises:
            WrongUsageError: the network gives something else than probabilities.
        """
        classes: list[str] = []
        scores: list[float] = []
        for start in range(0, len(crops), BATCH_CROPS):
            batch = crops[start : start + BATCH_CROPS].astype(np.float32)
            (given,) = self._network.run(batch).values()
            found, best = given.argmax(axis=1), given.max(axis=1)
            if not ((best >= 0) & (best <= 1 + 1e-3)).all():
                raise WrongUsageError(
                    f"{self.described.name} gives values such as {best[0]:g}, expected "
                    "probabilities from 0 to 1; train it again"
                )
            classes += [self.described.classes[number] for number in found.tolist()]
            scores += np.minimum(best, 1.0).astype(np.float64).tolist()
        return classes, scores
