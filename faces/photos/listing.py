"""What to embed: folders, archives, photo lists, patterns and URLs to one table of photos."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from faces.core.errors import WrongUsageError, cause_of
from faces.photos.archive_listing import find_in_archive
from faces.photos.archives import ARCHIVE_SUFFIXES, MemberUrl, archive_scheme
from faces.photos.folders import find_in_folder, look_at, photos_below
from faces.photos.listed import Found, PhotoListing, below
from faces.photos.lists import LIST_SUFFIXES, read_photo_list
from faces.photos.names import PHOTO_SUFFIXES, has_photo_ending
from faces.photos.photo_tables import distinct, joined, photo_table
from faces.photos.uris import PhotoFile, is_file_uri, is_path, is_url, photo_path, unescape_url
from faces.photos.url_listing import find_url

_MAGIC = re.compile(r"[*?\[]")


def list_photos(sources: Sequence[str | Path]) -> PhotoListing:
    """Every photo of folders, archives, photo lists, patterns, URLs and single files.

    Files are taken by their ending (`PHOTO_SUFFIXES`, in any case) unless they are named one by
    one. Names that start with a dot are passed over. Links to folders are not followed, links to
    files are. What cannot be looked at, a subfolder too, is a row without size and time: the job
    will say why it cannot be read.

    A photo of several sources is one row. Its metadata is that of the photo lists that name it.

    Args:
        sources: each one, in this order, a URL that fsspec knows (a folder there or one
            object; "tar://::/path/of/archive", "tar://folder::s3://bucket/archive.tar"); a
            folder; a file ending in `ARCHIVE_SUFFIXES`: its members; a file ending in
            `LIST_SUFFIXES`: see `faces.photos.lists`; any other file: a photo; a pattern with
            `*`, `?`, `[]` or `**`, of photos and folders.

    Raises:
        WrongUsageError: a source does not exist, cannot be listed or holds no photo, or photo
            lists contradict each other.
        CorruptFileError: an archive or Parquet file is corrupt.
    """
    if not sources:
        raise WrongUsageError(f"no source of photos was named; name {_NAMEABLE}")
    found = [_find(source) for source in sources]
    for part in found:
        if not len(part.photos):  # a disk that is not there looks like a folder without photos
            endings = ", ".join(sorted(suffix.removeprefix(".") for suffix in PHOTO_SUFFIXES))
            raise WrongUsageError(
                f"no photos under {part.source}; looked for files ending in {endings}"
            )
    return joined(found)


_NAMEABLE = (
    f"a folder, an archive ({', '.join(ARCHIVE_SUFFIXES)}), a photo list "
    f"({', '.join(LIST_SUFFIXES)}), a photo, a pattern like 'photos/**/*.jpg' or a URL"
)


def _find(source: str | Path) -> Found:
    text = unescape_url(os.fspath(source))
    if is_url(text):
        return find_url(text)
    path = photo_path(text)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        if _MAGIC.search(text):
            return _find_pattern(text)
        gone = isinstance(error, FileNotFoundError | NotADirectoryError)
        problem = "does not exist" if gone else f"cannot be looked at ({cause_of(error)})"
        raise WrongUsageError(f"{text} {problem}; name {_NAMEABLE}") from error
    if stat.S_ISDIR(mode):
        return find_in_folder(text, path)
    if stat.S_ISREG(mode):
        if (scheme := archive_scheme(path.name)) is not None:
            return find_in_archive(text, MemberUrl(scheme, "", os.path.abspath(path)))
        if path.name.lower().endswith(LIST_SUFFIXES):
            return _find_in_list(text, path)
    return Found(text, photo_table([look_at(os.path.abspath(path))]))


def _find_pattern(pattern: str) -> Found:
    """What a pattern matches. Folders in it are listed, but not as places listed whole."""
    photos: list[PhotoFile] = []
    tables: list[pa.Table] = []
    listed: str | None = None  # the last folder: "**" matches all that is in it once more
    matches = set(map(os.path.abspath, glob.glob(pattern, recursive=True)))  # noqa: PTH207
    for path in sorted(matches, key=_parts):
        if listed is not None and path.startswith(below(listed)):
            continue
        if os.path.isdir(path):  # noqa: PTH112
            listed = path
            tables.append(photo_table(photos_below(path, [])))
        elif has_photo_ending(path):
            photos.append(look_at(path))
    table = pa.concat_tables([*tables, photo_table(photos)])
    if not len(table):
        raise WrongUsageError(
            f"{pattern} matches no photo and no folder with photos; patterns match photos and "
            f"folders by name; else name {_NAMEABLE}"
        )
    return Found(pattern, table)


def _parts(path: str) -> list[str]:
    """Sorts a folder just before what is in it."""
    return path.split("/")


def _find_in_list(source: str, path: Path) -> Found:
    named = read_photo_list(path)
    uris = (uri for chunk in named["uri"].chunks for uri in chunk.to_pylist())
    photos = photo_table(map(_look_at_listed, uris))
    for field in list(named.schema)[1:]:
        photos = photos.append_column(field, named[field.name])
    return Found(source, distinct(photos, conflicts=source, nulls_conflict=True))


def _look_at_listed(uri: str) -> PhotoFile:
    if not is_path(uri):
        return PhotoFile(uri, -1, -1)  # a question to a server for each would take hours
    return look_at(os.fspath(photo_path(uri)) if is_file_uri(uri) else uri)
