"""List the photos of folders, archives, photo lists, patterns and URLs in one table."""

from __future__ import annotations

import glob
import json
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa

from faces.core.errors import WrongUsageError, cause_of
from faces.core.progress import OnProgress, ignore_progress
from faces.core.settings import Access, SourceLimits
from faces.photos.access import require_no_credentials
from faces.photos.archive_listing import find_in_archive
from faces.photos.archives import ARCHIVE_SUFFIXES, MemberUrl, archive_scheme
from faces.photos.folders import FolderWalk, exclude_photos, find_in_folder, stat_photo
from faces.photos.limited_listing import SourceReader
from faces.photos.list_values import DateOrder
from faces.photos.listed import PhotoListing, SourceListing, below
from faces.photos.lists import LIST_SUFFIXES, OPEN_DATES
from faces.photos.metadata import NAME_COLUMNS, column_key
from faces.photos.names import PHOTO_SUFFIXES, has_photo_ending
from faces.photos.names_on_disk import NamesOnDisk
from faces.photos.passed_over import Exclusion, PassedOver, counts_of
from faces.photos.photo_tables import join_sources, merge_duplicates, photo_table
from faces.photos.uris import PhotoFile, is_file_uri, is_path, is_url, photo_path, unescape_url
from faces.photos.url_listing import find_url

_WILDCARD = re.compile(r"[*?\[]")


# Over 60 lines, of which half say what it promises.
def list_photos(
    sources: Sequence[str | Path],
    rename: Mapping[str, str] = MappingProxyType({}),
    *,
    exclude: Sequence[str] = (),
    limits: SourceLimits = SourceLimits(),
    access: Access = Access(),
    date_order: DateOrder | None = None,
    on_progress: OnProgress = ignore_progress,
) -> PhotoListing:
    """List every photo of folders, archives, photo lists, patterns, URLs and single files.

    Files are selected by their ending (`PHOTO_SUFFIXES`, in any case) unless a source names them
    one by one. Names that start with a dot are skipped, and folders of thumbnails and bins. Links
    to files are followed, links to folders are not. What is passed over is counted. A file or
    subfolder that cannot be examined is listed with size and time -1, so that the job rejects it
    with a reason.

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
            a pattern with `*`, `?`, `[]` or `**` that matches photos, archives and folders.
        rename: names that columns of photo lists get instead of those in the files, by these.
        exclude: patterns of files and folders to exclude from folders, archives and patterns,
            besides `faces.photos.passed_over.EXCLUDED_FOLDERS`; see `pattern_expression` there.
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
    if not all(pattern.strip("/") for pattern in exclude):
        raise WrongUsageError("a pattern to exclude is empty; name files or folders, as '*.tif'")
    listings: list[SourceListing] = []
    exclusion = Exclusion(tuple(exclude), frozenset(map(_absolute_path, sources)))
    with SourceReader(
        limits,
        access,
        on_progress,
        rename=rename,
        exclusion=exclusion,
        date_order=date_order,
    ) as reader:
        for source in sources:
            for listing in _list_source(source, reader):
                listings.append(listing)
                reader.add_listed(len(listing.photos))
    for listing in listings:
        if not len(listing.photos):  # the mount point of an unmounted disk looks like this
            raise _no_photos(listing)
    listed = {column_key(name) for listing in listings for name in listing.photos.column_names}
    for old, new in rename.items():
        if column_key(new) not in listed | {*NAME_COLUMNS}:
            raise WrongUsageError(
                f"no photo list has a column {old!r} that can be called {new!r}; give --rename "
                "a column's name as it is in the list"
            )
    return join_sources(listings)


def _no_photos(listing: SourceListing) -> WrongUsageError:
    """Return the error that a source has no photos, which says what it has instead."""
    source, counts = listing.source, counts_of(listing.passed_over)
    archives = sum(counts.get("archive", {}).values())
    if archives:
        things = "1 archive" if archives == 1 else f"{archives:,} archives"
        ending = next(iter(counts["archive"]))
        pattern = os.path.join(source, f"*{ending}")  # noqa: PTH118
        return WrongUsageError(
            f"no photos under {source}, but {things}: name {'it' if archives == 1 else 'them'}, or "
            f"a pattern that matches, such as '{pattern}'"
        )
    problem = f"no photos under {source}; looked for files ending in " + ", ".join(
        sorted(suffix.removeprefix(".") for suffix in PHOTO_SUFFIXES)
    )
    others = counts.get("other_ending", {})
    if others:
        found = ", ".join(f"{count:,} {ending or '(none)'}" for ending, count in others.items())
        problem += f", and found files with other endings: {found}"
    if links := sum(counts.get("link", {}).values()):
        problem += f"; {links:,} link{' is' if links == 1 else 's are'} not followed"
    if excluded := counts.get("excluded", {}):
        problem += f"; excluded is what is in {', '.join(excluded)}"
    return WrongUsageError(problem)


def _absolute_path(source: str | Path) -> str:
    text = unescape_url(os.fspath(source))
    return text if is_url(text) else os.path.abspath(photo_path(text))


_SOURCE_KINDS = (
    f"a folder, an archive ({', '.join(ARCHIVE_SUFFIXES)}), a photo list "
    f"({', '.join(LIST_SUFFIXES)}), a photo, a pattern like 'photos/**/*.jpg' or a URL"
)


def _list_source(source: str | Path, reader: SourceReader) -> list[SourceListing]:
    text = unescape_url(os.fspath(source))
    if is_url(text):
        require_no_credentials(text)
        return [find_url(text, reader.archive_photos, reader.exclusion)]
    path = Path(NamesOnDisk().existing(os.fspath(photo_path(text))))
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        if _WILDCARD.search(text):
            return _list_pattern(text, reader)
        is_missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        problem = "does not exist" if is_missing else f"cannot be examined ({cause_of(error)})"
        raise WrongUsageError(
            f"{text} {problem}; name {_SOURCE_KINDS}. Where photos of a dataset have moved, "
            "`facetrove relocate` says so, and `facetrove drop` drops those that are gone"
        ) from error
    if stat.S_ISDIR(mode):
        return [find_in_folder(text, path, reader.exclusion, reader.counted)]
    if stat.S_ISREG(mode):
        if archive_scheme(path.name) is not None:
            return [_list_archive(text, os.path.abspath(path), reader)]
        if path.name.lower().endswith(LIST_SUFFIXES):
            return [_list_photo_list(text, path, reader)]
    return [SourceListing(text, photo_table([stat_photo(os.path.abspath(path))]))]


def _list_archive(source: str, path: str, reader: SourceReader) -> SourceListing:
    url = MemberUrl(archive_scheme(path) or "", "", path)
    return find_in_archive(source, url, reader.archive_photos, reader.exclusion)


def _list_pattern(pattern: str, reader: SourceReader) -> list[SourceListing]:
    """List the photos and archives that match a pattern, and the photos below folders that do.

    The folders and archives do not become complete roots, so a photo that the pattern matches no
    longer does not count as vanished.
    """
    passed_over = PassedOver(reader.exclusion)
    base = _fixed_part(pattern)
    photos: list[PhotoFile] = []
    tables: list[pa.Table] = []
    archives: list[str] = []
    last_folder: str | None = None  # "**" matches a folder and then what is below it, too
    matches = set(map(os.path.abspath, glob.glob(pattern, recursive=True)))  # noqa: PTH207
    for path in sorted(matches, key=_path_parts):
        if last_folder is not None and path.startswith(below(last_folder)):
            continue
        relative = path[len(below(base)) :]
        is_folder = os.path.isdir(path)  # noqa: PTH112
        last_folder = path if is_folder else last_folder
        excluded = passed_over.pattern_of(below(relative) if is_folder else relative)
        if excluded is not None:
            exclude_photos(path, excluded, passed_over, is_folder=is_folder)
        elif is_folder:
            tables.append(photo_table(FolderWalk(path, passed_over, base).photos()))
        elif archive_scheme(path) is not None:
            archives.append(path)
        elif has_photo_ending(path):
            photos.append(stat_photo(path))
        else:
            passed_over.add_file(path)
    table = pa.concat_tables([*tables, photo_table(photos)])
    if not len(table) and not archives:
        raise WrongUsageError(
            f"{pattern} matches no photo, no archive and no folder with photos; correct the "
            f"pattern, which must match paths of these, or give {_SOURCE_KINDS}"
        )
    listings = [SourceListing(pattern, table, passed_over=passed_over.table())]
    in_archives = (replace(_list_archive(path, path, reader), roots=()) for path in archives)
    return [*(listings if len(table) else ()), *in_archives]


def _fixed_part(pattern: str) -> str:
    """Return the absolute path of the folder below which all matches of a pattern are."""
    parts = os.path.abspath(pattern).split("/")[:-1]
    fixed = next((i for i, part in enumerate(parts) if _WILDCARD.search(part)), len(parts))
    return "/".join(parts[:fixed]) or "/"


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
