"""What contact sheets, tables and copies show of a face that was found."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Protocol

from faces.core.errors import WrongUsageError
from faces.models.face import Box
from faces.photos.metadata import PERSON, TAKEN, spelled_as
from faces.photos.mounts import file_of
from faces.photos.uris import photo_name, unescape_url

DEFAULT_COLUMNS = (PERSON, TAKEN, "album")
"""Columns that sheets show, as far as the photos have them."""


class FoundFace(Protocol):
    """A face of an index, such as a `Match`."""

    @property
    def uri(self) -> str:
        """Uri of the photo."""
        ...

    @property
    def also_at(self) -> Sequence[str]:
        """Uris of the photo's other copies."""
        ...

    @property
    def box(self) -> Box:
        """Box of the face: x, y, width, height in pixels of the upright photo."""
        ...

    @property
    def photo_id(self) -> str:
        """Sha256 of the photo's content, in hexadecimal."""
        ...

    @property
    def person(self) -> str | None:
        """Whom the photo shows."""
        ...

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The photo's other columns."""
        ...


def columns_to_show(asked: Sequence[str] | None, known: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the columns that are shown.

    Args:
        asked: the names that were asked for, in any case; None: `DEFAULT_COLUMNS`.
        known: names of the photos' columns.

    Raises:
        WrongUsageError: the photos have no such column.
    """
    names = spelled_as(DEFAULT_COLUMNS if asked is None else asked, known)
    missing = [name for name in names if name not in known]
    if asked is not None and missing:
        raise WrongUsageError(
            f"there is no column {missing[0]!r}; the photos have {', '.join(known) or 'none'}"
        )
    return tuple(name for name in names if name in known)


def value_of(face: FoundFace, column: str) -> Any:
    """Return the value that a face's photo has in a column of the photo lists."""
    return face.person if column == PERSON else face.metadata.get(column)


def in_words(value: Any) -> str:
    """Return a value as a person reads it: a time without seconds, if these are zero."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        text = value.isoformat(sep=" ")
        return text.removesuffix(":00").removesuffix(" 00:00")
    return value.isoformat() if isinstance(value, date) else str(value)


def place_of(uri: str) -> tuple[str, str]:
    """Return the name of a photo, and the folder, archive or address that it is in.

    What is no valid Unicode in them is escaped, so that it can be written to any file.
    """
    file, name = file_of(uri), photo_name(uri)
    if file is None:
        folder = unescape_url(uri).rpartition("/")[0]
    else:
        folder = str(file.parent if file.name == name else file)
    return _as_unicode(name), _as_unicode(folder)


def _as_unicode(name: str) -> str:
    return os.fsencode(name).decode(errors="backslashreplace")
