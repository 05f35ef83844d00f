"""Quality measures of a detected face: size, sharpness, brightness and pose.

They need no network. The pose is that of a rigid model of five points, so it tells a frontal face
from a half profile, but is no replacement for a trained head-pose estimator.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from faces.models.face import FaceQuality
from faces.photos.decoding import Image
from faces.photos.opencv import cv2

CROP_SIZE = 112
"""Side in pixels of the measured crops, as `faces.models.alignment.ARCFACE_112` makes them."""

FACE_CENTRE = (56, 68)
FACE_HALF_AXES = (34, 44)
"""Centre (x, y) and half axes, in pixels of the crop, of the ellipse that is measured. It reaches
from forehead to chin, without the hair and background at the sides, as read off the mean of 2276
aligned LFW photos."""

LAPLACIAN_SIDE, LAPLACIAN_GAIN = 5, 64
"""Side in pixels of the Laplacian kernel, and the factor that its integer coefficients are too
large by. The kernel is the second derivative (1, 0, -2, 0, 1) / 4 along one axis, smoothed by
(1, 4, 6, 4, 1) / 16 along the other, summed over both axes. A 3-pixel kernel would measure mostly
noise and resampling in the finest detail: with it, the sharpness of one face 150 and 175 pixels
wide differs by 30%, with this one by 5%."""

MIN_CONTRAST = 10.0
"""Standard deviation of luma (0 to 255) below which variation counts as noise instead of as a face.
Nineteen of twenty LFW faces have over 22."""

OUTSIDE_SIDE = 9
"""Side in pixels of the black squares that are taken for the area outside the photo, which
alignment fills with black."""

OUTSIDE_MARGIN = 3
"""Pixels around the area outside the photo that are not measured either: interpolation spreads the
edge by one pixel, the Laplacian by two."""

FACE_MODEL = (
    (-0.500, 0.000, 0.0),
    (0.500, 0.000, 0.0),
    (0.000, 0.555, -0.5),
    (-0.426, 0.996, 0.0),
    (0.426, 0.996, 0.0),
)
"""Landmarks (x, y, z) of a model face that looks at the camera, in the order of
`Detection.landmarks`.

The axes point right, down and away from the camera; the unit is the distance between the eyes.

x and y are the median of YuNet's landmarks in 504 LFW photos, made symmetric, since YuNet places
the eyes lower and further apart and the mouth higher than ArcFace's template. Thus the neutral pose
is that of LFW's median face, and "frontal" means the way most people look at the camera in press
photos.

The eyes and the mouth corners are assumed to lie in one plane. The nose's height z above that plane
is estimated from YuNet's landmarks too: when a face turns by an angle a, the distance between the
eyes shrinks by cos(a), and the nose moves off the midline by z sin(a). So the squared distance
falls linearly with the squared offset, and the slope gives z: 0.50 from the eyes and 0.51 from the
mouth corners of 2276 LFW photos. MediaPipe's canonical face, a model of another origin, has 0.54.
"""

_MEASURED: NDArray[np.uint8] = cv2.ellipse(
    np.zeros((CROP_SIZE, CROP_SIZE), np.uint8), FACE_CENTRE, FACE_HALF_AXES, 0, 0, 360, 255, -1
)
_AFFINE_FIT = np.linalg.pinv(np.asarray(FACE_MODEL) - np.mean(FACE_MODEL, axis=0)).T  # (5, 3)


def face_quality(
    box: NDArray[np.floating], landmarks: NDArray[np.floating], crop: Image
) -> FaceQuality:
    """Measure the quality of one face.

    Args:
        box: (4,) x, y, width, height in pixels of the full-size photo.
        landmarks: (5, 2) in pixels of the full-size photo, see `Detection.landmarks`.
        crop: (112, 112, 3) uint8 RGB crop made by `faces.models.alignment.ARCFACE_112`.

    Returns:
        The quality, finite whatever the input. The face size is 0 if the box has a side that is 0,
        negative or not finite; the sharpness of a flat crop is 0. The angles are 0 if the landmarks
        coincide or are not finite, but two finite eyes still give a roll. Landmarks on one line
        give angles within their ranges, but without meaning.
    """
    measures = face_qualities(box[np.newaxis], landmarks[np.newaxis], crop[np.newaxis])
    return FaceQuality(**{name: float(values[0]) for name, values in measures.items()})


def face_qualities(
    boxes: NDArray[np.floating], landmarks: NDArray[np.floating], crops: NDArray[np.uint8]
) -> dict[str, NDArray[np.float32]]:
    """Measure the quality of many faces.

    Args:
        boxes: (n, 4) boxes, see `face_quality`.
        landmarks: (n, 5, 2) landmarks, see `face_quality`.
        crops: (n, 112, 112, 3) uint8 RGB crops, see `face_quality`.

    Returns:
        A column of (n,) finite float32 values for each attribute of `FaceQuality`, by its name.
    """
    pixels = np.array([_sharpness_and_brightness(crop) for crop in crops]).reshape(-1, 2)
    angles = head_poses(landmarks)
    columns = {
        "face_size": _finite(boxes[:, 2:]).min(axis=1).clip(0),
        "sharpness": pixels[:, 0],
        "brightness": pixels[:, 1],
        "yaw": angles[:, 0],
        "pitch": angles[:, 1],
        "roll": angles[:, 2],
    }
    return {name: np.asarray(values, dtype=np.float32) for name, values in columns.items()}


def head_poses(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """Estimate head poses from five landmarks each.

    `FACE_MODEL` is fitted by weak perspective: first the affine map to the image by least squares
    (the POS step of DeMenthon and Davis, "Model-Based Object Pose in 25 Lines of Code", IJCV
    15, 1995), then the nearest map that only rotates and scales, by singular value decomposition.
    Its rotation is Rz(roll) Ry(yaw) Rx(pitch), the order of 300W-LP and AFLW2000-3D (Zhu et al.,
    CVPR 2016): roll is the tilt of the line between the eyes, so turning the photo changes roll
    alone.

    Accuracy: exact landmarks of a face with the model's proportions give exact angles. A nose that
    is longer by a tenth gives a yaw that is larger by about a tenth; perspective, seen from 60 cm,
    adds up to 2 degrees; landmark noise of 3% of the distance between the eyes gives some 4 degrees
    of yaw and pitch. With YuNet's landmarks, one LFW photo mirrored or at half size gives angles
    that differ by 5 degrees of yaw, 4 of pitch and 3 of roll (standard deviation). YuNet places
    landmarks too upright: in a photo turned by 20 degrees they turn by only 10, so the true roll is
    about twice the estimated one. Faces that were found turned by more have landmarks of an upright
    look at them, so their roll is that of the face. The scale of yaw and pitch follows from the
    landmarks' geometry and was not checked against measured head poses. Beyond some 45 degrees of
    yaw, the hidden landmarks are guesses. LFW: yaw 5% -27, median 1, 95% 26; pitch -8, 0, 8; roll
    -4, -1, 2.

    Args:
        landmarks: (n, 5, 2) at any scale, see `Detection.landmarks`.

    Returns:
        (n, 3) finite yaw, pitch and roll in degrees, with the signs and ranges of `FaceQuality`.
    """
    points = _finite(_complete_from_eyes(landmarks))
    points -= points[:, :1]  # coinciding points become exactly 0; the fit ignores translation
    affine = points.transpose(0, 2, 1) @ _AFFINE_FIT
    left, _, right = np.linalg.svd(affine, full_matrices=False)
    (xx, xy, xz), (yx, yy, yz) = (left @ right).transpose(1, 2, 0)  # the rotation's first rows
    yaw = np.arcsin((xy * yz - xz * yy).clip(-1, 1))  # the third row is their cross product
    pitch = -np.arctan2(xz * yx - xx * yz, xx * yy - xy * yx)
    roll = np.arctan2(yx, xx)
    return np.asarray(np.degrees(np.stack([yaw, pitch, roll], axis=1)))


def _complete_from_eyes(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """Complete partial landmarks: put those of a frontal face with the same eyes in their place.

    Args:
        landmarks: (n, 5, 2); NaN or infinite where a detector does not give a landmark.

    Returns:
        (n, 5, 2). Where an eye is missing too, all five landmarks coincide.
    """
    points = np.array(landmarks, dtype=np.float64)
    partial = ~np.isfinite(points).all(axis=(1, 2))
    left, right = np.where(np.isfinite(points), points, np.nan)[partial, :2].swapaxes(0, 1) @ (
        1,
        1j,
    )
    model = np.asarray(FACE_MODEL)[:, :2] @ (1, 1j)
    placed = ((left + right) / 2)[:, np.newaxis] + (right - left)[:, np.newaxis] * model
    points[partial] = np.nan_to_num(np.stack([placed.real, placed.imag], axis=2), nan=0.0)
    return points


def _sharpness_and_brightness(crop: Image) -> tuple[float, float]:
    """Measure the sharpness and brightness, as in `FaceQuality`, of a (112, 112, 3) uint8 crop."""
    luma = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    region = _measured_region(luma)
    brightness, contrast = (value[0, 0] for value in cv2.meanStdDev(luma, mask=region))
    laplacian = cv2.Laplacian(luma, cv2.CV_16S, ksize=LAPLACIAN_SIDE)
    detail = cv2.meanStdDev(laplacian, mask=region)[1][0, 0] / LAPLACIAN_GAIN
    return detail / max(contrast, MIN_CONTRAST), brightness / 255


def _measured_region(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Compute the mask of the face region, without the area outside the photo.

    That area would count as darkness, and the border of the photo as a sharp edge.

    Args:
        luma: (112, 112) uint8.

    Returns:
        (112, 112) uint8 mask, 255 where the crop is measured; it may be 0 everywhere.
    """
    black = np.asarray(luma == 0, dtype=np.uint8)
    if not black.any():
        return _MEASURED
    squares = np.ones((OUTSIDE_SIDE, OUTSIDE_SIDE), np.uint8)
    grown = OUTSIDE_SIDE + 2 * OUTSIDE_MARGIN
    outside = cv2.dilate(cv2.erode(black, squares), np.ones((grown, grown), np.uint8))
    return np.where(outside, np.uint8(0), _MEASURED)


def _finite(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Replace values that are not finite by 0."""
    array = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(array), array, 0.0)
