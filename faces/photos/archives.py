"""Read tar and zip archives: the names and sizes of their members, and any member's content.

The URL of a member is written as in fsspec: `tar://sub/name.jpg::/absolute/archive.tar`,
`zip://name.jpg::s3://bucket/archive.zip`. Nothing is unpacked to disk, so member names such as
"../a.jpg" are harmless.

The standard library does the reading, because fsspec's own archive filesystems are created anew,
and read the archive's table again, for every member that is opened by URL.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple, Protocol

from faces.core.errors import CorruptFileError, first_line
from faces.core.settings import SourceLimits
from faces.photos.tar_photos import ArchiveEnd, OverArchiveLimitError, TarPhotos
from faces.photos.zip_photos import ZipPhotos

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
"""Endings of file names, in any case, that are taken for archives."""

ARCHIVE_SCHEMES = ("tar", "zip")
"""Schemes of the URLs of archive members."""


class MemberUrl(NamedTuple):
    """The URL of an archive member, `SCHEME://MEMBER::TARGET`, in its parts.

    Attributes:
        scheme: "tar" (compressed or not) or "zip".
        member: name of the member as the archive stores it; empty for the whole archive.
        target: path or URL of the archive.
    """

    scheme: str
    member: str
    target: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.member}::{self.target}"


def split_member_url(url: str) -> MemberUrl | None:
    """Split the URL of an archive member into its parts; return None for any other text.

    Names of members may contain "::", so paths of archives may not: the last "::" separates them.
    """
    scheme, scheme_end, rest = url.partition("://")
    member, member_end, target = rest.rpartition("::")
    if scheme not in ARCHIVE_SCHEMES or not scheme_end or not member_end or not target:
        return None
    return MemberUrl(scheme, member, target)


def archive_scheme(name: str) -> str | None:
    """Return the URL scheme for an archive's file name; None if the name is not an archive's."""
    lowered = name.lower()
    if not lowered.endswith(ARCHIVE_SUFFIXES):
        return None
    return "zip" if lowered.endswith(".zip") else "tar"


class Archive(Protocol):
    """An open archive whose table of members has been read. Threads may share one.

    Attributes:
        links: names of members with a photo's name that are links to others, and not read.
        end: how the archive ends.
    """

    links: list[str]
    end: ArchiveEnd

    def members(self) -> Iterator[tuple[str, int]]:
        """Yield the name and size in bytes of each regular file, in the archive's order."""

    def size(self, member: str) -> int:
        """Return the size of a member in bytes; raise KeyError if no member has that name."""

    def read(self, member: str, max_bytes: int) -> bytes:
        """Return the first `max_bytes` bytes of a member; corrupt data may raise any exception."""


def open_archive(
    file: BinaryIO,
    scheme: str,
    limits: SourceLimits = SourceLimits(),
    *,
    name: str,
    on_entries: Callable[[int], None] = lambda _: None,
) -> Archive:
    """Open an archive and read its table of members.

    The file is closed when the returned archive is garbage-collected. Of several members with the
    same name the last one counts, as in unpacking.

    Args:
        file: the archive's file, seekable and open for reading.
        scheme: "tar" or "zip".
        limits: limits on the archive.
        name: name of the archive, for messages.
        on_entries: called now and then with the number of members seen so far.

    Raises:
        CorruptFileError: the file is truncated, corrupt, not an archive of this scheme, or over a
            limit.
    """
    try:
        archive: Archive
        if scheme == "zip":
            archive = ZipPhotos(file, limits)
        else:
            archive = TarPhotos(file, limits, on_entries)
    except MemoryError:
        raise
    except OverArchiveLimitError as error:
        file.close()
        raise CorruptFileError(f"{name} {error}") from error
    except Exception as error:  # decompressors raise nearly any exception on corrupt data
        file.close()
        raise CorruptFileError(
            f"{name} is corrupt or not a {scheme} archive ({first_line(error).rstrip(':')}); "
            "copy it again or create it again"
        ) from error
    weakref.finalize(archive, file.close)
    return archive
