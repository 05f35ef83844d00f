"""Convert decoded pictures of all modes and depths to upright 8-bit RGB images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from faces.photos.opencv import cv2

Pixels = NDArray[np.uint8]
"""An image, (height, width, 3) uint8 RGB."""

_BAND_PIXELS = 4_000_000
"""Maximum number of pixels that are converted to RGB at a time."""

_DEPTHS = (8, 10, 12, 14, 16, 24, 32)
"""Numbers of bits that cameras, scanners and programs use for a sample."""

_MAX_BRIGHT = 64
"""A colour picture of 16 bits whose brightest sample, shifted to 8 bits, is below this uses at most
14 of them."""

_SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations in which width and height are swapped."""


def is_sideways(orientation: int) -> bool:
    """Return whether width and height are swapped in an EXIF orientation."""
    return orientation in _SIDEWAYS


def upright(image: Pixels, orientation: int) -> Pixels:
    """Turn and mirror an image to upright by its EXIF orientation (CIPA DC-008, 4.6.4: tag 274)."""
    if orientation in _SIDEWAYS:
        image = image.transpose(1, 0, 2)
    if orientation in {2, 3, 6, 7}:
        image = image[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        image = image[::-1]
    return np.ascontiguousarray(image)


def to_rgb(photo: PIL.Image.Image, reduction: int = 1, *, is_negative: bool = False) -> Pixels:
    """Convert a picture to RGB, reduced by averaging blocks of `reduction` x `reduction` pixels.

    A large picture is converted in bands, so that memory does not hold two copies of all of it. The
    numbers of one with more than 8 bits are scaled by the depth that they use: viewers show 12 bits
    in a container of 16 as bright as they are.

    Args:
        photo: the loaded picture.
        reduction: factor by which width and height are reduced.
        is_negative: whether zero stands for white, which Pillow heeds for 8 bits alone.
    """
    width, height = photo.size
    white = None
    if _is_deep(photo):
        white = white_of(np.asarray(photo.crop(box)) for box in _bands(photo.size, 1))
    if reduction == 1 and width * height <= _BAND_PIXELS:
        return _band_to_rgb(photo, white, is_negative=is_negative)
    image = np.empty((height // reduction, width // reduction, 3), dtype=np.uint8)
    size = (image.shape[1] * reduction, image.shape[0] * reduction)
    for box in _bands(size, reduction):
        band = _band_to_rgb(photo.crop(box), white, is_negative=is_negative)
        top, bottom = box[1] // reduction, box[3] // reduction
        image[top:bottom] = reduced(band, reduction)
    return image


def reduced(image: Pixels, reduction: int) -> Pixels:
    """Return an image reduced by averaging blocks of `reduction` x `reduction` pixels."""
    if reduction == 1:
        return image
    small = (image.shape[1] // reduction, image.shape[0] // reduction)
    return np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.uint8)


def _bands(size: tuple[int, int], reduction: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield the boxes of bands of a picture, each of whole blocks."""
    width, height = size
    step = max(1, _BAND_PIXELS // width // reduction) * reduction
    for top in range(0, height, step):
        yield 0, top, width, min(top + step, height)


def _is_deep(photo: PIL.Image.Image) -> bool:
    """Return whether a picture is grey with more than 8 bits, which Pillow would clip."""
    return photo.mode.startswith("I;16") or photo.mode in {"I", "F"}


def _band_to_rgb(photo: PIL.Image.Image, white: float | None, *, is_negative: bool) -> Pixels:
    if white is not None:
        grey = scaled(np.asarray(photo), white)
        grey = 255 - grey if is_negative else grey
        return np.repeat(grey[:, :, None], 3, axis=2)
    if photo.has_transparency_data:
        opaque = PIL.Image.new("RGBA", photo.size, "white")
        opaque.alpha_composite(photo.convert("RGBA"))
        return np.asarray(opaque.convert("RGB"))
    return np.asarray(photo.convert("RGB"))


def white_of(bands: Iterator[NDArray[np.generic]]) -> float:
    """Return the number that stands for white in a picture, one above the largest of its depth.

    That is the smallest power of two of `_DEPTHS` that is above all samples. Fractions stand for
    white with 1, unless more than one in a hundred is above that.

    Args:
        bands: arrays of samples that together are the picture.
    """
    highest = 0.0
    num_samples = num_above_one = 0
    is_fraction = False
    for band in bands:
        is_fraction = band.dtype.kind == "f"
        values = np.nan_to_num(band, posinf=0, neginf=0) if is_fraction else band
        highest = max(highest, float(values.max(initial=0)))
        num_samples += values.size
        num_above_one += int(np.greater(values, 1).sum()) if is_fraction else 0
    if is_fraction and num_above_one <= num_samples / 100:
        return 1.0
    return float(2 ** next((bits for bits in _DEPTHS if highest < 2**bits), _DEPTHS[-1]))


def scaled(samples: NDArray[np.generic], white: float) -> Pixels:
    """Return samples of any type as uint8, where `white` and what is above it becomes 255.

    Args:
        samples: whole numbers or fractions, of any shape.
        white: see `white_of`.
    """
    if samples.dtype.kind == "f":
        fractions = np.nan_to_num(np.asarray(samples, np.float32), posinf=white, neginf=0)
        factor = 255 if white == 1 else 256 / white
        return (fractions * np.float32(factor)).clip(0, 255).round().astype(np.uint8)
    shift = int(white).bit_length() - 9
    return (np.asarray(samples) >> shift).clip(0, 255).astype(np.uint8)


def is_too_dark(photo: PIL.Image.Image) -> bool:
    """Return whether the upper bits of a colour picture are unused, by Pillow's 8 of 16 bits."""
    extrema = photo.getextrema()[: 1 if photo.mode == "LA" else 3]
    return all(isinstance(band, tuple) and band[1] < _MAX_BRIGHT for band in extrema)


def deep_colour(content: bytes) -> Pixels | None:
    """Decode a colour picture of 16 bits or of fractions, of which Pillow takes 8 bits or nothing.

    Args:
        content: content of a PNG or TIFF.

    Returns:
        (H, W, 3) uint8 RGB; a TIFF's is upright, as Pillow's, and a PNG's is not turned. None if
        OpenCV does not decode it to three or four samples.
    """
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if picture is None or picture.ndim != 3 or picture.shape[2] not in (3, 4):
        return None
    colours = picture[:, :, :3]
    rgb = scaled(colours, white_of(iter([colours])))[:, :, ::-1]
    if picture.shape[2] == 4:
        full = 1.0 if picture.dtype.kind == "f" else float(np.iinfo(picture.dtype).max)
        opacity = picture[:, :, 3:].astype(np.float32) / full
        rgb = (rgb * opacity + 255 * (1 - opacity)).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(rgb)
