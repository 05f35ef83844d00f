"""List the photos of folders, archives, photo lists, patterns and URLs in one table."""

from __future__ import annotations

import glob
import json
import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa

from faces.core.errors import WrongUsageError, cause_of
from faces.core.progress import OnProgress, ignore_progress
from faces.core.settings import Access, SourceLimits
from faces.photos.access import require_no_credentials
from faces.photos.archive_listing import find_in_archive
from faces.photos.archives import ARCHIVE_SUFFIXES, MemberUrl, archive_scheme
from faces.photos.folders import find_in_folder, photos_below, stat_photo
from faces.photos.limited_listing import SourceReader
from faces.photos.list_values import DateOrder
from faces.photos.listed import PhotoListing, SourceListing, below
from faces.photos.lists import LIST_SUFFIXES, OPEN_DATES
from faces.photos.metadata import NAME_COLUMNS, column_key
from faces.photos.names import PHOTO_SUFFIXES, has_photo_ending
from faces.photos.names_on_disk import NamesOnDisk
from faces.photos.photo_tables import join_sources, merge_duplicates, photo_table
from faces.photos.uris import PhotoFile, is_file_uri, is_path, is_url, photo_path, unescape_url
from faces.photos.url_listing import find_url

_WILDCARD = re.compile(r"[*?\[]")


def list_photos(
    sources: Sequence[str | Path],
    rename: Mapping[str, str] = MappingProxyType({}),
    *,
    limits: SourceLimits = SourceLimits(),
    access: Access = Access(),
    date_order: DateOrder | None = None,
    on_progress: OnProgress = ignore_progress,
) -> PhotoListing:
    """List every photo of folders, archives, photo lists, patterns, URLs and single files.

    Files are selected by their ending (`PHOTO_SUFFIXES`, in any case) unless a source names them
    one by one. Names that start with a dot are skipped. Links to files are followed, links to
    folders are not. A file or subfolder that cannot be examined is listed with size and time -1,
    so that the job rejects it with a reason.

    A photo of several sources has one row, with the metadata of all photo lists that name it.

    Args:
        sources: what to list. The first of these that fits a source decides how it is listed:
            a URL that fsspec supports, of a folder, an object, an archive
            ("tar://::/path/of/archive") or a folder in one
            ("tar://folder::s3://bucket/archive.tar");
            the path of a folder;
            a file ending in `ARCHIVE_SUFFIXES`, whose members are listed;
            a file ending in `LIST_SUFFIXES`, a photo list, see `faces.photos.lists`;
            any other file, which is taken for a photo;
            a pattern with `*`, `?`, `[]` or `**` that matches photos and folders.
        rename: names that columns of photo lists get instead of those in the files, by these.
        limits: limits on each archive and photo list, which are read in a process of their own.
        access: the addresses that photo lists may name.
        date_order: what dates in photo lists, such as 03/04/1996, begin with where the list does
            not say it.
        on_progress: called now and then with the number of photos and members listed so far.

    Raises:
        WrongUsageError: a source does not exist, cannot be listed or has no photos, is over a limit
            or has credentials in its address, photo lists contradict each other, or none
            has a column that is to be renamed.
        CorruptFileError: an archive or Parquet file is corrupt.
    """
    if not sources:
        raise WrongUsageError(f"no source of photos was named; name {_SOURCE_KINDS}")
    listings = []
    with SourceReader(limits, access, on_progress, rename, date_order) as reader:
        for source in sources:
            listings.append(_list_source(source, reader))
            reader.add_listed(len(listings[-1].photos))
    for listing in listings:
        if not len(listing.photos):  # the mount point of an unmounted disk looks like this
            endings = ", ".join(sorted(suffix.removeprefix(".") for suffix in PHOTO_SUFFIXES))
            raise WrongUsageError(
                f"no photos under {listing.source}; looked for files ending in {endings}"
            )
    listed = {column_key(name) for listing in listings for name in listing.photos.column_names}
    for old, new in rename.items():
        if column_key(new) not in listed | {*NAME_COLUMNS}:
            raise WrongUsageError(
                f"no photo list has a column {old!r} that can be called {new!r}; give --rename "
                "a column's name as it is in the list"
            )
    return join_sources(listings)


_SOURCE_KINDS = (
    f"a folder, an archive ({', '.join(ARCHIVE_SUFFIXES)}), a photo list "
    f"({', '.join(LIST_SUFFIXES)}), a photo, a pattern like 'photos/**/*.jpg' or a URL"
)


def _list_source(source: str | Path, reader: SourceReader) -> SourceListing:
    text = unescape_url(os.fspath(source))
    if is_url(text):
        require_no_credentials(text)
        return find_url(text, reader.archive_photos)
    path = Path(NamesOnDisk().existing(os.fspath(photo_path(text))))
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        if _WILDCARD.search(text):
            return _list_pattern(text)
        is_missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        problem = "does not exist" if is_missing else f"cannot be examined ({cause_of(error)})"
        raise WrongUsageError(f"{text} {problem}; name {_SOURCE_KINDS}") from error
    if stat.S_ISDIR(mode):
        return find_in_folder(text, path, reader.counted)
    if stat.S_ISREG(mode):
        if (scheme := archive_scheme(path.name)) is not None:
            url = MemberUrl(scheme, "", os.path.abspath(path))
            return find_in_archive(text, url, reader.archive_photos)
        if path.name.lower().endswith(LIST_SUFFIXES):
            return _list_photo_list(text, path, reader)
    return SourceListing(text, photo_table([stat_photo(os.path.abspath(path))]))


def _list_pattern(pattern: str) -> SourceListing:
    """List the photos that match a pattern, and those below folders that match it.

    The folders do not become complete roots, so a photo that the pattern matches no longer does
    not count as vanished.
    """
    photos: list[PhotoFile] = []
    tables: list[pa.Table] = []
    last_folder: str | None = None  # "**" matches a folder and then what is below it, too
    matches = set(map(os.path.abspath, glob.glob(pattern, recursive=True)))  # noqa: PTH207
    for path in sorted(matches, key=_path_parts):
        if last_folder is not None and path.startswith(below(last_folder)):
            continue
        if os.path.isdir(path):  # noqa: PTH112
            last_folder = path
            tables.append(photo_table(photos_below(path, [])))
        elif has_photo_ending(path):
            photos.append(stat_photo(path))
    table = pa.concat_tables([*tables, photo_table(photos)])
    if not len(table):
        raise WrongUsageError(
            f"{pattern} matches no photo and no folder with photos; correct the pattern, which "
            f"must match paths of photos or folders, or give {_SOURCE_KINDS}"
        )
    return SourceListing(pattern, table)


def _path_parts(path: str) -> list[str]:
    """Return a sort key that puts a folder directly before its contents."""
    return path.split("/")


def _list_photo_list(source: str, path: Path, reader: SourceReader) -> SourceListing:
    listed = reader.photo_list(path)
    uris = (uri for chunk in listed["uri"].chunks for uri in chunk.to_pylist())
    photos = photo_table(map(_stat_listed, uris))
    for field in list(listed.schema)[1:]:
        photos = photos.append_column(field, listed[field.name])
    merged = merge_duplicates(photos, conflicts=source, nulls_conflict=True)
    open_dates = json.loads(listed.schema.metadata[OPEN_DATES])
    return SourceListing(source, merged, open_dates=tuple(open_dates))


def _stat_listed(uri: str) -> PhotoFile:
    if not is_path(uri):
        return PhotoFile(uri, -1, -1)  # a request to a server for each photo would take hours
    return stat_photo(os.fspath(photo_path(uri)) if is_file_uri(uri) else uri)
