"""Reports that are written to a file that the user names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from faces.core.documents import json_text
from faces.core.errors import WrongUsageError
from faces.core.named import require_no_address
from faces.core.storage import put_file


def require_new_file(path: Path) -> None:
    """Raise WrongUsageError unless a new file can be made at a path."""
    require_no_address(path)
    if path.exists() or path.is_symlink():
        raise WrongUsageError(f"{path} exists; name a new file for the report")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise WrongUsageError(
            f"the folder {path.parent} does not exist or is not writable; name another folder for "
            "the report"
        )


def write_report(path: Path, document: dict[str, Any]) -> None:
    """Write a report to a file, as JSON."""
    with put_file(path) as file:
        file.write(f"{json_text(document)}\n".encode())
