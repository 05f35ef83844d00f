"""The file names that are listed as photos: those with a photo's ending that are not hidden."""

from __future__ import annotations

import re

PHOTO_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".mpo", ".png", ".apng", ".webp"),
    *(".tif", ".tiff", ".bmp", ".dib", ".gif", ".avif", ".avifs"),
    *(".heic", ".heics", ".heif", ".heifs", ".hif"),
    # As programs name what they save from the web.
    *(".jpg_large", ".jpg-large", ".jpeg_large", ".png_large", ".png-large"),
)
"""Endings of file names that are listed as photos, in any case. The format of a photo is detected
from its content."""

# Both patterns mean the same to Python and to RE2, the regular expressions of Arrow.

PHOTO_ENDING = f"(?i)(?:{'|'.join(map(re.escape, PHOTO_SUFFIXES))})$"
"""Regular expression that finds one of `PHOTO_SUFFIXES`, in any case, at the end of a name."""

HIDDEN = r"(?:^|/)(?:\.[^./]|\.\.[^/])"
"""Regular expression that finds a path part that starts with a dot. The parts "." and "..", which
names in archives may have, do not count as hidden."""

_find_hidden = re.compile(HIDDEN).search


def has_photo_ending(name: str) -> bool:
    """Return whether a name ends in one of `PHOTO_SUFFIXES`, in any case."""
    return name.lower().endswith(PHOTO_SUFFIXES)


def is_hidden(path: str) -> bool:
    """Return whether a path has a part that starts with a dot, other than "." and ".."."""
    return _find_hidden(path) is not None
