"""Photo files on disk: finding them, naming them, reading them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from faces.errors import WrongUsageError
from faces.images import PHOTO_SUFFIXES, Image, PhotoRejectedError, RejectReason, decode_photo

MAX_BYTES = 500_000_000
"""Largest file read, in bytes; uncompressed, 150 million pixels are 450 million."""

_FILE_SCHEME = "file://"


class PhotoFile(NamedTuple):
    """A photo as seen from outside; a change in any field means that it must be read again.

    Attributes:
        uri: see `photo_uri`.
        num_bytes: its size; -1 where it could not be told.
        mtime_ns: time of last change, nanoseconds since 1970; -1 where it could not be told.
    """

    uri: str
    num_bytes: int
    mtime_ns: int


def photo_uri(path: Path) -> str:
    """The name of a photo in datasets and answers: its absolute path.

    A path that is no valid Unicode, or that could be mistaken for an escaped one, is written
    as a percent-encoded file:// URI.
    """
    text = os.path.abspath(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        return _FILE_SCHEME + quote_from_bytes(os.fsencode(text))
    return text


def photo_path(uri: str) -> Path:
    """The path that `photo_uri` named."""
    if uri.startswith(_FILE_SCHEME):
        return Path(os.fsdecode(unquote_to_bytes(uri.removeprefix(_FILE_SCHEME))))
    return Path(uri)


def list_photos(folder: Path) -> list[PhotoFile]:
    """Every photo under a folder, sorted by uri.

    Files are taken by their ending (`PHOTO_SUFFIXES`, in any case). Folders are searched
    recursively; names that start with a dot and links to folders are passed over, links to
    files are followed.

    Raises:
        WrongUsageError: no such folder, or no photo in it.
    """
    if not folder.is_dir():
        problem = "is a file, not a folder" if folder.exists() else "does not exist"
        raise WrongUsageError(f"{folder} {problem}; name the folder that holds the photos")
    photos = sorted(map(_look_at, _photo_paths(folder)))
    if not photos:
        endings = ", ".join(sorted(suffix.removeprefix(".") for suffix in PHOTO_SUFFIXES))
        raise WrongUsageError(f"no photos under {folder}; looked for files ending in {endings}")
    return photos


def _photo_paths(folder: Path) -> Iterator[Path]:
    for parent, folder_names, file_names in os.walk(folder):
        folder_names[:] = [name for name in folder_names if not name.startswith(".")]
        for name in file_names:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in PHOTO_SUFFIXES:
                yield Path(parent, name)


def _look_at(path: Path) -> PhotoFile:
    try:
        status = path.stat()
    except OSError:  # it still counts: the job will say why it cannot be read
        return PhotoFile(photo_uri(path), -1, -1)
    return PhotoFile(photo_uri(path), status.st_size, status.st_mtime_ns)


def read_photo(uri: str) -> bytes:
    """A photo's content.

    Raises:
        PhotoRejectedError: the file cannot be read.
    """
    try:
        # Without waiting: a named pipe would keep us for ever.
        descriptor = os.open(photo_path(uri), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, "rb") as file:  # noqa: PTH123
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise PhotoRejectedError(RejectReason.READ_ERROR, "not a regular file")
            if status.st_size > MAX_BYTES:
                raise PhotoRejectedError(RejectReason.TOO_LARGE, f"over {MAX_BYTES} bytes")
            return file.read(MAX_BYTES)
    except OSError as error:
        raise PhotoRejectedError(
            RejectReason.READ_ERROR, error.strerror or type(error).__name__
        ) from error


def open_photo(path: Path) -> Image:
    """Read and decode one photo that a person named.

    Raises:
        WrongUsageError: there is no such file, or it is no photo; says why.
    """
    if not path.is_file():
        problem = "is not a file" if path.exists() else "does not exist"
        raise WrongUsageError(f"{path} {problem}; name a photo")
    try:
        return decode_photo(read_photo(photo_uri(path)))
    except PhotoRejectedError as error:
        raise WrongUsageError(f"{path} cannot be used as a photo ({error})") from error
