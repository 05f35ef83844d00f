"""Find the faces of one photo, without a dataset or an index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import overload

import numpy as np
import pyarrow as pa

from faces.core.machine import available_threads
from faces.core.settings import FaceSelection
from faces.core.tables import Tabular
from faces.dataset.schema import column_of
from faces.models.choice import ModelChoice
from faces.models.face import Face
from faces.models.pipeline import FaceDetector, FaceEmbedder, FacePipeline
from faces.models.registry import load_detector, load_embedder
from faces.photos.decoding import Image, Photo
from faces.photos.reading import open_photo

MODELS_KEPT = 2
"""Detectors, and embedders, that a process keeps for the next photo: the last ones used."""


class FoundFaces(Tabular, Sequence[Face]):
    """The faces of one photo, the surest detection first.

    Attributes:
        embeddings: (n, d) float32, unit length.
    """

    def __init__(self, faces: Sequence[Face], dimension: int) -> None:
        self._faces = tuple(faces)
        embeddings = np.array([face.embedding for face in faces], dtype=np.float32)
        self.embeddings = embeddings.reshape(-1, dimension)

    def __len__(self) -> int:
        return len(self._faces)

    @overload
    def __getitem__(self, number: int) -> Face: ...
    @overload
    def __getitem__(self, number: slice) -> FoundFaces: ...
    def __getitem__(self, number: int | slice) -> Face | FoundFaces:
        if isinstance(number, slice):
            return FoundFaces(self._faces[number], self.embeddings.shape[1])
        return self._faces[number]

    def __repr__(self) -> str:
        boxes = ", ".join("{:.0f}x{:.0f} at {:.0f},{:.0f}".format(*_size(f)) for f in self)
        return f"<{len(self)} face{'s' if len(self) != 1 else ''}{': ' if boxes else ''}{boxes}>"

    def to_arrow(self) -> pa.Table:
        """The faces as an Arrow table, a row each.

        Returns:
            box (x, y, width, height) and landmarks (x, y five times) in pixels of the upright
            photo, score, face_size, sharpness, brightness, yaw, pitch, roll, embedding_norm and
            embedding, as in a dataset; see docs/embed.md.
        """
        rows = [
            {
                "box": face.box.tolist(),
                "landmarks": face.landmarks.reshape(-1).tolist(),
                "score": face.score,
                **asdict(face.quality),
                "embedding_norm": face.embedding_norm,
            }
            for face in self
        ]
        table = pa.Table.from_pylist(rows, schema=_SCHEMA)
        return table.append_column("embedding", column_of(self.embeddings))


_SCHEMA = pa.schema(
    [
        ("box", pa.list_(pa.float32(), 4)),
        ("landmarks", pa.list_(pa.float32(), 10)),
        *(
            (name, pa.float32())
            for name in ("score", "face_size", "sharpness", "brightness", "yaw", "pitch", "roll")
        ),
        ("embedding_norm", pa.float32()),
    ]
)


def find_faces(
    photo: str | Path | Photo | Image,
    *,
    models: ModelChoice = ModelChoice(),
    selection: FaceSelection = FaceSelection(),
) -> FoundFaces:
    """Find and embed every face of one photo.

    The models are loaded at the first call, which takes a moment, and kept for the next.

    Args:
        photo: path of a photo, or a decoded one, an array being (height, width, 3) uint8 RGB.
        models: detector and embedder; the built-in ones by default.
        selection: which of the faces are kept; all by default.

    Returns:
        The faces, the surest detection first; none where no face is found.

    Raises:
        WrongUsageError: the photo cannot be read, or there is no such model.
        ModelUnavailableError: the weights of a model cannot be had.
    """
    pipeline = loaded_pipeline(models, selection)
    if isinstance(photo, str | Path):  # decoded as the embed job does it
        photo = open_photo(Path(photo), pipeline.detector.reduction_for)
    (faces,) = pipeline.find_faces([photo])
    return FoundFaces(faces, pipeline.embedder.dimension)


def loaded_pipeline(models: ModelChoice, selection: FaceSelection) -> FacePipeline:
    """The pipeline of these models, each of which is loaded once in a process."""
    sought = FaceSelection(min_face=selection.min_face, min_score=selection.min_score)
    with _loading:  # one thread loads, the others wait for it
        return FacePipeline(_detector(models, sought), _embedder(models), selection)


_loading = Lock()


@lru_cache(MODELS_KEPT)
def _detector(models: ModelChoice, sought: FaceSelection) -> FaceDetector:
    return load_detector(models, sought, threads=available_threads())


@lru_cache(MODELS_KEPT)
def _embedder(models: ModelChoice) -> FaceEmbedder:
    return load_embedder(models, threads=available_threads())


def _size(face: Face) -> tuple[float, float, float, float]:
    x, y, width, height = face.box.tolist()
    return width, height, x, y
