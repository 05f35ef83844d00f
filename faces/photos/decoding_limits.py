"""Reject photos whose headers say that decoding them would be beyond a limit."""

from __future__ import annotations

import PIL.Image

from faces.core.settings import PhotoLimits
from faces.photos.jpegs import read_scans
from faces.photos.rejection import PhotoRejectedError, RejectReason

MIN_SIDE = 16
"""Minimum length in pixels of a photo's shorter side; no detector finds a smaller face."""

MAX_SCANS = 200
"""Maximum number of scans of a progressive JPEG. Each scan takes a pass over the whole photo; usual
programs write about ten."""


def require_within(photo: PIL.Image.Image, content: bytes, limits: PhotoLimits) -> None:
    """Require that a photo is within the limits by what its header says.

    Args:
        photo: the opened photo.
        content: content of its file.
        limits: the limits.

    Raises:
        PhotoRejectedError: it is beyond a limit, or too small.
        TooMuchInHeaderError: it is a JPEG of too many markers.
    """
    scans = read_scans(content).num_scans if hasattr(photo, "layer") else 0
    if scans > MAX_SCANS:
        raise PhotoRejectedError(RejectReason.TOO_LARGE, f"{scans} scans take too long to decode")
    require_size_within(
        photo.size,
        limits,
        tile_pixels=_tile_pixels(photo),
        bytes_to_decode=_bytes_to_decode(photo, content, scans),
        what=str(photo.format),
    )


def require_size_within(
    size: tuple[int, int],
    limits: PhotoLimits,
    *,
    tile_pixels: int,
    bytes_to_decode: float,
    what: str,
) -> None:
    """Require that a photo's size is within the limits, whatever decodes the photo.

    Args:
        size: width and height in pixels.
        limits: the limits.
        tile_pixels: number of pixels of a tile, which is unpacked whole; 0 without tiles.
        bytes_to_decode: peak memory in bytes of decoding, the file's content included.
        what: the kind of photo, for the message.

    Raises:
        PhotoRejectedError: it is beyond a limit, or too small.
    """
    width, height = size
    if width * height > limits.max_pixels:
        raise PhotoRejectedError(
            RejectReason.TOO_LARGE, f"{width}x{height} is over {limits.max_pixels} pixels"
        )
    if tile_pixels > limits.max_pixels:
        raise PhotoRejectedError(
            RejectReason.TOO_LARGE, f"a tile has over {limits.max_pixels} pixels"
        )
    if bytes_to_decode > limits.max_memory:
        raise PhotoRejectedError(
            RejectReason.TOO_LARGE,
            f"{what} of {width}x{height} takes over {limits.max_memory} bytes to decode",
        )
    if min(width, height) < MIN_SIDE:
        raise PhotoRejectedError(
            RejectReason.TOO_SMALL, f"{width}x{height} has a side under {MIN_SIDE} pixels"
        )


_BYTES_PER_PIXEL = {"JPEG": 2.5, "MPO": 2.5, "GIF": 6.1, "HEIF": 10.0, "AVIF": 14.5, "WEBP": 18.5}
"""Peak memory of decoding in bytes per pixel, by Pillow's format, measured at 25 to 100 million
pixels."""


def _bytes_to_decode(photo: PIL.Image.Image, content: bytes, scans: int) -> float:
    """Return the peak memory in bytes of decoding a photo, its content included."""
    width, height = photo.size
    num_pixels = max(width * height, _tile_pixels(photo))
    other_format = 5.5 if len(photo.getbands()) > 1 else 3.3
    bytes_per_pixel = _BYTES_PER_PIXEL.get(photo.format or "", other_format)
    # With more scans than one, as in a progressive JPEG, the decoder holds all coefficients of all
    # layers, of 2 bytes each. A layer's horizontal and vertical sampling factors are layer[1] and
    # layer[2].
    if scans > 1 and (layers := getattr(photo, "layer", None)):
        full_size = max(layer[1] for layer in layers) * max(layer[2] for layer in layers)
        bytes_per_pixel = 1 + 2 * sum(layer[1] * layer[2] for layer in layers) / full_size
    strips = getattr(photo, "tag_v2", {}).get(_TIFF_STRIPS, ())
    if isinstance(strips, tuple) and len(strips) == 1:
        bytes_per_pixel = 7.0  # a TIFF in a single strip takes more
    return len(content) + num_pixels * float(bytes_per_pixel)


def _tile_pixels(photo: PIL.Image.Image) -> int:
    """Return the number of pixels of a tile of a TIFF, which is unpacked whole; 0 without tiles."""
    tags = getattr(photo, "tag_v2", {})
    sides = (tags.get(_TIFF_TILE_WIDTH, 0), tags.get(_TIFF_TILE_HEIGHT, 0))
    return int(sides[0]) * int(sides[1]) if all(isinstance(side, int) for side in sides) else 0


_TIFF_TILE_WIDTH, _TIFF_TILE_HEIGHT = 322, 323
"""Tags TileWidth and TileLength (TIFF 6.0, section 15)."""

_TIFF_STRIPS = 273
"""Tag StripOffsets (TIFF 6.0): where the strips of an image are in the file."""
