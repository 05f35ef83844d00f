"""Words of the command line: names that cannot drive a terminal, and counts with their nouns.

Apart from `terminal`, for what ends with an error need not wait for tables and progress bars.
"""

from __future__ import annotations

import os


def printable(text: str) -> str:
    """A text with control characters escaped: a name must not be able to drive the terminal."""
    text = os.fsencode(text).decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(count: int, noun: str) -> str:
    """A count with its noun, in the plural where that is due: `1 face`, `2,000 faces`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
