"""What to embed: folders, archives, photo lists, patterns and URLs to one table of photos."""

from __future__ import annotations

import glob
import math
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.errors import FaceTroveError, WrongUsageError, first_line
from faces.photos.archives import (
    ARCHIVE_SUFFIXES,
    MemberUrl,
    archive_scheme,
    open_archive,
    split_member_url,
)
from faces.photos.decoding import PHOTO_SUFFIXES
from faces.photos.lists import LIST_SUFFIXES, read_photo_list
from faces.photos.remote import filesystem_of, open_binary
from faces.photos.uris import (
    PhotoFile,
    escape_path,
    escape_url,
    is_file_uri,
    is_path,
    is_url,
    photo_path,
    photo_uri,
    unescape_url,
)

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

PhotoTable: TypeAlias = pa.Table
"""Photos, one row per uri, sorted by the bytes of the uri: `LISTING_SCHEMA`, then metadata."""

LISTING_SCHEMA = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),  # see faces.photos.uris.photo_uri
        pa.field("num_bytes", pa.int64(), nullable=False),  # -1: could not be told
        pa.field("mtime_ns", pa.int64(), nullable=False),  # since 1970; -1: could not be told
    ]
)

_PLACE = "reading_order"  # reserved: no metadata is called so
_CHUNK_ROWS = 1 << 16
_MAGIC = re.compile(r"[*?\[]")
# "." and "..", which archives have in names, hide nothing. RE2 and Python read these alike.
_HIDDEN = r"(?:^|/)(?:\.[^./]|\.\.[^/])"
_PHOTO_ENDING = f"(?i)(?:{'|'.join(map(re.escape, PHOTO_SUFFIXES))})$"
_is_hidden = re.compile(_HIDDEN).search


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
        photos = _mask(pc.match_substring_regex(names, _PHOTO_ENDING))
        for row in np.flatnonzero(~photos):
            photos[row] = self._was_folder(uris[row].as_py())
        held[rows] = photos & ~_mask(pc.match_substring_regex(names, _HIDDEN))
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
class _Found:
    """What one source gave.

    Attributes:
        source: as named.
        photos: distinct, in any order.
        roots: see `PhotoListing`.
        in_archive: the rows are in the order of an archive.
    """

    source: str
    photos: pa.Table
    roots: tuple[ListedPlace, ...] = ()
    in_archive: bool = False


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
        DamagedFileError: an archive or Parquet file is damaged.
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
    return _join(found)


_NAMEABLE = (
    f"a folder, an archive ({', '.join(ARCHIVE_SUFFIXES)}), a photo list "
    f"({', '.join(LIST_SUFFIXES)}), a photo, a pattern like 'photos/**/*.jpg' or a URL"
)


def _find(source: str | Path) -> _Found:
    text = unescape_url(os.fspath(source))
    if is_url(text):
        return _find_url(text)
    path = photo_path(text)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        if _MAGIC.search(text):
            return _find_pattern(text)
        gone = isinstance(error, FileNotFoundError | NotADirectoryError)
        problem = "does not exist" if gone else f"cannot be looked at ({_cause(error)})"
        raise WrongUsageError(f"{text} {problem}; name {_NAMEABLE}") from error
    if stat.S_ISDIR(mode):
        return _find_in_folder(text, path)
    if stat.S_ISREG(mode):
        if (scheme := archive_scheme(path.name)) is not None:
            return _find_in_archive(text, MemberUrl(scheme, "", os.path.abspath(path)))
        if path.name.lower().endswith(LIST_SUFFIXES):
            return _find_in_list(text, path)
    return _Found(text, _photo_table([look_at(os.path.abspath(path))]))


# Folders


def _find_in_folder(source: str, path: Path) -> _Found:
    folder = os.path.abspath(path)
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise WrongUsageError(
            f"{source} cannot be read ({_cause(error)}); make it readable or name another folder"
        ) from error
    skipped: list[str] = []
    photos = _photo_table(_photos_below(folder, skipped))
    return _Found(source, photos, _roots(_below(folder), map(_below, skipped), escape=escape_path))


def _photos_below(folder: str, skipped: list[str]) -> Iterator[PhotoFile]:
    """Look at the photos of a folder; add the subfolders not looked at to `skipped`."""
    waiting = [folder]
    while waiting:
        folder = waiting.pop()
        is_empty = True
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    is_empty = False
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.is_symlink() and os.path.isdir(entry.path):  # noqa: PTH112
                        skipped.append(entry.path)
                    elif entry.name.lower().endswith(PHOTO_SUFFIXES):
                        yield look_at(entry.path)
            if is_empty:  # a place for a disk that is not there looks like this
                skipped.append(folder)
        except FileNotFoundError:
            continue  # removed since we saw it
        except OSError:  # it still counts: the job will say why it cannot be read
            skipped.append(folder)
            yield PhotoFile(_path_uri(folder), -1, -1)


def look_at(path: str) -> PhotoFile:
    """A file as a photo seen from outside, whatever it is."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):  # it still counts: the job will say why it cannot be read
        return PhotoFile(_path_uri(path), -1, -1)
    return PhotoFile(_path_uri(path), status.st_size, status.st_mtime_ns)


def _path_uri(path: str) -> str:
    return path if path.isascii() else photo_uri(path)


def _below(folder: str) -> str:
    return folder.rstrip("/") + "/"


def _roots(
    prefix: str, skipped: Iterable[str] = (), *, suffix: str = "", escape: Callable[[str], str]
) -> tuple[ListedPlace, ...]:
    """A place, and the same place as the uris look that had to be escaped."""
    beginnings = tuple(skipped)
    escaped_suffix = escape(suffix).removeprefix(escape(""))
    return (
        ListedPlace(prefix, suffix, beginnings),
        ListedPlace(escape(prefix), escaped_suffix, tuple(map(escape, beginnings))),
    )


# Patterns, photo lists


def _find_pattern(pattern: str) -> _Found:
    """What a pattern matches. Folders in it are listed, but not as places listed whole."""
    photos: list[PhotoFile] = []
    tables: list[pa.Table] = []
    listed: str | None = None  # the last folder: "**" matches all that is in it once more
    matches = set(map(os.path.abspath, glob.glob(pattern, recursive=True)))  # noqa: PTH207
    for path in sorted(matches, key=_parts):
        if listed is not None and path.startswith(_below(listed)):
            continue
        if os.path.isdir(path):  # noqa: PTH112
            listed = path
            tables.append(_photo_table(_photos_below(path, [])))
        elif path.lower().endswith(PHOTO_SUFFIXES):
            photos.append(look_at(path))
    table = pa.concat_tables([*tables, _photo_table(photos)])
    if not len(table):
        raise WrongUsageError(
            f"{pattern} matches no photo and no folder with photos; patterns match photos and "
            f"folders by name; else name {_NAMEABLE}"
        )
    return _Found(pattern, table)


def _parts(path: str) -> list[str]:
    """Sorts a folder just before what is in it."""
    return path.split("/")


def _find_in_list(source: str, path: Path) -> _Found:
    named = read_photo_list(path)
    uris = (uri for chunk in named["uri"].chunks for uri in chunk.to_pylist())
    photos = _photo_table(map(_look_at_listed, uris))
    for field in list(named.schema)[1:]:
        photos = photos.append_column(field, named[field.name])
    return _Found(source, _distinct(photos, conflicts=source, nulls_conflict=True))


def _look_at_listed(uri: str) -> PhotoFile:
    if not is_path(uri):
        return PhotoFile(uri, -1, -1)  # a question to a server for each would take hours
    return look_at(os.fspath(photo_path(uri)) if is_file_uri(uri) else uri)


# Archives


def _find_in_archive(source: str, url: MemberUrl) -> _Found:
    """The photos of an archive, of a folder in it, or one member named."""
    if "::" in url.target:
        raise WrongUsageError(
            f"{url.target} has '::' in its path, which parts members from archives in their "
            "URLs; rename or move it"
        )
    try:
        mtime_ns = _archive_mtime_ns(url.target)
        archive = open_archive(open_binary(url.target), url.scheme, name=url.target)
    except FaceTroveError:
        raise
    except Exception as error:  # foreign filesystems raise nearly anything
        raise WrongUsageError(
            f"{url.target} cannot be opened ({_cause(error)}); check that it exists and is yours "
            "to read"
        ) from error
    folder = _below(url.member) if url.member else ""
    files = (
        PhotoFile(photo_uri(str(url._replace(member=name))), num_bytes, mtime_ns)
        for name, num_bytes in archive.members()
        if name == url.member or (name.startswith(folder) and _is_wanted(name[len(folder) :]))
    )
    photos = _photo_table(files)
    if url.member and not len(photos):
        raise WrongUsageError(
            f"{url.target} has no photo, and no folder with photos, called {url.member}; "
            f"{url.scheme}://::{url.target} takes all its photos"
        )
    roots = _roots(f"{url.scheme}://{folder}", suffix=f"::{url.target}", escape=escape_url)
    return _Found(source, photos, roots, in_archive=True)


def _archive_mtime_ns(target: str) -> int:
    if not is_url(target):
        status = Path(target).stat()
        if not stat.S_ISREG(status.st_mode):
            raise WrongUsageError(f"{target} is not a regular file; name an archive")
        return status.st_mtime_ns
    filesystem, path = filesystem_of(target)
    return _mtime_ns(filesystem.info(path))


def _is_wanted(name: str) -> bool:
    return name.lower().endswith(PHOTO_SUFFIXES) and not _is_hidden(name)


# URLs


def _find_url(url: str) -> _Found:
    member = split_member_url(url)
    if member is not None:
        target = member.target if is_url(member.target) else os.path.abspath(member.target)
        return _find_in_archive(url, member._replace(target=target))
    try:
        filesystem, path = filesystem_of(url)
        filesystem.invalidate_cache()  # or it would answer what it found the last time
        uri = photo_uri(filesystem.unstrip_protocol(path))
        if is_path(uri):
            raise WrongUsageError(f"{url} is a file or folder here; name its path, {path}")
        # The uris are all that workers get.
        complete = filesystem_of(unescape_url(uri)) == (filesystem, path)
        info = filesystem.info(path)
        is_folder = info["type"] == "directory"
        infos = _find_objects(filesystem, path) if complete and is_folder else {path: info}
    except FaceTroveError:
        raise
    except FileNotFoundError as error:
        raise WrongUsageError(f"{url} does not exist; name a folder or a photo there") from error
    except Exception as error:  # foreign filesystems raise nearly anything
        raise WrongUsageError(
            f"{url} cannot be listed ({_cause(error)}); check the address, your credentials "
            "and the network"
        ) from error
    if not complete:
        raise WrongUsageError(
            f"{url} holds more than {uri.partition('://')[0]}:// URLs of photos can say (a host, "
            "a user); mount it, or copy the photos here"
        )
    if is_folder:
        return _objects_below(url, filesystem, path, infos)
    if (scheme := archive_scheme(path)) is not None:
        return _find_in_archive(url, MemberUrl(scheme, "", uri))
    if path.lower().endswith(LIST_SUFFIXES):
        raise WrongUsageError(f"{url} is a photo list elsewhere; copy it here and name the copy")
    return _Found(url, _photo_table([_object(uri, info)]))


def _objects_below(
    url: str, filesystem: AbstractFileSystem, path: str, infos: dict[str, dict[str, Any]]
) -> _Found:
    folder = _below(path) if path.strip("/") else path
    files = (
        _object(photo_uri(filesystem.unstrip_protocol(name)), info)
        for name, info in infos.items()
        if info.get("type") != "directory" and _is_wanted(name.removeprefix(folder))
    )
    roots = _roots(filesystem.unstrip_protocol(folder), escape=escape_url)
    return _Found(url, _photo_table(files), roots)


def _find_objects(filesystem: AbstractFileSystem, path: str) -> dict[str, dict[str, Any]]:
    """All that lies below a path, by path.

    Filesystems with a way of their own ask for all at once, and raise if they may not. fsspec's
    general way passes over subfolders that it may not read, so we walk ourselves then.
    """
    from fsspec import AbstractFileSystem
    from fsspec.asyn import AsyncFileSystem

    kind = type(filesystem)
    found: dict[str, dict[str, Any]] = {}
    if getattr(kind, "_find", AsyncFileSystem._find) is not AsyncFileSystem._find or (
        not issubclass(kind, AsyncFileSystem) and kind.find is not AbstractFileSystem.find
    ):
        found = filesystem.find(path, detail=True)
        return found
    waiting = [path]
    while waiting:
        folder = waiting.pop()
        for info in filesystem.ls(folder, detail=True):
            name = info["name"]
            if info["type"] != "directory":
                found[name] = info
            elif not (
                info.get("islink")
                or _is_hidden(name.rstrip("/").rpartition("/")[2])
                or name.rstrip("/") == folder.rstrip("/")  # some list the folder itself
            ):
                waiting.append(name)
    return found


def _object(uri: str, info: dict[str, Any]) -> PhotoFile:
    size = info.get("size")
    return PhotoFile(uri, -1 if size is None else int(size), _mtime_ns(info))


_MTIME_KEYS = ("mtime", "LastModified", "last_modified", "updated", "created")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _mtime_ns(info: dict[str, Any]) -> int:
    """When an object was last changed, from what its filesystem tells; -1 if it does not."""
    value = next((info[key] for key in _MTIME_KEYS if info.get(key) is not None), None)
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return -1
    if isinstance(value, datetime):
        value = value if value.tzinfo else value.replace(tzinfo=UTC)
        return (value - _EPOCH) // timedelta(microseconds=1) * 1000
    if isinstance(value, int):
        return value * 10**9
    if isinstance(value, float) and math.isfinite(value):
        return int(value * 1e9)
    return -1


# Tables


def _photo_table(files: Iterable[PhotoFile]) -> pa.Table:
    """Photos as a table of `LISTING_SCHEMA`, a chunk at a time, so that few stay objects."""
    waiting = iter(files)
    batches = iter(lambda: list(islice(waiting, _CHUNK_ROWS)), [])
    return pa.Table.from_batches(
        [
            pa.record_batch(
                list(map(pa.array, zip(*batch, strict=True), LISTING_SCHEMA.types)),
                schema=LISTING_SCHEMA,
            )
            for batch in batches
        ],
        schema=LISTING_SCHEMA,
    )


def _join(found: Sequence[_Found]) -> PhotoListing:
    metadata = _metadata_fields(found)
    tables, start = [], 1
    for part in found:
        place = np.zeros(len(part.photos), dtype=np.int64)
        if part.in_archive:
            place += np.arange(start, start + len(place))
            start += len(place)
        tables.append(_with_columns(part.photos, metadata).append_column(_PLACE, pa.array(place)))
    photos = pa.concat_tables(tables)
    if len(found) > 1:
        photos = _distinct(photos, conflicts="the photo lists, taken together")
    photos = photos.take(pc.sort_indices(photos, sort_keys=[("uri", "ascending")]))
    order = pa.array(np.argsort(photos[_PLACE].to_numpy(), kind="stable"))
    schema = pa.schema([*LISTING_SCHEMA, *metadata])
    roots = tuple(root for part in found for root in part.roots)
    return PhotoListing(photos.drop_columns([_PLACE]).cast(schema), roots, order)


def _metadata_fields(found: Sequence[_Found]) -> list[pa.Field]:
    """The metadata columns of all sources, in the order they come."""
    types: dict[str, tuple[pa.DataType, str]] = {}
    for part in found:
        for field in list(part.photos.schema)[len(LISTING_SCHEMA) :]:
            kind, source = types.get(field.name, (pa.null(), part.source))
            if pa.types.is_null(kind):
                types[field.name] = (field.type, part.source)
            elif not pa.types.is_null(field.type) and field.type != kind:
                raise WrongUsageError(
                    f"column {field.name!r} is {kind} in {source} but {field.type} in "
                    f"{part.source}; make them alike or rename one"
                )
    return [
        pa.field(name, pa.string() if pa.types.is_null(kind) else kind)
        for name, (kind, _) in types.items()
    ]


def _with_columns(photos: pa.Table, metadata: Sequence[pa.Field]) -> pa.Table:
    """A table with all metadata columns, null where it had none."""
    table = photos.select(LISTING_SCHEMA.names)
    for field in metadata:
        known = field.name in photos.column_names and not pa.types.is_null(
            photos.schema.field(field.name).type
        )
        values = photos[field.name] if known else pa.nulls(len(photos), field.type)
        table = table.append_column(field, values)
    return table


def _distinct(photos: pa.Table, *, conflicts: str, nulls_conflict: bool = False) -> pa.Table:
    """One row per uri, with the metadata that its rows have.

    Args:
        photos: `LISTING_SCHEMA`, metadata, and `_PLACE` or not.
        conflicts: what to blame if two rows of a photo say different things.
        nulls_conflict: having a value and having none are different things too.
    """
    if pc.count_distinct(photos["uri"]).as_py() == len(photos):
        return photos
    metadata = [
        field.name
        for field in list(photos.schema)[len(LISTING_SCHEMA) :]
        if field.name != _PLACE and not pa.types.is_null(field.type)
    ]
    mode = "all" if nulls_conflict else "only_valid"
    grouped = photos.group_by("uri", use_threads=False).aggregate(
        [
            *(("num_bytes", "max"), ("mtime_ns", "max")),
            *([(_PLACE, "max")] if _PLACE in photos.column_names else []),
            *((name, "first", pc.ScalarAggregateOptions(skip_nulls=True)) for name in metadata),
            *((name, "count_distinct", pc.CountOptions(mode=mode)) for name in metadata),
        ]
    )
    for name in metadata:
        differing = grouped.filter(pc.greater(grouped[f"{name}_count_distinct"], 1))
        if len(differing):
            raise WrongUsageError(
                f"{conflicts}: {differing['uri'][0].as_py()} is named with different values of "
                f"{name!r}; name it once or make them alike"
            )
    columns = []
    for field in photos.schema:
        if field.name == "uri":
            columns.append(grouped["uri"])
        elif pa.types.is_null(field.type):
            columns.append(pa.chunked_array([pa.nulls(len(grouped))]))
        else:
            how = "first" if field.name in metadata else "max"
            columns.append(grouped[f"{field.name}_{how}"])
    return pa.Table.from_arrays(columns, schema=photos.schema)


def _mask(booleans: pa.Array) -> NDArray[np.bool_]:
    """A copy that may be written to; null is false."""
    return np.array(pc.fill_null(booleans, False).to_numpy(zero_copy_only=False), dtype=np.bool_)


def _cause(error: BaseException) -> str:
    """Why something failed, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return first_line(error)
