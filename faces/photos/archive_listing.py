"""List the photos of archives, of folders in archives, and single members."""

from __future__ import annotations

import stat
from pathlib import Path

from faces.core.errors import FaceTroveError, WrongUsageError, cause_of
from faces.photos.archives import MemberUrl, open_archive
from faces.photos.listed import SourceListing, below, complete_roots
from faces.photos.names import is_listed_as_photo
from faces.photos.photo_tables import photo_table
from faces.photos.remote import filesystem_of, mtime_ns_of, open_binary
from faces.photos.uris import PhotoFile, escape_url, is_url, photo_uri


def find_in_archive(source: str, url: MemberUrl) -> SourceListing:
    """List the photos of an archive or of a folder in it, or one member.

    Args:
        source: the archive as the user named it, for messages.
        url: URL of the archive, with the name of the folder or member in it, if any.

    Raises:
        WrongUsageError: the archive cannot be opened, or has no photo of the given name.
        CorruptFileError: the archive is corrupt.
    """
    if "::" in url.target:
        raise WrongUsageError(
            f"{url.target} has '::' in its path, which separates a member from its archive in "
            "URLs; rename or move it"
        )
    try:
        mtime_ns = _archive_mtime_ns(url.target)
        archive = open_archive(open_binary(url.target), url.scheme, name=url.target)
    except FaceTroveError:
        raise
    except Exception as error:  # fsspec's filesystems raise nearly any exception
        raise WrongUsageError(
            f"{url.target} cannot be opened ({cause_of(error)}); check that it exists and that "
            "you may read it"
        ) from error
    folder = below(url.member) if url.member else ""
    files = (
        PhotoFile(photo_uri(str(url._replace(member=name))), num_bytes, mtime_ns)
        for name, num_bytes in archive.members()
        if name == url.member
        or (name.startswith(folder) and is_listed_as_photo(name[len(folder) :]))
    )
    photos = photo_table(files)
    if url.member and not len(photos):
        raise WrongUsageError(
            f"{url.target} has no photo, and no folder with photos, called {url.member}; "
            f"name {url.scheme}://::{url.target} to take all its photos"
        )
    roots = complete_roots(f"{url.scheme}://{folder}", suffix=f"::{url.target}", escape=escape_url)
    return SourceListing(source, photos, roots, in_archive=True)


def _archive_mtime_ns(target: str) -> int:
    if not is_url(target):
        status = Path(target).stat()
        if not stat.S_ISREG(status.st_mode):
            raise WrongUsageError(f"{target} is not a regular file; name an archive")
        return status.st_mtime_ns
    filesystem, path = filesystem_of(target)
    return mtime_ns_of(filesystem.info(path))
