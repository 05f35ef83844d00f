"""Face alignment: warping a face to the crop that an embedder was trained on.

Most embedders are trained on faces warped so that five landmarks fall on fixed template points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.models.choice import ALIGNMENTS, DEEPFACE_ALIGNMENT
from faces.photos.decoding import Image
from faces.photos.opencv import cv2

Crop = NDArray[np.uint8] | NDArray[np.float32]
"""One crop (height, width, 3) or a batch of crops (n, height, width, 3): RGB, 0 to 255; uint8, or
float32 from an alignment that does not round."""


class Alignment(Protocol):
    """A method of warping faces to crops.

    Attributes:
        name: the method's name in the model contract.
        width, height: size of the crops in pixels.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def height(self) -> int: ...  # noqa: D102

    def pixels_needed(self, box: NDArray[np.float32], landmarks: NDArray[np.float32]) -> float:
        """Return the scale of a face from image to crop, in crop pixels per image pixel.

        The scale is under 1 for a face that is larger than the crop.

        Args:
            box: (4,) float32, see `Detection.box`.
            landmarks: (5, 2) float32, see `Detection.landmarks`.
        """
        ...

    def crop(self, image: Image, box: NDArray[np.float32], landmarks: NDArray[np.float32]) -> Crop:
        """Warp one face of an image to a crop.

        Args:
            image: (height, width, 3) uint8 RGB.
            box: (4,) float32 box in pixels of `image`, see `Detection.box`.
            landmarks: (5, 2) float32 landmarks in pixels of `image`, see `Detection.landmarks`; NaN
                for a landmark that the detector does not give.

        Returns:
            (height, width, 3) RGB crop; pixels from outside the image are black.
        """
        ...


@dataclass(frozen=True)
class AlignmentTemplate:
    """An `Alignment` that maps five landmarks to fixed points of the crop.

    The similarity transform (rotation, scale, translation) is the least-squares fit of the
    detected landmarks to the template points (Umeyama, IEEE PAMI 13(4), 1991). Two landmarks
    suffice; with fewer, the box is mapped to `USUAL_BOX` instead. A face at least twice as large
    as in the crop is first reduced by area averaging, since bilinear sampling would skip pixels.

    Attributes:
        name: the template's name in the model contract.
        width, height: size of the crop in pixels.
        points: five (x, y) in pixels of the crop, in the order of `Detection.landmarks`.
    """

    name: str
    width: int
    height: int
    points: tuple[tuple[float, float], ...]

    def pixels_needed(self, box: NDArray[np.float32], landmarks: NDArray[np.float32]) -> float:
        """Return the scale of the similarity transform; see `Alignment.pixels_needed`."""
        return _scale(self._transform(box, landmarks))

    def crop(
        self, image: Image, box: NDArray[np.float32], landmarks: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """Warp one face to the template; see `Alignment.crop`."""
        return warped(image, self._transform(box, landmarks), (self.width, self.height))

    def _transform(
        self, box: NDArray[np.float32], landmarks: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Compute the (2, 3) matrix from image pixels to crop pixels."""
        points = np.asarray(self.points)
        detected = np.isfinite(landmarks).all(axis=1)
        if detected.sum() >= 2:
            return similarity_transform(landmarks[detected], points[detected])
        from_arcface = similarity_transform(np.asarray(ARCFACE_112.points), points)
        corners = USUAL_BOX @ from_arcface[:, :2].T + from_arcface[:, 2]
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
"""The 112x112 template of ArcFace (Deng et al., CVPR 2019), which OpenCV's FaceRecognizerSF uses
too."""


def arcface_template(side: int) -> AlignmentTemplate:
    """Return ArcFace's template scaled to square crops of `side` pixels."""
    scale = side / ARCFACE_112.width
    points = tuple((x * scale, y * scale) for x, y in ARCFACE_112.points)
    return AlignmentTemplate(f"arcface-{side}", side, side, points)


def five_point_alignment(default: Alignment) -> Alignment:
    """Return the five-point alignment for an embedder.

    Args:
        default: the embedder's default alignment. It is returned itself if it is a template
            that has no name among `ALIGNMENTS`; otherwise it gives the size of the crops.

    Raises:
        WrongUsageError: the crops are not square, so ArcFace's template does not fit them.
    """
    if isinstance(default, AlignmentTemplate) and default.name not in ALIGNMENTS:
        return default
    if default.width != default.height:
        raise WrongUsageError(
            f"there is no five-point template for crops of {default.width}x{default.height}, only "
            f"for square ones; use --alignment {DEEPFACE_ALIGNMENT}"
        )
    return arcface_template(default.width)


USUAL_BOX = np.array([(15.0, 13.0), (95.0, 13.0), (95.0, 119.5), (15.0, 119.5)])
"""Corners (x, y) of the median YuNet box in `ARCFACE_112` crops, in pixels, over 500 LFW photos."""


def _corners(box: NDArray[np.float32]) -> NDArray[np.float64]:
    left, top, width, height = np.asarray(box, dtype=np.float64)
    right, bottom = left + width, top + height
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def _scale(transform: NDArray[np.float64]) -> float:
    return float(np.hypot(transform[0, 0], transform[1, 0]))


def warped(image: Image, transform: NDArray[np.float64], size: tuple[int, int]) -> Image:
    """Warp an image by a similarity transform.

    If the transform scales to half the size or less, the image is area-averaged first, since
    bilinear sampling would skip pixels.

    Args:
        image: (height, width, 3) uint8.
        transform: (2, 3) similarity transform from pixels of `image` to pixels of the result.
        size: (width, height) of the result in pixels.

    Returns:
        (height, width, 3) uint8; pixels from outside `image` are black.
    """
    shrink = int(1.0 / max(_scale(transform), 1e-6))
    if shrink >= 2:
        image, transform = _shrink_around_crop(image, transform, size, shrink)
    crop = cv2.warpAffine(image, transform, size, flags=cv2.INTER_LINEAR)
    return np.asarray(crop, dtype=np.uint8)


def similarity_transform(
    source: NDArray[np.floating], target: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Fit the similarity transform from `source` points to `target` points by least squares.

    With points as complex numbers, the fit is ordinary least squares in one unknown factor, which
    is Umeyama's solution in the plane (reflections excluded).

    Args:
        source, target: (n, 2) corresponding points.

    Returns:
        (2, 3) matrix of rotation, scale and translation. The scale is 1 and the rotation 0 if all
        source points coincide.
    """
    source_points = np.asarray(source, dtype=np.float64)
    target_points = np.asarray(target, dtype=np.float64)
    source_mean, target_mean = source_points.mean(axis=0), target_points.mean(axis=0)
    centred_source = (source_points - source_mean) @ (1, 1j)
    centred_target = (target_points - target_mean) @ (1, 1j)
    spread = np.vdot(centred_source, centred_source).real
    factor = np.vdot(centred_source, centred_target) / spread if spread > 0 else 1.0
    rotation = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.column_stack([rotation, target_mean - rotation @ source_mean])


def _shrink_around_crop(
    image: Image, transform: NDArray[np.float64], size: tuple[int, int], shrink: int
) -> tuple[Image, NDArray[np.float64]]:
    """Reduce the part of `image` that the crop shows, by an integer factor.

    Args:
        image: (height, width, 3) uint8.
        transform: (2, 3) matrix from pixels of `image` to pixels of the crop.
        size: (width, height) of the crop in pixels.
        shrink: reduction factor, 2 or more.

    Returns:
        The reduced part, and the (2, 3) matrix from its pixels to pixels of the crop.
    """
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
    # A pixel centre at x in the image lies at (x - left + 0.5) / shrink - 0.5 in the reduced part.
    offset = np.array([left, top]) + (shrink - 1) / 2
    adjusted = np.column_stack(
        [transform[:, :2] * shrink, transform[:, 2] + transform[:, :2] @ offset]
    )
    return np.asarray(shrunk, dtype=np.uint8), adjusted
