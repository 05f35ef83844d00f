"""The folders whose photos may be enrolled over HTTP."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from faces.core.errors import WrongUsageError


def require_allowed_folder(folder: str, allowed: Iterable[Path]) -> Path:
    """Return the real path of a folder that lies in an allowed one.

    Links are followed before the comparison, so that none leads out of an allowed folder.

    Args:
        folder: absolute path of the folder, as a client sent it.
        allowed: the folders that the operator has allowed.

    Raises:
        WrongUsageError: it is no folder, or lies elsewhere; which of both is not told.
    """
    try:
        path = Path(os.path.realpath(folder)) if Path(folder).is_absolute() else None
        places = [Path(os.path.realpath(place)) for place in allowed]
        if path is not None and path.is_dir() and any(map(path.is_relative_to, places)):
            return path
    except (OSError, ValueError):
        pass
    raise WrongUsageError(
        "this is no folder whose photos may be enrolled; give the absolute path of one that the "
        "server was started with by --allow-folder, or of one inside it"
    )
