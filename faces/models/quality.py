"""How good a detected face is: its size, sharpness, brightness and pose, with units.

None of this needs a network. The pose is that of a rigid face of five points, so it tells a
frontal face from a half profile; it is no replacement for a trained head-pose estimator.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.models.face import FaceQuality
from faces.photos.decoding import Image

CROP_SIZE = 112
"""Side in pixels of the crops measured here, as `faces.models.alignment.ARCFACE_112` makes them."""

FACE_CENTRE = (56, 68)
FACE_HALF_AXES = (34, 44)
"""Ellipse of the crop's pixels that are measured: forehead to chin, without the hair and
background at the sides. Read off the mean of 2276 aligned photos of LFW."""

LAPLACIAN_SIDE, LAPLACIAN_GAIN = 5, 64
"""Side in pixels of the Laplacian's kernel, and how much its integer numbers are too large: it is
the second derivative (1, 0, -2, 0, 1) / 4 one way, smoothed by (1, 4, 6, 4, 1) / 16 the other,
and both ways summed. A kernel of 3 pixels would see mostly what noise and resampling leave in the
finest detail: with it the same face 150 and 175 pixels wide differs by 30%, with this by 5%."""

MIN_CONTRAST = 10.0
"""Standard deviation of luma, 0 to 255, under which variation counts as noise rather than as a
face: in LFW nineteen faces of twenty have over 22."""

OUTSIDE_SIDE = 9
"""Black squares of so many pixels are taken for what alignment fills in outside the photo."""

OUTSIDE_MARGIN = 3
"""Pixels beside them that the edge has touched: interpolation reaches one, the Laplacian two."""

FACE_MODEL = (
    (-0.500, 0.000, 0.0),
    (0.500, 0.000, 0.0),
    (0.000, 0.555, -0.5),
    (-0.426, 0.996, 0.0),
    (0.426, 0.996, 0.0),
)
"""Five (x, y, z) of a face that looks at the camera, in the order of `Detection.landmarks`.

x to the right, y down, z away from the camera; the unit is the distance between the eyes.

x and y are YuNet's own landmarks, the median of 504 LFW photos made symmetric, since YuNet
places the eyes lower and further apart and the mouth higher than ArcFace's template. Thus the
neutral pose is that of LFW's median face, and "frontal" means "as people of press photos mostly
look at the camera".

The eyes and the mouth corners are taken as one plane, and the nose's height above it is YuNet's
too: when a face turns by an angle a, the eyes' distance shrinks by cos(a) while the nose leaves
the midline by z sin(a), so the former squared falls linearly with the latter squared, and the
slope gives z: 0.50 from the eyes and 0.51 from the mouth corners of 2276 LFW photos. The
canonical face of MediaPipe, a model of another origin, has 0.54.
"""

_MEASURED: NDArray[np.uint8] = cv2.ellipse(
    np.zeros((CROP_SIZE, CROP_SIZE), np.uint8), FACE_CENTRE, FACE_HALF_AXES, 0, 0, 360, 255, -1
)
_AFFINE_FIT = np.linalg.pinv(np.asarray(FACE_MODEL) - np.mean(FACE_MODEL, axis=0)).T  # (5, 3)


def face_quality(
    box: NDArray[np.floating], landmarks: NDArray[np.floating], crop: Image
) -> FaceQuality:
    """The quality of one face.

    Args:
        box: (4,) x, y, width, height in pixels of the full-size photo.
        landmarks: (5, 2) as of `Detection.landmarks`, in pixels of the full-size photo.
        crop: (112, 112, 3) uint8 RGB, as `ARCFACE_112` makes it.

    Returns:
        Finite numbers whatever the input: a box without extent or with sides that are not
        finite has size 0, a flat crop sharpness 0, and landmarks on one point or not finite
        angles of 0, but for the roll of two eyes alone. Landmarks on one line give angles
        within the ranges and without meaning.
    """
    measures = face_qualities(box[np.newaxis], landmarks[np.newaxis], crop[np.newaxis])
    return FaceQuality(**{name: float(values[0]) for name, values in measures.items()})


def face_qualities(
    boxes: NDArray[np.floating], landmarks: NDArray[np.floating], crops: NDArray[np.uint8]
) -> dict[str, NDArray[np.float32]]:
    """The quality of many faces, as columns of a table.

    Args:
        boxes: (n, 4), see `face_quality`.
        landmarks: (n, 5, 2).
        crops: (n, 112, 112, 3) uint8 RGB.

    Returns:
        By the names of `FaceQuality`'s attributes, (n,) float32 each, finite.
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
    """Which way faces look, from five landmarks each.

    `FACE_MODEL` is fitted by weak perspective: the affine map to the image by least squares
    (the POS step of DeMenthon and Davis, "Model-Based Object Pose in 25 Lines of Code", IJCV
    15, 1995), then the nearest map that only rotates and scales, by singular values. Its rotation
    is Rz(roll) Ry(yaw) Rx(pitch), the order of 300W-LP and AFLW2000-3D (Zhu et al., CVPR 2016):
    roll is the tilt of the line between the eyes, so turning the photo changes roll alone.

    How far to trust it. Exact landmarks of a face of these proportions give exact angles; a
    nose longer by a tenth gives a yaw larger by about a tenth; seen from 60 cm, perspective
    adds up to 2 degrees; noise of 3% of the eyes' distance gives some 4 degrees of yaw and pitch.
    With YuNet's landmarks, the same LFW photo mirrored or at half size gives angles that differ by
    5 degrees of yaw, 4 of pitch and 3 of roll (standard deviation). YuNet draws faces upright: of
    a photo turned by 20 degrees its landmarks turn by 10 only, so true roll is about twice the
    roll given here. The model's scale of yaw and pitch rests on the landmarks' own geometry;
    no measured head poses were at hand to check it. Beyond some 45 degrees of yaw the hidden
    landmarks are guesses. LFW: yaw 5% -27, median 1, 95% 26; pitch -8, 0, 8; roll -4, -1, 2.

    Args:
        landmarks: (n, 5, 2) as of `Detection.landmarks`; any scale.

    Returns:
        (n, 3) yaw, pitch, roll in degrees, signs and ranges as of `FaceQuality`; finite.
    """
    points = _finite(_with_eyes_alone(landmarks))
    points -= points[:, :1]  # exactly 0 where all are one point; the fit does not see the shift
    affine = points.transpose(0, 2, 1) @ _AFFINE_FIT
    left, _, right = np.linalg.svd(affine, full_matrices=False)
    (xx, xy, xz), (yx, yy, yz) = (left @ right).transpose(1, 2, 0)  # the rotation's first rows
    yaw = np.arcsin((xy * yz - xz * yy).clip(-1, 1))  # the third row is their cross product
    pitch = -np.arctan2(xz * yx - xx * yz, xx * yy - xy * yx)
    roll = np.arctan2(yx, xx)
    return np.asarray(np.degrees(np.stack([yaw, pitch, roll], axis=1)))


def _with_eyes_alone(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """Landmarks of which some are not known made those of a frontal face with these eyes.

    Where the eyes are not known either, all are one point.
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
    """Two of the attributes of `FaceQuality`, measured where the crop shows the photo."""
    luma = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    region = _measured_region(luma)
    brightness, contrast = (value[0, 0] for value in cv2.meanStdDev(luma, mask=region))
    laplacian = cv2.Laplacian(luma, cv2.CV_16S, ksize=LAPLACIAN_SIDE)
    detail = cv2.meanStdDev(laplacian, mask=region)[1][0, 0] / LAPLACIAN_GAIN
    return detail / max(contrast, MIN_CONTRAST), brightness / 255


def _measured_region(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(112, 112) mask of the face, less what lies outside the photo; maybe empty.

    The border of a photo would count as a sharp edge, and what is beyond it as darkness.
    """
    black = np.asarray(luma == 0, dtype=np.uint8)
    if not black.any():
        return _MEASURED
    squares = np.ones((OUTSIDE_SIDE, OUTSIDE_SIDE), np.uint8)
    grown = OUTSIDE_SIDE + 2 * OUTSIDE_MARGIN
    outside = cv2.dilate(cv2.erode(black, squares), np.ones((grown, grown), np.uint8))
    return np.where(outside, np.uint8(0), _MEASURED)


def _finite(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """What is not finite becomes 0."""
    numbers = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(numbers), numbers, 0.0)
