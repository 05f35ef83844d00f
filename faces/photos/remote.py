"""Files by URL, through fsspec."""

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
        filesystem = fsspec.filesystem(url_scheme(url), **kind._get_kwargs_from_urls(url))
    except ImportError as error:
        raise _missing_package(url, error) from error
    return filesystem, kind._strip_protocol(url)


def require_readable_scheme(url: str) -> type[AbstractFileSystem]:
    """The kind of filesystem that a URL names; touches nothing there.

    Raises:
        WrongUsageError: nobody knows the scheme, or the package for it is not installed.
    """
    import fsspec

    scheme = url_scheme(url)
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


def _missing_package(url: str, error: ImportError) -> WrongUsageError:
    cause = error.__cause__ if isinstance(error.__cause__, ImportError) else error
    package = (cause.name or url_scheme(url)).partition(".")[0]
    return WrongUsageError(
        f"{url} needs a package that is not installed; run `pip install {package}`"
    )


def open_binary(place: str) -> BinaryIO:
    """Open the file at a path or URL for reading; raises nearly anything if that fails."""
    if is_url(place):
        filesystem, path = filesystem_of(place)
        return cast(BinaryIO, filesystem.open(path, "rb"))
    return Path(place).open("rb")


def objects_below(filesystem: AbstractFileSystem, path: str) -> dict[str, dict[str, Any]]:
    """All that lies below a path, by path.

    Filesystems with a way of their own ask for all at once, and raise if they may not. fsspec's
    general way passes over subfolders that it may not read, so we walk ourselves then.
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
                or name.rstrip("/") == folder.rstrip("/")  # some list the folder itself
            ):
                waiting.append(name)
    return found


_MTIME_KEYS = ("mtime", "LastModified", "last_modified", "updated", "created")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def mtime_ns_of(info: dict[str, Any]) -> int:
    """When an object was last changed, from what its filesystem tells; -1 if it does not."""
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
