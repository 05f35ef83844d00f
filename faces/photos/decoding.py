"""Decode photo files to upright RGB images; reject others with a reason."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple, TypeAlias

import numpy as np
import PIL.Image
from PIL import UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from pillow_heif import register_heif_opener

from faces.core.errors import WrongUsageError
from faces.core.settings import PhotoLimits
from faces.photos.cut_short import further_pages, load_whole
from faces.photos.decoding_errors import corruption_of, unidentified
from faces.photos.decoding_limits import require_size_within, require_within
from faces.photos.headers import (
    TooMuchInHeaderError,
    exif_orientation,
    require_bounded_header,
    xmp_orientation,
)
from faces.photos.opencv import cv2
from faces.photos.pixels import (
    Pixels,
    deep_colour,
    is_sideways,
    is_too_dark,
    reduced,
    to_rgb,
    upright,
)
from faces.photos.pngs import SIGNATURE, only_pixels
from faces.photos.rejection import PartlyRead, PhotoRejectedError, RejectReason
from faces.photos.tiffs import (
    bits_per_sample,
    has_further_pages,
    is_dark_on_light,
    is_raw_file,
    size_of,
    tile_pixels,
)

Image: TypeAlias = Pixels
"""A decoded photo, (height, width, 3) uint8 RGB, upright."""

PHOTO_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF")
"""The formats that are decoded, by their names in Pillow. Pillow has more formats, but some of them
run other programs."""

REDUCTIONS = (8, 4, 2)
"""Factors by which a JPEG decoder can reduce width and height while it decodes, largest first."""

MAX_KEPT_PIXELS = 64_000_000
"""Maximum number of pixels of a decoded image, which bounds a worker's memory. A larger photo is
reduced while it is decoded, by a power of two."""


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
        partly_read: what of the file was not looked at.
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
        partly_read: tuple[PartlyRead, ...] = (),
    ) -> None:
        self.image = image
        self.partly_read = partly_read
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


@lru_cache
def allow_every_photo() -> None:
    """Set Pillow up for photos, in a process that does nothing else.

    The settings are those of the whole process: HEIC is opened, the limits of a request apply
    instead of Pillow's own, and no warning is given about odd metadata.
    """
    register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
    PIL.Image.MAX_IMAGE_PIXELS = None
    warnings.simplefilter("ignore")


class _PlainJpeg(JpegImageFile):
    """A JPEG of which no more is parsed than decoding needs, so that nothing is warned about."""

    def _read_dpi_from_exif(self) -> None:
        """Leave the resolution, for which Pillow would parse the whole EXIF block."""


def decode_plain_jpeg(
    content: bytes, *, limits: PhotoLimits, reduction_for: Callable[[int], int]
) -> Photo:
    """Decode a JPEG of `faces.photos.headers.is_plain_jpeg`; see `decode_photo`.

    Nothing of the process is changed, so this may be called in anybody's program and in threads.

    Raises:
        PhotoRejectedError: the content cannot be decoded or is beyond a limit.
    """
    try:
        with _PlainJpeg(io.BytesIO(content)) as photo:
            require_within(photo, content, limits)
            return _decode_opened(photo, content, reduction_for(max(photo.size)))
    except (PhotoRejectedError, MemoryError):
        raise
    except SyntaxError as error:
        raise unidentified(content) from error
    except Exception as error:  # Pillow raises nearly any exception on hostile content
        raise PhotoRejectedError(corruption_of(error, content), str(error)) from error


def decode_photo(
    content: bytes,
    *,
    limits: PhotoLimits = PhotoLimits(),
    reduction_for: Callable[[int], int] = lambda _: 1,
) -> Photo:
    """Decode a photo file's content to an upright RGB image.

    EXIF orientation is applied, so boxes refer to the photo as people see it. Grey, palette, CMYK
    and deeper images are converted, transparent pixels are blended with white, and only the first
    page or frame is decoded. A photo whose data end early is decoded if little of it is missing.

    Photos other than JPEGs need `allow_every_photo` to have been called in this process.

    Args:
        content: content of the photo file.
        limits: limits beyond which a photo is rejected before it is decoded.
        reduction_for: function that gets the photo's longer side in pixels and returns the
            reduction to decode at, one of `REDUCTIONS` or 1. It applies to JPEGs alone, whose
            decoding then takes a third of the time.

    Raises:
        PhotoRejectedError: the content cannot be decoded or is beyond a limit; the error has the
            reason.
    """
    if not content:
        raise PhotoRejectedError(RejectReason.EMPTY_FILE, "the file has no content")
    is_animated = False
    try:
        if content.startswith(SIGNATURE):
            content, is_animated = only_pixels(content)
        require_bounded_header(content)
        if is_raw_file(content):
            raise PhotoRejectedError(
                RejectReason.UNSUPPORTED_FORMAT,
                "a camera's raw file, whose first picture is a preview; export it as JPEG",
            )
        try:
            opened = PIL.Image.open(io.BytesIO(content), formats=PHOTO_FORMATS)
        except UnidentifiedImageError as error:
            if (fractions := _decode_fractions(content, limits)) is not None:
                return fractions
            raise unidentified(content) from error
        with opened:
            require_within(opened, content, limits)
            photo = _decode_opened(opened, content, reduction_for(max(opened.size)))
        if is_animated:
            photo.partly_read += (PartlyRead.FURTHER_PAGES,)
        return photo
    except (PhotoRejectedError, MemoryError):
        raise
    except TooMuchInHeaderError as error:
        raise PhotoRejectedError(RejectReason.CORRUPT, str(error)) from error
    except PIL.Image.DecompressionBombError as error:
        raise PhotoRejectedError(RejectReason.TOO_LARGE, str(error)) from error
    except Exception as error:  # Pillow's plugins raise nearly any exception on hostile content
        raise PhotoRejectedError(corruption_of(error, content), str(error)) from error


def _decode_fractions(content: bytes, limits: PhotoLimits) -> Photo | None:
    """Decode a colour TIFF of floating-point numbers; return None for anything else."""
    size = size_of(content)
    _, num_samples, are_fractions = bits_per_sample(content)
    if size is None or not are_fractions or num_samples not in (3, 4):
        return None
    num_pixels = max(size[0] * size[1], tile_pixels(content))
    require_size_within(
        size,
        limits,
        tile_pixels=tile_pixels(content),
        bytes_to_decode=len(content) + num_pixels * num_samples * 16,  # doubles, and a copy
        what="a TIFF of fractions",
    )
    image = deep_colour(content)
    if image is None or sorted(image.shape[:2]) != sorted(size):
        return None
    reduction = _min_reduction(size)
    return Photo(
        reduced(image, reduction),
        reduction=reduction,
        size=(image.shape[1], image.shape[0]),
        partly_read=(PartlyRead.FURTHER_PAGES,) if has_further_pages(content) else (),
    )


def _min_reduction(size: tuple[int, int]) -> int:
    """Return the reduction that `MAX_KEPT_PIXELS` requires for a width and height in pixels."""
    reduction = 1
    while size[0] * size[1] > MAX_KEPT_PIXELS * reduction**2:
        reduction *= 2
    return reduction


def _decode_opened(photo: PIL.Image.Image, content: bytes, reduction: int) -> Photo:
    size = photo.size
    min_reduction = _min_reduction(size)
    is_jpeg = isinstance(photo, JpegImageFile)
    partly_read = (PartlyRead.FURTHER_PAGES,) if further_pages(photo, content) else ()
    if is_jpeg and max(reduction, min_reduction) > 1:
        reduction = max(reduction, min_reduction)
        photo.draft(None, (size[0] // reduction, size[1] // reduction))
    full_size = (size[0] // min_reduction, size[1] // min_reduction)
    loaded = load_whole(photo, content, full_size)
    if loaded is not photo:
        partly_read = (PartlyRead.CUT_SHORT, *partly_read)
    reduction = round(size[0] / loaded.size[0]) if is_jpeg else min_reduction
    orientation = _orientation(photo)
    if not is_jpeg:
        size = loaded.size
    image = upright(_as_rgb(loaded, content, 1 if is_jpeg else reduction), orientation)
    if is_sideways(orientation):
        size = (size[1], size[0])
    can_be_finer = is_jpeg and loaded is photo and photo.mode in {"RGB", "L"}
    if not (can_be_finer and reduction > min_reduction):
        return Photo(image, reduction=reduction, size=size, partly_read=partly_read)
    detail = JpegDetail(orientation, size, min_reduction)
    return Photo(
        image,
        reduction=reduction,
        size=size,
        detail=detail,
        decode=partial(decode_jpeg_again, content, detail),
        partly_read=partly_read,
    )


def _as_rgb(photo: PIL.Image.Image, content: bytes, reduction: int) -> Image:
    """Convert a loaded photo to RGB, with all bits of one that uses only the lower of 16.

    Raises:
        PhotoRejectedError: it is such a photo, and its lower bits cannot be had.
    """
    is_png = content.startswith(SIGNATURE)
    bits = content[24] if is_png else bits_per_sample(content)[0]
    if bits == 16 and len(photo.getbands()) > 1 and is_too_dark(photo):
        image = deep_colour(content)
        if image is None or image.shape[:2] != (photo.size[1], photo.size[0]):
            raise PhotoRejectedError(
                RejectReason.UNSUPPORTED_FORMAT, "only the lower of its 16 bits are used"
            )
        return reduced(image, reduction)
    return to_rgb(photo, reduction, is_negative=is_dark_on_light(content))


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
    return Photo(upright(np.asarray(rgb, np.uint8), orientation), reduction=reduction, size=size)


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
