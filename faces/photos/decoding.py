"""Decode photo files to upright RGB images; reject others with a reason."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from pillow_heif import register_heif_opener

from faces.core.errors import WrongUsageError
from faces.core.settings import PhotoLimits
from faces.photos.headers import (
    TooMuchInHeaderError,
    exif_orientation,
    require_bounded_header,
    xmp_orientation,
)
from faces.photos.opencv import cv2
from faces.photos.rejection import PhotoRejectedError, RejectReason

Image: TypeAlias = NDArray[np.uint8]
"""A decoded photo, (height, width, 3) uint8 RGB, upright."""

PHOTO_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF")
"""The formats that are decoded, by their names in Pillow. Pillow has more formats, but some of them
run other programs."""

REDUCTIONS = (8, 4, 2)
"""Factors by which a JPEG decoder can reduce width and height while it decodes, largest first."""

MAX_KEPT_PIXELS = 64_000_000
"""Maximum number of pixels of a decoded image, which bounds a worker's memory. A larger photo is
reduced while it is decoded, by a power of two."""

_BAND_PIXELS = 4_000_000
"""Maximum number of pixels that are converted to RGB at a time."""

MIN_SIDE = 16
"""Minimum length in pixels of a photo's shorter side; no detector finds a smaller face."""

MAX_SCANS = 200
"""Maximum number of scans of a progressive JPEG. Each scan takes a pass over the whole photo; usual
programs write about ten."""

_JPEG_SCAN = b"\xff\xda"
"""Marker with which each scan of a JPEG begins (SOS, ITU-T T.81, table B.1)."""


class JpegDetail(NamedTuple):
    """What has to be known of a JPEG that was decoded at reduced size to decode it again.

    Attributes:
        orientation: EXIF orientation, from 1 to 8.
        size: width and height of the upright photo at full size, in pixels.
        min_reduction: the reduction that `MAX_KEPT_PIXELS` requires.
    """

    orientation: int
    size: tuple[int, int]
    min_reduction: int


class Photo:
    """A decoded photo, perhaps at reduced size, that can be decoded again with more detail.

    Attributes:
        image: the decoded image, (H, W, 3) uint8 RGB, upright. Each of its pixels covers
            `reduction` x `reduction` pixels of the photo.
        reduction: factor by which width and height were reduced, a power of two; 1 for full size.
        width: width of the upright photo at full size, in pixels.
        height: height of the upright photo at full size, in pixels.
        detail: what `decode_jpeg_again` needs; None if the photo cannot be decoded again.
        seconds: processor time in seconds that decoding took, where it was limited.
    """

    def __init__(
        self,
        image: Image,
        *,
        reduction: int = 1,
        size: tuple[int, int] | None = None,
        detail: JpegDetail | None = None,
        decode: Callable[[int], Photo] | None = None,
        seconds: float = 0.0,
    ) -> None:
        self.image = image
        self.reduction = reduction
        self.detail = detail
        self.seconds = seconds
        self.width: int = size[0] if size else image.shape[1]
        self.height: int = size[1] if size else image.shape[0]
        self._decode = decode

    def finer(self, reduction: int) -> Photo:
        """Return the photo decoded again with more detail.

        Args:
            reduction: the reduction wanted, a power of two. A photo of more than `MAX_KEPT_PIXELS`
                stays reduced as far as this limit requires.

        Returns:
            A new photo; or this photo, if it has as much detail or is not a JPEG.

        Raises:
            PhotoRejectedError: the photo cannot be decoded at that reduction.
        """
        if self._decode is None or reduction >= self.reduction:
            return self
        return self._decode(reduction)


def as_photo(image: Photo | Image) -> Photo:
    """Return an image as a `Photo` at full size; return a `Photo` unchanged.

    Args:
        image: a `Photo`, or a (height, width, 3) uint8 RGB array, upright.

    Raises:
        WrongUsageError: the image is neither of the two.
    """
    if isinstance(image, Photo):
        return image
    if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape[2:] == (3,)):
        raise WrongUsageError(
            f"{type(image).__name__} is not a photo; give a path, or a (height, width, 3) uint8 "
            "RGB array, such as numpy.asarray(picture.convert('RGB'))"
        )
    return Photo(image)


def decode_photo(
    content: bytes,
    *,
    limits: PhotoLimits = PhotoLimits(),
    reduction_for: Callable[[int], int] = lambda _: 1,
    num_scans: int | None = None,
) -> Photo:
    """Decode a photo file's content to an upright RGB image.

    EXIF orientation is applied, so boxes refer to the photo as people see it. Grey, palette,
    CMYK and 16-bit images are converted, transparent pixels are blended with white, and only the
    first frame of an animation is decoded.

    Args:
        content: content of the photo file.
        limits: limits beyond which a photo is rejected before it is decoded.
        reduction_for: function that gets the photo's longer side in pixels and returns the
            reduction to decode at, one of `REDUCTIONS` or 1. It applies to JPEGs alone, whose
            decoding then takes a third of the time.
        num_scans: number of a JPEG's scans, if they have been counted; None: they are counted.

    Raises:
        PhotoRejectedError: the content cannot be decoded or is beyond a limit; the error has the
            reason.
    """
    if not content:
        raise PhotoRejectedError(RejectReason.EMPTY_FILE, "the file has no content")
    try:
        require_bounded_header(content)
    except TooMuchInHeaderError as error:
        raise PhotoRejectedError(RejectReason.CORRUPT, str(error)) from error
    register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
    PIL.Image.MAX_IMAGE_PIXELS = None  # `limits` applies instead
    try:
        with warnings.catch_warnings():  # odd metadata does no harm
            warnings.simplefilter("ignore")
            with PIL.Image.open(io.BytesIO(content), formats=PHOTO_FORMATS) as photo:
                _require_within(photo, content, limits, num_scans)
                return _decode_opened(photo, content, reduction_for(max(photo.size)))
    except PhotoRejectedError:
        raise
    except UnidentifiedImageError as error:
        if _SIGNATURES.match(content):
            raise PhotoRejectedError(RejectReason.CORRUPT, "its header cannot be read") from error
        raise PhotoRejectedError(
            RejectReason.UNSUPPORTED_FORMAT, "not a supported photo format"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins raise nearly any exception on hostile content
        raise PhotoRejectedError(_corruption(error, content), str(error)) from error


_SIGNATURES = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|II\*\0|MM\0\*|RIFF....WEBP"
    rb"|....ftyp(?:avi[fs]|hei[cxms]|hev[cx]|mif1|msf1)",
    re.DOTALL,
)
"""Regular expression of the first bytes of files in `PHOTO_FORMATS`, BMP excepted."""


def _corruption(error: Exception, content: bytes) -> RejectReason:
    """Return TRUNCATED if a decoder reached the end of the data, CORRUPT for any other error."""
    if content[:4] == b"RIFF" and len(content) < int.from_bytes(content[4:8], "little"):
        return RejectReason.TRUNCATED  # the error of WebP's decoder does not say so
    early_end = ("truncated", "end of file", "not enough image data", "unexpected end")
    if isinstance(error, EOFError) or any(words in str(error).lower() for words in early_end):
        return RejectReason.TRUNCATED
    return RejectReason.CORRUPT


def _require_within(
    photo: PIL.Image.Image, content: bytes, limits: PhotoLimits, num_scans: int | None
) -> None:
    width, height = photo.size
    if width * height > limits.max_pixels:
        raise PhotoRejectedError(
            RejectReason.TOO_LARGE, f"{width}x{height} is over {limits.max_pixels} pixels"
        )
    if _tile_pixels(photo) > limits.max_pixels:
        raise PhotoRejectedError(
            RejectReason.TOO_LARGE, f"a tile has over {limits.max_pixels} pixels"
        )
    scans = 0
    if hasattr(photo, "layer"):
        scans = content.count(_JPEG_SCAN) if num_scans is None else num_scans
    if _bytes_to_decode(photo, content, scans) > limits.max_memory:
        raise PhotoRejectedError(
            RejectReason.TOO_LARGE,
            f"{photo.format} of {width}x{height} takes over {limits.max_memory} bytes to decode",
        )
    if scans > MAX_SCANS:
        raise PhotoRejectedError(RejectReason.TOO_LARGE, f"{scans} scans take too long to decode")
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
    # A baseline JPEG has one scan, and its thumbnail another. With more scans, as in a progressive
    # JPEG, the decoder holds all coefficients of all layers, of 2 bytes each. A layer's horizontal
    # and vertical sampling factors are layer[1] and layer[2].
    if scans > 2 and (layers := getattr(photo, "layer", None)):
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


def _decode_opened(photo: PIL.Image.Image, content: bytes, reduction: int) -> Photo:
    size = photo.size
    min_reduction = 1
    while size[0] * size[1] > MAX_KEPT_PIXELS * min_reduction**2:
        min_reduction *= 2
    is_jpeg = isinstance(photo, JpegImageFile)
    if is_jpeg and max(reduction, min_reduction) > 1:
        reduction = max(reduction, min_reduction)
        photo.draft(None, (size[0] // reduction, size[1] // reduction))
        reduction = round(size[0] / photo.size[0])
    photo.load()
    orientation = _orientation(photo)
    if not is_jpeg:
        size, reduction = photo.size, min_reduction
    image = _upright(_to_rgb(photo, 1 if is_jpeg else reduction), orientation)
    if orientation in _SIDEWAYS:
        size = (size[1], size[0])
    if not (is_jpeg and reduction > min_reduction and photo.mode in {"RGB", "L"}):
        return Photo(image, reduction=reduction, size=size)
    detail = JpegDetail(orientation, size, min_reduction)
    decode = partial(decode_jpeg_again, content, detail)
    return Photo(image, reduction=reduction, size=size, detail=detail, decode=decode)


def decode_jpeg_again(content: bytes, detail: JpegDetail, reduction: int) -> Photo:
    """Decode a JPEG with OpenCV, in half of Pillow's time at full size.

    Args:
        content: content of the photo file. Pillow has decoded it before, so it is known not to be
            truncated or corrupt.
        detail: what the first decoding told of it.
        reduction: the reduction wanted, 1, 2 or 4.

    Raises:
        PhotoRejectedError: the photo cannot be decoded at that reduction.
    """
    orientation, size, min_reduction = detail
    reduction = max(reduction, min_reduction)
    flags = {
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
    }[reduction]
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise PhotoRejectedError(RejectReason.CORRUPT, "cannot be decoded at full size")
    rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    return Photo(_upright(np.asarray(rgb, np.uint8), orientation), reduction=reduction, size=size)


_SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations in which width and height are swapped."""


def _orientation(photo: PIL.Image.Image) -> int:
    """Return a photo's EXIF orientation, from 1 (upright) to 8; 1 if it cannot be read."""
    info = photo.info
    try:
        if hasattr(photo, "tag_v2"):  # Pillow turns a TIFF when it loads it, and notes that there
            orientation = photo.getexif().get(0x0112)
        elif (exif := info.get("exif")) is not None:
            orientation = exif_orientation(exif)
        else:
            profile = info.get("Raw profile type exif", "").split("\n")[3:]
            orientation = exif_orientation(bytes.fromhex("".join(profile)))
        if orientation is None:
            xmp = info.get("XML:com.adobe.xmp") or info.get("xmp") or b""
            orientation = xmp_orientation(xmp.encode() if isinstance(xmp, str) else xmp)
    except Exception:  # hostile content; a photo with unreadable EXIF data is still usable
        return 1
    return orientation if orientation is not None and orientation in range(1, 9) else 1


def _upright(image: Image, orientation: int) -> Image:
    """Turn and mirror an image to upright by its EXIF orientation (CIPA DC-008, 4.6.4: tag 274)."""
    if orientation in _SIDEWAYS:
        image = image.transpose(1, 0, 2)
    if orientation in {2, 3, 6, 7}:
        image = image[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        image = image[::-1]
    return np.ascontiguousarray(image)


def _to_rgb(photo: PIL.Image.Image, reduction: int = 1) -> Image:
    """Convert an image to RGB, reduced by averaging blocks of `reduction` x `reduction` pixels.

    A large image is converted in bands, so that memory does not hold two copies of all of it.
    """
    width, height = photo.size
    if reduction == 1 and width * height <= _BAND_PIXELS:
        return _band_to_rgb(photo)
    image = np.empty((height // reduction, width // reduction, 3), dtype=np.uint8)
    step = max(1, _BAND_PIXELS // width // reduction) * reduction
    for top in range(0, image.shape[0] * reduction, step):
        bottom = min(top + step, image.shape[0] * reduction)
        band = _band_to_rgb(photo.crop((0, top, image.shape[1] * reduction, bottom)))
        if reduction > 1:
            size = (image.shape[1], (bottom - top) // reduction)
            band = np.asarray(cv2.resize(band, size, interpolation=cv2.INTER_AREA))
        image[top // reduction : bottom // reduction] = band
    return image


def _band_to_rgb(photo: PIL.Image.Image) -> Image:
    if photo.mode.startswith("I;16") or photo.mode == "I":
        # Pillow would clip 16-bit greys to 255 instead of scaling them.
        grey = (np.asarray(photo) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if photo.has_transparency_data:
        opaque = PIL.Image.new("RGBA", photo.size, "white")
        opaque.alpha_composite(photo.convert("RGBA"))
        return np.asarray(opaque.convert("RGB"))
    return np.asarray(photo.convert("RGB"))
