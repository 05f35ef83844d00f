"""Words of messages: counts with their nouns."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural unless it is 1: `1 face`, `2,000 faces`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
