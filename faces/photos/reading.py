"""Read the contents of photos: local files, members of archives and remote objects."""

from __future__ import annotations

import os
import stat
from functools import lru_cache
from pathlib import Path

from faces.core.errors import CorruptFileError, WrongUsageError, cause_of
from faces.core.settings import PhotoLimits, SourceLimits
from faces.photos.archives import (
    Archive,
    MemberUrl,
    open_archive,
    split_member_url,
)
from faces.photos.rejection import PhotoRejectedError, RejectReason
from faces.photos.remote import open_binary
from faces.photos.uris import is_url, photo_path, unescape_url

OPEN_ARCHIVES = 8
"""Maximum number of archives that a process keeps open, with their tables of members. To open one
more, the least recently used one is dropped."""


def read_photo(
    uri: str,
    max_bytes: int = PhotoLimits.max_bytes,
    source_limits: SourceLimits = SourceLimits(),
) -> bytes:
    """Read a photo's content in this process; `faces.photos.limited` does so under limits.

    Args:
        uri: the photo's uri, see `faces.photos.uris.photo_uri`.
        max_bytes: maximum size of the photo in bytes; a larger one is rejected.
        source_limits: limits on the archive that the photo is a member of.

    Raises:
        PhotoRejectedError: the photo cannot be read, is too large, or changed while it was read.
        WrongUsageError: the uri's URL scheme is unsupported, or its package is not installed.
    """
    url = unescape_url(uri)
    try:
        if not is_url(url):
            return _read_file(photo_path(url), max_bytes)
        if (member := split_member_url(url)) is not None:
            return _read_member(member, max_bytes, source_limits)
        return _read_object(url, max_bytes)
    except (PhotoRejectedError, WrongUsageError, MemoryError):
        raise
    except OSError as error:
        raise PhotoRejectedError(RejectReason.READ_ERROR, cause_of(error)) from error
    except Exception as error:  # corrupt archives and failing networks raise nearly any exception
        raise PhotoRejectedError(
            RejectReason.READ_ERROR, f"{type(error).__name__}: {error}"
        ) from error


def _read_file(path: Path, max_bytes: int) -> bytes:
    with open(path, "rb", opener=_open_without_waiting) as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise PhotoRejectedError(RejectReason.READ_ERROR, "not a regular file")
        _require_size(before.st_size, max_bytes)
        content = file.read(before.st_size + 1)
        after = os.fstat(file.fileno())
    sizes = {before.st_size, len(content), after.st_size}
    if len(sizes) > 1 or before.st_mtime_ns != after.st_mtime_ns:
        raise PhotoRejectedError(RejectReason.CHANGED, "the file was written to while it was read")
    return content


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # opening a pipe would block


def _read_object(url: str, max_bytes: int) -> bytes:
    with open_binary(url) as file:
        size: int | None = getattr(file, "size", None)  # None: the server does not tell
        if size is not None:
            _require_size(size, max_bytes)
        return _require_whole(file.read(max_bytes + 1), size, max_bytes)


def _read_member(url: MemberUrl, max_bytes: int, limits: SourceLimits) -> bytes:
    archive = _archive_of(url, limits)
    if isinstance(archive, str):
        raise PhotoRejectedError(RejectReason.READ_ERROR, archive)
    try:
        size = archive.size(url.member)
    except KeyError as error:
        raise PhotoRejectedError(
            RejectReason.READ_ERROR, f"{url.target} has no such member"
        ) from error
    _require_size(size, max_bytes)
    content = archive.read(url.member, size + 1)
    if len(content) > size:
        raise PhotoRejectedError(RejectReason.READ_ERROR, f"the member has over {size} bytes")
    return _require_whole(content, size, max_bytes)


def open_archive_of(uri: str, limits: SourceLimits = SourceLimits()) -> None:
    """Open the archive that a photo is a member of, and keep its table of members.

    Args:
        uri: uri of the photo.
        limits: limits on the archive. A corrupt archive and one over a limit are told when a member
            is read.

    Raises:
        PhotoRejectedError: the archive is not a regular file, or its path is not absolute.
        Exception: nearly any, if it cannot be opened.
    """
    if (member := split_member_url(unescape_url(uri))) is not None:
        _archive_of(member, limits)


def _archive_of(url: MemberUrl, limits: SourceLimits) -> Archive | str:
    """Return the archive of a member, or the message of the error that it is corrupt."""
    if not (is_url(url.target) or os.path.isabs(url.target)):  # noqa: PTH117
        raise PhotoRejectedError(RejectReason.READ_ERROR, "the archive's path is not absolute")
    version = (0, 0)
    if not is_url(url.target):
        status = Path(url.target).stat()
        version = (status.st_size, status.st_mtime_ns)
    return _cached_archive(url.scheme, url.target, version, os.getpid(), limits)


@lru_cache(maxsize=OPEN_ARCHIVES)
def _cached_archive(
    scheme: str, target: str, version: tuple[int, int], process: int, limits: SourceLimits
) -> Archive | str:
    """Open an archive, or take it from this process's cache.

    Args:
        scheme: "tar" or "zip".
        target: path or URL of the archive.
        version: size in bytes and modification time in nanoseconds of a local archive, so that a
            changed archive is opened again; (0, 0) for a remote one.
        process: id of this process, since a forked process must not use its parent's file: the
            two share one file position.
        limits: limits on the archive.

    Returns:
        The archive; or, for a corrupt archive, the error message, which is cached too so that the
        archive is not read again for each of its members.
    """
    if not is_url(target) and not Path(target).is_file():
        raise PhotoRejectedError(RejectReason.READ_ERROR, f"{target} is not a regular file")
    try:
        return open_archive(open_binary(target), scheme, limits, name=target)
    except CorruptFileError as error:
        return str(error)


def _require_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise PhotoRejectedError(RejectReason.TOO_LARGE, f"over {max_bytes} bytes")


def _require_whole(content: bytes, size: int | None, max_bytes: int) -> bytes:
    _require_size(len(content), max_bytes)  # the announced size may be wrong
    if size is not None and len(content) < size:
        raise PhotoRejectedError(RejectReason.CHANGED, f"expected {size} bytes, got {len(content)}")
    return content
