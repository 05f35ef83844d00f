"""Augmentation: crops are changed at random each time they are learnt from.

The corruptions are those that `facetrove evaluate robustness` measures, of `corruptions.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from faces.models.alignment import ARCFACE_112, USUAL_BOX
from faces.photos.opencv import cv2
from facetrove.evaluation.corruptions import CORRUPTIONS, Corruption, FaceWindow

CORRUPTED_SHARE = 0.5
"""Share of the crops that are corrupted, each in one way."""

MAX_SHIFT = 4.0
"""Maximum shift of a crop in pixels, to both sides: landmarks are about as exact."""

MAX_TURN = 8.0
"""Maximum rotation of a crop in degrees; alignment leaves about as much."""

MAX_ZOOM = 0.08
"""Maximum change of a crop's scale."""

LEFT_OUT = ("rotation",)
"""Corruptions that alignment undoes."""

STRENGTHS = 3
"""How many of a corruption's strengths are used, mildest first: a label can still be seen."""


OF_CAMERAS = ("compression", "blur", "noise", "small")
"""Corruptions that cameras and files make, which every changed crop has where only a few are drawn,
as for features that are computed once."""


def augmented(
    crops: NDArray[np.uint8], rng: np.random.Generator, *, only: Sequence[str] = ()
) -> NDArray[np.uint8]:
    """Mirror, move, light and corrupt crops at random.

    Args:
        crops: (n, 112, 112, 3) uint8 RGB.
        rng: random generator, on which the result depends.
        only: names of corruptions of which every crop gets one; by default, half of the crops get
            one of all.

    Returns:
        (n, 112, 112, 3) uint8 RGB.
    """
    return np.stack([_changed(crop, rng, only) for crop in crops])


def _changed(
    crop: NDArray[np.uint8], rng: np.random.Generator, only: Sequence[str]
) -> NDArray[np.uint8]:
    side = crop.shape[0]
    centre = ((side - 1) / 2, (side - 1) / 2)
    turn, zoom = rng.uniform(-MAX_TURN, MAX_TURN), 1 + rng.uniform(-MAX_ZOOM, MAX_ZOOM)
    move = cv2.getRotationMatrix2D(centre, turn, zoom)
    move[:, 2] += rng.uniform(-MAX_SHIFT, MAX_SHIFT, 2)
    if rng.random() < 0.5:
        move = move @ np.array([[-1, 0, side - 1], [0, 1, 0], [0, 0, 1]], np.float64)
    size = (side, side)
    changed = cv2.warpAffine(crop, move, size, borderMode=cv2.BORDER_REPLICATE)
    if rng.random() < CORRUPTED_SHARE or only:
        changed = corrupted(np.asarray(changed, np.uint8), rng, only=only)
    return np.asarray(changed, np.uint8)


def corrupted(
    crop: NDArray[np.uint8], rng: np.random.Generator, *, only: Sequence[str] = ()
) -> NDArray[np.uint8]:
    """Corrupt a crop in one way of one strength, both drawn at random; see `augmented`."""
    kinds = [kind for kind in CORRUPTIONS if kind.name not in LEFT_OUT]
    kinds = [kind for kind in kinds if kind.name in only] if only else kinds
    kind = kinds[rng.integers(len(kinds))]
    strengths = kind.strengths[:STRENGTHS]
    return corrupted_by(crop, kind, strengths[rng.integers(len(strengths))], rng)


def corrupted_by(
    crop: NDArray[np.uint8], kind: Corruption, strength: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Corrupt a crop in one way, as if the photo had been so.

    Args:
        crop: (112, 112, 3) uint8 RGB.
        kind: the corruption.
        strength: its strength.
        rng: random generator.
    """
    box, landmarks = _usual_face()
    image = kind.apply(FaceWindow(crop, box, landmarks), strength, rng).image
    if image.shape != crop.shape:
        image = cv2.resize(image, crop.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(image, np.uint8)


@cache
def _usual_face() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return box and landmarks of the usual face in a crop."""
    corners = USUAL_BOX.astype(np.float32)
    box = np.concatenate([corners[0], corners[2] - corners[0]])
    return box, np.array(ARCFACE_112.points, np.float32)
