"""dlib's network as ours, under the name deepface:Dlib, and the crops of face_recognition.

dlib is imported nowhere else. It is optional, and loaded when its network or its landmarks are
first used. Their files are deepface's, which fetches them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import ModelUnavailableError, WrongUsageError, first_line
from faces.core.hashing import sha256_of
from faces.models.alignment import Alignment, Crop
from faces.models.choice import DEEPFACE, FACE_RECOGNITION_ALIGNMENT
from faces.models.deepface_weights import RECOGNISERS, fetched
from faces.models.placement import Placement
from faces.photos.decoding import Image

SHAPE_PREDICTOR = "shape_predictor_5_face_landmarks.dat"
"""The file of the network that looks for five landmarks in a box."""


def _dlib() -> Any:
    """The module `dlib`, which is optional."""
    try:
        import dlib
    except ImportError as error:
        raise ModelUnavailableError(
            f"dlib is not installed ({first_line(error)}); run `pip install 'dlib-bin'`"
        ) from error
    return dlib


@dataclass(frozen=True)
class FaceRecognitionAlignment:
    """Crops as `face_recognition.face_encodings` has dlib make them: an `Alignment`.

    dlib looks for five landmarks of its own in the box.
    """

    width: int = 150
    height: int = 150
    name: str = FACE_RECOGNITION_ALIGNMENT

    def pixels_needed(self, box: NDArray[np.float32], landmarks: NDArray[np.float32]) -> float:
        """See `Alignment`: all of them, for face_recognition does not reduce photos."""
        return float("inf")

    def crop(
        self, image: Image, box: NDArray[np.float32], landmarks: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """See `Alignment`."""
        dlib = _dlib()
        left, top, width, height = (int(value) for value in box)
        rectangle = dlib.rectangle(left, top, left + width, top + height)
        shape = _shape_predictor()(image, rectangle)
        return np.asarray(dlib.get_face_chip(image, shape, size=self.width, padding=0.25))


def face_recognition_alignment(default: Alignment) -> FaceRecognitionAlignment:
    """The crops of face_recognition, for an embedder that takes crops of their size.

    Raises:
        WrongUsageError: the embedder's own alignment has crops of another size.
    """
    alignment = FaceRecognitionAlignment()
    if (default.width, default.height) != (alignment.width, alignment.height):
        raise WrongUsageError(
            f"--alignment {FACE_RECOGNITION_ALIGNMENT} is for {DlibEmbedder.name} alone"
        )
    return alignment


@cache
def _shape_predictor() -> Any:
    dlib = _dlib()
    path = fetched(SHAPE_PREDICTOR)
    try:
        return dlib.shape_predictor(str(path))
    except RuntimeError as error:
        raise ModelUnavailableError(
            f"{path} is corrupt ({first_line(error)}); delete it, and it is fetched again"
        ) from error


@dataclass(frozen=True)
class DlibModel:
    """dlib's network, not loaded yet: an `EmbedderModel`."""

    alignment: Alignment

    def load(self, *, threads: int, placement: Placement, alignment: Alignment) -> DlibEmbedder:
        """See `faces.models.family.EmbedderModel`."""
        if placement.device not in ("auto", "cpu"):
            raise WrongUsageError(f"{DlibEmbedder.name} runs on the processor; leave --device out")
        return DlibEmbedder(alignment)


class DlibEmbedder:
    """dlib's ResNet (King, 2017), by dlib itself.

    Args:
        alignment: how crops are made.
    """

    name = f"{DEEPFACE}Dlib"
    runs_on = "dlib on cpu"
    dimension = 128

    def __init__(self, alignment: Alignment) -> None:
        self._path = fetched(RECOGNISERS["Dlib"].file)
        self.weights_digest = sha256_of(self._path)
        self.alignment = alignment
        if isinstance(self.alignment, FaceRecognitionAlignment):  # it has weights of its own
            both = f"{self.weights_digest} {sha256_of(fetched(SHAPE_PREDICTOR))}"
            self.weights_digest = hashlib.sha256(both.encode()).hexdigest()

    @cached_property
    def _network(self) -> Any:
        dlib = _dlib()
        try:
            return dlib.face_recognition_model_v1(str(self._path))
        except RuntimeError as error:
            raise WrongUsageError(
                f"{self._path} is corrupt ({first_line(error)}); delete it, and it is fetched again"
            ) from error

    def embed(self, crops: Crop) -> NDArray[np.float32]:
        """See `faces.models.pipeline.FaceEmbedder`."""
        if not len(crops):
            return np.empty((0, self.dimension), np.float32)
        whole = crops.astype(np.uint8)  # rounded down, as deepface does
        vectors = self._network.compute_face_descriptor(list(whole))
        return np.array(vectors, dtype=np.float32).reshape(len(whole), -1)
