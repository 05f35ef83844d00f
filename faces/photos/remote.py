"""Access to files that URLs name, through fsspec."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from faces.core.errors import WrongUsageError
from faces.photos.archives import ARCHIVE_SCHEMES
from faces.photos.names import is_hidden
from faces.photos.uris import is_url, url_scheme

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_PACKAGE_OF_MODULE = {"smbclient": "smbprotocol", "libarchive": "libarchive-c"}
"""Package to install for a module whose own name is that of an unrelated package on PyPI."""


def filesystem_of(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the fsspec filesystem of a URL, and the path that the URL names there.

    In one process, fsspec returns the same filesystem object each time.

    Raises:
        WrongUsageError: the URL's scheme is unsupported, or its package is not installed.
        Exception: nearly any, if the filesystem cannot be reached.
    """
    import fsspec

    kind = require_readable_scheme(url)
    try:
        # fsspec's url_to_fs would split paths that contain "::".
        filesystem = fsspec.filesystem(url_scheme(url), **kind._get_kwargs_from_urls(url))
    except ImportError as error:
        raise _missing_package(url, error) from error
    return filesystem, kind._strip_protocol(url)


def require_readable_scheme(url: str) -> type[AbstractFileSystem]:
    """Return the fsspec class for a URL's scheme, without contacting the filesystem.

    Raises:
        WrongUsageError: the URL's scheme is unsupported, or its package is not installed.
    """
    import fsspec

    scheme = url_scheme(url)
    if scheme in ARCHIVE_SCHEMES:
        raise WrongUsageError(f"{url} names no archive; write {scheme}://MEMBER::/PATH/OF/ARCHIVE")
    try:
        kind: type[AbstractFileSystem] = fsspec.get_filesystem_class(scheme)
    except ValueError as error:
        raise WrongUsageError(
            f"{url} begins with {scheme}://, which is not supported; "
            "supported are s3://, gs://, abfs://, https:// and others of fsspec"
        ) from error
    except ImportError as error:
        raise _missing_package(url, error) from error
    return kind


def _missing_package(url: str, error: ImportError) -> WrongUsageError:
    cause = error.__cause__ if isinstance(error.__cause__, ImportError) else error
    module = (cause.name or url_scheme(url)).partition(".")[0]
    package = _PACKAGE_OF_MODULE.get(module, module)
    return WrongUsageError(
        f"{url} needs a package that is not installed; run `pip install {package}`"
    )


def open_binary(path_or_url: str) -> BinaryIO:
    """Open the file at a path or URL for reading; nearly any exception is raised on failure."""
    if is_url(path_or_url):
        filesystem, path = filesystem_of(path_or_url)
        return cast(BinaryIO, filesystem.open(path, "rb"))
    return Path(path_or_url).open("rb")


def objects_below(filesystem: AbstractFileSystem, path: str) -> dict[str, dict[str, Any]]:
    """List all objects below a path, in its subfolders too.

    A filesystem with its own `find` lists all objects at once, and raises an error where it has no
    permission. fsspec's general `find` silently skips subfolders that it may not read, so that
    this function walks the folders itself, without hidden folders and links to folders.

    Args:
        filesystem: the filesystem to list.
        path: path of a folder there.

    Returns:
        What the filesystem tells about each object (its fsspec "info"), by the object's path; and
        about each folder, where the folders are walked.
    """
    from fsspec import AbstractFileSystem
    from fsspec.asyn import AsyncFileSystem

    kind = type(filesystem)
    found: dict[str, dict[str, Any]] = {}
    if getattr(kind, "_find", AsyncFileSystem._find) is not AsyncFileSystem._find or (
        not issubclass(kind, AsyncFileSystem) and kind.find is not AbstractFileSystem.find
    ):
        found = filesystem.find(path, detail=True)
        return found
    waiting = [path]
    while waiting:
        folder = waiting.pop()
        for info in filesystem.ls(folder, detail=True):
            name = info["name"]
            if info["type"] != "directory":
                found[name] = info
            elif not (
                info.get("islink")
                or is_hidden(name.rstrip("/").rpartition("/")[2])
                or name.rstrip("/") == folder.rstrip("/")  # some filesystems list the folder itself
            ):
                waiting.append(name)
                found[name] = info
    return found


_MTIME_KEYS = ("mtime", "LastModified", "last_modified", "updated", "created")
"""Keys of the modification time in the info of fsspec's filesystems, in order of preference."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def mtime_ns_of(info: dict[str, Any]) -> int:
    """Return an object's modification time in nanoseconds since 1970; -1 if unknown.

    Args:
        info: what the object's filesystem tells about the object.
    """
    value = next((info[key] for key in _MTIME_KEYS if info.get(key) is not None), None)
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return -1
    if isinstance(value, datetime):
        value = value if value.tzinfo else value.replace(tzinfo=UTC)
        return (value - _EPOCH) // timedelta(microseconds=1) * 1000
    if isinstance(value, int):
        return value * 10**9
    if isinstance(value, float) and math.isfinite(value):
        return int(value * 1e9)
    return -1
