"""Finding the angle by which a face is turned in its image, and looking at the face upright.

The network was trained on upright faces. Of other faces it gives low scores, and landmarks that
are placed too upright; an embedding of a face aligned by them is worthless from some 45 degrees on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.core.time_limit import paced_blocks
from faces.models.alignment import ARCFACE_112, similarity_transform
from faces.models.engines import Network
from faces.models.yunet_network import cells_of, find_in
from faces.models.yunet_outputs import MIN_LANDMARK_SCORE
from faces.models.yunet_windows import Look, faces_to_image
from faces.photos.decoding import Image
from faces.photos.opencv import cv2

SEEN_WIDTHS = (48.0, 96.0, 128.0, 160.0, 200.0, 300.0)
TILT_FOLLOWED = (0.2, 0.3, 0.55, 0.7, 0.8, 0.9)
"""Share of a face's tilt that the landmarks show, by the face's width in pixels in the network's
input. The network was trained on upright faces, so the share is under 1. Measured on 201 LFW photos
turned by up to 40 degrees; extrapolated beyond 200 pixels."""

TILTED_DEGREES, MAX_TILTED_DEGREES = 10.0, 60.0
"""Minimum estimated tilt, in degrees, of a face whose landmarks are refined on an upright window
(one of seven in LFW), and the maximum to which estimates are clipped."""

UPRIGHT_SIDE, UPRIGHT_FACE = 256, 160
"""Side of the upright window, and width of the face in it, in pixels."""

GLANCE_SIDE, GLANCE_FACE = 32, 20
"""Side of the small windows by which a place is glanced at from all angles, and width of the face
in them, in pixels. Four of them are put together to one image of the network, so that a glance
costs a quarter of what finding the angle does."""

ANGLE_SIDE, ANGLE_FACE, NUM_ANGLES = 64, 36, 8
"""Side of the windows by which the angle is found, and width of the face in them, in pixels; and
the number of angles that are tried. Of LFW's faces, turned by any angle, 99.5% score highest at the
nearest of eight angles, and a parabola through the three highest scores is off by 4 degrees in the
median and 12 in one of ten. Windows of 128 pixels are no better, at four times the cost."""

ANGLE_SCORE = 0.65
"""Minimum score at the best angle for a place to be looked at upright; 99% of LFW's faces, turned
by any angle, reach 0.5."""

UPRIGHT_MARGIN = 0.05
"""Score by which a face has to be surer at another angle than as it is, to be turned."""

NEAR_DEGREES = 20.0
"""Angle up to which a face that was found as it is stays so, and is aligned by its landmarks."""

AGAIN_SCORE = 0.6
"""Minimum score in the first upright look for a second; what scores less is no face."""

MAX_LEFT_DEGREES = 30.0
"""Maximum tilt, in degrees, that a face may show in the last look; more is no upright face."""

CENTRAL = 0.5
"""Maximum distance of a face from the centre of its window, relative to the width of the face that
the window was cut for."""

MAX_LOOKS = 32
"""Maximum number of places that are looked at together, since their windows are in memory."""


@dataclass(frozen=True, eq=False)
class Angle:
    """The angle by which a face is turned.

    Attributes:
        look: where the face is, with the angle.
        scores: (`NUM_ANGLES`,) the network's scores of the face, turned clockwise in equal steps,
            in [0, 1].
    """

    look: Look
    scores: NDArray[np.float32]

    @property
    def score(self) -> float:
        """The score at the best angle."""
        return float(self.scores.max())

    @property
    def upright_score(self) -> float:
        """The score as the face is in the image."""
        return float(self.scores[0])

    @property
    def is_turned(self) -> bool:
        """Whether the face scores clearly higher when it is turned."""
        return self.score > self.upright_score + UPRIGHT_MARGIN

    @property
    def is_near(self) -> bool:
        """Whether the face is upright, or nearly so."""
        return abs((self.look.degrees + 180) % 360 - 180) <= NEAR_DEGREES

    @property
    def is_lying(self) -> bool:
        """Whether the face is turned by more than 45 degrees."""
        return abs((self.look.degrees + 180) % 360 - 180) > 45

    @property
    def lying_score(self) -> float:
        """The highest score by 90 degrees or more; by 45, it may be as high as upright."""
        return float(self.scores[2:-1].max())


def glances(network: Network, looks: Sequence[Look]) -> NDArray[np.float32]:
    """Score the face at each place at several angles, by small windows.

    Args:
        network: the opened network.
        looks: the places.

    Returns:
        (n, `NUM_ANGLES`) scores in [0, 1] of the face turned clockwise in equal steps. The highest
        says well whether there is a face, but less well by which angle it is turned.
    """
    scores = [np.empty((0, NUM_ANGLES), np.float32)]
    for block in paced_blocks(looks, MAX_LOOKS):
        fours = []
        for look in block:
            windows = look.windows_all_around(GLANCE_SIDE, GLANCE_FACE, NUM_ANGLES)
            fours += [_together(windows[i : i + 4]) for i in range(0, NUM_ANGLES, 4)]
        cells = cells_of(network, fours)
        tiles = cells[:, :, :2] // GLANCE_SIDE @ (1, 2)
        cells[:, :, :2] %= GLANCE_SIDE
        central = _central_scores(cells, GLANCE_SIDE, GLANCE_FACE)
        by_tile = [np.where(tiles == tile, central, 0).max(axis=1) for tile in range(4)]
        scores.append(np.stack(by_tile, axis=1).reshape(-1, NUM_ANGLES))
    return np.concatenate(scores)


def _together(windows: Sequence[Image]) -> Image:
    """Put four small windows together, two in each row."""
    side = GLANCE_SIDE
    image = np.empty((2 * side, 2 * side, 3), np.uint8)
    for window, (top, left) in zip(windows, np.ndindex(2, 2), strict=True):
        image[top * side : (top + 1) * side, left * side : (left + 1) * side] = window
    return image


def angles_of(network: Network, looks: Sequence[Look]) -> list[Angle]:
    """Find by which angle the face at each place is turned.

    Of a look that is turned already, only its angle and those beside it are considered.
    """
    angles: list[Angle] = []
    for block in paced_blocks(looks, MAX_LOOKS):
        windows = [
            window
            for look in block
            for window in look.windows_all_around(ANGLE_SIDE, ANGLE_FACE, NUM_ANGLES)
        ]
        cells = cells_of(network, windows)
        scores = _central_scores(cells, ANGLE_SIDE, ANGLE_FACE)
        best = scores.argmax(axis=1)
        rows = np.arange(len(scores))
        by_angle = scores[rows, best].reshape(-1, NUM_ANGLES)
        for look, scores_at in zip(block, by_angle, strict=True):
            if look.degrees:
                nearest = round(look.degrees * NUM_ANGLES / 360)
                scores_at[np.arange(nearest + 2, nearest + NUM_ANGLES - 1) % NUM_ANGLES] = 0
        boxes = cells[rows, best, :4].reshape(-1, NUM_ANGLES, 4)
        angles += [_angle(*row) for row in zip(block, by_angle, boxes, strict=True)]
    return angles


def _central_scores(cells: NDArray[np.float32], side: int, face: float) -> NDArray[np.float32]:
    """Return the scores of cells; 0 for faces that are not the one the window was cut for.

    Args:
        cells: (n, cells, 5) as `decode_cells` gives them.
        side: side of the windows in pixels.
        face: width in pixels of the face in them.
    """
    off_centre = np.hypot(*np.moveaxis(cells[:, :, :2] - (side - 1) / 2, 2, 0))
    sizes = np.sqrt(cells[:, :, 2] * cells[:, :, 3])
    central = (off_centre <= CENTRAL * face) & (sizes >= face / 2) & (sizes <= 2 * face)
    return np.where(central, cells[:, :, 4], np.float32(0))


def _angle(look: Look, scores: NDArray[np.float32], boxes: NDArray[np.float32]) -> Angle:
    """Interpolate the angle of a face from its scores at all angles, and take its place over.

    Args:
        look: where the windows were cut.
        scores: (`NUM_ANGLES`,) score of the face at each angle.
        boxes: (`NUM_ANGLES`, 4) its centre, width and height at each angle, in window pixels.
    """
    look = look._replace(degrees=0.0)
    step = 360 / NUM_ANGLES
    best = int(scores.argmax())
    top, before, after = (float(scores[(best + i) % NUM_ANGLES]) for i in (0, -1, 1))
    off = 0.5 * (after - before) / max(2 * top - before - after, 1e-6)
    to_window = look.to_window(ANGLE_SIDE, ANGLE_FACE, best * step)
    to_image = cv2.invertAffineTransform(to_window)
    x, y = to_image[:, :2] @ boxes[best, :2] + to_image[:, 2]
    width = float(boxes[best, 2]) * look.width / ANGLE_FACE
    degrees = (best + min(max(off, -0.5), 0.5)) * step
    turned = Look(look.image, float(x), float(y), width, degrees)
    return Angle(turned, scores)


@dataclass(frozen=True, eq=False)
class Seen:
    """A face that was seen in an upright window.

    Attributes:
        face: (15,) as `decode_outputs` gives it, in pixels of the image.
        look: where the face is, with the angle that its landmarks show.
        tilt: degrees by which the face was still turned in the window.
    """

    face: NDArray[np.float32]
    look: Look
    tilt: float


def seen_upright(network: Network, looks: Sequence[Look]) -> list[Seen | None]:
    """Look at each place in an upright window of much detail.

    Returns:
        The face of each place; None where none is seen.
    """
    seen: list[Seen | None] = []
    for block in paced_blocks(looks, MAX_LOOKS):
        windows = [look.window(UPRIGHT_SIDE, UPRIGHT_FACE) for look in block]
        found = find_in(network, windows, [MIN_LANDMARK_SCORE] * len(windows))
        seen += [_seen(look, faces) for look, faces in zip(block, found, strict=True)]
    return seen


def _seen(look: Look, faces: NDArray[np.float32]) -> Seen | None:
    """Return the central one of the (n, 15) faces of an upright window, in pixels of its image."""
    offsets = faces[:, :2] + faces[:, 2:4] / 2 - (UPRIGHT_SIDE - 1) / 2
    central = faces[np.hypot(*offsets.T) < CENTRAL * faces[:, 2]][:1]
    if not len(central):
        return None
    (face,) = faces_to_image(central, look.to_window(UPRIGHT_SIDE, UPRIGHT_FACE))
    x, y = (face[:2] + face[2:4] / 2).tolist()
    width = float(central[0, 2]) * look.width / UPRIGHT_FACE
    tilt = float(tilts(central, central[:, 2])[0])
    return Seen(face, Look(look.image, x, y, width, look.degrees + tilt), tilt)


def made_upright(network: Network, looks: Sequence[Look]) -> list[NDArray[np.float32] | None]:
    """Look at turned faces upright, a second time where the angle was not exact.

    Returns:
        For each place the face, (15,) as `decode_outputs` gives it, in pixels of the image; None
        for what cannot be made upright.
    """
    seen = seen_upright(network, looks)
    again = [
        (row, one.look)
        for row, one in enumerate(seen)
        if one and abs(one.tilt) >= TILTED_DEGREES and one.face[14] >= AGAIN_SCORE
    ]
    for (row, _), one in zip(
        again, seen_upright(network, [look for _, look in again]), strict=True
    ):
        seen[row] = one
    return [one.face if one and abs(one.tilt) < MAX_LEFT_DEGREES else None for one in seen]


def tilts(faces: NDArray[np.float32], widths: NDArray[np.float32]) -> NDArray[np.float64]:
    """Estimate the tilt of faces from their landmarks.

    Args:
        faces: (n, 15) faces as `decode_outputs` gives them.
        widths: (n,) width in pixels in which the network saw each face.

    Returns:
        (n,) degrees by which each face has to be turned to be upright, clipped to
        +-`MAX_TILTED_DEGREES`.
    """
    shown = np.array([shown_degrees(face) for face in faces])
    estimated = shown / np.interp(widths, SEEN_WIDTHS, TILT_FOLLOWED)
    return np.asarray(estimated.clip(-MAX_TILTED_DEGREES, MAX_TILTED_DEGREES))


def shown_degrees(face: NDArray[np.float32]) -> float:
    """Return the angle that a face's landmarks show, clockwise to upright, from -180 to 180.

    Args:
        face: (15,) as `decode_outputs` gives it.
    """
    landmarks = face[4:14].reshape(5, 2)
    turn = similarity_transform(landmarks, np.asarray(ARCFACE_112.points))
    return float(np.degrees(np.arctan2(turn[1, 0], turn[0, 0])))
