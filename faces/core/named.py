"""Arguments that name one thing or several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def each_named(named: str | Path | Sequence[str | Path]) -> list[str | Path]:
    """What is named, one by one: a single text is one name, not its letters."""
    return [named] if isinstance(named, str | Path) else list(named)
