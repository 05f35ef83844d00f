"""Look into photo files before a decoder does, in time and memory that are bounded.

Each function reads a few bytes of the content and follows no more links in it than it says.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from faces.core.channel import Buffer

MAX_SEGMENTS = 200
"""Maximum number of segments of a JPEG before its first scan. Colour profiles may take 255, but
hardly more than ten; Pillow looks at each one."""

MAX_FILL_BYTES = 4096
"""Maximum number of fill bytes (FF) before a marker of a JPEG. They are allowed (ITU-T T.81,
B.1.1.2) and unused; Pillow reads them one by one."""

MAX_GIF_COMMENTS = 20_000
"""Maximum number of comments of a GIF, which Pillow joins in time that grows with the square. So
many chance bytes look like a comment in 1.3 GB of pixels."""

_PLAIN_FRAMES = (0xC0, 0xC1, 0xC2)
"""Markers of JPEGs that are decoded line by line, or in a few passes (SOF0, SOF1, SOF2)."""

FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers that begin the description of the image (SOF0 to SOF15)."""

_SCAN = 0xDA
"""Marker that begins a scan (SOS)."""

_MAX_PLAIN_SCANS = 20
"""Maximum number of scans of a plain JPEG: progressive ones have about ten."""

_SECONDS_PER_PIXEL = 1e-7
"""Upper bound of the processor time of decoding a pixel in one scan; measured is a tenth of it."""


class _Segment(NamedTuple):
    """A segment of a JPEG: its marker's second byte, and where its content is."""

    marker: int
    start: int
    stop: int


class TooMuchInHeaderError(Exception):
    """An error about a header that would cost a decoder far more than any real photo's."""


def jpeg_segments(content: bytes) -> Iterator[_Segment]:
    """Yield the segments of a JPEG up to its first scan.

    Raises:
        TooMuchInHeaderError: there are too many segments or fill bytes.
    """
    position = 2
    for _ in range(MAX_SEGMENTS):
        start = content.find(b"\xff", position, position + 1)
        if start < 0:  # no marker: Pillow skips bytes until one comes
            return
        marker_at = start + 1
        if content[marker_at : marker_at + 1] == b"\xff":
            match = _NO_FILL.search(content, marker_at, marker_at + MAX_FILL_BYTES)
            if match is None:
                raise TooMuchInHeaderError(f"over {MAX_FILL_BYTES} fill bytes before a marker")
            marker_at = match.start()
        if marker_at + 3 > len(content):
            return
        marker = content[marker_at]
        length = int.from_bytes(content[marker_at + 1 : marker_at + 3], "big")
        yield _Segment(marker, marker_at + 3, marker_at + 1 + length)
        if marker == _SCAN or length < 2:
            return
        position = marker_at + 1 + length
    raise TooMuchInHeaderError(f"over {MAX_SEGMENTS} segments before the first scan")


_SCAN_BEGINNING = re.compile(rb"\xff\xda")
"""What each scan begins with, and chance bytes elsewhere, such as behind the end."""

_NO_FILL = re.compile(rb"[^\xff]")


def is_plain_jpeg(content: bytes, *, max_pixels: int, seconds: float) -> bool:
    """Return whether a photo is a JPEG that any decoder handles in little time and memory.

    These are JPEGs of one image and few scans, with one EXIF block of at most 64 KB and few
    segments: their decoder reads each byte once, and passes over the pixels once a scan.

    Args:
        content: content of the photo file.
        max_pixels: maximum number of pixels, which bounds the memory.
        seconds: maximum time in seconds, which bounds the pixels too.
    """
    if content[:3] != b"\xff\xd8\xff":
        return False
    num_exif = num_frames = 0
    pixels = 0
    last = None
    try:
        for last in jpeg_segments(content):
            marker, start, _ = last
            if marker == 0xE1 and content[start : start + 4] == b"Exif":
                num_exif += 1
            elif marker == 0xE2 and content[start : start + 4] == b"MPF\0":
                return False
            elif marker in FRAMES:
                num_frames += 1
                if marker not in _PLAIN_FRAMES or start + 6 > len(content):
                    return False
                height, width = struct.unpack_from(">HH", content, start + 1)
                pixels = height * width
    except TooMuchInHeaderError:
        return False
    if last is None or last.marker != _SCAN or num_frames != 1 or num_exif > 1:
        return False
    num_scans = sum(1 for _ in _SCAN_BEGINNING.finditer(content))  # faster than bytes.count
    return (
        0 < pixels <= max_pixels
        and num_scans <= _MAX_PLAIN_SCANS
        and pixels * num_scans * _SECONDS_PER_PIXEL <= seconds
    )


def require_bounded_header(content: bytes) -> None:
    """Require that the header of a photo asks for no more than a header may.

    Args:
        content: content of the photo file, of any format.

    Raises:
        TooMuchInHeaderError: it is a JPEG of too many segments or fill bytes, a GIF of too many
            comments, or a TIFF, or the EXIF block of a PNG, whose directory refers to more bytes
            than it has.
    """
    if content[:2] == b"\xff\xd8":
        for _ in jpeg_segments(content):
            pass
    elif content[:4] == b"GIF8":
        if content.count(b"\x21\xfe") > MAX_GIF_COMMENTS:
            raise TooMuchInHeaderError(f"over {MAX_GIF_COMMENTS} comments")
    elif is_tiff(content):
        require_bounded_directory(content)
    elif content[:8] == b"\x89PNG\r\n\x1a\n":
        exif = bytes(png_exif(content))
        if is_tiff(exif):
            require_bounded_directory(exif)


def is_tiff(content: bytes) -> bool:
    """Return whether a file, or an EXIF block, is a TIFF with 32-bit offsets."""
    return content[:4] in (b"II*\0", b"MM\0*")


def png_exif(content: Buffer) -> Buffer:
    """Return the EXIF chunk of a PNG, if it is among its first chunks; else nothing."""
    position = 8
    for _ in range(MAX_SEGMENTS):
        head = bytes(content[position : position + 8])
        if len(head) < 8 or head[4:] in (b"IDAT", b"IEND"):
            break
        size = int.from_bytes(head[:4], "big")
        if head[4:] == b"eXIf":
            return content[position + 8 : position + 8 + size]
        position += 12 + size
    return b""


_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
"""Bytes of a value of each type of TIFF 6.0."""


def require_bounded_directory(content: bytes) -> None:
    """Require that the values of a TIFF's first directory fit into the file beside each other.

    Pillow copies the value of each entry, so that thousands of entries that all refer to the same
    bytes would take gigabytes.

    Args:
        content: a TIFF file, or an EXIF block, which has the same format.

    Raises:
        TooMuchInHeaderError: the values have more bytes than the file.
    """
    order = "<" if content[:2] == b"II" else ">"
    if len(content) < 8:
        return
    (first,) = struct.unpack_from(f"{order}4xI", content)
    total = 0
    for _, kind, count, _ in tiff_entries(content, first, order):
        size = _TYPE_BYTES.get(kind, 1) * count
        if size > 4:
            total += size
    if total > len(content) + _SLACK_BYTES:
        raise TooMuchInHeaderError(f"its directory refers to {total} bytes of {len(content)}")


_SLACK_BYTES = 65_536
"""Bytes of directory values that a TIFF may have twice."""


def tiff_entries(content: Buffer, start: int, order: str) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield tag, type, count and value field of each entry of a TIFF directory."""
    if start + 2 > len(content):
        return
    (count,) = struct.unpack_from(f"{order}H", content, start)
    count = min(count, (len(content) - start - 2) // 12)
    yield from struct.iter_unpack(f"{order}HHI4s", content[start + 2 : start + 2 + 12 * count])


_ORIENTATION = 0x0112
"""Tag of the orientation (CIPA DC-008, 4.6.4)."""


def exif_orientation(exif: bytes) -> int | None:
    """Return the orientation in an EXIF block.

    Args:
        exif: the block, with or without the prefix "Exif" of JPEG.

    Returns:
        The orientation, 1 to 8, or another number if it is corrupt; None if the block has none.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    if exif[:2] not in (b"II", b"MM") or len(exif) < 8:
        return None
    order = "<" if exif[:2] == b"II" else ">"
    (first,) = struct.unpack_from(f"{order}4xI", exif)
    for tag, kind, _, field in tiff_entries(exif, first, order):
        if tag == _ORIENTATION and kind in (1, 3, 4):
            form = {1: "B", 3: "H", 4: "I"}[kind]
            (value,) = struct.unpack_from(f"{order}{form}", field)
            return int(value)
    return None


_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])")


def xmp_orientation(xmp: bytes) -> int | None:
    """Return the orientation in an XMP packet, 1 to 8; None if it has none."""
    match = _XMP_ORIENTATION.search(xmp)
    return int(match[1]) if match else None
