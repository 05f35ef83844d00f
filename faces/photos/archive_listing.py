"""List the photos of archives, of folders in archives, and single members."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from faces.core.errors import FaceTroveError, WrongUsageError, cause_of
from faces.core.settings import SourceLimits
from faces.photos.archives import MemberUrl, open_archive
from faces.photos.listed import SourceListing, below, complete_roots
from faces.photos.passed_over import Exclusion, PassedOver
from faces.photos.photo_tables import photo_table
from faces.photos.remote import filesystem_of, mtime_ns_of, open_binary
from faces.photos.tar_photos import ArchiveEnd
from faces.photos.uris import PhotoFile, escape_url, is_url, photo_uri


class ArchivePhotos(NamedTuple):
    """The photos of an archive.

    Attributes:
        photos: a table with the columns of `LISTING_SCHEMA`, in the archive's order.
        passed_over: the members that were passed over, rows of `PASSED_OVER_SCHEMA`.
    """

    photos: pa.Table
    passed_over: pa.Table


def archive_photos(
    url: MemberUrl,
    mtime_ns: int,
    limits: SourceLimits = SourceLimits(),
    exclusion: Exclusion = Exclusion(),
    on_entries: Callable[[int], None] = lambda _: None,
) -> ArchivePhotos:
    """List the photos of an archive or of a folder in it, or one member, in this process.

    Args:
        url: URL of the archive, with the name of the folder or member in it, if any.
        mtime_ns: modification time of the archive in nanoseconds since 1970; -1 if unknown.
        limits: limits on the archive. Those of memory and time are enforced by
            `faces.photos.limited_listing`, which calls this function in another process.
        exclusion: what is excluded.
        on_entries: called now and then with the number of members read so far.

    Returns:
        The photos, and what was passed over.

    Raises:
        WrongUsageError: the archive cannot be opened.
        CorruptFileError: the archive is corrupt, or over a limit.
    """
    try:
        file = open_binary(url.target)
        archive = open_archive(file, url.scheme, limits, name=url.target, on_entries=on_entries)
    except FaceTroveError:
        raise
    except Exception as error:  # fsspec's filesystems raise nearly any exception
        raise _cannot_be_opened(url, error) from error
    folder = below(url.member) if url.member else ""

    def uri_of(name: str) -> str:
        return photo_uri(str(url._replace(member=name)))

    passed_over = PassedOver(exclusion, lambda inner: uri_of(folder + inner))
    photos = photo_table(
        PhotoFile(uri_of(name), num_bytes, mtime_ns)
        for name, num_bytes in archive.members()
        if name == url.member
        or (name.startswith(folder) and passed_over.lists(name[len(folder) :]))
    )
    if not url.member:
        for name in archive.links:
            passed_over.add("link", "photos", name)
        if archive.end != ArchiveEnd.WHOLE:
            passed_over.add_uri("archive_end", archive.end.value, photo_uri(url.target))
    return ArchivePhotos(photos, passed_over.table())


def _cannot_be_opened(url: MemberUrl, error: Exception) -> WrongUsageError:
    return WrongUsageError(
        f"{url.target} cannot be opened ({cause_of(error)}); check that it exists and that "
        "you may read it"
    )


ArchiveLister: TypeAlias = Callable[[MemberUrl, int], ArchivePhotos]
"""A function that lists an archive as `archive_photos` does, with what limits it likes."""


def find_in_archive(
    source: str,
    url: MemberUrl,
    list_archive: ArchiveLister = archive_photos,
    exclusion: Exclusion = Exclusion(),
) -> SourceListing:
    """List the photos of an archive or of a folder in it, or one member; see `archive_photos`.

    Args:
        source: the archive as the user named it, for messages.
        url: URL of the archive, with the name of the folder or member in it, if any.
        list_archive: lists the archive.
        exclusion: what `list_archive` excludes.

    Raises:
        WrongUsageError: the archive cannot be opened, or has no photo of the given name.
        CorruptFileError: the archive is corrupt, or over a limit.
    """
    if "::" in url.target:
        raise WrongUsageError(
            f"{url.target} has '::' in its path, which separates a member from its archive in "
            "URLs; rename or move it"
        )
    try:
        mtime_ns = _archive_mtime_ns(url.target)
    except FaceTroveError:
        raise
    except Exception as error:  # fsspec's filesystems raise nearly any exception
        raise _cannot_be_opened(url, error) from error
    photos, passed_over = list_archive(url, mtime_ns)
    if url.member and not len(photos):
        raise WrongUsageError(
            f"{url.target} has no photo, and no folder with photos, called {url.member}; "
            f"name {url.scheme}://::{url.target} to take all its photos"
        )
    folder = below(url.member) if url.member else ""
    labels = passed_over["label"].filter(pc.equal(passed_over["kind"], "archive_end"))
    if ArchiveEnd.MISSING.value in labels.to_pylist():  # more members may be missing
        return SourceListing(source, photos, in_archive=True, passed_over=passed_over)
    roots = complete_roots(
        f"{url.scheme}://{folder}",
        suffix=f"::{url.target}",
        excluded=exclusion.expression,
        escape=escape_url,
    )
    return SourceListing(source, photos, roots, in_archive=True, passed_over=passed_over)


def _archive_mtime_ns(target: str) -> int:
    if not is_url(target):
        status = Path(target).stat()
        if not stat.S_ISREG(status.st_mode):
            raise WrongUsageError(f"{target} is not a regular file; name an archive")
        return status.st_mtime_ns
    filesystem, path = filesystem_of(target)
    return mtime_ns_of(filesystem.info(path))
