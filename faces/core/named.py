"""Arguments that name one thing or several, here or for workers elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def each_named(named: str | Path | Sequence[str | Path]) -> list[str | Path]:
    """What is named, one by one: a single text is one name, not its letters."""
    return [named] if isinstance(named, str | Path) else list(named)


def absolute(path: str | Path) -> Path:
    """A path as workers that have another current folder can use it; links are not followed."""
    return Path(os.path.abspath(path))
