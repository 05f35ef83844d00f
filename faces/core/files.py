"""Files that are whole or absent: written under a temporary name, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from faces.core.errors import BusyError

TEMPORARY_SUFFIX = ".tmp"

LOCK_FILE = ".lock"
"""File by which the one writer of a folder is held; it stays."""

PRIVATE = 0o700
"""Mode of the folders we make: faces are nobody else's business."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success its content is on disk under `path`.

    The content reaches the disk before the name does, so not even a power cut leaves a
    half-written file under a final name. On an error the temporary file is removed.
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
    """Make renames in a folder survive a power cut, where the system has a way to."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def temporaries(folder: Path, of: str = "*") -> list[Path]:
    """What killed processes left behind of files of that name in a folder, or others write now."""
    return list(folder.glob(f".{of}.*{TEMPORARY_SUFFIX}"))


def remove_temporaries(folder: Path, of: str = "*") -> None:
    """Remove `temporaries`. Only the holder of the lock under which they are written may."""
    for path in temporaries(folder, of):
        path.unlink(missing_ok=True)


@contextmanager
def writer_lock(folder: Path, *, what: str, name: str = LOCK_FILE) -> Iterator[None]:
    """Hold a folder's writer lock. The system frees it when its process ends, however it ends.

    Raises:
        BusyError: another process holds it.
    """
    try:
        with FileLock(folder / name, timeout=0):
            yield
    except Timeout as error:
        raise BusyError(
            f"another process is writing {what}; wait for it to finish, or stop it, and try again"
        ) from error
