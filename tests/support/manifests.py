"""The manifest of an index, changed as anybody who can write the index's folder can."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def manifest_in_force(index: Path) -> Path:
    """Return the path of the manifest that an index's CURRENT names."""
    return index / (index / "CURRENT").read_text().split()[0]


def sign_current(index: Path) -> None:
    """Write the digest of the manifest in force anew."""
    path = manifest_in_force(index)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    (index / "CURRENT").write_text(f"{path.name} {sha256}\n")


def rewrite_manifest(index: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the document of the manifest in force, and its digest in CURRENT."""
    path = manifest_in_force(index)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    sign_current(index)
