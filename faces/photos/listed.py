"""The photos listed for a job, and the folders and archives that were listed completely."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.photos.metadata import spelled_as
from faces.photos.names import HIDDEN, PHOTO_ENDING
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
        skipped: prefixes of uris below `prefix` that were not listed: those below links to folders,
            and below subfolders that cannot be read or are empty, as where a disk is not mounted.
    """

    prefix: str
    suffix: str = ""
    skipped: tuple[str, ...] = ()

    def covers(self, uris: pa.Array) -> NDArray[np.bool_]:
        """Return which uris would have been listed here if the photos still existed.

        Args:
            uris: (n,) string.

        Returns:
            (n,) bool.
        """
        covered = _mask(pc.starts_with(uris, os.fsencode(self.prefix)))
        if self.suffix:
            covered &= _mask(pc.ends_with(uris, os.fsencode(self.suffix)))
        for prefix in self.skipped:
            covered &= ~_mask(pc.starts_with(uris, os.fsencode(prefix)))
        rows = np.flatnonzero(covered)
        uris = uris.take(pa.array(rows))
        end = -len(self.suffix) if self.suffix else None
        names = pc.utf8_slice_codeunits(uris, len(self.prefix), end)
        photos = _mask(pc.match_substring_regex(names, PHOTO_ENDING))
        for row in np.flatnonzero(~photos):
            photos[row] = self._may_be_folder(uris[row].as_py())
        covered[rows] = photos & ~_mask(pc.match_substring_regex(names, HIDDEN))
        return covered

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
        given: (n,) bool columns, by the names of the metadata columns: whether a photo list that
            has the column names the photo, so that its value counts even where it is null; None:
            all values do.
        open_dates: the lists' columns that stay text because it is open what their dates begin
            with, as `people.csv: Date`.
    """

    photos: PhotoTable
    roots: tuple[CompleteRoot, ...]
    reading_order: pa.Array
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
        covered = _mask(pc.is_in(uris, value_set=self.photos["uri"].combine_chunks()))
        for root in self.roots:
            rows = np.flatnonzero(~covered)
            covered[rows] = root.covers(uris.take(pa.array(rows)))
        return pa.array(covered)


@dataclass(frozen=True)
class SourceListing:
    """The photos of one source, such as a folder or a photo list.

    Attributes:
        source: the source as the user named it.
        photos: a row for each photo, in any order: columns of `LISTING_SCHEMA`, then metadata.
        roots: the folder or archive that was listed completely, if any; see `PhotoListing`.
        in_archive: whether the photos are members of one archive; then the rows are in the
            archive's order.
        open_dates: names of the list's columns whose dates stay open; see `PhotoListing`.
    """

    source: str
    photos: pa.Table
    roots: tuple[CompleteRoot, ...] = ()
    in_archive: bool = False
    open_dates: tuple[str, ...] = ()


def complete_roots(
    prefix: str, skipped: Iterable[str] = (), *, suffix: str = "", escape: Callable[[str], str]
) -> tuple[CompleteRoot, ...]:
    """Return the `CompleteRoot` of a folder or archive, and the one for uris that are escaped.

    Args:
        prefix: prefix of the unescaped uris.
        skipped: prefixes of the unescaped uris that were not listed.
        suffix: suffix of the unescaped uris.
        escape: function that escapes a uri that is not valid Unicode.
    """
    skipped_prefixes = tuple(skipped)
    escaped_suffix = escape(suffix).removeprefix(escape(""))
    return (
        CompleteRoot(prefix, suffix, skipped_prefixes),
        CompleteRoot(escape(prefix), escaped_suffix, tuple(map(escape, skipped_prefixes))),
    )


def below(folder: str) -> str:
    """Return the prefix of all paths below a folder: the folder's path and one "/"."""
    return folder.rstrip("/") + "/"


def _mask(booleans: pa.Array) -> NDArray[np.bool_]:
    """Return Arrow booleans as a writable NumPy mask; null becomes False."""
    return np.array(pc.fill_null(booleans, False).to_numpy(zero_copy_only=False), dtype=np.bool_)
