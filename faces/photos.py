"""Photos by name: naming them, reading them, wherever they lie."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast
from urllib.parse import quote_from_bytes, unquote_to_bytes

from faces.archives import ARCHIVE_SCHEMES, Archive, MemberUrl, open_archive, split_member_url
from faces.errors import DamagedFileError, WrongUsageError
from faces.images import Photo, PhotoLimits, PhotoRejectedError, RejectReason, decode_photo

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

OPEN_ARCHIVES = 8
"""Archives whose tables of members a process keeps; the oldest goes when another is opened."""

_FILE_SCHEME = "file://"
_ESCAPED_URL = "escaped:"
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")


class PhotoFile(NamedTuple):
    """A photo as seen from outside; a change in any field means that it must be read again.

    Attributes:
        uri: see `photo_uri`.
        num_bytes: its size; -1 where it could not be told.
        mtime_ns: time of last change, nanoseconds since 1970; -1 where it could not be told.
            Of an archive's member, the archive's.
    """

    uri: str
    num_bytes: int
    mtime_ns: int


def is_url(text: str) -> bool:
    """Whether a name is a URL, not a path or a file:// URI, which is our way to write a path."""
    return _URL.match(text) is not None and not is_file_uri(text)


def is_path(uri: str) -> bool:
    """Whether a photo is named by its path: see `photo_path`."""
    return not is_url(unescape_url(uri))


def is_file_uri(text: str) -> bool:
    """Whether a name is a path written as a percent-encoded file:// URI."""
    return text.startswith(_FILE_SCHEME)


def photo_uri(photo: str | Path) -> str:
    """The name of a photo in datasets and answers: its absolute path, or its URL.

    What is no valid Unicode is escaped: such a path becomes a percent-encoded file:// URI, such
    a URL (as of a member of an archive) "escaped:" and its bytes, percent-encoded.

    Args:
        photo: a path, or a str with a URL, or a str with a file:// URI.
    """
    if isinstance(photo, str):
        if is_url(photo):
            return photo if _is_unicode(photo) else escape_url(photo)
        photo = photo_path(photo) if is_file_uri(photo) else photo
    text = os.path.abspath(photo)
    return text if _is_unicode(text) else escape_path(text)


def photo_path(uri: str) -> Path:
    """The path that `photo_uri` named; makes no sense of a URL."""
    if is_file_uri(uri):
        return Path(os.fsdecode(unquote_to_bytes(uri.removeprefix(_FILE_SCHEME))))
    return Path(uri)


def photo_name(uri: str) -> str:
    """The last part of a photo's name: of its path, its URL, or its name in an archive."""
    url = unescape_url(uri)
    member = split_member_url(url)
    if member is not None:
        return Path(member.member).name
    return Path(url).name if is_url(url) else photo_path(uri).name


def escape_path(path: str) -> str:
    """A path as a percent-encoded file:// URI, which `photo_path` undoes."""
    return _FILE_SCHEME + quote_from_bytes(os.fsencode(path))


def escape_url(url: str) -> str:
    """A URL as "escaped:" and its bytes, percent-encoded, which `unescape_url` undoes."""
    return _ESCAPED_URL + quote_from_bytes(os.fsencode(url))


def unescape_url(uri: str) -> str:
    """The URL that `escape_url` escaped; any other uri as it is."""
    if not uri.startswith(_ESCAPED_URL):
        return uri
    return os.fsdecode(unquote_to_bytes(uri.removeprefix(_ESCAPED_URL)))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def filesystem_of(url: str) -> tuple[AbstractFileSystem, str]:
    """The fsspec filesystem that a URL names, the same each time in a process, and the path there.

    Raises:
        WrongUsageError: nobody knows the scheme, or the package for it is not installed.
        Exception: nearly any, if the filesystem cannot be reached.
    """
    import fsspec

    kind = require_readable_scheme(url)
    try:
        # Not fsspec's url_to_fs: it takes names with "::" apart.
        filesystem = fsspec.filesystem(_scheme(url), **kind._get_kwargs_from_urls(url))
    except ImportError as error:
        raise _missing_package(url, error) from error
    return filesystem, kind._strip_protocol(url)


def require_readable_scheme(url: str) -> type[AbstractFileSystem]:
    """The kind of filesystem that a URL names; touches nothing there.

    Raises:
        WrongUsageError: nobody knows the scheme, or the package for it is not installed.
    """
    import fsspec

    scheme = _scheme(url)
    if scheme in ARCHIVE_SCHEMES:
        raise WrongUsageError(f"{url} names no archive; write {scheme}://MEMBER::/PATH/OF/ARCHIVE")
    try:
        kind: type[AbstractFileSystem] = fsspec.get_filesystem_class(scheme)
    except ValueError as error:
        raise WrongUsageError(
            f"{url} begins with {scheme}://, which is not known; "
            "known are s3://, gs://, abfs://, https:// and others of fsspec"
        ) from error
    except ImportError as error:
        raise _missing_package(url, error) from error
    return kind


def _scheme(url: str) -> str:
    found = _URL.match(url)
    assert found is not None, "asked only about URLs"
    return found["scheme"]


def _missing_package(url: str, error: ImportError) -> WrongUsageError:
    cause = error.__cause__ if isinstance(error.__cause__, ImportError) else error
    package = (cause.name or _scheme(url)).partition(".")[0]
    return WrongUsageError(
        f"{url} needs a package that is not installed; run `pip install {package}`"
    )


def open_binary(place: str) -> BinaryIO:
    """Open the file at a path or URL for reading; raises nearly anything if that fails."""
    if is_url(place):
        filesystem, path = filesystem_of(place)
        return cast(BinaryIO, filesystem.open(path, "rb"))
    return Path(place).open("rb")


def read_photo(uri: str, max_bytes: int = PhotoLimits.max_bytes) -> bytes:
    """A photo's content.

    Args:
        uri: see `photo_uri`.
        max_bytes: a larger file is not read.

    Raises:
        PhotoRejectedError: it cannot be read, is larger, or changed meanwhile.
        WrongUsageError: the package for its URLs is not installed.
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
    except Exception as error:  # damaged archives and failing networks raise nearly anything
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
        raise PhotoRejectedError(RejectReason.CHANGED, "it was written to while it was read")
    return content


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe would keep us for ever


def _read_object(url: str, max_bytes: int) -> bytes:
    with open_binary(url) as file:
        size: int | None = getattr(file, "size", None)  # some servers do not tell
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
    archive = _kept_archive(url.scheme, url.target, version, os.getpid())
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
def _kept_archive(
    scheme: str, target: str, version: tuple[int, int], process: int
) -> Archive | str:
    """An archive with its table, read once in a process and again when it has changed.

    Or what is wrong with it: a damaged one would else be searched again for each member.
    Processes that fork do not share one: they would move each other's place in the file.
    """
    if not is_url(target) and not Path(target).is_file():
        raise PhotoRejectedError(RejectReason.READ_ERROR, f"{target} is not a regular file")
    try:
        return open_archive(open_binary(target), scheme, name=target)
    except DamagedFileError as error:
        return str(error)


def _require_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise PhotoRejectedError(RejectReason.TOO_LARGE, f"over {max_bytes} bytes")


def _require_whole(content: bytes, size: int | None, max_bytes: int) -> bytes:
    _require_size(len(content), max_bytes)  # the size told may be wrong
    if size is not None and len(content) < size:
        raise PhotoRejectedError(
            RejectReason.CHANGED, f"{size} bytes were announced, {len(content)} came"
        )
    return content


def open_photo(path: Path, reduction_for: Callable[[int], int] = lambda _: 1) -> Photo:
    """Read and decode one photo that a person named.

    Args:
        path: of the photo.
        reduction_for: see `faces.images.decode_photo`.

    Raises:
        WrongUsageError: there is no such file, or it is no photo; says why.
    """
    if not path.is_file():
        problem = "is not a file" if path.exists() else "does not exist"
        raise WrongUsageError(f"{path} {problem}; name a photo")
    try:
        return decode_photo(read_photo(photo_uri(path)), reduction_for=reduction_for)
    except PhotoRejectedError as error:
        raise WrongUsageError(f"{path} cannot be used as a photo ({error})") from error
