"""List the photos of local folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from faces.core.errors import WrongUsageError, cause_of
from faces.photos.listed import SourceListing, below, complete_roots
from faces.photos.names import has_photo_ending
from faces.photos.photo_tables import photo_table
from faces.photos.uris import PhotoFile, escape_path, photo_uri


def find_in_folder(
    source: str,
    path: Path,
    counted: Callable[[Iterator[PhotoFile]], Iterator[PhotoFile]] = lambda photos: photos,
) -> SourceListing:
    """List the photos below a folder, in its subfolders too; the folder becomes a complete root.

    Args:
        source: the folder as the user named it, for messages.
        path: path of the folder.
        counted: function that yields the photos that it gets, and may count them.

    Raises:
        WrongUsageError: the folder itself cannot be read.
    """
    folder = os.path.abspath(path)
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise WrongUsageError(
            f"{source} cannot be read ({cause_of(error)}); make it readable or name another folder"
        ) from error
    skipped: list[str] = []
    photos = photo_table(counted(photos_below(folder, skipped)))
    return SourceListing(
        source, photos, complete_roots(below(folder), map(below, skipped), escape=escape_path)
    )


def photos_below(folder: str, skipped: list[str]) -> Iterator[PhotoFile]:
    """Yield the photos below a folder, and an entry for each subfolder that cannot be read.

    Args:
        folder: absolute path of the folder.
        skipped: list to which the paths of subfolders are added that were not searched: links to
            folders, and folders that are empty or cannot be read.
    """
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
                        yield stat_photo(entry.path)
            if is_empty:  # the mount point of a disk that is not mounted looks like this
                skipped.append(folder)
        except FileNotFoundError:
            continue  # the folder was removed since its parent was read
        except OSError:  # listed nevertheless, so that the job rejects it with a reason
            skipped.append(folder)
            yield PhotoFile(_path_uri(folder), -1, -1)


def stat_photo(path: str) -> PhotoFile:
    """Return the uri, size and modification time of whatever is at a path.

    Size and time are -1 where the path cannot be examined.
    """
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):  # listed nevertheless, so that the job rejects it with a reason
        return PhotoFile(_path_uri(path), -1, -1)
    return PhotoFile(_path_uri(path), status.st_size, status.st_mtime_ns)


def _path_uri(path: str) -> str:
    return path if path.isascii() else photo_uri(path)
