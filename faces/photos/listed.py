"""The photos of a job as they were listed, and the places that were listed whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.photos.names import HIDDEN, PHOTO_ENDING
from faces.photos.uris import is_path, photo_path

PhotoTable: TypeAlias = pa.Table
"""Photos, one row per uri, sorted by the bytes of the uri: `LISTING_SCHEMA`, then metadata."""

LISTING_SCHEMA = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),  # see faces.photos.uris.photo_uri
        pa.field("num_bytes", pa.int64(), nullable=False),  # -1: could not be told
        pa.field("mtime_ns", pa.int64(), nullable=False),  # since 1970; -1: could not be told
    ]
)


@dataclass(frozen=True)
class ListedPlace:
    """A folder or archive that was listed whole, as the uris of the photos in it look.

    Attributes:
        prefix: how they begin: a folder's uri and "/".
        suffix: how they end: "::" and an archive.
        skipped: beginnings of those in it that were not looked at: below subfolders that could
            not be read or are empty, as where a disk is missing, and below links to folders.
    """

    prefix: str
    suffix: str = ""
    skipped: tuple[str, ...] = ()

    def holds(self, uris: pa.Array) -> NDArray[np.bool_]:
        """Which of (n,) uris would have been listed if they were still there: (n,) bool."""
        held = _mask(pc.starts_with(uris, os.fsencode(self.prefix)))
        if self.suffix:
            held &= _mask(pc.ends_with(uris, os.fsencode(self.suffix)))
        for beginning in self.skipped:
            held &= ~_mask(pc.starts_with(uris, os.fsencode(beginning)))
        rows = np.flatnonzero(held)
        uris = uris.take(pa.array(rows))
        end = -len(self.suffix) if self.suffix else None
        names = pc.utf8_slice_codeunits(uris, len(self.prefix), end)
        photos = _mask(pc.match_substring_regex(names, PHOTO_ENDING))
        for row in np.flatnonzero(~photos):
            photos[row] = self._was_folder(uris[row].as_py())
        held[rows] = photos & ~_mask(pc.match_substring_regex(names, HIDDEN))
        return held

    def _was_folder(self, uri: str) -> bool:
        """Whether a name without a photo's ending can have been that of an unreadable subfolder.

        If a file is there, it was named by itself.
        """
        return not self.suffix and is_path(uri) and not os.path.isfile(photo_path(uri))  # noqa: PTH113


@dataclass(frozen=True)
class PhotoListing:
    """The photos of a job, as they were when they were listed.

    Attributes:
        photos: see `PhotoTable`.
        roots: what was listed completely; it tells which photos of a dataset have vanished.
        reading_order: (n,) int64, rows of `photos` in the order to read them in: sorted, but
            members of archives come archive by archive, each in the order they lie in it.
            In any other, a compressed archive is unpacked from its start again and again, and
            the table of an archive is read again and again.
    """

    photos: PhotoTable
    roots: tuple[ListedPlace, ...]
    reading_order: pa.Array

    def covers(self, uris: pa.Array | pa.ChunkedArray) -> pa.Array:
        """Whether this listing would have listed each uri if the photo still existed.

        That is so for photos in it, and for what lies in a folder or archive listed whole. It
        is not so for what else photo lists and patterns might have named.

        Args:
            uris: (n,) string.

        Returns:
            (n,) bool. What is covered, and not in `photos`, has vanished.
        """
        if isinstance(uris, pa.ChunkedArray):
            uris = uris.combine_chunks()
        covered = _mask(pc.is_in(uris, value_set=self.photos["uri"].combine_chunks()))
        for root in self.roots:
            rows = np.flatnonzero(~covered)
            covered[rows] = root.holds(uris.take(pa.array(rows)))
        return pa.array(covered)


@dataclass(frozen=True)
class Found:
    """The photos that one source gave.

    Attributes:
        source: the source as it was named.
        photos: a row for each photo, in any order.
        roots: see `PhotoListing`.
        in_archive: whether the rows are in the order in which they lie in an archive.
    """

    source: str
    photos: pa.Table
    roots: tuple[ListedPlace, ...] = ()
    in_archive: bool = False


def listed_places(
    prefix: str, skipped: Iterable[str] = (), *, suffix: str = "", escape: Callable[[str], str]
) -> tuple[ListedPlace, ...]:
    """A place, and the same place as it looks in uris that had to be escaped."""
    beginnings = tuple(skipped)
    escaped_suffix = escape(suffix).removeprefix(escape(""))
    return (
        ListedPlace(prefix, suffix, beginnings),
        ListedPlace(escape(prefix), escaped_suffix, tuple(map(escape, beginnings))),
    )


def below(folder: str) -> str:
    """How the names of what lies in a folder begin: the folder's name and one "/"."""
    return folder.rstrip("/") + "/"


def _mask(booleans: pa.Array) -> NDArray[np.bool_]:
    """A copy that may be written to; null is false."""
    return np.array(pc.fill_null(booleans, False).to_numpy(zero_copy_only=False), dtype=np.bool_)
