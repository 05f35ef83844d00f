"""Write files atomically, and lock folders for one writer at a time."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from filelock import Timeout

from faces.core.errors import BusyError
from faces.core.locks import file_lock

TEMPORARY_SUFFIX = ".tmp"
"""Ending of the names of files that are not complete yet."""

LOCK_FILE = ".lock"
"""Name of the lock file in a folder with one writer. The file stays when the lock is released."""

CANNOT_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF})
"""Errors by which a file system says that its folders cannot be synced."""

PRIVATE_DIR_MODE = 0o700
"""Mode of the folders that facetrove creates: access for the owner only, as faces are personal
data."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename that file to `path` on success.

    The content is flushed to disk before the rename, so not even a power cut leaves a
    half-written file under the final name. On an error the temporary file is removed.

    Args:
        path: final path of the file; an existing file is replaced.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}{TEMPORARY_SUFFIX}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_dir(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync_dir(folder: Path) -> None:
    """Flush a folder's entries to disk, so that renames in the folder survive a power cut.

    Where a folder cannot be opened (Windows) or be synced (some shares and FUSE mounts) there is
    nothing to flush, and this does nothing.
    """
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in CANNOT_SYNC:
                raise
        finally:
            os.close(descriptor)


def temporary_files(folder: Path, of: str = "*") -> list[Path]:
    """Return the temporary files in a folder: left by killed processes, or being written now.

    Args:
        folder: the folder to look in, without its subfolders.
        of: final name of the files, as a glob pattern.
    """
    return list(folder.glob(f".{of}.*{TEMPORARY_SUFFIX}"))


def remove_temporary_files(folder: Path, of: str = "*") -> None:
    """Remove the files that `temporary_files` returns.

    Only the holder of the lock under which these files are written may call this function.
    """
    for path in temporary_files(folder, of):
        path.unlink(missing_ok=True)


@contextmanager
def writer_lock(folder: Path, *, what: str, name: str = LOCK_FILE) -> Iterator[None]:
    """Hold a folder's writer lock; the operating system releases it when the process ends.

    Args:
        folder: the folder to lock.
        what: what the lock protects, such as "dataset d", for the error message.
        name: name of the lock file in the folder.

    Raises:
        BusyError: another process holds the lock.
        FaceTroveError: the folder lies on a file system without locks.
    """
    try:
        with file_lock(folder / name, timeout=0):
            yield
    except Timeout as error:
        raise BusyError(
            f"another process is writing {what}; wait for it to finish, or stop it, and try again"
        ) from error
