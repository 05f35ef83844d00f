"""Read the contents of photos: local files, members of archives and remote objects."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from faces.core.errors import CorruptFileError, WrongUsageError
from faces.core.settings import PhotoLimits
from faces.photos.archives import (
    Archive,
    MemberUrl,
    open_archive,
    split_member_url,
)
from faces.photos.decoding import Photo, decode_photo
from faces.photos.rejection import PhotoRejectedError, RejectReason
from faces.photos.remote import open_binary
from faces.photos.uris import is_url, photo_path, photo_uri, unescape_url

OPEN_ARCHIVES = 8
"""Maximum number of archives that a process keeps open, with their tables of members. To open one
more, the least recently used one is dropped."""


def read_photo(uri: str, max_bytes: int = PhotoLimits.max_bytes) -> bytes:
    """Read a photo's content.

    Args:
        uri: the photo's uri, see `faces.photos.uris.photo_uri`.
        max_bytes: maximum size of the photo in bytes; a larger one is rejected.

    Raises:
        PhotoRejectedError: the photo cannot be read, is too large, or changed while it was read.
        WrongUsageError: the uri's URL scheme is unsupported, or its package is not installed.
    """
    url = unescape_url(uri)
    try:
        if not is_url(url):
            return _read_file(photo_path(url), max_bytes)
        if (member := split_member_url(url)) is not None:
            return _read_member(member, max_bytes)
        return _read_object(url, max_bytes)
    except (PhotoRejectedError, WrongUsageError, MemoryError):
        raise
    except OSError as error:
        raise PhotoRejectedError(
            RejectReason.READ_ERROR, error.strerror or type(error).__name__
        ) from error
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


def _read_member(url: MemberUrl, max_bytes: int) -> bytes:
    if not (is_url(url.target) or os.path.isabs(url.target)):  # noqa: PTH117
        raise PhotoRejectedError(RejectReason.READ_ERROR, "the archive's path is not absolute")
    version = (0, 0)
    if not is_url(url.target):
        status = Path(url.target).stat()
        version = (status.st_size, status.st_mtime_ns)
    archive = _cached_archive(url.scheme, url.target, version, os.getpid())
    if isinstance(archive, str):
        raise PhotoRejectedError(RejectReason.READ_ERROR, archive)
    try:
        size = archive.size(url.member)
    except KeyError as error:
        raise PhotoRejectedError(
            RejectReason.READ_ERROR, f"{url.target} has no such member"
        ) from error
    _require_size(size, max_bytes)
    return _require_whole(archive.read(url.member, max_bytes + 1), size, max_bytes)


@lru_cache(maxsize=OPEN_ARCHIVES)
def _cached_archive(
    scheme: str, target: str, version: tuple[int, int], process: int
) -> Archive | str:
    """Open an archive, or take it from this process's cache.

    Args:
        scheme: "tar" or "zip".
        target: path or URL of the archive.
        version: size in bytes and modification time in nanoseconds of a local archive, so that a
            changed archive is opened again; (0, 0) for a remote one.
        process: id of this process, since a forked process must not use its parent's file: the
            two share one file position.

    Returns:
        The archive; or, for a corrupt archive, the error message, which is cached too so that the
        archive is not read again for each of its members.
    """
    if not is_url(target) and not Path(target).is_file():
        raise PhotoRejectedError(RejectReason.READ_ERROR, f"{target} is not a regular file")
    try:
        return open_archive(open_binary(target), scheme, name=target)
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


def open_photo(path: Path, reduction_for: Callable[[int], int] = lambda _: 1) -> Photo:
    """Read and decode one photo that a user named.

    Args:
        path: path of the photo.
        reduction_for: function that chooses the reduction, see
            `faces.photos.decoding.decode_photo`.

    Raises:
        WrongUsageError: the file does not exist or is not a usable photo; the message says why.
    """
    if not path.is_file():
        problem = "is not a file" if path.exists() else "does not exist"
        raise WrongUsageError(f"{path} {problem}; name a photo")
    try:
        return decode_photo(read_photo(photo_uri(path)), reduction_for=reduction_for)
    except PhotoRejectedError as error:
        raise WrongUsageError(f"{path} cannot be used as a photo ({error})") from error
