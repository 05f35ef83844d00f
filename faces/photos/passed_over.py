"""Decide which names of a folder, an archive or a store are listed, and count those passed over."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from faces.photos.archives import ARCHIVE_SUFFIXES
from faces.photos.names import has_photo_ending, is_hidden

PassedOverCounts: TypeAlias = Mapping[str, Mapping[str, int]]
"""Numbers of what was passed over: by kind, and in it by ending, pattern or what it is.

The kinds: `other_ending`: files with no photo's ending, by ending; `archive`: archives in folders,
by ending; `excluded`: files with a photo's ending in what is excluded, by pattern; `hidden`: photos
and folders whose names begin with a dot; `link`: links to folders, and to photos in archives;
`archive_end`: archives whose end mark is missing or followed by bytes that are no member."""

EXCLUDED_FOLDERS = (
    # Synology, QNAP, Buffalo and Samba: thumbnails, bins and snapshots.
    *("@eaDir", "@__thumb", "#recycle", "@Recycle", "trashbox", "#snapshot", "@Recently-Snapshot"),
    # Windows.
    *("$RECYCLE.BIN", "RECYCLER", "System Volume Information"),
    # Nextcloud's bin and previews.
    *("files_trashbin", "**/appdata_*/preview"),
    # Previews of Lightroom, Apple Photos, iPhoto and Aperture.
    *("*.lrdata", "**/resources/derivatives", "**/*.photolibrary/Thumbnails"),
    *("**/*.aplibrary/Thumbnails", "**/*.aplibrary/Previews"),
)
"""Patterns of folders that are excluded by default: thumbnails, bins and snapshots, whose photos
are copies. Their names begin with no dot; the others of this kind are hidden anyway."""

_MAX_LABELS = 100
"""Maximum number of different endings that are counted by themselves."""

_FURTHER = "others"
"""Label of the endings beyond `_MAX_LABELS`."""

_ENDING = re.compile(r"[^/](\.[a-z0-9_+-]{1,12})$")
"""Regular expression of the ending of a name in lower case; anything else is no ending."""


def pattern_expression(pattern: str) -> str:
    """Return the regular expression of a pattern of `--exclude`, for Python and for RE2.

    `*` and `?` stand for characters of one name, `**` for any folders. A pattern without a slash is
    the name of a file or folder anywhere below the source; a pattern with a slash is a path from
    the source on. Case does not matter.

    Args:
        pattern: the pattern.

    Returns:
        The expression, which matches the part of a relative path that the pattern names.
    """
    named = pattern.strip("/")
    parts = (
        {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(part, re.escape(part))
        for part in re.split(r"(\*\*/|\*\*|\*|\?)", named)
        if part
    )
    return ("^" if "/" in pattern.rstrip("/") else "(?:^|/)") + "".join(parts)


@dataclass(frozen=True)
class Exclusion:
    """What is excluded from the folders and archives of a listing.

    Attributes:
        patterns: patterns of files and folders, besides `EXCLUDED_FOLDERS`.
        named: absolute paths of all sources: what a user named is not passed over, though it may
            lie in a folder that was named, too.
    """

    patterns: Sequence[str] = ()
    named: frozenset[str] = field(default_factory=frozenset)

    @property
    def expression(self) -> str:
        """Return one regular expression that finds what is excluded in a relative path.

        A folder's path ends in a slash. Both Python and RE2 understand the expression.
        """
        folders = (f"{pattern_expression(pattern)}/" for pattern in EXCLUDED_FOLDERS)
        given = (f"{pattern_expression(pattern)}(?:/|$)" for pattern in self.patterns)
        return f"(?is)(?:{'|'.join((*folders, *given))})"


class PassedOver:
    """What is passed over in one source, counted while it is listed.

    Args:
        exclusion: what is excluded.
    """

    def __init__(self, exclusion: Exclusion = Exclusion()) -> None:
        self.exclusion = exclusion
        self._find = re.compile(exclusion.expression).search
        self._each = [
            (pattern, re.compile(f"(?is){pattern_expression(pattern)}(?:/|$)").search)
            for pattern in (*exclusion.patterns, *EXCLUDED_FOLDERS)
        ]
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Return the counts, see `PassedOverCounts`."""
        return {kind: dict(sorted(counts.items())) for kind, counts in sorted(self._counts.items())}

    def add(self, kind: str, label: str, count: int = 1) -> None:
        """Count something that was passed over."""
        counts = self._counts[kind]
        counts[label if label in counts or len(counts) < _MAX_LABELS else _FURTHER] += count

    def pattern_of(self, path: str) -> str | None:
        """Return the pattern that excludes a relative path; None if none does.

        Args:
            path: path below the source; that of a folder ends in a slash.
        """
        if not self._find(path):
            return None
        return next(pattern for pattern, find in self._each if find(path))

    def add_file(self, name: str) -> None:
        """Count a file that is neither hidden nor excluded and has no photo's ending."""
        lowered = name.lower()
        for suffix in ARCHIVE_SUFFIXES:
            if lowered.endswith(suffix):
                self.add("archive", suffix)
                return
        ending = _ENDING.search(lowered[-16:])
        self.add("other_ending", ending[1] if ending else "")

    def lists(self, path: str) -> bool:
        """Return whether a member or object is listed as a photo; count it if it is not.

        Args:
            path: its path below the source.
        """
        is_photo = has_photo_ending(path)
        if (pattern := self.pattern_of(path)) is not None:
            self.add("excluded", pattern, is_photo)
        elif is_hidden(path):
            self.add("hidden", "photos", is_photo)
        elif not is_photo:
            self.add_file(path)
        else:
            return True
        return False


def sum_of_counts(several: Iterable[PassedOverCounts]) -> dict[str, dict[str, int]]:
    """Return the sum of the counts of several sources, without what is zero."""
    total: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for counts in several:
        for kind, by_label in counts.items():
            total[kind].update(by_label)
    sums = {
        kind: {label: count for label, count in sorted(counts.items()) if count}
        for kind, counts in sorted(total.items())
    }
    return {kind: counts for kind, counts in sums.items() if counts}
