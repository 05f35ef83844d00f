"""Photos in, faces with unit embeddings out: a detector and an embedder joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from faces.alignment import AlignmentTemplate, align_face
from faces.contract import ModelContract
from faces.images import Image

UNIT_LENGTH_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Detection:
    """One face in one image.

    Attributes:
        box: (4,) float32: x, y, width, height in pixels of the image, origin top left. It may
            reach beyond the image where the face is cut off.
        landmarks: (5, 2) float32: left eye, right eye, nose, left and right mouth corner, as
            seen in the image.
        score: how sure the detector is, in [0, 1].
    """

    box: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    score: float


@dataclass(frozen=True, eq=False)
class Face:
    """A detection and its (d,) float32 embedding of unit length."""

    detection: Detection
    embedding: NDArray[np.float32]


class FaceDetector(Protocol):
    """Finds faces. Images of one call may differ in size; speed comes from many at once."""

    name: str
    weights_digest: str

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """The faces of each image, best score first; an image without a face gives []."""
        ...


class FaceEmbedder(Protocol):
    """Turns aligned crops into vectors."""

    name: str
    weights_digest: str
    dimension: int
    alignment: AlignmentTemplate

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, size, size, 3) uint8 RGB crops to (n, dimension) float32, unit length, finite."""
        ...


class FacePipeline:
    """A detector and an embedder as one thing that jobs and searchers hold."""

    def __init__(self, detector: FaceDetector, embedder: FaceEmbedder) -> None:
        self.detector = detector
        self.embedder = embedder

    @property
    def contract(self) -> ModelContract:
        """What its embeddings are made by."""
        return ModelContract(
            detector=self.detector.name,
            detector_digest=self.detector.weights_digest,
            alignment=self.embedder.alignment.name,
            embedder=self.embedder.name,
            embedder_digest=self.embedder.weights_digest,
            dimension=self.embedder.dimension,
        )

    def find_faces(self, images: Sequence[Image]) -> list[list[Face]]:
        """The faces of each image, in the order of the detector; no face gives []."""
        detections = self.detector.detect(images)
        crops = [
            align_face(image, detection.landmarks, self.embedder.alignment)
            for image, found in zip(images, detections, strict=True)
            for detection in found
        ]
        embeddings = iter(self._embed(crops))
        return [[Face(detection, next(embeddings)) for detection in found] for found in detections]

    def _embed(self, crops: list[Image]) -> NDArray[np.float32]:
        if not crops:
            return np.empty((0, self.embedder.dimension), dtype=np.float32)
        return self.embedder.embed(np.stack(crops))


def has_unit_length(vectors: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(n,) whether each of (n, d) vectors has length 1, as float32 rounding allows."""
    off = np.abs(np.linalg.norm(vectors, axis=1) - 1.0)
    return np.asarray(off <= UNIT_LENGTH_TOLERANCE)  # not so for NaN


def unit_length(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """(n, d) vectors scaled to length 1.

    Raises:
        ValueError: a vector is zero or not finite, which no face network should produce.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        raise ValueError("a network returned a vector that is zero or not finite")
    return np.asarray(vectors / lengths, dtype=np.float32)
