"""Photo files to upright RGB images; whatever cannot be one is rejected with a reason."""

from __future__ import annotations

import io
import warnings
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import PIL.Image

Image: TypeAlias = NDArray[np.uint8]
"""A decoded photo, (height, width, 3) uint8 RGB, upright."""

MAX_PIXELS = 150_000_000
"""Largest photo decoded, in pixels: as large cameras make, and below what Pillow calls a bomb."""

PHOTO_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"),
    *(".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif"),
)
"""File names with these endings are taken for photos; their content decides what they are."""


PHOTO_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF")
"""Pillow's names of what we decode. It knows more, some of which run other programs."""


class RejectReason(StrEnum):
    """Why a photo has no result. A closed set: it is stored in datasets."""

    READ_ERROR = "read_error"  # the file could not be opened or read
    EMPTY_FILE = "empty_file"  # zero bytes
    UNSUPPORTED_FORMAT = "unsupported_format"  # not an image format that we decode
    DAMAGED = "damaged"  # an image of a known format, truncated or otherwise corrupt
    TOO_LARGE = "too_large"  # more than MAX_PIXELS pixels
    NOT_PROCESSED = "not_processed"  # decoded, but the networks failed on it and on no other


class PhotoRejectedError(Exception):
    """A photo that cannot become an image.

    Not a FaceTroveError: in a job it becomes a row of the dataset, and only a photo that a
    person named becomes a message.
    """

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason


def decode_photo(content: bytes) -> Image:
    """Decode a photo file's content to an upright RGB image.

    EXIF orientation is applied, so boxes refer to the photo as people see it. Grey, palette,
    CMYK and 16-bit images are converted; transparency is laid on white; of an animation the
    first frame is taken.

    Raises:
        PhotoRejectedError: with the reason, whatever is wrong with the content.
    """
    import PIL.Image
    from PIL import ImageOps, UnidentifiedImageError
    from pillow_heif import register_heif_opener

    if not content:
        raise PhotoRejectedError(RejectReason.EMPTY_FILE, "the file has no content")
    register_heif_opener()
    try:
        with warnings.catch_warnings():  # we set our own limit, and metadata oddities are no matter
            warnings.simplefilter("ignore")
            with PIL.Image.open(io.BytesIO(content), formats=PHOTO_FORMATS) as photo:
                width, height = photo.size
                if width * height > MAX_PIXELS:
                    raise PhotoRejectedError(
                        RejectReason.TOO_LARGE, f"{width}x{height} is over {MAX_PIXELS} pixels"
                    )
                photo.load()
                upright = ImageOps.exif_transpose(photo)
                return np.asarray(_to_rgb(upright))
    except PhotoRejectedError:
        raise
    except UnidentifiedImageError as error:
        raise PhotoRejectedError(
            RejectReason.UNSUPPORTED_FORMAT, "not a photo format known here"
        ) from error
    except PIL.Image.DecompressionBombError as error:
        raise PhotoRejectedError(RejectReason.TOO_LARGE, str(error)) from error
    except MemoryError:
        raise
    except Exception as error:  # hostile input: Pillow's plugins raise nearly anything
        raise PhotoRejectedError(RejectReason.DAMAGED, str(error)) from error


def _to_rgb(photo: PIL.Image.Image) -> PIL.Image.Image:
    import PIL.Image

    if photo.mode.startswith("I;16") or photo.mode == "I":
        # Pillow clips 16-bit greys to 255 instead of scaling them.
        return PIL.Image.fromarray((np.asarray(photo) >> 8).clip(0, 255).astype(np.uint8)).convert(
            "RGB"
        )
    if photo.has_transparency_data:
        opaque = PIL.Image.new("RGBA", photo.size, "white")
        opaque.alpha_composite(photo.convert("RGBA"))
        return opaque.convert("RGB")
    return photo.convert("RGB")
