"""The folder of a running job, which no other user of the machine can enter or replace.

In it lies the socket over which driver and workers talk. To connect to it, a process must be
allowed to enter the folder, so the kernel keeps everybody else out of the job. A worker runs what
arrives over the socket, so nobody else may put a folder of the same name in its place either.
"""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from faces.core.errors import FaceTroveError, cause_of

SOCKET_NAME = "socket"
"""Name of the socket in a job's folder."""

_LAST_PLACE = "/tmp"  # noqa: S108  # a folder of our own is made in it
"""Where a job's folder is made if the places that the environment names are not fit."""


@contextmanager
def private_job_folder() -> Iterator[Path]:
    """Make the folder of a job, and remove it in the end.

    It lies in the folder for temporary files, unless that one's path is too long for a socket, its
    disk has no sockets or no permissions, or other users can rename what lies in it. Then the
    user's folder for sockets (XDG_RUNTIME_DIR) and /tmp are tried.

    Yields:
        The absolute path of the folder, without symbolic links, with mode 0700.

    Raises:
        FaceTroveError: no folder is fit.
    """
    refusals = []
    places = [tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR"), _LAST_PLACE]
    for place in dict.fromkeys(filter(None, places)):
        with ExitStack() as attempt:
            try:
                folder = Path(
                    attempt.enter_context(
                        tempfile.TemporaryDirectory(
                            prefix="facetrove-", dir=place, ignore_cleanup_errors=True
                        )
                    )
                ).resolve()
                refusal = _refusal(folder)
            except OSError as error:
                refusal = cause_of(error)
            if refusal is None:
                yield folder
                return
        refusals.append(f"{place}: {refusal}")
    raise FaceTroveError(
        "no folder is fit for the socket over which the processes of a job talk "
        f"({'; '.join(refusals)}); set TMPDIR to a folder with a short path on a local disk, which "
        "only you can write to"
    )


def _refusal(folder: Path) -> str | None:
    """Return why a new folder cannot keep other users away from a socket; None: it can.

    Raises:
        OSError: the folder's disk has no sockets, or the folder's path is too long for one.
    """
    status = folder.stat()
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) != stat.S_IRWXU:
        return "its disk does not keep owner and permissions of folders"
    trusted = {0, os.geteuid(), Path("/").stat().st_uid}  # root has another number in containers
    for above in folder.parents:
        status = above.stat()
        others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if status.st_uid not in trusted or (others_write and not status.st_mode & stat.S_ISVTX):
            return f"other users can rename what lies in {above}"
    with socket.socket(socket.AF_UNIX) as probe:
        probe.bind(os.fsencode(folder / SOCKET_NAME))
    (folder / SOCKET_NAME).unlink()
    return None
