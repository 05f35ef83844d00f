"""Find and embed the faces of one photo, without a dataset or an index."""

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
from faces.core.words import counted
from faces.dataset.schema import column_of
from faces.models.choice import ModelChoice
from faces.models.face import Face, box_in_words
from faces.models.pipeline import FaceDetector, FaceEmbedder, FacePipeline
from faces.models.ranking import faces_of
from faces.models.registry import load_detector, load_embedder
from faces.photos.decoding import Image, Photo

MODELS_KEPT = 2
"""Number of detectors, and of embedders, that a process keeps loaded for the next photo. Two let a
program alternate between two choices of models without loading networks again."""

BOXES_SHOWN = 3
"""Number of faces whose boxes `repr` of `FoundFaces` shows, so that it fits into a line or two."""


class FoundFaces(Tabular, Sequence[Face]):
    """The faces of one photo: a sequence of `Face`, by descending detection score.

    Attributes:
        embeddings: (n, d) float32 embeddings of the faces, each of unit length.
    """

    def __init__(self, faces: Sequence[Face], dimension: int) -> None:
        self._faces = tuple(faces)
        embeddings = np.array([face.embedding for face in faces], dtype=np.float32)
        self.embeddings = embeddings.reshape(-1, dimension)

    def __len__(self) -> int:
        return len(self._faces)

    @overload
    def __getitem__(self, index: int) -> Face: ...
    @overload
    def __getitem__(self, index: slice) -> FoundFaces: ...
    def __getitem__(self, index: int | slice) -> Face | FoundFaces:
        if isinstance(index, slice):
            return FoundFaces(self._faces[index], self.embeddings.shape[1])
        return self._faces[index]

    def __repr__(self) -> str:
        count = counted(len(self), "face")
        boxes = [box_in_words(face.box) for face in self[:BOXES_SHOWN]]
        if len(self) > BOXES_SHOWN:
            boxes.append("...")
        return f"<{count}: {', '.join(boxes)}>" if boxes else f"<{count}>"

    def to_arrow(self) -> pa.Table:
        """Return the faces as an Arrow table with one row per face.

        Returns:
            Columns as in a dataset (see docs/embed.md): box (x, y, width, height) and landmarks
            (x, y of five points) in pixels of the upright photo, score, face_size, sharpness,
            brightness, yaw, pitch, roll, embedding_norm and embedding.
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


_SCHEMA = pa.schema(  # of `FoundFaces.to_arrow`, but for the embedding, whose length varies
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

    The first call loads the models, which takes some seconds; later calls reuse them.

    Args:
        photo: path of a photo file, a `Photo`, or an upright image as a (height, width, 3) uint8
            RGB array.
        models: detector and embedder to use; the built-in ones by default.
        selection: limits on the faces that are kept; all faces by default.

    Returns:
        The faces, by descending detection score; an empty sequence if no face is found.

    Raises:
        WrongUsageError: the photo cannot be read, or there is no such model.
        ModelUnavailableError: the weights of a model cannot be fetched.
    """
    pipeline = loaded_pipeline(models, selection)
    return FoundFaces(faces_of(photo, pipeline), pipeline.embedder.dimension)


def loaded_pipeline(models: ModelChoice, selection: FaceSelection) -> FacePipeline:
    """Return a pipeline of models, loading only those that this process does not keep already.

    Args:
        models: detector and embedder of the pipeline.
        selection: limits on the faces that the pipeline keeps.

    Raises:
        WrongUsageError: there is no such model.
        ModelUnavailableError: the weights of a model cannot be fetched.
    """
    # The limits that the detector itself applies, so that others do not load it again.
    detector_limits = FaceSelection(min_face=selection.min_face, min_score=selection.min_score)
    with _loading:
        return FacePipeline(_detector(models, detector_limits), _embedder(models), selection)


_loading = Lock()
"""Held while models are loaded: `lru_cache` alone would load a model once in each thread."""


@lru_cache(MODELS_KEPT)
def _detector(models: ModelChoice, limits: FaceSelection) -> FaceDetector:
    return load_detector(models, limits, threads=available_threads())


@lru_cache(MODELS_KEPT)
def _embedder(models: ModelChoice) -> FaceEmbedder:
    return load_embedder(models, threads=available_threads())
