"""Photo files to upright RGB images; whatever cannot be one is rejected with a reason."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from pillow_heif import register_heif_opener

from faces.core.errors import WrongUsageError
from faces.core.settings import PhotoLimits
from faces.photos.rejection import PhotoRejectedError, RejectReason

Image: TypeAlias = NDArray[np.uint8]
"""A decoded photo, (height, width, 3) uint8 RGB, upright."""

PHOTO_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF")
"""Pillow's names of what we decode. It knows more, some of which run other programs."""

REDUCTIONS = (8, 4, 2)
"""A JPEG decoder can leave out detail as it goes and give 1/8, 1/4 or 1/2 of the size."""

MAX_KEPT_PIXELS = 64_000_000
"""Larger photos are halved while they are decoded, so that a worker's memory is bounded."""

_BAND_PIXELS = 4_000_000
"""Pixels converted to RGB at once."""


MIN_SIDE = 16
"""Shorter side of the smallest photo searched, in pixels: no detector finds a smaller face."""


MAX_SCANS = 200
"""Each scan of a progressive JPEG goes over the whole photo; programs make about ten."""

_JPEG_SCAN = b"\xff\xda"
"""Each scan begins with these bytes."""


class Photo:
    """A decoded photo, perhaps at reduced size, that can be decoded again with more detail.

    Attributes:
        image: upright; one of its pixels is `reduction` pixels of the photo wide and high.
        reduction: 1, 2, 4 or 8.
        width: of the whole upright photo, in its own pixels.
        height: likewise.
    """

    def __init__(
        self,
        image: Image,
        *,
        reduction: int = 1,
        size: tuple[int, int] | None = None,
        decode: Callable[[int], Photo] | None = None,
    ) -> None:
        self.image = image
        self.reduction = reduction
        self.width: int = size[0] if size else image.shape[1]
        self.height: int = size[1] if size else image.shape[0]
        self._decode = decode

    def finer(self, reduction: int) -> Photo:
        """The same photo at another reduction, or as near to it as can be had."""
        if self._decode is None or reduction >= self.reduction:
            return self
        return self._decode(reduction)


def as_photo(image: Photo | Image) -> Photo:
    """A photo, of an image that may be one already.

    Raises:
        WrongUsageError: it is no (height, width, 3) uint8 array.
    """
    if isinstance(image, Photo):
        return image
    if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape[2:] == (3,)):
        raise WrongUsageError(
            f"{type(image).__name__} is no photo; give a path, or a (height, width, 3) uint8 RGB "
            "array, such as numpy.asarray(picture.convert('RGB'))"
        )
    return Photo(image)


def decode_photo(
    content: bytes,
    *,
    limits: PhotoLimits = PhotoLimits(),
    reduction_for: Callable[[int], int] = lambda _: 1,
) -> Photo:
    """Decode a photo file's content to an upright RGB image.

    EXIF orientation is applied, so boxes refer to the photo as people see it. Grey, palette,
    CMYK and 16-bit images are converted; transparency is laid on white; of an animation the
    first frame is taken.

    Args:
        content: of the file.
        limits: what is refused unread.
        reduction_for: given the photo's longer side in pixels, how far it may be reduced.
            Only a JPEG is: its decoder is three times as fast then.

    Raises:
        PhotoRejectedError: with the reason, whatever is wrong with the content.
    """
    if not content:
        raise PhotoRejectedError(RejectReason.EMPTY_FILE, "the file has no content")
    register_heif_opener()
    PIL.Image.MAX_IMAGE_PIXELS = None  # the limit is `limits`
    try:
        with warnings.catch_warnings():  # oddities of metadata are no matter
            warnings.simplefilter("ignore")
            with PIL.Image.open(io.BytesIO(content), formats=PHOTO_FORMATS) as photo:
                _require_within(photo, content, limits)
                return _decode_opened(photo, content, reduction_for(max(photo.size)))
    except PhotoRejectedError:
        raise
    except UnidentifiedImageError as error:
        if _SIGNATURES.match(content):
            raise PhotoRejectedError(RejectReason.DAMAGED, "its header cannot be read") from error
        raise PhotoRejectedError(
            RejectReason.UNSUPPORTED_FORMAT, "not a photo format known here"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # hostile input: Pillow's plugins raise nearly anything
        raise PhotoRejectedError(_corruption(error, content), str(error)) from error


_SIGNATURES = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|II\*\0|MM\0\*|RIFF....WEBP"
    rb"|....ftyp(?:avi[fs]|hei[cxms]|hev[cx]|mif1|msf1)",
    re.DOTALL,
)
"""How the formats that we decode begin."""


def _corruption(error: Exception, content: bytes) -> RejectReason:
    """Whether a decoder ran out of data or met data it cannot mean."""
    if content[:4] == b"RIFF" and len(content) < int.from_bytes(content[4:8], "little"):
        return RejectReason.TRUNCATED  # WebP, whose decoder does not tell
    early_end = ("truncated", "end of file", "not enough image data", "unexpected end")
    if isinstance(error, EOFError) or any(words in str(error).lower() for words in early_end):
        return RejectReason.TRUNCATED
    return RejectReason.DAMAGED


def _require_within(photo: PIL.Image.Image, content: bytes, limits: PhotoLimits) -> None:
    width, height = photo.size
    if width * height > limits.max_pixels:
        raise PhotoRejectedError(
            RejectReason.TOO_LARGE, f"{width}x{height} is over {limits.max_pixels} pixels"
        )
    scans = content.count(_JPEG_SCAN) if hasattr(photo, "layer") else 0
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


_BYTES_A_PIXEL = {"JPEG": 2.5, "MPO": 2.5, "GIF": 6.1, "HEIF": 10.0, "AVIF": 14.5, "WEBP": 18.5}
"""Memory that decoding takes at its peak, measured at 25 to 100 million pixels."""


def _bytes_to_decode(photo: PIL.Image.Image, content: bytes, scans: int) -> float:
    """Memory that a photo takes at the peak of decoding, its content included."""
    width, height = photo.size
    a_pixel = _BYTES_A_PIXEL.get(photo.format or "", 5.5 if len(photo.getbands()) > 1 else 3.3)
    # An ordinary JPEG has one scan, and its thumbnail another; in several, as of a progressive
    # one, the decoder holds all coefficients of all layers.
    if scans > 2 and (layers := getattr(photo, "layer", None)):
        most = max(layer[1] for layer in layers) * max(layer[2] for layer in layers)
        a_pixel = 1 + 2 * sum(layer[1] * layer[2] for layer in layers) / most
    strips = getattr(photo, "tag_v2", {}).get(_TIFF_STRIPS, ())
    if isinstance(strips, tuple) and len(strips) == 1:
        a_pixel = 7.0
    return len(content) + width * height * float(a_pixel)


_TIFF_STRIPS = 273


def _decode_opened(photo: PIL.Image.Image, content: bytes, reduction: int) -> Photo:
    size = photo.size
    least = 1
    while size[0] * size[1] > MAX_KEPT_PIXELS * least**2:
        least *= 2
    is_jpeg = isinstance(photo, JpegImageFile)
    if is_jpeg and max(reduction, least) > 1:
        reduction = max(reduction, least)
        photo.draft(None, (size[0] // reduction, size[1] // reduction))
        reduction = round(size[0] / photo.size[0])
    photo.load()
    turn = _orientation(photo)
    if not is_jpeg:
        size, reduction = photo.size, least
    image = _upright(_to_rgb(photo, 1 if is_jpeg else reduction), turn)
    if turn in _SIDEWAYS:
        size = (size[1], size[0])
    decode = None
    if is_jpeg and reduction > least and photo.mode in {"RGB", "L"}:
        decode = partial(_decode_jpeg_again, content, turn, size, least)
    return Photo(image, reduction=reduction, size=size, decode=decode)


def _decode_jpeg_again(
    content: bytes, turn: int, size: tuple[int, int], least: int, reduction: int
) -> Photo:
    """OpenCV reads what Pillow found whole, in half of Pillow's time at full size."""
    reduction = max(reduction, least)
    flags = {
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
    }[reduction]
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise PhotoRejectedError(RejectReason.DAMAGED, "cannot be decoded at full size")
    rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    return Photo(_upright(np.asarray(rgb, np.uint8), turn), reduction=reduction, size=size)


_SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""


def _orientation(photo: PIL.Image.Image) -> int:
    """EXIF orientation, 1 (upright) to 8; 1 where the EXIF data cannot be read."""
    try:
        turn = photo.getexif().get(0x0112, 1)
    except Exception:  # hostile input; a photo is no worse for odd metadata
        return 1
    return turn if turn in range(1, 9) else 1


def _upright(image: Image, turn: int) -> Image:
    """Turn and mirror as EXIF orientation says (CIPA DC-008, 4.6.4: tag 274)."""
    if turn in _SIDEWAYS:
        image = image.transpose(1, 0, 2)
    if turn in {2, 3, 6, 7}:
        image = image[:, ::-1]
    if turn in {3, 4, 7, 8}:
        image = image[::-1]
    return np.ascontiguousarray(image)


def _to_rgb(photo: PIL.Image.Image, reduction: int = 1) -> Image:
    """Convert, band by band so that no second copy of a large photo is needed, and shrink."""
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
        # Pillow clips 16-bit greys to 255 instead of scaling them.
        grey = (np.asarray(photo) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if photo.has_transparency_data:
        opaque = PIL.Image.new("RGBA", photo.size, "white")
        opaque.alpha_composite(photo.convert("RGBA"))
        return np.asarray(opaque.convert("RGB"))
    return np.asarray(photo.convert("RGB"))
