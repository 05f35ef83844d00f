"""The family of deepface's models, under the names deepface:ArcFace, deepface:retinaface and so on.

deepface fetches the weights, finds faces by its detectors and cuts crops as `DeepFace.represent`
does; its recognition networks are run as any other network is, in batches. Crops are those of its
`normalization` "base", which is its default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.core.hashing import sha256_of
from faces.core.settings import FaceSelection
from faces.models.alignment import Alignment, arcface_template
from faces.models.choice import DEEPFACE, DEEPFACE_ALIGNMENT
from faces.models.deepface_weights import (
    DETECTORS,
    RECOGNISERS,
    detector_digest,
    fetched,
    fetching,
    library,
    weights_folder,
)
from faces.models.dlib_models import DlibModel
from faces.models.embedder import EmbedderSpec
from faces.models.face import Detection
from faces.models.family import EmbedderModel, ModelFamily
from faces.models.placement import Placement
from faces.photos.decoding import Image, Photo


@dataclass(frozen=True)
class DeepFaceAlignment:
    """Crops as `DeepFace.represent` makes them: an `Alignment`.

    The box is turned so that the eyes are level, cut out, and fitted into the crop with black
    beside it. Places are whole pixels, as deepface has them.
    """

    width: int
    height: int
    name: str = DEEPFACE_ALIGNMENT

    def pixels_needed(self, box: NDArray[np.float32], landmarks: NDArray[np.float32]) -> float:
        """See `Alignment`: all of them, for deepface does not reduce photos."""
        return float("inf")

    def crop(
        self, image: Image, box: NDArray[np.float32], landmarks: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """See `Alignment`."""
        cropped: NDArray[np.float32] = library().crop(
            image, box, landmarks, width=self.width, height=self.height
        )
        return cropped


def deepface_alignment(default: Alignment) -> DeepFaceAlignment:
    """deepface's crops, of the size that an embedder's own alignment has."""
    return DeepFaceAlignment(default.width, default.height)


class DeepFaceDetector:
    """One of deepface's detectors. Each looks at whole photos, one after the other.

    Args:
        name: of `DETECTORS`.
        min_score: least score of a face, [0, 1]; by default the detector's own.

    Raises:
        ModelUnavailableError: its weights or its package cannot be had.
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
        """See `faces.models.pipeline.FaceDetector`: deepface does not reduce photos."""
        return 1

    def detect(self, photos: Sequence[Photo]) -> list[list[Detection]]:
        """See `faces.models.pipeline.FaceDetector`."""
        return [self._detect(photo.image) for photo in photos]

    def _detect(self, image: Image) -> list[Detection]:
        height, width = image.shape[:2]
        across, down = int(0.5 * width), int(0.5 * height)
        # As deepface does before it aligns; faces beyond the edge are found for it.
        bordered = cv2.copyMakeBorder(
            np.ascontiguousarray(image[:, :, ::-1]), down, down, across, across, cv2.BORDER_CONSTANT
        )
        found = [
            _to_detection(region, bordered.shape[1], bordered.shape[0], across, down)
            for region in self._model.detect_faces(bordered)
        ]
        kept = [d for d in found if d is not None and d.score >= self._min_score]
        return sorted(kept, key=lambda detection: -detection.score)


def _to_detection(region: Any, width: int, height: int, across: int, down: int) -> Detection | None:
    """A region in a photo with borders as a detection in the photo; None if it has no extent."""
    left, top = max(0, int(region.x)), max(0, int(region.y))
    right = min(width, int(region.x) + int(region.w))
    bottom = min(height, int(region.y) + int(region.h))
    if right - left < 2 or bottom - top < 2:
        return None
    # deepface's sides are the person's, ours the image's.
    points = (region.right_eye, region.left_eye, region.nose, region.mouth_right, region.mouth_left)
    landmarks = np.array(
        [(np.nan, np.nan) if point is None else point[:2] for point in points], np.float32
    )
    score = 1.0 if region.confidence is None else float(np.clip(region.confidence, 0, 1))
    return Detection(
        box=np.array([left - across, top - down, right - left, bottom - top], np.float32),
        landmarks=landmarks - np.array([across, down], np.float32),
        score=score,
    )


def _load_detector(
    name: str, selection: FaceSelection, *, threads: int, placement: Placement
) -> DeepFaceDetector:
    if placement.device not in ("auto", "cpu"):
        raise WrongUsageError(f"{DEEPFACE}{name} runs where deepface runs it; leave --device out")
    return DeepFaceDetector(name, min_score=selection.min_score)


def _find_embedder(name: str, _digest: str | None) -> EmbedderModel | None:
    if name not in FAMILY.embedders:
        return None
    theirs = name.removeprefix(DEEPFACE)
    return DlibModel(_own_alignment(theirs)) if theirs == "Dlib" else _embedder_spec(theirs)


def _embedder_spec(name: str) -> EmbedderSpec:
    """deepface's recognition network of a name of `RECOGNISERS`, but for Dlib's.

    Fetches the weights if they are not there.

    Raises:
        ModelUnavailableError: they cannot be had.
    """
    recogniser = RECOGNISERS[name]
    path = fetched(recogniser.file)
    return EmbedderSpec(
        name=DEEPFACE + name,
        locate=partial(fetched, recogniser.file),
        digest=sha256_of(path),
        alignment=_own_alignment(name),
        dimension=recogniser.dimension,
        cache_name=f"deepface-{name}",
        **dict(recogniser.settings),
    )


def _own_alignment(name: str) -> Alignment:
    """How the crops of a recognition model are made unless another way is chosen."""
    recogniser = RECOGNISERS[name]
    if recogniser.five_points:
        return arcface_template(recogniser.width)
    return DeepFaceAlignment(recogniser.width, recogniser.height)


FAMILY = ModelFamily(
    tuple(DEEPFACE + name for name in RECOGNISERS),
    _find_embedder,
    {DEEPFACE + name: partial(_load_detector, name) for name in DETECTORS},
)
