"""Words of the command line: names that cannot drive a terminal, and counts with their nouns."""

from __future__ import annotations

import os
from pathlib import Path

from faces.photos.uris import is_path, photo_path, unescape_url


def printable(text: str) -> str:
    """A text whose control characters are escaped: a name must not be able to drive the terminal."""
    text = os.fsencode(text).decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(count: int, noun: str) -> str:
    """A count with its noun, in the plural where that is due: `1 face`, `2,000 faces`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def shown_uri(uri: str) -> str:
    """A photo's name as a person reads it."""
    return shown_path(photo_path(uri)) if is_path(uri) else printable(unescape_url(uri))


def shown_path(path: Path) -> str:
    """A path, printable, relative to the current folder if it lies in it."""
    here = Path.cwd()
    shown = path.relative_to(here) if len(here.parts) > 1 and path.is_relative_to(here) else path
    return printable(str(shown))
