"""The family of deepface's models, named deepface:ArcFace, deepface:retinaface and so on.

The package deepface downloads the weights, runs its detectors, and makes the crops that
`DeepFace.represent` would where these are asked for or are a network's default. Its recognition
networks run in batches like any other network here, on crops of its default `normalization`,
"base".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.core.hashing import sha256_of
from faces.core.settings import FaceSelection
from faces.models.alignment import Alignment, five_point_alignment
from faces.models.choice import (
    DEEPFACE,
    DEEPFACE_ALIGNMENT,
    FACE_RECOGNITION_ALIGNMENT,
    FACENET_ALIGNMENT,
    FIVE_POINT_ALIGNMENT,
    OPENFACE_ALIGNMENT,
)
from faces.models.deepface_weights import (
    DETECTORS,
    RECOGNISERS,
    detector_digest,
    fetched,
    fetching,
    library,
    weights_folder,
)
from faces.models.dlib_models import DlibModel, face_recognition_alignment
from faces.models.embedder import EmbedderSpec
from faces.models.face import Detection
from faces.models.family import EmbedderModel, ModelFamily
from faces.models.placement import Placement
from faces.models.published_alignments import facenet_alignment, openface_alignment
from faces.photos.decoding import Image, Photo
from faces.photos.opencv import cv2


@dataclass(frozen=True)
class DeepFaceAlignment:
    """An `Alignment` that makes the crops of `DeepFace.represent`.

    The image is rotated until the eyes are level, then the box is cut out and fitted into the crop
    with black margins. All coordinates are rounded to whole pixels, as in deepface.

    Attributes:
        width, height: size of the crops in pixels.
        name: the alignment's name in the model contract.
    """

    width: int
    height: int
    name: str = DEEPFACE_ALIGNMENT

    def pixels_needed(self, box: NDArray[np.float32], landmarks: NDArray[np.float32]) -> float:
        """Return infinity, so that photos are never reduced, as in deepface."""
        return float("inf")

    def crop(
        self, image: Image, box: NDArray[np.float32], landmarks: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Crop one face as deepface does; see `Alignment.crop`."""
        cropped: NDArray[np.float32] = library().crop(
            image, box, landmarks, width=self.width, height=self.height
        )
        return cropped


def deepface_alignment(default: Alignment) -> DeepFaceAlignment:
    """Return deepface's alignment for crops of the size of `default`."""
    return DeepFaceAlignment(default.width, default.height)


class DeepFaceDetector:
    """A detector of deepface, which processes photos of full size one by one.

    Args:
        name: the detector's name in deepface, a key of `DETECTORS`.
        min_score: minimum score of a face, in [0, 1]; None: the detector's own.

    Raises:
        ModelUnavailableError: the detector's weights cannot be downloaded, or its package is not
            installed.
    """

    runs_on = "deepface"

    def __init__(self, name: str, *, min_score: float | None = None) -> None:
        self.name = DEEPFACE + name
        self._min_score = min_score or 0.0
        deepface = library()
        weights_folder().mkdir(parents=True, exist_ok=True)
        with fetching():
            self._model = deepface.build_detector(name)
        self.weights_digest = detector_digest(name)

    def reduction_for(self, longer_side: int) -> int:
        """Return 1, since deepface detects faces in photos of full size."""
        return 1

    def detect(self, photos: Sequence[Photo]) -> list[list[Detection]]:
        """Detect the faces of each photo; see `faces.models.pipeline.FaceDetector.detect`."""
        return [self._detect(photo.image) for photo in photos]

    def _detect(self, image: Image) -> list[Detection]:
        height, width = image.shape[:2]
        x, y = int(0.5 * width), int(0.5 * height)
        # deepface adds this border when it aligns, and so finds faces that the edge cuts off.
        bordered = cv2.copyMakeBorder(
            np.ascontiguousarray(image[:, :, ::-1]), y, y, x, x, cv2.BORDER_CONSTANT
        )
        found = [
            _to_detection(region, bordered.shape[1], bordered.shape[0], x, y)
            for region in self._model.detect_faces(bordered)
        ]
        kept = [d for d in found if d is not None and d.score >= self._min_score]
        return sorted(kept, key=lambda detection: -detection.score)


def _to_detection(
    region: Any, width: int, height: int, border_x: int, border_y: int
) -> Detection | None:
    """Convert a region of a bordered photo to a detection in the photo itself.

    Args:
        region: deepface's FacialAreaRegion, in pixels of the bordered photo.
        width, height: size of the bordered photo in pixels.
        border_x, border_y: width of the left border and height of the top border, in pixels.

    Returns:
        The detection; None if the region is under 2 pixels wide or high inside the bordered photo.
    """
    left, top = max(0, int(region.x)), max(0, int(region.y))
    right = min(width, int(region.x) + int(region.w))
    bottom = min(height, int(region.y) + int(region.h))
    if right - left < 2 or bottom - top < 2:
        return None
    # deepface's left and right are the person's; a `Detection` has those of the image.
    points = (region.right_eye, region.left_eye, region.nose, region.mouth_right, region.mouth_left)
    landmarks = np.array(
        [(np.nan, np.nan) if point is None else point[:2] for point in points], np.float32
    )
    score = 1.0 if region.confidence is None else float(np.clip(region.confidence, 0, 1))
    return Detection(
        box=np.array([left - border_x, top - border_y, right - left, bottom - top], np.float32),
        landmarks=landmarks - np.array([border_x, border_y], np.float32),
        score=score,
    )


def _load_detector(
    name: str, selection: FaceSelection, *, threads: int, placement: Placement
) -> DeepFaceDetector:
    if placement.device not in ("auto", "cpu"):
        raise WrongUsageError(
            f"{DEEPFACE}{name} runs on the device that deepface chooses, not on "
            f"{placement.device}; leave --device out"
        )
    return DeepFaceDetector(name, min_score=selection.min_score)


def _find_embedder(name: str, _digest: str | None) -> EmbedderModel | None:
    if name not in FAMILY.embedders:
        return None
    short_name = name.removeprefix(DEEPFACE)
    if short_name == "Dlib":
        return DlibModel(_default_alignment(short_name))
    return _embedder_spec(short_name)


def _embedder_spec(name: str) -> EmbedderSpec:
    """Describe one of deepface's recognition networks, and fetch its weights if they are missing.

    Args:
        name: the network's name in deepface, a key of `RECOGNISERS` other than Dlib.

    Raises:
        ModelUnavailableError: the weights cannot be downloaded.
    """
    recogniser = RECOGNISERS[name]
    path = fetched(recogniser.file)
    return EmbedderSpec(
        name=DEEPFACE + name,
        locate=partial(fetched, recogniser.file),
        digest=sha256_of(path),
        alignment=_default_alignment(name),
        dimension=recogniser.dimension,
        cache_name=f"deepface-{name}",
        **dict(recogniser.settings),
    )


ALIGNMENT_MAKERS: dict[str, Callable[[Alignment], Alignment]] = {
    FIVE_POINT_ALIGNMENT: five_point_alignment,
    DEEPFACE_ALIGNMENT: deepface_alignment,
    FACE_RECOGNITION_ALIGNMENT: face_recognition_alignment,
    FACENET_ALIGNMENT: facenet_alignment,
    OPENFACE_ALIGNMENT: openface_alignment,
}
"""Alignments by name: functions that make the alignment for an embedder from the embedder's default
alignment, which gives the size of the crops."""


def _default_alignment(name: str) -> Alignment:
    """Return the alignment of a recognition network's crops, unless another is chosen."""
    recogniser = RECOGNISERS[name]
    of_its_size = DeepFaceAlignment(recogniser.width, recogniser.height)
    return ALIGNMENT_MAKERS[recogniser.alignment](of_its_size)


FAMILY = ModelFamily(
    tuple(DEEPFACE + name for name in RECOGNISERS),
    _find_embedder,
    {DEEPFACE + name: partial(_load_detector, name) for name in DETECTORS},
)
