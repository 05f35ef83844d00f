"""A face, as detectors find it and as the pipeline completes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Box(NamedTuple):
    """A face's place in its upright photo, in pixels, origin top left."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, eq=False)
class Detection:
    """One face in one image.

    Attributes:
        box: (4,) float32: x, y, width, height in pixels of the image, origin top left. It may
            reach beyond the image where the face is cut off.
        landmarks: (5, 2) float32: left eye, right eye, nose, left and right mouth corner, as
            seen in the image. NaN where a detector does not find them.
        score: how sure the detector is, in [0, 1].
    """

    box: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    score: float


@dataclass(frozen=True, eq=False)
class Face:
    """A face with all that is known of it.

    Attributes:
        detection: where it is.
        embedding: (d,) float32, unit length.
        embedding_norm: length of the vector that the embedder gave, over 0; no unit, and of another
            scale with each embedder. It is shorter for faces that it can make little of, so it
            measures quality as the network sees it (Kim, Jain and Liu, "AdaFace: Quality Adaptive
            Margin for Face Recognition", CVPR 2022); 1 where a network gives unit length itself.
        quality: how good it is otherwise.
        face_id: its name in a dataset, if it has one already.
    """

    detection: Detection
    embedding: NDArray[np.float32]
    embedding_norm: float
    quality: FaceQuality
    face_id: str | None = None

    @property
    def box(self) -> NDArray[np.float32]:
        """(4,) float32, the detection's: x, y, width, height in pixels of the photo."""
        return self.detection.box

    @property
    def landmarks(self) -> NDArray[np.float32]:
        """(5, 2) float32, the detection's, in pixels of the photo."""
        return self.detection.landmarks

    @property
    def score(self) -> float:
        """How sure the detector is of the face, [0, 1]."""
        return self.detection.score


@dataclass(frozen=True, eq=False)
class GivenFace:
    """A face that was found before, and may have been embedded too.

    Attributes:
        detection: where it is.
        face_id: its name in a dataset; None: it has none yet.
        embedding: (d,) float32 as the model in use gives it; None: it is to be embedded.
    """

    detection: Detection
    face_id: str | None = None
    embedding: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class FaceQuality:
    """What can be said of one face without knowing whose it is.

    The percentiles are of the central faces of 504 LFW photos (250x250, press photos).

    Attributes:
        face_size: the shorter side of the box in pixels of the full-size photo, which is the
            face's width nearly always; 0 or more. It is what "faces under 60 pixels" means to a
            user, and what detectors are limited by. The inter-eye distance of ISO/IEC 19794-5
            is 0.47 of it (5% to 95%: 0.39 to 0.51). LFW: 5% 83, median 94, 95% 109.
        sharpness: standard deviation of the Laplacian over that of luma, in the crop's face
            region; no unit, 0 to 1. The former squared is the variance of the Laplacian
            (Pech-Pacheco et al., ICPR 2000), with the kernel of `LAPLACIAN_SIDE`; the latter,
            at least `MIN_CONTRAST`, makes it independent of exposure and contrast. So it is the
            share of the face's contrast that is fine detail: 0 for a flat crop, 0.5 for white
            noise, 1 for stripes 2 pixels wide. LFW: 5% 0.14, median 0.21, 95% 0.29; sharp
            portraits 0.25 to 0.4. Being measured on the aligned crop, it is what the embedder
            gets to see, and within some 10% the same for one face of any width from 80 pixels up;
            at 30 pixels, enlarged, the face has 0.6 of it. A Gaussian blur of 1 pixel of the
            crop leaves 0.7 of it, of 2 pixels 0.4, of 4 pixels 0.17; noise of 5 grey levels
            adds 5%, JPEG of quality 30 next to nothing.
        brightness: mean luma (ITU-R BT.601, gamma-encoded as stored) of the face region over
            255; 0 (black) to 1 (white). LFW: 5% 0.36, median 0.52, 95% 0.68. Skin colour and
            exposure cannot be told apart by it.
        yaw: degrees by which the head is turned sideways, positive to the right as seen in the
            image; -90 to 90.
        pitch: degrees by which the head is raised, positive looking up; -180 to 180.
        roll: degrees by which the head is tilted in the image plane, positive clockwise as
            seen; -180 to 180.

    The angles are those of `head_poses`, which also says how far to trust them.
    """

    face_size: float
    sharpness: float
    brightness: float
    yaw: float
    pitch: float
    roll: float
