"""Make folders inside the folders of datasets and indexes."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from faces.core.files import PRIVATE_DIR_MODE


def make_inner_folder(folder: Path, *, exist_ok: bool = False) -> None:
    """Make a folder with the mode and the group of the folder that it lies in.

    So an index that its owner opened to a group stays open to it when something is added. Where the
    group cannot be had, the new folder is closed to groups.

    Args:
        folder: path of the folder, whose parent exists.
        exist_ok: whether it may exist already; then it stays as it is.

    Raises:
        FileExistsError: it exists.
    """
    if exist_ok and folder.is_dir():
        return
    folder.mkdir(exist_ok=exist_ok, mode=PRIVATE_DIR_MODE)
    above = folder.parent.stat()
    mode = stat.S_IMODE(above.st_mode)
    with suppress(OSError):  # some shares have no owners or modes
        if folder.stat().st_gid != above.st_gid:
            with suppress(PermissionError):
                os.chown(folder, -1, above.st_gid)
        if folder.stat().st_gid != above.st_gid:
            mode &= ~(stat.S_IRWXG | stat.S_ISGID)
        folder.chmod(mode | PRIVATE_DIR_MODE)
