"""dlib's embedder, named deepface:Dlib, and the alignment of the package face_recognition.

dlib is imported nowhere else. It is optional, and imported when its embedder or its landmark
predictor is first used. deepface downloads the weights of both.
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
from faces.models.deepface_weights import RECOGNISERS, SHAPE_PREDICTOR, fetched
from faces.models.placement import Placement
from faces.photos.decoding import Image


def _dlib() -> Any:
    """Import the module `dlib`, which is optional.

    Raises:
        ModelUnavailableError: dlib is not installed.
    """
    try:
        import dlib
    except ImportError as error:
        raise ModelUnavailableError(
            f"dlib is not installed ({first_line(error)}); run `pip install 'dlib-bin'`"
        ) from error
    return dlib


@dataclass(frozen=True)
class FaceRecognitionAlignment:
    """An `Alignment` that makes the crops of `face_recognition.face_encodings`.

    dlib finds five landmarks of its own in the box; the detector's landmarks are not used.

    Attributes:
        width, height: size of the crops in pixels.
        name: the alignment's name in the model contract.
    """

    width: int = 150
    height: int = 150
    name: str = FACE_RECOGNITION_ALIGNMENT

    def pixels_needed(self, box: NDArray[np.float32], landmarks: NDArray[np.float32]) -> float:
        """Return infinity, so that photos are never reduced, as in face_recognition."""
        return float("inf")

    def crop(
        self, image: Image, box: NDArray[np.float32], landmarks: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """Crop one face as face_recognition does; see `Alignment.crop`."""
        dlib = _dlib()
        left, top, width, height = (int(value) for value in box)
        rectangle = dlib.rectangle(left, top, left + width, top + height)
        shape = _shape_predictor()(image, rectangle)
        return np.asarray(dlib.get_face_chip(image, shape, size=self.width, padding=0.25))


def face_recognition_alignment(default: Alignment) -> FaceRecognitionAlignment:
    """Return face_recognition's alignment, for an embedder that takes crops of its size.

    Args:
        default: the embedder's default alignment, which gives the size of the embedder's crops.

    Raises:
        WrongUsageError: the embedder takes crops of another size.
    """
    alignment = FaceRecognitionAlignment()
    if (default.width, default.height) != (alignment.width, alignment.height):
        raise WrongUsageError(
            f"--alignment {FACE_RECOGNITION_ALIGNMENT} is for {DlibEmbedder.name} alone, whose "
            f"crops are {alignment.width}x{alignment.height}, not for crops of "
            f"{default.width}x{default.height}; choose another alignment"
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
            f"{path} is corrupt ({first_line(error)}); delete it, and it is downloaded again"
        ) from error


@dataclass(frozen=True)
class DlibModel:
    """An `EmbedderModel` of dlib's network.

    Attributes:
        alignment: the alignment that crops are made with unless another is chosen.
    """

    alignment: Alignment

    def load(self, *, threads: int, placement: Placement, alignment: Alignment) -> DlibEmbedder:
        """Load dlib's network; see `faces.models.family.EmbedderModel.load`."""
        if placement.device not in ("auto", "cpu"):
            raise WrongUsageError(
                f"{DlibEmbedder.name} runs on the CPU only, not on {placement.device}; leave "
                "--device out"
            )
        return DlibEmbedder(alignment)


class DlibEmbedder:
    """An embedder that runs dlib's ResNet (King, 2017) by dlib itself.

    Args:
        alignment: the alignment that crops are made with.

    Raises:
        ModelUnavailableError: the weights cannot be downloaded.
    """

    name = f"{DEEPFACE}Dlib"
    runs_on = "dlib on cpu"
    dimension = 128

    def __init__(self, alignment: Alignment) -> None:
        self._path = fetched(RECOGNISERS["Dlib"].file)
        self.weights_digest = sha256_of(self._path)
        self.alignment = alignment
        if isinstance(self.alignment, FaceRecognitionAlignment):  # its landmarks need weights too
            both = f"{self.weights_digest} {sha256_of(fetched(SHAPE_PREDICTOR))}"
            self.weights_digest = hashlib.sha256(both.encode()).hexdigest()

    @cached_property
    def _network(self) -> Any:
        dlib = _dlib()
        try:
            return dlib.face_recognition_model_v1(str(self._path))
        except RuntimeError as error:
            raise WrongUsageError(
                f"{self._path} is corrupt ({first_line(error)}); delete it, and it is downloaded "
                "again"
            ) from error

    def embed(self, crops: Crop) -> NDArray[np.float32]:
        """Embed crops of 150x150 pixels; see `faces.models.pipeline.FaceEmbedder.embed`."""
        if not len(crops):
            return np.empty((0, self.dimension), np.float32)
        integer_crops = crops.astype(np.uint8)  # rounded down, as deepface does
        vectors = self._network.compute_face_descriptor(list(integer_crops))
        return np.array(vectors, dtype=np.float32).reshape(len(integer_crops), -1)
