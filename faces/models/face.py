"""The data classes of a face: its box, detection, quality and embedding."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


def box_in_words(box: Iterable[float]) -> str:
    """Return x, y, width and height in whole pixels as text such as `240x329 at 370,91`."""
    x, y, width, height = (round(value) for value in box)
    return f"{width}x{height} at {x},{y}"


class Box(NamedTuple):
    """A face's bounding box in its upright photo, in pixels, with the origin at the top left.

    Attributes:
        x, y: coordinates of the left and the top edge; negative where a face is cut off there.
        width, height: size of the box.
    """

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, eq=False)
class Detection:
    """One face that a detector found in one image.

    Attributes:
        box: (4,) float32 x, y, width, height in pixels of the image, with the origin at the top
            left. The box may reach beyond the image where the face is cut off.
        landmarks: (5, 2) float32 x, y in pixels of the image: left eye, right eye, nose, left and
            right mouth corner, as seen in the image. NaN for landmarks that the detector does not
            give.
        score: the detector's score of the face, in [0, 1]; higher is surer.
    """

    box: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    score: float


@dataclass(frozen=True, eq=False)
class Face:
    """A detected face with its embedding and quality measures.

    Attributes:
        detection: the face's box, landmarks and score.
        embedding: (d,) float32, unit length.
        embedding_norm: Euclidean norm, over 0, of the embedder's vector before it was scaled to
            unit length; no unit, and each embedder has its own scale. The norm is lower for faces
            that the network can make little of, so it measures quality as the network sees it (Kim,
            Jain and Liu, "AdaFace: Quality Adaptive Margin for Face Recognition", CVPR 2022). It is
            1 where the network itself gives unit length.
        quality: measures of the face's size, sharpness, brightness and pose.
        face_id: the face's id in a dataset; None: it has none yet.
    """

    detection: Detection
    embedding: NDArray[np.float32]
    embedding_norm: float
    quality: FaceQuality
    face_id: str | None = None

    def __repr__(self) -> str:
        return f"<face: {box_in_words(self.box)}, score {self.score:.3f}>"

    @property
    def box(self) -> NDArray[np.float32]:
        """The detection's box, (4,) float32 x, y, width, height in pixels of the photo."""
        return self.detection.box

    @property
    def landmarks(self) -> NDArray[np.float32]:
        """The detection's landmarks, (5, 2) float32 x, y in pixels of the photo."""
        return self.detection.landmarks

    @property
    def score(self) -> float:
        """The detection's score, in [0, 1]; higher is surer."""
        return self.detection.score


@dataclass(frozen=True, eq=False)
class GivenFace:
    """A face that was detected earlier, and perhaps embedded too, so that it need not be now.

    Attributes:
        detection: the face's box, landmarks and score.
        face_id: the face's id in a dataset; None: it has none yet.
        embedding: (d,) float32 vector of any length, made by the embedder in use; None: the face
            is still to be embedded.
    """

    detection: Detection
    face_id: str | None = None
    embedding: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class FaceQuality:
    """Quality measures of one face: its size, sharpness, brightness and pose.

    The percentiles below are those of the central faces of 504 LFW photos (250x250, press photos).
    `faces.models.quality.head_poses` computes the angles and says how far to trust them.

    Attributes:
        face_size: shorter side of the box in pixels of the full-size photo, 0 or more; nearly
            always the face's width. It limits what detectors find. The inter-eye distance of
            ISO/IEC 19794-5 is 0.47 of the face size (5% to 95%: 0.39 to 0.51). LFW: 5% 83, median
            94, 95% 109.
        sharpness: standard deviation of the Laplacian divided by that of luma, in the face region
            of the aligned crop; no unit, 0 to 1. It is the share of the face's contrast that is
            fine detail: 0 for a flat crop, 0.5 for white noise, 1 for stripes 2 pixels wide. LFW:
            5% 0.14, median 0.21, 95% 0.29; sharp portraits 0.25 to 0.4.
            The variance of the Laplacian is a measure of focus (Pech-Pacheco et al., ICPR 2000);
            its kernel here is that of `LAPLACIAN_SIDE`. Dividing by the standard deviation of luma
            (at least `MIN_CONTRAST`) makes sharpness independent of exposure and contrast.
            Measured on the aligned crop, it is the detail that the embedder sees, and within some
            10% the same for one face at any width from 80 pixels up; enlarged from 30 pixels, the
            face has 0.6 of its sharpness. A Gaussian blur with a standard deviation of 1 pixel of
            the crop leaves 0.7 of it, of 2 pixels 0.4, of 4 pixels 0.17; noise of 5 grey levels
            adds 5%, JPEG of quality 30 next to nothing.
        brightness: mean luma (ITU-R BT.601, gamma-encoded as stored) of the face region divided by
            255; 0 (black) to 1 (white). It cannot tell skin colour from exposure. LFW: 5% 0.36,
            median 0.52, 95% 0.68.
        yaw: angle in degrees by which the head is turned sideways, -90 to 90; positive to the right
            as seen in the image.
        pitch: angle in degrees by which the head is raised, -180 to 180; positive looking up.
        roll: angle in degrees by which the head is tilted in the image plane, -180 to 180; positive
            clockwise as seen in the image.
    """

    face_size: float
    sharpness: float
    brightness: float
    yaw: float
    pitch: float
    roll: float


def intersection_over_union(
    boxes: NDArray[np.float32], box: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Compute the intersection over union of each of many boxes with one box.

    Args:
        boxes: (n, 4) x, y, width, height.
        box: (4,) x, y, width, height in the same pixels.

    Returns:
        (n,) float32 in [0, 1]; NaN where both boxes have no area.
    """
    starts = np.maximum(boxes[:, :2], box[:2])
    ends = np.minimum(boxes[:, :2] + boxes[:, 2:], box[:2] + box[2:])
    intersection = np.prod(np.clip(ends - starts, 0, None), axis=1)
    union = np.prod(boxes[:, 2:], axis=1) + np.prod(box[2:]) - intersection
    return np.asarray(intersection / union)
