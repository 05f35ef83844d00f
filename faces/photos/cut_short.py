"""Load photos whose data end early, and tell what is behind a photo's first picture."""

from __future__ import annotations

import io
from collections.abc import Iterable
from itertools import takewhile

import numpy as np
import PIL.Image
from PIL.JpegImagePlugin import JpegImageFile

from faces.photos.headers import is_tiff
from faces.photos.jpegs import read_scans
from faces.photos.tiffs import has_further_pages

MAX_LOST = 0.1
"""Maximum share of a photo's rows that may be missing where its data end early."""

_END_MARK = b"\xff\xd9"
"""Marker EOI of a JPEG (ITU-T T.81, table B.1)."""

_NO_DATA = (127, 128)
"""Samples of a JPEG's blocks without data: the middle, and that of inverted CMYK."""

_FORMATS = ("PNG", "BMP", "TIFF")
"""Formats, beside JPEG, of which Pillow has decoded the rows up to where the data end."""


def load_whole(
    photo: PIL.Image.Image, content: bytes, full_size: tuple[int, int]
) -> PIL.Image.Image:
    """Load a photo's pixels, or those that are there if its data end early.

    Args:
        photo: the opened photo.
        content: content of its file.
        full_size: width and height at which to decode a JPEG whose data end early.

    Returns:
        The photo itself; or another one, if its data end early and at most `MAX_LOST` of its rows
        are missing. A progressive JPEG may lack the last bits of its coefficients instead.

    Raises:
        Exception: whatever Pillow raises, if more is missing or the photo is corrupt.
    """
    try:
        photo.load()
    except (OSError, EOFError) as error:
        if "truncated" not in str(error) and not isinstance(error, EOFError):
            raise
        if isinstance(photo, JpegImageFile):
            loaded = _load_cut_jpeg(content, full_size)
        else:
            loaded = _rows_so_far(photo)
        if loaded is None:
            raise
        return loaded
    return photo


def _load_cut_jpeg(content: bytes, full_size: tuple[int, int]) -> PIL.Image.Image | None:
    """Load a JPEG with an end mark added; return None if too much of it is missing."""
    scans = read_scans(content)
    if scans.has_end or not scans.is_refined:
        return None
    whole = JpegImageFile(io.BytesIO(content.removesuffix(b"\xff") + _END_MARK))
    whole.draft(None, full_size)
    whole.load()
    samples = np.asarray(whole).reshape(whole.size[1], -1)
    lost = _num_at_once(bool(np.isin(row, _NO_DATA).all()) for row in samples[::-1])
    return whole if lost <= MAX_LOST * whole.size[1] else None


def _rows_so_far(photo: PIL.Image.Image) -> PIL.Image.Image | None:
    """Return the rows that Pillow has decoded; None if too many are missing."""
    if photo.format not in _FORMATS or photo.info.get("interlace"):
        return None
    photo.tile = []  # type: ignore[attr-defined]  # what is there now is all that comes
    photo.load()
    rows = photo.copy()
    samples = np.asarray(rows).reshape(rows.size[1], -1)
    # BMPs begin with the last row.
    lost = max(
        _num_at_once(bool((row == last[0]).all()) for row in samples[::step])
        for last, step in ((samples[-1], -1), (samples[0], 1))
    )
    return rows if lost <= MAX_LOST * rows.size[1] else None


def _num_at_once(rows: Iterable[bool]) -> int:
    """Return how many of the first rows are true; the rows behind them are not looked at."""
    return sum(1 for _ in takewhile(bool, rows))


def further_pages(photo: PIL.Image.Image, content: bytes) -> bool:
    """Return whether there are pages, pictures or frames behind the first one.

    Previews, masks, and the brightness maps that phones put behind a JPEG are none.

    Args:
        photo: the opened photo.
        content: content of its file.
    """
    if is_tiff(content):
        return has_further_pages(content)
    if photo.format == "MPO":
        return _has_further_pictures(photo)
    if photo.format == "GIF":
        return bool(photo.is_animated)  # type: ignore[attr-defined]
    return int(getattr(photo, "n_frames", 1)) > 1


_GAIN_MAPS = (b"hdrgm:", b"apdi:", b"HDRGainMap")
"""Words by which an XMP packet announces a brightness map (ISO 21496-1, and Apple's own)."""

_THUMBNAIL_TYPES = ("Large Thumbnail (VGA Equivalent)", "Large Thumbnail (Full HD Equivalent)")
"""Pillow's names for previews among the pictures of an MPO (CIPA DC-007, 5.2.3.3)."""


def _has_further_pictures(photo: PIL.Image.Image) -> bool:
    """Return whether an MPO has pictures for people behind the first."""
    xmp = photo.info.get("xmp", b"")
    if any(word in xmp for word in _GAIN_MAPS):
        return False
    entries = photo.mpinfo.get(0xB002, ())[1:]  # type: ignore[attr-defined]
    return any(entry["Attribute"]["MPType"] not in _THUMBNAIL_TYPES for entry in entries)
