"""Descriptors of folders and files: what lies below an open folder is opened without links."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from faces.core.errors import CorruptFileError, LinkFoundError

PRIVATE_DIR_MODE, PRIVATE_FILE_MODE = 0o700, 0o600
"""Modes of the folders and files that facetrove creates where a user names them: access for the
owner only, as faces are personal data. What is created inside a folder takes that folder's mode."""

_CANNOT_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF})
"""Errors by which a file system says that its folders cannot be synced."""

_NO_LINK = os.O_CLOEXEC | os.O_NOFOLLOW
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_folder(path: Path, parts: list[str], *, remedy: str) -> int:
    """Open a folder below another one, step by step, and return its descriptor.

    Args:
        path: path of the folder to begin with, which may be a link.
        parts: names of the folders on the way, of which none may be a link.
        remedy: what the user should do about a corrupt file; ends the message of an error.

    Raises:
        LinkFoundError: one of `parts` is a link.
        CorruptFileError: one of `parts` is no folder.
        OSError: a folder is missing, or cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts:
            path = path / part
            mode = os.lstat(part, dir_fd=descriptor).st_mode
            if stat.S_ISLNK(mode):
                raise link_found(path)
            if not stat.S_ISDIR(mode):
                raise CorruptFileError(f"{path} is {_kind_of(mode)} instead of a folder; {remedy}")
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | _NO_LINK, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_file(name: str, folder: int, path: Path, *, remedy: str) -> int:
    """Open a regular file in a folder for reading, and return its descriptor.

    Args:
        name: name of the file.
        folder: descriptor of the folder.
        path: path of the file, for messages.
        remedy: as of `open_folder`.

    Raises:
        LinkFoundError: the file is a link.
        CorruptFileError: it is a pipe, a device or a folder.
        OSError: it is missing, or cannot be opened.
    """
    # What is no file is not even opened: that could wait for ever, or do something.
    require_file(os.lstat(name, dir_fd=folder).st_mode, path, remedy=remedy)
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | _NO_LINK
    descriptor = os.open(name, flags, dir_fd=folder)
    try:
        require_file(os.fstat(descriptor).st_mode, path, remedy=remedy)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def create_file(name: str, folder: int) -> int:
    """Create a file in a folder, for its owner alone, and return its descriptor for writing.

    Raises:
        FileExistsError: there is something of that name.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK
    return os.open(name, flags, PRIVATE_FILE_MODE, dir_fd=folder)


def require_file(mode: int, path: Path, *, remedy: str) -> None:
    """Raise an error as `open_file` does, unless a mode is that of a regular file."""
    if stat.S_ISLNK(mode):
        raise link_found(path)
    if not stat.S_ISREG(mode):
        raise CorruptFileError(f"{path} is {_kind_of(mode)} instead of a file; {remedy}")


def _kind_of(mode: int) -> str:
    """Return what a mode is of, in words."""
    return _KINDS.get(stat.S_IFMT(mode), "a file")


def link_found(path: Path) -> LinkFoundError:
    """Return the error about a link at a path."""
    return LinkFoundError(
        f"{path} is a link, and no link is followed inside a dataset or an index; put what it "
        "leads to in its place, or remove the link"
    )


def take_after(descriptor: int, folder: int, mask: int) -> None:
    """Give a new file or folder mode and group of the folder that it lies in, as far as possible.

    Args:
        descriptor: descriptor of the new file or folder.
        folder: descriptor of the folder that it lies in.
        mask: the bits of the folder's mode that it takes.
    """
    above = os.fstat(folder)
    mode = above.st_mode & mask
    try:
        if os.fstat(descriptor).st_gid != above.st_gid:
            os.fchown(descriptor, -1, above.st_gid)
    except OSError:
        mode &= ~0o070  # the folder's rights are those of another group
    with suppress(OSError):  # some file systems keep no modes
        os.fchmod(descriptor, mode)


def sync_folder(folder: int) -> None:
    """Flush a folder's entries to disk, so that renames in the folder survive a power cut.

    Where a folder cannot be synced (some shares and FUSE mounts) there is nothing to flush.
    """
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
