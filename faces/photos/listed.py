"""The photos listed for a job, and the folders and archives that were listed completely."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.photos.metadata import spelled_as
from faces.photos.names import HIDDEN, PHOTO_ENDING
from faces.photos.passed_over import PASSED_OVER_SCHEMA
from faces.photos.uris import is_path, photo_path

PhotoTable: TypeAlias = pa.Table
"""Table of photos with one row per uri, sorted by the UTF-8 bytes of the uri. Its columns are those
of `LISTING_SCHEMA`, then metadata."""

LISTING_SCHEMA = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),  # see faces.photos.uris.photo_uri
        pa.field("num_bytes", pa.int64(), nullable=False),  # -1: unknown
        pa.field("mtime_ns", pa.int64(), nullable=False),  # since 1970; -1: unknown
    ]
)


@dataclass(frozen=True)
class CompleteRoot:
    """A folder or archive that was listed completely, described by the uris of its photos.

    Attributes:
        prefix: prefix of the uris: a folder's uri and "/"; for an archive "tar://" or "zip://", and
            the folder in it and "/", if only a folder was listed.
        suffix: suffix of the uris of an archive's members: "::" and the archive; else empty.
        skipped: prefixes, ending in "/", of uris below `prefix` about which nothing is known: those
            below links to folders, and below subfolders that cannot be read or have no photo at
            all below them, as where a disk is not mounted.
        excluded: regular expression that finds what was excluded in a uri between prefix and
            suffix; empty if nothing was.
    """

    prefix: str
    suffix: str = ""
    skipped: frozenset[str] = frozenset()
    excluded: str = ""

    def covers(self, uris: pa.Array) -> NDArray[np.bool_]:
        """Return which uris would have been listed here if the photos still existed.

        Photos that are excluded now count as well: they are no longer wanted.

        Args:
            uris: (n,) string.

        Returns:
            (n,) bool.
        """
        covered = self.contains(uris)
        rows = np.flatnonzero(covered)
        uris = uris.take(pa.array(rows))
        names = self._names(uris)
        photos = mask_of(pc.match_substring_regex(names, PHOTO_ENDING))
        for row in np.flatnonzero(~photos):
            photos[row] = self._may_be_folder(uris[row].as_py())
        photos &= ~mask_of(pc.match_substring_regex(names, HIDDEN))
        if self.skipped:
            for row in np.flatnonzero(photos):
                photos[row] = self.skipped_prefix(uris[row].as_py()) is None
        covered[rows] = photos
        return covered

    def excludes(self, uris: pa.Array) -> NDArray[np.bool_]:
        """Return which uris lie here and were excluded from the listing.

        Args:
            uris: (n,) string.

        Returns:
            (n,) bool.
        """
        excluded = self.contains(uris)
        if self.excluded:
            names = self._names(uris.take(pa.array(np.flatnonzero(excluded))))
            excluded[excluded] = mask_of(pc.match_substring_regex(names, self.excluded))
            return excluded
        return np.zeros(len(uris), dtype=np.bool_)

    def skipped_prefix(self, uri: str) -> str | None:
        """Return the member of `skipped` that a uri begins with; None if there is none."""
        end = uri.rfind("/") + 1
        while end > len(self.prefix):
            if uri[:end] in self.skipped:
                return uri[:end]
            end = uri.rfind("/", 0, end - 1) + 1
        return None

    def contains(self, uris: pa.Array) -> NDArray[np.bool_]:
        """Return which uris begin with the prefix and end in the suffix."""
        contained = mask_of(pc.starts_with(uris, os.fsencode(self.prefix)))
        if self.suffix:
            contained &= mask_of(pc.ends_with(uris, os.fsencode(self.suffix)))
        return contained

    def _names(self, uris: pa.Array) -> pa.Array:
        """Return what is between prefix and suffix of uris that have both."""
        end = -len(self.suffix) if self.suffix else None
        return pc.utf8_slice_codeunits(uris, len(self.prefix), end)

    def _may_be_folder(self, uri: str) -> bool:
        """Return whether a uri without a photo's ending may be that of an unreadable subfolder.

        Where the uri is that of a file, a source named this file itself.
        """
        return not self.suffix and is_path(uri) and not os.path.isfile(photo_path(uri))  # noqa: PTH113


@dataclass(frozen=True)
class PhotoListing:
    """The photos of a job at the time of listing.

    Attributes:
        photos: the n photos, see `PhotoTable`.
        roots: the folders and archives that were listed completely; by them, `covers` tells which
            photos of a dataset have vanished.
        reading_order: (n,) int64, row numbers of `photos` in the order in which to read the photos:
            sorted by uri, but members of archives come last, archive by archive and in the
            archive's own order. In another order, a compressed archive would be decompressed from
            its start, or an archive's table read, many times.
        passed_over: what was passed over, rows of `PASSED_OVER_SCHEMA`.
        given: (n,) bool columns, by the names of the metadata columns: whether a photo list that
            has the column names the photo, so that its value counts even where it is null; None:
            all values do.
        open_dates: the lists' columns that stay text because it is open what their dates begin
            with, as `people.csv: Date`.
    """

    photos: PhotoTable
    roots: tuple[CompleteRoot, ...]
    reading_order: pa.Array
    passed_over: pa.Table = field(default_factory=PASSED_OVER_SCHEMA.empty_table)
    given: pa.Table | None = None
    open_dates: tuple[str, ...] = ()

    def spelled_like(self, columns: pa.Schema) -> PhotoListing:
        """Return a copy in which metadata columns are spelled as those of a dataset."""

        def renamed(table: pa.Table) -> pa.Table:
            return table.rename_columns(spelled_as(table.column_names, columns.names))

        given = None if self.given is None else renamed(self.given)
        return replace(self, photos=renamed(self.photos), given=given)

    def covers(self, uris: pa.Array | pa.ChunkedArray) -> pa.Array:
        """Return which uris this listing would contain if the photos still existed.

        These are the uris in `photos` and all uris below a folder or archive that was listed
        completely, but not uris that a photo list or pattern may have named earlier. A photo that
        is covered but not in `photos` has vanished.

        Args:
            uris: (m,) string.

        Returns:
            (m,) bool.
        """
        if isinstance(uris, pa.ChunkedArray):
            uris = uris.combine_chunks()
        covered = mask_of(pc.is_in(uris, value_set=self.photos["uri"].combine_chunks()))
        for root in self.roots:
            rows = np.flatnonzero(~covered)
            covered[rows] = root.covers(uris.take(pa.array(rows)))
        return pa.array(covered)

    def excludes(self, uris: pa.Array) -> pa.Array:
        """Return which uris lie in a folder or archive of this listing but were excluded from it.

        Args:
            uris: (m,) string.

        Returns:
            (m,) bool.
        """
        excluded = np.zeros(len(uris), dtype=np.bool_)
        for root in self.roots:
            excluded |= root.excludes(uris)
        return pa.array(excluded)

    def skipped_folders(self, uris: pa.Array) -> dict[str, int]:
        """Return how many of the uris lie below each folder about which nothing is known.

        Args:
            uris: (m,) string, of which none is in `photos`.

        Returns:
            The numbers, by the folder's uri.
        """
        counts: Counter[str] = Counter()
        for root in self.roots:
            if root.skipped:
                for uri in uris.filter(pa.array(root.contains(uris))).to_pylist():
                    if (prefix := root.skipped_prefix(uri)) is not None:
                        counts[prefix.rstrip("/")] += 1
        return dict(sorted(counts.items()))


@dataclass(frozen=True)
class SourceListing:
    """The photos of one source, such as a folder or a photo list.

    Attributes:
        source: the source as the user named it.
        photos: a row for each photo, in any order: columns of `LISTING_SCHEMA`, then metadata.
        roots: the folder or archive that was listed completely, if any; see `PhotoListing`.
        in_archive: whether the photos are members of one archive; then the rows are in the
            archive's order.
        passed_over: what was passed over, rows of `PASSED_OVER_SCHEMA`.
        open_dates: names of the list's columns whose dates stay open; see `PhotoListing`.
    """

    source: str
    photos: pa.Table
    roots: tuple[CompleteRoot, ...] = ()
    in_archive: bool = False
    passed_over: pa.Table = field(default_factory=PASSED_OVER_SCHEMA.empty_table)
    open_dates: tuple[str, ...] = ()


def complete_roots(
    prefix: str,
    skipped: Iterable[str] = (),
    *,
    suffix: str = "",
    excluded: str = "",
    escape: Callable[[str], str],
) -> tuple[CompleteRoot, ...]:
    """Return the `CompleteRoot` of a folder or archive, and the one for uris that are escaped.

    Args:
        prefix: prefix of the unescaped uris.
        skipped: prefixes of the unescaped uris about which nothing is known.
        suffix: suffix of the unescaped uris.
        excluded: regular expression of what is excluded, see `CompleteRoot`.
        escape: function that escapes a uri that is not valid Unicode.
    """
    skipped_prefixes = frozenset(skipped)
    escaped_suffix = escape(suffix).removeprefix(escape(""))
    return (
        CompleteRoot(prefix, suffix, skipped_prefixes, excluded),
        CompleteRoot(
            escape(prefix), escaped_suffix, frozenset(map(escape, skipped_prefixes)), excluded
        ),
    )


def below(folder: str) -> str:
    """Return the prefix of all paths below a folder: the folder's path and one "/"."""
    return folder.rstrip("/") + "/"


def mask_of(booleans: pa.Array) -> NDArray[np.bool_]:
    """Return Arrow booleans as a writable NumPy mask; null becomes False."""
    return np.array(pc.fill_null(booleans, False).to_numpy(zero_copy_only=False), dtype=np.bool_)
