"""Square windows of an image in which a face is looked at again: larger, or turned upright."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from faces.models.alignment import warped
from faces.photos.decoding import Image
from faces.photos.opencv import cv2

WINDOW_SIDE, WINDOW_FACE = 128, 48
"""Side in pixels of the window that has more detail than the searched image, and of the proposed
face in it."""


class Window(NamedTuple):
    """A square window of an image around a proposed face, with more detail than was searched.

    Attributes:
        pixels: (`WINDOW_SIDE`, `WINDOW_SIDE`, 3) uint8; black outside the image.
        left, top: corner of the window in pixels of the image.
        scale: pixels of the window per pixel of the image.
    """

    pixels: Image
    left: int
    top: int
    scale: float

    @classmethod
    def around(cls, face: NDArray[np.float32], image: Image, min_side: int) -> Window:
        """Cut the window around a face.

        Args:
            face: (15,) proposal as `decode_outputs` gives it, in pixels of `image`.
            image: the image with all its detail.
            min_side: minimum side, in pixels of the image, of the part that is shown; a part
                smaller than the window is enlarged.
        """
        side = max(min_side, round(WINDOW_SIDE / WINDOW_FACE * float(max(face[2:4]))))
        left, top = (round(float(face[i] + face[2 + i] / 2) - side / 2) for i in (0, 1))
        pixels = reduced(square_part(image, left, top, side), WINDOW_SIDE)
        if side < WINDOW_SIDE:
            enlarged = cv2.resize(pixels, (WINDOW_SIDE,) * 2, interpolation=cv2.INTER_CUBIC)
            pixels = np.asarray(enlarged, np.uint8)
        return cls(pixels, left, top, WINDOW_SIDE / side)

    def to_image(self, faces: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert faces, as `decode_outputs` gives them, from window pixels to image pixels."""
        return moved(scaled(faces, 1 / self.scale), self.left, self.top)


class Look(NamedTuple):
    """A place of an image where a face is looked at, turned upright.

    Attributes:
        image: (height, width, 3) uint8 RGB.
        x, y: centre of the face in pixels of the image.
        width: width of the face in pixels of the image.
        degrees: angle by which the face has to be turned, clockwise, to be upright.
    """

    image: Image
    x: float
    y: float
    width: float
    degrees: float = 0.0

    def scaled(self, image: Image, factor: float) -> Look:
        """Return the same place in the image at another size.

        Args:
            image: that image.
            factor: its pixels per pixel of this look's image.
        """
        return Look(image, self.x * factor, self.y * factor, self.width * factor, self.degrees)

    def to_window(self, side: int, face: float, turned: float = 0.0) -> NDArray[np.float64]:
        """Compute the (2, 3) matrix from image pixels to a window, in which the face is upright.

        Args:
            side: side of the window in pixels.
            face: width of the face in the window in pixels.
            turned: further degrees by which the window is turned clockwise.
        """
        scale, turn = face / max(self.width, 1e-3), np.radians(self.degrees + turned)
        rotation = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        return np.column_stack([rotation, (side - 1) / 2 - rotation @ (self.x, self.y)])

    def window(self, side: int, face: float) -> Image:
        """Cut the window that `to_window` describes; black outside the image."""
        return warped(self.image, self.to_window(side, face), (side, side))

    def windows_all_around(self, side: int, face: float, count: int) -> list[Image]:
        """Cut a window for each of `count` angles, in equal steps clockwise.

        The image is read once, for a larger window from which the others are turned.

        Args:
            side: side of the windows in pixels, an even number.
            face: width of the face in them in pixels.
            count: number of angles, a multiple of four.
        """
        margin = math.ceil((math.sqrt(2) - 1) / 2 * side)
        large = self._square(side + 2 * margin, face)
        first = [large[margin : margin + side, margin : margin + side]]
        middle = (large.shape[0] - 1) / 2
        centre = Look(large, middle, middle, face)
        for number in range(1, count // 4):
            turn = centre.to_window(side, face, number * 360 / count)
            first.append(np.asarray(cv2.warpAffine(large, turn, (side, side)), np.uint8))
        return [np.rot90(window, -quarter) for quarter in range(4) for window in first]

    def _square(self, side: int, face: float) -> Image:
        """Cut the window as the image is, to whole pixels, which takes a fifth of `window`."""
        length = max(2, round(side * self.width / face))
        left, top = round(self.x - (length - 1) / 2), round(self.y - (length - 1) / 2)
        part = square_part(self.image, left, top, length)
        way = cv2.INTER_AREA if length > side else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(part, (side, side), interpolation=way), np.uint8)


def turned_whole(image: Image, degrees: float) -> tuple[Image, NDArray[np.float64]]:
    """Turn an image clockwise, with room for its corners.

    Args:
        image: (height, width, 3) uint8.
        degrees: the angle.

    Returns:
        The turned image, black beside the image; and the (2, 3) matrix from pixels of the image to
        its pixels.
    """
    height, width = image.shape[:2]
    turn = np.radians(degrees)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    sides = np.ceil((np.abs(rotation) @ (width, height)).round(6)).astype(int)
    offset = (sides - 1) / 2 - rotation @ ((width - 1) / 2, (height - 1) / 2)
    matrix = np.column_stack([rotation, offset])
    return warped(image, matrix, (int(sides[0]), int(sides[1]))), matrix


def square_part(image: Image, left: int, top: int, side: int) -> Image:
    """Cut out a square of an image, black outside the image.

    Args:
        image: (height, width, 3) uint8.
        left, top: corner of the square in pixels.
        side: side of the square in pixels.
    """
    bottom, right = top + side, left + side
    part = image[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    if part.shape[:2] == (side, side):
        return part
    above, beside = min(max(0, -top), side), min(max(0, -left), side)
    below, beyond = (side - above - part.shape[0]), (side - beside - part.shape[1])
    padded = cv2.copyMakeBorder(part, above, below, beside, beyond, cv2.BORDER_CONSTANT)
    return np.asarray(padded, np.uint8)


def faces_to_image(
    faces: NDArray[np.float32], to_window: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Convert faces from pixels of a turned window to pixels of its image.

    Args:
        faces: (n, 15) faces as `decode_outputs` gives them, in pixels of the window.
        to_window: (2, 3) similarity transform from image pixels to window pixels.

    Returns:
        (n, 15) faces in pixels of the image. A box is the bounding box of the ellipse that the box
        in the window encloses, since that of the turned box would be larger than the face.
    """
    to_image = cv2.invertAffineTransform(to_window)
    linear, offset = to_image[:, :2], to_image[:, 2]
    converted = faces.copy()
    landmarks = faces[:, 4:14].reshape(-1, 5, 2) @ linear.T + offset
    converted[:, 4:14] = landmarks.reshape(-1, 10)
    centres = (faces[:, :2] + faces[:, 2:4] / 2) @ linear.T + offset
    sides = np.sqrt(np.square(faces[:, 2:4]) @ np.square(linear).T)
    converted[:, :2], converted[:, 2:4] = centres - sides / 2, sides
    return converted


def reduced(image: Image, longer_side: int) -> Image:
    """Reduce an image to a longer side in pixels; a smaller image is returned itself."""
    scale = longer_side / max(image.shape[:2])
    if scale >= 1.0:
        return image
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def scaled(faces: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """Multiply the coordinates of faces, as `decode_outputs` gives them, by a factor."""
    result = faces.copy()
    result[:, :14] *= factor
    return result


def moved(faces: NDArray[np.float32], right: float, down: float) -> NDArray[np.float32]:
    """Add an offset to the coordinates of faces, as `decode_outputs` gives them."""
    result = faces.copy()
    result[:, [0, *range(4, 14, 2)]] += right
    result[:, [1, *range(5, 14, 2)]] += down
    return result
