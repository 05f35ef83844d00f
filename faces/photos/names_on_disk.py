"""Find files whose names are written with other, canonically equivalent, characters.

A Mac writes the letter ü in a file's name as u and two dots, and a photo list writes it as one
letter. Both are the same name for people; Unicode calls the second form NFC.
"""

from __future__ import annotations

import os
from collections import defaultdict
from unicodedata import normalize


class NamesOnDisk:
    """The names in folders, each folder read once, for looking up many paths."""

    def __init__(self) -> None:
        self._folders: dict[str, dict[str, list[str]]] = {}

    def existing(self, path: str) -> str:
        """Return the path of the file that a path means.

        Where a name is not there byte for byte, the one entry of its folder is meant that is equal
        after Unicode NFC.

        Args:
            path: path of a file or folder.

        Returns:
            The path as it is on disk; `path` itself if it exists, if nothing equals it, or if
            several entries do.
        """
        if path.isascii() or os.path.lexists(path):
            return path
        parent, name = os.path.split(path.rstrip("/"))
        folder = self.existing(parent)
        equal = self._names_in(folder).get(normalize("NFC", name), [])
        return os.path.join(folder, equal[0]) if len(equal) == 1 else path  # noqa: PTH118

    def _names_in(self, folder: str) -> dict[str, list[str]]:
        """Return the names in a folder by their NFC; empty if the folder cannot be read."""
        if folder not in self._folders:
            names: defaultdict[str, list[str]] = defaultdict(list)
            try:
                for name in os.listdir(folder or "."):  # noqa: PTH208
                    names[normalize("NFC", name)].append(name)
            except (OSError, ValueError):
                names.clear()
            self._folders[folder] = names
        return self._folders[folder]
