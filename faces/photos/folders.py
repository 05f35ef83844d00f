"""The photos of folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from faces.core.errors import WrongUsageError, cause_of
from faces.photos.listed import Found, below, listed_places
from faces.photos.names import has_photo_ending
from faces.photos.photo_tables import photo_table
from faces.photos.uris import PhotoFile, escape_path, photo_uri


def find_in_folder(source: str, path: Path) -> Found:
    """The photos below a folder, which is listed whole; `source` is how it was named.

    Raises:
        WrongUsageError: the folder cannot be read.
    """
    folder = os.path.abspath(path)
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise WrongUsageError(
            f"{source} cannot be read ({cause_of(error)}); make it readable or name another folder"
        ) from error
    skipped: list[str] = []
    photos = photo_table(photos_below(folder, skipped))
    return Found(
        source, photos, listed_places(below(folder), map(below, skipped), escape=escape_path)
    )


def photos_below(folder: str, skipped: list[str]) -> Iterator[PhotoFile]:
    """Look at the photos of a folder; add the subfolders not looked at to `skipped`."""
    waiting = [folder]
    while waiting:
        folder = waiting.pop()
        is_empty = True
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    is_empty = False
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.is_symlink() and os.path.isdir(entry.path):  # noqa: PTH112
                        skipped.append(entry.path)
                    elif has_photo_ending(entry.name):
                        yield look_at(entry.path)
            if is_empty:  # a place for a disk that is not there looks like this
                skipped.append(folder)
        except FileNotFoundError:
            continue  # removed since we saw it
        except OSError:  # it still counts: the job will say why it cannot be read
            skipped.append(folder)
            yield PhotoFile(_path_uri(folder), -1, -1)


def look_at(path: str) -> PhotoFile:
    """A file as a photo seen from outside, whatever it is."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):  # it still counts: the job will say why it cannot be read
        return PhotoFile(_path_uri(path), -1, -1)
    return PhotoFile(_path_uri(path), status.st_size, status.st_mtime_ns)


def _path_uri(path: str) -> str:
    return path if path.isascii() else photo_uri(path)
