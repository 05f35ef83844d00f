"""Where photo files lie on disk: what tells a file that is gone from a disk that is not there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from faces.photos.archives import split_member_url
from faces.photos.uris import is_unicode, is_url, photo_path, unescape_url


def file_of(uri: str) -> Path | None:
    """Return the file that a photo is read from: its own, or its archive's; None for an address."""
    url = unescape_url(uri)
    member = split_member_url(url)
    if member is not None:
        return None if is_url(member.target) else Path(member.target)
    return None if is_url(url) else photo_path(uri)


def mount_points(uris: Iterable[str]) -> list[str | None]:
    """Return for each photo the mount point of the file system that its file is on.

    Links are followed. An address has none, and neither has a path that is no valid Unicode.
    """
    mount_of = lru_cache(maxsize=100_000)(_mount_of_folder)  # of this call: disks come and go
    return [mount_of(file.parent) if (file := file_of(uri)) else None for uri in uris]


def _mount_of_folder(folder: Path) -> str | None:
    place = os.path.realpath(folder)
    while not os.path.ismount(place) and place != "/":
        place = os.path.dirname(place)  # noqa: PTH120  # far faster than Path.parent
    return place if is_unicode(place) else None


def is_mounted(mount: str) -> bool:
    """Return whether a file system is mounted at a mount point that `mount_points` returned."""
    return os.path.ismount(mount)
