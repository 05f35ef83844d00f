"""Five-point alignment: warp a face so that its landmarks fall where an embedder learned them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.images import Image


@dataclass(frozen=True)
class AlignmentTemplate:
    """Where the five landmarks belong in an embedder's input.

    Attributes:
        name: stored in the model contract.
        size: side of the square crop in pixels.
        points: five (x, y) in pixels of the crop, in the order of `Detection.landmarks`.
    """

    name: str
    size: int
    points: tuple[tuple[float, float], ...]


ARCFACE_112 = AlignmentTemplate(
    name="arcface-112",
    size=112,
    points=(
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ),
)
"""The template of ArcFace (Deng et al., CVPR 2019), also used by OpenCV's FaceRecognizerSF."""


def align_face(image: Image, landmarks: NDArray[np.float32], template: AlignmentTemplate) -> Image:
    """Cut one face out of an image, upright and scaled.

    The similarity transform (rotation, scale, translation) is the least-squares fit of the
    landmarks to the template (Umeyama, IEEE PAMI 13(4), 1991). A face much larger than the
    crop is first shrunk by area averaging, since bilinear sampling alone would skip pixels.

    Args:
        image: (height, width, 3) uint8 RGB.
        landmarks: (5, 2) float32, pixels of `image`.
        template: what the embedder expects.

    Returns:
        (size, size, 3) uint8 RGB; what lies outside the image is black.
    """
    transform = similarity_transform(landmarks, np.asarray(template.points))
    shrink = int(1.0 / _enlargement(transform))
    if shrink >= 2:
        image, transform = _shrink_around_crop(image, transform, template.size, shrink)
    crop = cv2.warpAffine(image, transform, (template.size, template.size), flags=cv2.INTER_LINEAR)
    return np.asarray(crop, dtype=np.uint8)


def pixels_needed(landmarks: NDArray[np.float32], template: AlignmentTemplate) -> float:
    """Pixels of the crop per pixel of the photo: under 1 for a face larger than the crop."""
    return _enlargement(similarity_transform(landmarks, np.asarray(template.points)))


def _enlargement(transform: NDArray[np.float64]) -> float:
    return float(np.hypot(transform[0, 0], transform[1, 0]))


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
    image: Image, transform: NDArray[np.float64], size: int, shrink: int
) -> tuple[Image, NDArray[np.float64]]:
    """The part of `image` under the crop, `shrink` times smaller, and the transform for it."""
    to_image = cv2.invertAffineTransform(transform)
    corners = np.array([(0, 0), (size, 0), (0, size), (size, size)]) @ to_image[:, :2].T
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
