"""The user's register: the digests of the files in the cache that the user's own commands wrote.

The cache holds networks, records and descriptions of models, and a file that somebody put there is
not told from ours by the file itself. So the digest of whatever the program would later trust is
written down outside of the cache, in a file whose name is the digest. A digest is never taken back
by another one, so processes, caches and machines that share the register need no lock.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from faces.core.errors import ModelUnavailableError, cause_of
from faces.core.machine import anyone_may_write, config_dir
from faces.core.storage import Folder


def register(content: bytes, what: str) -> None:
    """Write down that the user's own command made a file.

    Args:
        content: the content of the file.
        what: name of the file, for people who read the register.

    Raises:
        ModelUnavailableError: the register cannot be written, or everyone may write in it.
    """
    entry = _entry(content)
    try:
        folder = Folder(entry.parent)
        folder.make()
        _require_own_folder(entry.parent)
        with folder.put(entry.name) as file:
            file.write(f"{what}\n".encode())
    except OSError as error:
        raise ModelUnavailableError(
            f"cannot register {what} in {entry.parent} ({cause_of(error)}); name a folder that can "
            "be written in the environment variable FACETROVE_CONFIG"
        ) from error


def registered_at(content: bytes) -> int | None:
    """Return when a file was registered, in nanoseconds since 1970; None: it is not registered.

    Args:
        content: the content of the file.

    Raises:
        ModelUnavailableError: everyone may write in the register.
    """
    entry = _entry(content)
    try:
        registered = entry.stat().st_mtime_ns
    except OSError:
        return None
    _require_own_folder(entry.parent)
    return registered


def _entry(content: bytes) -> Path:
    return config_dir() / "networks" / hashlib.sha256(content).hexdigest()


def _require_own_folder(folder: Path) -> None:
    if anyone_may_write(folder):
        raise ModelUnavailableError(
            f"every user may write in {folder}, which says which networks are yours; run "
            f"`chmod go-w {folder}`, and look at what lies there"
        )
