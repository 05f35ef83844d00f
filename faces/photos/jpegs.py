"""Look into the scans of a JPEG: how many there are, and whether its data end early."""

from __future__ import annotations

import re
from typing import NamedTuple

from faces.photos.headers import FRAMES, TooMuchInHeaderError, jpeg_segments

MAX_MARKERS = 10_000
"""Maximum number of markers behind the first scan's, those of restarts not counted."""

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A marker in the data of a scan: there, FF is followed by 00, by that of a restart (ITU-T T.81,
B.1.1.5), or by fill bytes."""

_END, _SCAN, _NO_CONTENT = 0xD9, 0xDA, 0x01
"""Markers EOI, SOS and TEM, the second byte of each (ITU-T T.81, table B.1)."""

_PROGRESSIVE = 0xC2

_COEFFICIENTS = 64
"""Number of coefficients of a block."""


class JpegScans(NamedTuple):
    """The scans of a JPEG's first image. Nothing behind its end mark belongs to it.

    Attributes:
        num_scans: number of scans that have begun.
        has_end: whether the end mark is there.
        is_refined: whether the last scan of every coefficient has begun, so that at most the last
            bit is missing where a progressive JPEG is cut; True for others.
    """

    num_scans: int
    has_end: bool
    is_refined: bool


def read_scans(content: bytes) -> JpegScans:
    """Count the scans of a JPEG's first image.

    Args:
        content: content of the photo file.

    Raises:
        TooMuchInHeaderError: there are too many segments or markers.
    """
    position = len(content)
    missing: dict[int, set[int]] = {}
    for marker, start, stop in jpeg_segments(content):
        if marker == _PROGRESSIVE:
            components = content[start + 6 : stop : 3]
            missing = {component: set(range(_COEFFICIENTS)) for component in components}
        if marker == _SCAN:
            position = start - 4
    count = 0
    for _ in range(MAX_MARKERS):
        match = _MARKER.search(content, position)
        if match is None:
            return JpegScans(count, False, not any(missing.values()))
        marker = content[match.start() + 1]
        if marker == _END:
            return JpegScans(count, True, not any(missing.values()))
        length = int.from_bytes(content[match.end() : match.end() + 2], "big")
        position = match.end() + (0 if marker == _NO_CONTENT else max(length, 2))
        if marker == _SCAN:
            count += 1
            _remove_sent(missing, content[match.end() + 2 : match.end() + length])
    raise TooMuchInHeaderError(f"over {MAX_MARKERS} markers behind the first scan's")


def _remove_sent(missing: dict[int, set[int]], header: bytes) -> None:
    """Remove the coefficients whose last bit a scan has, by the scan's header (T.81, B.2.3)."""
    if not header or len(header) < 4 + 2 * header[0]:
        return
    first, last, bits = header[1 + 2 * header[0] : 4 + 2 * header[0]]
    if bits & 0x0F == 0:
        for component in header[1 : 1 + 2 * header[0] : 2]:
            missing.get(component, set()).difference_update(range(first, last + 1))


def jpeg_precision(content: bytes) -> int:
    """Return the number of bits of a JPEG's samples; 0 if the content is no JPEG.

    Raises:
        TooMuchInHeaderError: there are too many segments.
    """
    if content[:3] != b"\xff\xd8\xff":
        return 0
    frames = (start for marker, start, _ in jpeg_segments(content) if marker in FRAMES)
    start = next(frames, len(content))
    return content[start] if start < len(content) else 0
