"""Alignments of networks that were trained and published with crops of their own kind.

They make the crops from the box and landmarks of any detector, where the publishers used MTCNN
(FaceNet) and dlib (OpenFace); so the crops are those of the publications up to the differences of
these detectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.models.alignment import Alignment, AlignmentTemplate
from faces.models.choice import FACENET_ALIGNMENT, OPENFACE_ALIGNMENT
from faces.photos.decoding import Image
from faces.photos.opencv import cv2

FACENET_MARGIN = 32 / 94
"""Margin of `FaceNetAlignment` on both axes together, as a share of the box's width.
`align_dataset_mtcnn.py --image_size 160 --margin 32` of davidsandberg/facenet, with which its
accuracy on LFW was measured, adds 32 pixels to the width and to the height of each box in LFW's
photos, where the median width of a box is 94 pixels (see `FaceQuality`)."""

OPENFACE_POINTS = (
    (0.2774, 0.1673),
    (0.7061, 0.1590),
    (0.4921, 0.4221),
    (0.3071, 0.6418),
    (0.6954, 0.6341),
)
"""Left eye, right eye, tip of the nose, left and right mouth corner in OpenFace's crop, as shares
of its sides: the means of points 36 to 41 and of 42 to 47, and points 30, 48 and 54, of the mean
face `TEMPLATE` in openface/align_dlib.py (cmusatyalab/openface, Apache-2.0), scaled to the
template's extent as there. OpenFace itself maps the outer eye corners and the base of the nose
(`OUTER_EYES_AND_NOSE`), which most detectors do not give, by an affine transform."""


@dataclass(frozen=True)
class FaceNetAlignment:
    """An `Alignment` that cuts out the box with a margin and stretches it to the crop's size.

    The face is not rotated. What the margin would take from outside the image is left out.

    Attributes:
        width, height: size of the crops in pixels.
        name: the alignment's name in the model contract.
    """

    width: int
    height: int
    name: str = FACENET_ALIGNMENT

    def pixels_needed(self, box: NDArray[np.float32], landmarks: NDArray[np.float32]) -> float:
        """Return the larger of the two axes' scales; see `Alignment.pixels_needed`."""
        _, _, width, height = box.astype(np.float64)
        margin = FACENET_MARGIN * width
        return float(max(self.width / (width + margin), self.height / (height + margin)))

    def crop(
        self, image: Image, box: NDArray[np.float32], landmarks: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """Crop one face as FaceNet's `align_dataset_mtcnn.py` does; see `Alignment.crop`."""
        x, y, width, height = box.astype(np.float64)
        margin = FACENET_MARGIN * width / 2
        rows, columns = image.shape[:2]
        left, top = max(0, int(x - margin)), max(0, int(y - margin))
        right = min(columns, int(x + width + margin))
        bottom = min(rows, int(y + height + margin))
        part = image[top:bottom, left:right]
        if part.size == 0:  # the box lies outside the image
            return np.zeros((self.height, self.width, 3), np.uint8)
        is_smaller = part.shape[0] >= self.height and part.shape[1] >= self.width
        interpolation = cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
        crop = cv2.resize(part, (self.width, self.height), interpolation=interpolation)
        return np.asarray(crop, dtype=np.uint8)


def facenet_alignment(default: Alignment) -> FaceNetAlignment:
    """Return FaceNet's alignment for crops of the size of `default`."""
    return FaceNetAlignment(default.width, default.height)


def openface_alignment(default: Alignment) -> AlignmentTemplate:
    """Return OpenFace's alignment, which maps five landmarks to those of its mean face.

    Args:
        default: the embedder's default alignment, which gives the size of the crops.

    Raises:
        WrongUsageError: the crops are not square, as those of OpenFace are.
    """
    if default.width != default.height:
        raise WrongUsageError(
            f"--alignment {OPENFACE_ALIGNMENT} makes square crops, not {default.width}x"
            f"{default.height}; choose another alignment"
        )
    side = default.width
    points = tuple((x * side, y * side) for x, y in OPENFACE_POINTS)
    return AlignmentTemplate(OPENFACE_ALIGNMENT, side, side, points)
