"""Text that the command line prints: names without control characters.

This module is separate from `terminal`, which imports rich, so that an error message need not wait
for that.
"""

from __future__ import annotations

import os


def printable(text: str) -> str:
    """Return a text with control characters escaped, so that a file's name cannot send any."""
    text = os.fsencode(text).decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
