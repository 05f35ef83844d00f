"""Look into the directories of a TIFF: whether it is a camera's raw file, and its further pages."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TypeAlias

from faces.photos.headers import is_tiff, tiff_entries

Tags: TypeAlias = dict[int, tuple[int, ...]]
"""Whole numbers of a directory by tag, at most `_MAX_VALUES` of each."""

MAX_DIRECTORIES = 32
"""Maximum number of directories that are looked at."""

_MAX_VALUES = 8
"""Maximum number of values of a tag that are read."""

_FORMS = {1: "B", 3: "H", 4: "I", 13: "I"}
"""Whole numbers among the types of TIFF 6.0, as `struct` calls them."""

_SUBFILE_TYPE, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC = 254, 256, 257, 258, 262
_SAMPLES, _SUB_DIRECTORIES, _SAMPLE_FORMAT, _DNG_VERSION = 277, 330, 339, 50706
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
"""Tags of TIFF 6.0, of its supplement 1, and of Adobe's DNG."""

_REDUCED, _MASK = 1, 4
"""Bits of NewSubfileType: a reduced-size version of another image, and a transparency mask."""

_SENSOR_DATA = (32803, 34892)
"""Values of PhotometricInterpretation for a sensor's own data (DNG: CFA and LinearRaw)."""

_FLOAT = 3
"""Value of SampleFormat for floating-point numbers."""


def is_raw_file(content: bytes) -> bool:
    """Return whether a TIFF is a camera's raw file, whose first picture may be a preview.

    That is so if the first picture says that it is a reduced version, or any one says that it has
    a sensor's data, or if the file says that it is a DNG or Canon's CR2.

    Args:
        content: content of the photo file.
    """
    if not is_tiff(content):
        return False
    if content[8:10] == b"CR":
        return True
    for number, tags in enumerate(_directories(content, with_sub=True)):
        if number == 0 and (_first(tags, _SUBFILE_TYPE) & _REDUCED or _DNG_VERSION in tags):
            return True
        if _first(tags, _PHOTOMETRIC) in _SENSOR_DATA:
            return True
    return False


def has_further_pages(content: bytes) -> bool:
    """Return whether a TIFF has a page behind the first that is no thumbnail and no mask."""
    pages = _directories(content, with_sub=False) if is_tiff(content) else iter(())
    next(pages, None)
    return any(not _first(tags, _SUBFILE_TYPE) & (_REDUCED | _MASK) for tags in pages)


def bits_per_sample(content: bytes) -> tuple[int, int, bool]:
    """Return bits and number of the samples of a TIFF's pixels, and whether they are fractions."""
    tags = _first_page(content)
    return _first(tags, _BITS), _first(tags, _SAMPLES), _first(tags, _SAMPLE_FORMAT) == _FLOAT


def is_dark_on_light(content: bytes) -> bool:
    """Return whether in a TIFF's first image zero stands for white (PhotometricInterpretation)."""
    tags = _first_page(content)
    return tags.get(_PHOTOMETRIC) == (0,)


def size_of(content: bytes) -> tuple[int, int] | None:
    """Return width and height of a TIFF's first image; None if its directory does not tell."""
    tags = _first_page(content)
    if not tags.get(_WIDTH) or not tags.get(_HEIGHT):
        return None
    return _first(tags, _WIDTH), _first(tags, _HEIGHT)


def tile_pixels(content: bytes) -> int:
    """Return the number of pixels of a tile of a TIFF's first image; 0 without tiles."""
    tags = _first_page(content)
    return _first(tags, _TILE_WIDTH) * _first(tags, _TILE_HEIGHT)


def directory_ends_early(content: bytes) -> bool:
    """Return whether a TIFF's first directory, or a value of it, reaches beyond the file."""
    order = "<" if content[:2] == b"II" else ">"
    start = _number(content, 4, order)
    if start < 8 or start + 2 > len(content):
        return True
    (claimed,) = struct.unpack_from(f"{order}H", content, start)
    if start + 2 + 12 * claimed + 4 > len(content):
        return True
    return any(
        kind in _FORMS
        and count * struct.calcsize(_FORMS[kind]) > len(field)
        and _number(field, 0, order) + count * struct.calcsize(_FORMS[kind]) > len(content)
        for _, kind, count, field in tiff_entries(content, start, order)
    )


def _first_page(content: bytes) -> Tags:
    """Return the first directory of a TIFF; empty for any other file."""
    return next(_directories(content, with_sub=False), {}) if is_tiff(content) else {}


def _first(tags: Tags, tag: int) -> int:
    return next(iter(tags.get(tag, ())), 0)


def _directories(content: bytes, *, with_sub: bool) -> Iterator[Tags]:
    """Yield the directories of a TIFF, each page's followed by its sub-directories if asked for."""
    order = "<" if content[:2] == b"II" else ">"
    waiting = [_number(content, 4, order)]
    for _ in range(MAX_DIRECTORIES):
        if not waiting:
            return
        start = waiting.pop()
        if start < 8 or start + 2 > len(content):
            continue
        tags: Tags = {}
        num_entries = 0
        for tag, kind, count, field in tiff_entries(content, start, order):
            num_entries += 1
            if kind in _FORMS:
                tags[tag] = _values(content, kind, count, field, order)
        (claimed,) = struct.unpack_from(f"{order}H", content, start)
        if claimed == num_entries:
            waiting.append(_number(content, start + 2 + 12 * num_entries, order))
        if with_sub:
            waiting.extend(tags.get(_SUB_DIRECTORIES, ()))
        yield tags


def _values(content: bytes, kind: int, count: int, field: bytes, order: str) -> tuple[int, ...]:
    """Return the first values of an entry, which stand in its field if they fit there."""
    form = _FORMS[kind]
    size = struct.calcsize(form)
    data = field
    if count * size > len(field):
        start = _number(field, 0, order)
        data = content[start : start + size * min(count, _MAX_VALUES)]
    num_values = min(count, _MAX_VALUES, len(data) // size)
    return struct.unpack_from(f"{order}{num_values}{form}", data)


def _number(content: bytes, start: int, order: str) -> int:
    """Return the 32-bit number at a position; 0 beyond the end."""
    data = content[start : start + 4]
    return int(struct.unpack(f"{order}I", data)[0]) if len(data) == 4 else 0
