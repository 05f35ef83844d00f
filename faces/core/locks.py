"""Locks of files, and what to do on file systems that have none."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from faces.core.errors import FaceTroveError, cause_of

_HAS_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""Errors by which a file system says that it has no locks, as NFS without its lock service."""


@contextmanager
def file_lock(
    path: Path, *, timeout: float = -1, needed: bool = True, mode: int = 0o644
) -> Iterator[None]:
    """Hold the lock of a file, which the operating system releases when the process ends.

    Args:
        path: path of the lock file, which stays when the lock is released.
        timeout: seconds to wait for another process that holds the lock; negative: for ever.
        needed: whether to refuse to work without a lock where the file system has none; False
            where two processes at once do no more harm than to do the same work twice.
        mode: mode of the lock file, if it is made.

    Raises:
        filelock.Timeout: another process holds the lock.
        FaceTroveError: a lock is needed, and the file system has none.
        OSError: the lock file cannot be opened.
    """
    # filelock's own way out where there are no locks is a file that a killed process leaves behind.
    lock = FileLock(path, timeout=timeout, mode=mode, fallback_to_soft=False)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in _HAS_NO_LOCKS:
            raise
        if needed:
            raise FaceTroveError(
                f"{path.parent} lies on a file system without locks ({cause_of(error)}), so two "
                "processes could write there at once; put it on another one, such as a local disk"
            ) from error
    try:
        yield
    finally:
        lock.release()
