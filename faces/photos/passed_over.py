"""Decide which names of a folder, an archive or a store are listed, and name those passed over."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import pyarrow as pa

from faces.photos.archives import ARCHIVE_SUFFIXES
from faces.photos.names import has_photo_ending, is_hidden
from faces.photos.uris import path_uri

PASSED_OVER_SCHEMA = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),  # ending, pattern or what it is
        pa.field("uri", pa.string(), nullable=False),
    ]
)
"""Columns of what was passed over, a row for each file or folder; see `PassedOverCounts`."""

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
"""Maximum number of different labels of a kind in one source."""

_FURTHER = "others"
"""Label of the endings beyond `_MAX_LABELS`."""

_CHUNK_ROWS = 1 << 16
"""Rows per chunk of a table, so that few are Python objects at a time."""

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
    """What is passed over in one source, noted while it is listed.

    Args:
        exclusion: what is excluded.
        uri_of: function that makes the uri of what is passed over of its path, as it is given to
            the methods.
    """

    def __init__(
        self, exclusion: Exclusion = Exclusion(), uri_of: Callable[[str], str] = path_uri
    ) -> None:
        self.exclusion = exclusion
        self._uri_of = uri_of
        self._find = re.compile(exclusion.expression).search
        self._each = [
            (pattern, re.compile(f"(?is){pattern_expression(pattern)}(?:/|$)").search)
            for pattern in (*exclusion.patterns, *EXCLUDED_FOLDERS)
        ]
        self._labels: defaultdict[str, set[str]] = defaultdict(set)
        self._rows: list[tuple[str, str, str]] = []
        self._batches: list[pa.RecordBatch] = []

    def table(self) -> pa.Table:
        """Return what was passed over so far, with the columns of `PASSED_OVER_SCHEMA`."""
        self._flush()
        return pa.Table.from_batches(self._batches, PASSED_OVER_SCHEMA)

    def add(self, kind: str, label: str, path: str) -> None:
        """Note something that was passed over."""
        self.add_uri(kind, label, self._uri_of(path))

    def add_uri(self, kind: str, label: str, uri: str) -> None:
        """Note something that was passed over, by its uri."""
        if not label.isascii():  # a pattern need not be valid Unicode
            label = os.fsencode(label).decode(errors="backslashreplace")
        labels = self._labels[kind]
        label = label if label in labels or len(labels) < _MAX_LABELS else _FURTHER
        labels.add(label)
        self._rows.append((kind, label, uri))
        if len(self._rows) == _CHUNK_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            columns = [pa.array(values, pa.string()) for values in zip(*self._rows, strict=True)]
            self._batches.append(pa.record_batch(columns, schema=PASSED_OVER_SCHEMA))
            self._rows = []

    def pattern_of(self, path: str) -> str | None:
        """Return the pattern that excludes a relative path; None if none does.

        Args:
            path: path below the source; that of a folder ends in a slash.
        """
        if not self._find(path):
            return None
        return next(pattern for pattern, find in self._each if find(path))

    def add_file(self, path: str) -> None:
        """Note a file that is neither hidden nor excluded and has no photo's ending."""
        lowered = path.lower()
        for suffix in ARCHIVE_SUFFIXES:
            if lowered.endswith(suffix):
                self.add("archive", suffix, path)
                return
        ending = _ENDING.search(lowered[-16:])
        self.add("other_ending", ending[1] if ending else "", path)

    def lists(self, path: str) -> bool:
        """Return whether a member or object is listed as a photo; note it if it is not.

        Args:
            path: its path below the source.
        """
        is_photo = has_photo_ending(path)
        if (pattern := self.pattern_of(path)) is not None:
            if is_photo:
                self.add("excluded", pattern, path)
        elif is_hidden(path):
            if is_photo:
                self.add("hidden", "photos", path)
        elif not is_photo:
            self.add_file(path)
        else:
            return True
        return False


def counts_of(passed_over: pa.Table) -> dict[str, dict[str, int]]:
    """Count what was passed over, see `PassedOverCounts`.

    Args:
        passed_over: rows of `PASSED_OVER_SCHEMA`.
    """
    grouped = passed_over.group_by(["kind", "label"]).aggregate([([], "count_all")])
    grouped = grouped.sort_by([("kind", "ascending"), ("label", "ascending")])
    counts: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for row in grouped.to_pylist():
        counts[row["kind"]][row["label"]] = row["count_all"]
    return dict(counts)
