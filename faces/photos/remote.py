"""Files by URL, through fsspec."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from faces.core.errors import WrongUsageError
from faces.photos.archives import ARCHIVE_SCHEMES
from faces.photos.uris import _URL, is_url

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
