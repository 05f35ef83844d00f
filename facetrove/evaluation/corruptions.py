"""Controlled corruptions of the photo of a face, such as JPEG compression, blur or covered eyes.

A face is cut out of its photo together with its surroundings, and shrunk to `FACE_SIDE` pixels if
it is larger, so that a strength means the same whatever the photo's size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.photos.decoding import Image
from faces.photos.opencv import cv2

FACE_SIDE = 112
"""Maximum of the shorter side of a face's box, in pixels: about the size of embedders' input."""

CONTEXT = 2.6
"""Side of the square window, as a multiple of the box's longer side. Photos of LFW have about as
much around a face."""


@dataclass(frozen=True, eq=False)
class FaceWindow:
    """A square window of a photo around one face.

    Attributes:
        image: (side, side, 3) uint8 RGB.
        box: (4,) float32 x, y, width, height of the face, in pixels of the window.
        landmarks: (5, 2) float32 x, y of the face's landmarks, in pixels of the window.
    """

    image: Image
    box: NDArray[np.float32]
    landmarks: NDArray[np.float32]

    @classmethod
    def cut(
        cls, image: Image, box: NDArray[np.float32], landmarks: NDArray[np.float32]
    ) -> FaceWindow:
        """Cut the window around a face out of its photo, black beyond the photo's edges.

        Args:
            image: (height, width, 3) uint8 RGB, the upright photo.
            box: (4,) float32 x, y, width, height of the face, in pixels of the photo.
            landmarks: (5, 2) float32, in pixels of the photo.
        """
        side = max(2, round(CONTEXT * float(max(box[2:]))))
        left, top = (round(float(box[i] + box[2 + i] / 2) - side / 2) for i in (0, 1))
        height, width = image.shape[:2]
        inside = image[
            max(0, top) : min(height, top + side), max(0, left) : min(width, left + side)
        ]
        window = np.zeros((side, side, 3), np.uint8)
        row, column = max(0, -top), max(0, -left)
        window[row : row + inside.shape[0], column : column + inside.shape[1]] = inside
        corner = np.array([left, top], np.float32)
        moved = cls(window, np.append(box[:2] - corner, box[2:]), landmarks - corner)
        scale = FACE_SIDE / float(min(box[2:]))
        return moved if scale >= 1 else moved.resized(scale)

    def resized(self, scale: float) -> FaceWindow:
        """Return the window resized by a factor, with its box and landmarks."""
        side = max(1, round(self.image.shape[0] * scale))
        image = cv2.resize(self.image, (side, side), interpolation=cv2.INTER_AREA)
        factor = np.float32(side / self.image.shape[0])
        return FaceWindow(np.asarray(image, np.uint8), self.box * factor, self.landmarks * factor)

    def with_image(self, image: NDArray[np.generic]) -> FaceWindow:
        """Return a window of the same box and landmarks with another image."""
        return FaceWindow(np.asarray(image, np.uint8), self.box, self.landmarks)


@dataclass(frozen=True)
class Corruption:
    """One kind of corruption of a face's photo.

    Attributes:
        name: the corruption's name, as the option takes it.
        unit: the unit of a strength, in words.
        strengths: the strengths that are measured, mildest first.
        apply: corrupts a window, given a strength and a random generator.
    """

    name: str
    unit: str
    strengths: tuple[float, ...]
    apply: Callable[[FaceWindow, float, np.random.Generator], FaceWindow]


def _compress(window: FaceWindow, quality: float, _: np.random.Generator) -> FaceWindow:
    bgr = cv2.cvtColor(window.image, cv2.COLOR_RGB2BGR)
    _, content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return window.with_image(
        cv2.cvtColor(cv2.imdecode(content, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    )


def _blur(window: FaceWindow, std: float, _: np.random.Generator) -> FaceWindow:
    return window.with_image(cv2.GaussianBlur(window.image, (0, 0), std))


def _add_noise(window: FaceWindow, std: float, rng: np.random.Generator) -> FaceWindow:
    noise = rng.normal(0, std, window.image.shape)
    return window.with_image((window.image + noise).round().clip(0, 255))


def _shrink(window: FaceWindow, side: float, _: np.random.Generator) -> FaceWindow:
    return window.resized(min(1.0, side / float(min(window.box[2:]))))


def _scale_light(window: FaceWindow, factor: float, _: np.random.Generator) -> FaceWindow:
    return window.with_image((window.image * np.float64(factor)).round().clip(0, 255))


def _rotate(window: FaceWindow, degrees: float, _: np.random.Generator) -> FaceWindow:
    side = window.image.shape[0]
    centre = ((side - 1) / 2, (side - 1) / 2)
    turn = cv2.getRotationMatrix2D(centre, degrees, 1.0)
    image = cv2.warpAffine(window.image, turn, (side, side), flags=cv2.INTER_LINEAR)
    middle = turn[:, :2] @ (window.box[:2] + window.box[2:] / 2) + turn[:, 2]
    box = np.concatenate([middle - window.box[2:] / 2, window.box[2:]]).astype(np.float32)
    landmarks = (window.landmarks @ turn[:, :2].T + turn[:, 2]).astype(np.float32)
    return FaceWindow(np.asarray(image, np.uint8), box, landmarks)


def _cover_eyes(window: FaceWindow, share: float, _: np.random.Generator) -> FaceWindow:
    return _covered(window, window.landmarks[:2].mean(axis=0), share)


def _cover_mouth(window: FaceWindow, share: float, _: np.random.Generator) -> FaceWindow:
    return _covered(window, window.landmarks[3:].mean(axis=0), share)


def _covered(window: FaceWindow, middle: NDArray[np.float32], share: float) -> FaceWindow:
    """Draw a black bar across the face, parallel to the line between the eyes.

    Args:
        window: the face.
        middle: (2,) x, y of the bar's centre, in pixels.
        share: height of the bar, as a share of the box's height.
    """
    across = window.landmarks[1] - window.landmarks[0]
    angle = float(np.degrees(np.arctan2(across[1], across[0])))
    width, height = (float(side) for side in window.box[2:])
    corners = cv2.boxPoints((tuple(map(float, middle)), (width, share * height), angle))
    image = window.image.copy()
    cv2.fillPoly(image, [corners.round().astype(np.int32)], (0, 0, 0))
    return window.with_image(image)


CORRUPTIONS = (
    Corruption("compression", "JPEG quality", (50, 20, 10, 5), _compress),
    Corruption("blur", "standard deviation in pixels", (1, 2, 3, 4), _blur),
    Corruption("noise", "standard deviation in grey levels, of 255", (5, 10, 25, 50), _add_noise),
    Corruption("small", "width of the face in pixels", (64, 40, 28, 20), _shrink),
    Corruption("dark", "factor of brightness", (0.5, 0.25, 0.12, 0.06), _scale_light),
    Corruption("bright", "factor of brightness", (1.5, 2, 3, 4), _scale_light),
    Corruption("rotation", "degrees", (15, 30, 60, 90, 180), _rotate),
    Corruption(
        "eyes covered", "height of the bar / height of the face", (0.1, 0.2, 0.3), _cover_eyes
    ),
    Corruption(
        "mouth covered", "height of the bar / height of the face", (0.15, 0.3, 0.45), _cover_mouth
    ),
)
"""All corruptions, in the order of the report."""
