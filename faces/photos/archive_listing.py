"""The photos of archives, of folders in them, or single members."""

from __future__ import annotations

import stat
from pathlib import Path

from faces.core.errors import FaceTroveError, WrongUsageError, cause_of
from faces.photos.archives import MemberUrl, open_archive
from faces.photos.listed import Found, below, listed_places
from faces.photos.names import is_wanted
from faces.photos.photo_tables import photo_table
from faces.photos.remote import filesystem_of, mtime_ns_of, open_binary
from faces.photos.uris import PhotoFile, escape_url, is_url, photo_uri


def find_in_archive(source: str, url: MemberUrl) -> Found:
    """The photos of an archive, of a folder in it, or one member; `source` is how it was named.

    Raises:
        WrongUsageError: the archive cannot be opened, or has nothing by that name.
        CorruptFileError: the archive is corrupt.
    """
    if "::" in url.target:
        raise WrongUsageError(
            f"{url.target} has '::' in its path, which parts members from archives in their "
            "URLs; rename or move it"
        )
    try:
        mtime_ns = _archive_mtime_ns(url.target)
        archive = open_archive(open_binary(url.target), url.scheme, name=url.target)
    except FaceTroveError:
        raise
    except Exception as error:  # foreign filesystems raise nearly anything
        raise WrongUsageError(
            f"{url.target} cannot be opened ({cause_of(error)}); check that it exists and is yours "
            "to read"
        ) from error
    folder = below(url.member) if url.member else ""
    files = (
        PhotoFile(photo_uri(str(url._replace(member=name))), num_bytes, mtime_ns)
        for name, num_bytes in archive.members()
        if name == url.member or (name.startswith(folder) and is_wanted(name[len(folder) :]))
    )
    photos = photo_table(files)
    if url.member and not len(photos):
        raise WrongUsageError(
            f"{url.target} has no photo, and no folder with photos, called {url.member}; "
            f"{url.scheme}://::{url.target} takes all its photos"
        )
    roots = listed_places(f"{url.scheme}://{folder}", suffix=f"::{url.target}", escape=escape_url)
    return Found(source, photos, roots, in_archive=True)


def _archive_mtime_ns(target: str) -> int:
    if not is_url(target):
        status = Path(target).stat()
        if not stat.S_ISREG(status.st_mode):
            raise WrongUsageError(f"{target} is not a regular file; name an archive")
        return status.st_mtime_ns
    filesystem, path = filesystem_of(target)
    return mtime_ns_of(filesystem.info(path))
