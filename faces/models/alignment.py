"""Alignment: cut a face out of an image in the way an embedder learned faces.

Most networks of today were trained on faces warped so that five landmarks fall on given places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.models.choice import DEEPFACE_ALIGNMENT
from faces.photos.decoding import Image

Crop = NDArray[np.uint8] | NDArray[np.float32]
"""(height, width, 3) RGB, or many of them, 0 to 255: uint8, or float32 where an alignment does not
round."""


class Alignment(Protocol):
    """A way to cut out faces.

    Attributes:
        name: stored in the model contract.
        width, height: of its crops, in pixels.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def height(self) -> int: ...  # noqa: D102

    def pixels_needed(self, box: NDArray[np.float32], landmarks: NDArray[np.float32]) -> float:
        """Pixels of the crop per pixel of the image: under 1 for a face larger than the crop."""
        ...

    def crop(self, image: Image, box: NDArray[np.float32], landmarks: NDArray[np.float32]) -> Crop:
        """Cut one face out of an image.

        Args:
            image: (height, width, 3) uint8 RGB.
            box: (4,) float32 as of `Detection.box`, in pixels of `image`.
            landmarks: (5, 2) float32 as of `Detection.landmarks`, in pixels of `image`; NaN where
                the detector has none.

        Returns:
            (height, width, 3) RGB; what lies outside the image is black.
        """
        ...


@dataclass(frozen=True)
class AlignmentTemplate:
    """Where the five landmarks belong in an embedder's input: an `Alignment`.

    The similarity transform (rotation, scale, translation) is the least-squares fit of the
    landmarks to the template (Umeyama, IEEE PAMI 13(4), 1991), of those there are, of which two
    suffice; without them the box is laid where boxes mostly lie. A face much larger than the crop
    is first shrunk by area averaging, since bilinear sampling alone would skip pixels.

    Attributes:
        name: stored in the model contract.
        width, height: of the crop in pixels.
        points: five (x, y) in pixels of the crop, in the order of `Detection.landmarks`.
    """

    name: str
    width: int
    height: int
    points: tuple[tuple[float, float], ...]

    def pixels_needed(self, box: NDArray[np.float32], landmarks: NDArray[np.float32]) -> float:
        """See `Alignment`."""
        return _enlargement(self._transform(box, landmarks))

    def crop(
        self, image: Image, box: NDArray[np.float32], landmarks: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """See `Alignment`."""
        return warped(image, self._transform(box, landmarks), (self.width, self.height))

    def _transform(
        self, box: NDArray[np.float32], landmarks: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """The (2, 3) matrix from pixels of the image to pixels of the crop."""
        points = np.asarray(self.points)
        known = np.isfinite(landmarks).all(axis=1)
        if known.sum() >= 2:
            return similarity_transform(landmarks[known], points[known])
        to_ours = similarity_transform(np.asarray(ARCFACE_112.points), points)
        corners = USUAL_BOX @ to_ours[:, :2].T + to_ours[:, 2]
        return similarity_transform(_corners(box), corners)


ARCFACE_112 = AlignmentTemplate(
    name="arcface-112",
    width=112,
    height=112,
    points=(
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ),
)
"""The template of ArcFace (Deng et al., CVPR 2019), also used by OpenCV's FaceRecognizerSF."""


def arcface_template(side: int) -> AlignmentTemplate:
    """ArcFace's template for square crops of another size."""
    scale = side / ARCFACE_112.width
    points = tuple((x * scale, y * scale) for x, y in ARCFACE_112.points)
    return AlignmentTemplate(f"arcface-{side}", side, side, points)


def five_point_alignment(default: Alignment) -> Alignment:
    """Five landmarks on a template, for crops of the size that an embedder's own alignment has.

    Raises:
        WrongUsageError: there is no template of that size.
    """
    if isinstance(default, AlignmentTemplate):
        return default
    if default.width != default.height:
        raise WrongUsageError(
            f"no five-point template is known for crops of {default.width}x{default.height}; use "
            f"--alignment {DEEPFACE_ALIGNMENT}"
        )
    return arcface_template(default.width)


USUAL_BOX = np.array([(15.0, 13.0), (95.0, 13.0), (95.0, 119.5), (15.0, 119.5)])
"""Corners of YuNet's box in crops of `ARCFACE_112`, the median of 500 LFW photos."""


def _corners(box: NDArray[np.float32]) -> NDArray[np.float64]:
    left, top, width, height = np.asarray(box, dtype=np.float64)
    right, bottom = left + width, top + height
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def _enlargement(transform: NDArray[np.float64]) -> float:
    return float(np.hypot(transform[0, 0], transform[1, 0]))


def warped(image: Image, transform: NDArray[np.float64], size: tuple[int, int]) -> Image:
    """Cut a part out of an image, turned and scaled; black beyond it.

    What becomes less than half as large is averaged first: bilinear sampling would skip pixels.

    Args:
        image: (height, width, 3) uint8.
        transform: (2, 3) from pixels of it to pixels of the result, a similarity.
        size: width and height of the result.
    """
    shrink = int(1.0 / max(_enlargement(transform), 1e-6))
    if shrink >= 2:
        image, transform = _shrink_around_crop(image, transform, size, shrink)
    crop = cv2.warpAffine(image, transform, size, flags=cv2.INTER_LINEAR)
    return np.asarray(crop, dtype=np.uint8)


def similarity_transform(
    source: NDArray[np.floating], target: NDArray[np.floating]
) -> NDArray[np.float64]:
    """The (2, 3) matrix that rotates, scales and moves `source` nearest to `target`.

    Points are (n, 2). As complex numbers the fit is ordinary least squares in one unknown
    factor, which is Umeyama's solution in the plane (reflections excluded).
    """
    source_points = np.asarray(source, dtype=np.float64)
    target_points = np.asarray(target, dtype=np.float64)
    source_mean, target_mean = source_points.mean(axis=0), target_points.mean(axis=0)
    centred = (source_points - source_mean) @ (1, 1j)
    wanted = (target_points - target_mean) @ (1, 1j)
    spread = np.vdot(centred, centred).real
    factor = np.vdot(centred, wanted) / spread if spread > 0 else 1.0
    rotation = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.column_stack([rotation, target_mean - rotation @ source_mean])


def _shrink_around_crop(
    image: Image, transform: NDArray[np.float64], size: tuple[int, int], shrink: int
) -> tuple[Image, NDArray[np.float64]]:
    """The part of `image` under the crop, `shrink` times smaller, and the transform for it."""
    to_image = cv2.invertAffineTransform(transform)
    corners = np.array([(0, 0), (size[0], 0), (0, size[1]), size]) @ to_image[:, :2].T
    corners += to_image[:, 2]
    height, width = image.shape[:2]
    left, top = np.clip(np.floor(corners.min(axis=0)).astype(int) - shrink, 0, (width, height))
    right, bottom = np.clip(np.ceil(corners.max(axis=0)).astype(int) + shrink, 0, (width, height))
    part = image[top:bottom, left:right]
    new_width, new_height = (right - left) // shrink, (bottom - top) // shrink
    if new_width < 1 or new_height < 1:
        return image, transform  # the crop lies outside the image
    part = part[: new_height * shrink, : new_width * shrink]
    shrunk = cv2.resize(part, (new_width, new_height), interpolation=cv2.INTER_AREA)
    # A pixel centre at x in the image lies at (x - left + 0.5) / shrink - 0.5 in the shrunk part.
    offset = np.array([left, top]) + (shrink - 1) / 2
    adjusted = np.column_stack(
        [transform[:, :2] * shrink, transform[:, 2] + transform[:, :2] @ offset]
    )
    return np.asarray(shrunk, dtype=np.uint8), adjusted
