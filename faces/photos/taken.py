"""When a photo was taken, as its camera wrote it down: EXIF's DateTimeOriginal alone."""

from __future__ import annotations

import re
import struct
from datetime import datetime

from faces.core.channel import Buffer
from faces.photos.headers import (
    TooMuchInHeaderError,
    is_tiff,
    jpeg_segments,
    png_exif,
    tiff_entries,
)

_EXIF_DIRECTORY, _DATE_TIME_ORIGINAL = 0x8769, 0x9003
"""Tags of the directory of EXIF, and in it of the time (CIPA DC-008, 4.6.3 and 4.6.5)."""

_ASCII, _POINTERS = 2, (4, 13)
"""Types of TIFF 6.0: text, and places of directories."""

_HEAD_BYTES = 16 << 20
"""Bytes of a JPEG that are looked at: EXIF is before the image, in a segment of at most 64 KB."""

_MAX_CHUNKS = 100
"""Maximum number of chunks of a WebP that are looked at."""

_ITEM_IN_HEIF = re.compile(rb"\0\0\0\x06Exif\0\0(?=II\*\0|MM\0\*)")
"""What begins an EXIF block in HEIC and AVIF (ISO/IEC 23008-12, A.2.1). Its bytes say for certain
what they are, so that the boxes that lead to it need not be read."""

_TIME = re.compile(
    rb"([0-9]{4})[:/.-]([0-9]{2})[:/.-]([0-9]{2})[ T]([0-9]{2}):([0-9]{2}):([0-9]{2})"
)


def exif_taken(content: Buffer) -> datetime | None:
    """Return when a photo was taken, by its camera's clock.

    A few bytes are read at bounded places, in a time that grows at most with the length of the
    content; nothing is decoded.

    Args:
        content: content of a photo file of any format.

    Returns:
        The time, without a zone and without fractions of seconds; None if the photo does not say
        it, or says a time that does not exist, such as 0000:00:00.
    """
    try:
        return _time_in(_exif_of(content))
    except (struct.error, TooMuchInHeaderError):
        return None


def _exif_of(content: Buffer) -> Buffer:
    """Return the EXIF block of a photo, which has the format of a TIFF; empty if there is none."""
    head = bytes(content[:16])
    if head[:2] == b"\xff\xd8":
        jpeg = content if isinstance(content, bytes) else bytes(content[:_HEAD_BYTES])
        for marker, start, stop in jpeg_segments(jpeg):
            if marker == 0xE1 and jpeg[start : start + 6] == b"Exif\0\0":
                return jpeg[start + 6 : stop]
    elif is_tiff(head):
        return content
    elif head[:8] == b"\x89PNG\r\n\x1a\n":
        return png_exif(content)
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _exif_of_webp(content)
    elif head[4:8] == b"ftyp":
        found = _ITEM_IN_HEIF.search(content)
        return content[found.end() :] if found is not None else b""
    return b""


def _exif_of_webp(content: Buffer) -> Buffer:
    position = 12
    for _ in range(_MAX_CHUNKS):
        head = bytes(content[position : position + 8])
        if len(head) < 8:
            break
        size = int.from_bytes(head[4:], "little")
        if head[:4] == b"EXIF":
            block = content[position + 8 : position + 8 + size]
            return block[6:] if bytes(block[:6]) == b"Exif\0\0" else block
        position += 8 + size + size % 2
    return b""


def _time_in(exif: Buffer) -> datetime | None:
    """Return the time in an EXIF block."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(exif[:2]))
    if order is None:
        return None
    (first,) = struct.unpack_from(f"{order}4xI", exif)
    for tag, kind, _, field in tiff_entries(exif, first, order):
        if tag == _EXIF_DIRECTORY and kind in _POINTERS:
            (directory,) = struct.unpack(f"{order}I", field)
            break
    else:
        return None
    for tag, kind, count, field in tiff_entries(exif, directory, order):
        if tag == _DATE_TIME_ORIGINAL and kind == _ASCII and count >= 19:
            (place,) = struct.unpack(f"{order}I", field)
            found = _TIME.fullmatch(bytes(exif[place : place + 19]))
            return None if found is None else _existing(*map(int, found.groups()))
    return None


def _existing(*parts: int) -> datetime | None:
    try:
        return datetime(*parts)  # type: ignore[arg-type]
    except ValueError:  # no such month, day or hour
        return None
