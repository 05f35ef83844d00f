"""Reports that are written to a file that the user names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from faces.core.errors import WrongUsageError
from faces.core.files import atomic_write
from faces.core.named import require_no_address


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
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n")
