"""Normalise arguments: one name or several to a list, and paths to absolute ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def as_list(named: str | Path | Sequence[str | Path]) -> list[str | Path]:
    """Return the given names as a list; a single string or path is one name."""
    return [named] if isinstance(named, str | Path) else list(named)


def absolute(path: str | Path) -> Path:
    """Return an absolute path, which workers with another current folder can use too.

    Symbolic links are not resolved.
    """
    return Path(os.path.abspath(path))
