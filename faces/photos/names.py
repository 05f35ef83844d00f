"""Which names are taken for photos: by their ending, and not hidden."""

from __future__ import annotations

import re

PHOTO_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"),
    *(".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif"),
)
"""File names with these endings are taken for photos; their content decides what they are."""

# Both patterns are read alike by Python and by RE2, which Arrow uses.

PHOTO_ENDING = f"(?i)(?:{'|'.join(map(re.escape, PHOTO_SUFFIXES))})$"
"""Pattern of a name that ends in one of `PHOTO_SUFFIXES`, in any case."""

HIDDEN = r"(?:^|/)(?:\.[^./]|\.\.[^/])"
"""Pattern of a path with a part that starts with a dot; "." and "..", which archives have in names,
hide nothing."""

_find_hidden = re.compile(HIDDEN).search


def has_photo_ending(name: str) -> bool:
    """Whether a name ends as those of photos do."""
    return name.lower().endswith(PHOTO_SUFFIXES)


def is_hidden(path: str) -> bool:
    """Whether a path has a part that starts with a dot."""
    return _find_hidden(path) is not None


def is_wanted(path: str) -> bool:
    """Whether the file at a path below a folder or in an archive is taken for a photo."""
    return has_photo_ending(path) and not is_hidden(path)
