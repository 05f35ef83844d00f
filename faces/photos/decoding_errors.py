"""Why a photo could not be decoded: the rejection that follows from a decoder's error."""

from __future__ import annotations

import re

from faces.photos.headers import is_tiff
from faces.photos.jpegs import jpeg_precision
from faces.photos.rejection import PhotoRejectedError, RejectReason
from faces.photos.tiffs import directory_ends_early, size_of

_SIGNATURES = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|II\*\0|MM\0\*|RIFF....WEBP"
    rb"|....ftyp(?:avi[fs]|hei[cxms]|hev[cx]|mif1|msf1)",
    re.DOTALL,
)
"""Regular expression of the first bytes of files of supported formats, BMP excepted."""


def unidentified(content: bytes) -> PhotoRejectedError:
    """Return the rejection of a file that Pillow does not identify."""
    if is_tiff(content) and directory_ends_early(content):
        return PhotoRejectedError(RejectReason.TRUNCATED, "its directory ends early")
    if is_tiff(content) and size_of(content) is not None:
        return PhotoRejectedError(
            RejectReason.UNSUPPORTED_FORMAT, "a TIFF of a kind that is not supported"
        )
    if jpeg_precision(content) not in (0, 8):
        return PhotoRejectedError(
            RejectReason.UNSUPPORTED_FORMAT, "a JPEG of more than 8 bits is not supported"
        )
    if _SIGNATURES.match(content):
        return PhotoRejectedError(RejectReason.CORRUPT, "its header cannot be read")
    return PhotoRejectedError(RejectReason.UNSUPPORTED_FORMAT, "not a supported photo format")


def corruption_of(error: Exception, content: bytes) -> RejectReason:
    """Return TRUNCATED if a decoder reached the end of the data, CORRUPT for any other error."""
    if content[:4] == b"RIFF" and len(content) < int.from_bytes(content[4:8], "little"):
        return RejectReason.TRUNCATED  # the error of WebP's decoder does not say so
    early_end = ("truncated", "end of file", "not enough image data", "unexpected end")
    if isinstance(error, EOFError) or any(words in str(error).lower() for words in early_end):
        return RejectReason.TRUNCATED
    return RejectReason.CORRUPT
