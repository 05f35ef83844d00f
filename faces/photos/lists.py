"""Read photo lists: text, CSV and Parquet files that name photos, with or without metadata."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from faces.core.arrow_checks import has_possible_dates
from faces.core.errors import CorruptFileError, WrongUsageError, first_line
from faces.core.settings import Access, SourceLimits
from faces.photos.access import require_allowed
from faces.photos.archives import split_member_url
from faces.photos.list_values import DateOrder, typed_column
from faces.photos.metadata import NAME_COLUMNS, Renamed, column_key, finite, is_reserved
from faces.photos.names_on_disk import NamesOnDisk
from faces.photos.remote import require_readable_scheme
from faces.photos.uris import is_file_uri, is_url, photo_uri, unescape_url, url_scheme

LIST_SUFFIXES = (".txt", ".csv", ".tsv", ".parquet")
"""Endings of file names, in any case, that are taken for photo lists."""

OPEN_DATES = b"facetrove_open_dates"
"""Key of the names of columns whose dates stay open, in the metadata of a list's schema."""

_BLOCK_BYTES = 16 << 20
"""Bytes of a CSV that are parsed at a time, and so the maximum length of one value."""

_CHUNK_ROWS = 1 << 16
"""Photos per chunk of the table, so that few uris are Python objects at a time."""


# Over 60 lines, of which two thirds say what it promises.
def read_photo_list(
    path: Path,
    rename: Mapping[str, str] = MappingProxyType({}),
    *,
    limits: SourceLimits = SourceLimits(),
    access: Access = Access(),
    date_order: DateOrder | None = None,
    on_entries: Callable[[int], None] = lambda _: None,
) -> pa.Table:
    r"""Read the names and the metadata of the photos in a photo list, in the list's order.

    Each line of a text file is a name, in the encoding of file names. A CSV file (UTF-8; separated
    by tabs in a .tsv) or Parquet file has a column `uri` or `path`, and its other columns are
    metadata. Relative paths are relative to the list's folder. A path that does not exist means the
    file whose name is equal after Unicode NFC.

    A CSV column gets the first type that fits all its values: int64 if each value is written as an
    integer prints ("007" stays text); float64 if each value is a decimal number of at most 15
    digits before the point; bool (true, false); date32 or timestamp[us], see
    `faces.photos.list_values.typed_column`; else string. An empty value is null, and so is a number
    of a Parquet file that is not finite.

    Args:
        path: path of the photo list; its ending, one of `LIST_SUFFIXES`, decides the format.
        rename: names that columns get instead of those in the file, by the file's name.
        limits: limits on the list. Those of memory and time are enforced by
            `faces.photos.limited_listing`, which calls this function in another process.
        access: the addresses that the list may name.
        date_order: what dates such as 03/04/1996 begin with where no value of the column says it.
        on_entries: called now and then with the number of photos read so far.

    Returns:
        A table with a row per entry of the list: `uri` (string, see `faces.photos.uris.photo_uri`;
        duplicates are kept), then the metadata columns (string, int64, float64, bool, date32 or
        timestamp[us]; null for a column without any value). The names of columns are as
        `faces.photos.metadata.column_name` gives them. The schema's metadata has under
        `OPEN_DATES` the names of columns that stay text because it is open what their dates begin
        with, as a JSON list.

    Raises:
        WrongUsageError: the list cannot be used as it is, is over a limit, or names an address that
            is not allowed; the message says what to change.
        CorruptFileError: the Parquet file is corrupt.
    """
    names: Iterator[str]
    open_dates: list[str] = []
    try:
        if path.suffix.lower() == ".txt":
            names, metadata = _text_lines(path), pa.table({})
        else:
            is_parquet = path.suffix.lower() == ".parquet"
            renamed = Renamed(rename)
            if is_parquet:
                table = _read_parquet(path, renamed, limits)
            else:
                table, open_dates = _read_csv(path, renamed, date_order)
            _require_entries(len(table), path, limits)
            names, metadata = _split_columns(table, path)
        uris = _uris(_bounded(names, path, limits, on_entries), path, access)
    except OSError as error:
        raise WrongUsageError(
            f"{path} cannot be read ({error.strerror or error}); check that you may read it"
        ) from error
    table = pa.table({"uri": uris})
    for name, column in zip(metadata.column_names, metadata.columns, strict=True):
        table = table.append_column(name, column)
    return table.replace_schema_metadata({OPEN_DATES: json.dumps(open_dates)})


def _text_lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for number, line in enumerate(file):
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line
            text = text.removesuffix(b"\n").removesuffix(b"\r")
            if b"\0" in text:
                raise WrongUsageError(f"{path} is not plain text (UTF-16?); save it as UTF-8")
            if text.strip():
                yield os.fsdecode(text)


def _require_entries(count: int, path: Path, limits: SourceLimits) -> None:
    if count > limits.max_entries:
        raise WrongUsageError(
            f"{path} names over {limits.max_entries:,} photos (--max-entries); divide it, or raise "
            "the limit"
        )


def _bounded(
    names: Iterable[str], path: Path, limits: SourceLimits, on_entries: Callable[[int], None]
) -> Iterator[str]:
    """Yield the names of a list, and report how many; raise WrongUsageError for too many."""
    for number, name in enumerate(names, 1):
        if number % _CHUNK_ROWS == 0:
            on_entries(number)
        if number > limits.max_entries:
            _require_entries(number, path, limits)
        yield name


def _uris(names: Iterable[str], path: Path, access: Access) -> pa.ChunkedArray:
    folder = os.path.abspath(path.parent)
    rules, on_disk = _AddressRules(path, access), NamesOnDisk()
    chunks, uris = [], []
    for name in names:
        uris.append(_uri(name, folder, rules, on_disk))
        if len(uris) == _CHUNK_ROWS:
            chunks.append(pa.array(uris, pa.string()))
            uris = []
    return pa.chunked_array([*chunks, pa.array(uris, pa.string())], pa.string())


class _AddressRules:
    """What the addresses of one list are checked for.

    Attributes:
        path: path of the list.
        access: the addresses that the list may name.
        schemes: schemes of addresses seen so far, which are allowed and can be read.
    """

    def __init__(self, path: Path, access: Access) -> None:
        self.path = path
        self.access = access
        self.schemes: set[str] = set()

    def require(self, url: str) -> None:
        """Raise WrongUsageError for an address that must not or cannot be read."""
        member = split_member_url(url)
        file_url = url if member is None else member.target
        scheme = url_scheme(file_url)
        if scheme not in self.schemes or _MAY_HAVE_CREDENTIALS.search(file_url):
            require_allowed(url, self.access, where=f"{self.path}: ")
        if is_url(file_url) and scheme not in self.schemes:
            require_readable_scheme(file_url)  # one error now, instead of one for each photo
            self.schemes.add(scheme)


_MAY_HAVE_CREDENTIALS = re.compile("[@?#;]")


def _uri(name: str, folder: str, rules: _AddressRules, on_disk: NamesOnDisk) -> str:
    url = unescape_url(name)
    if not is_url(url):
        if is_file_uri(name):
            return photo_uri(name)
        return photo_uri(on_disk.existing(os.path.join(folder, name)))  # noqa: PTH118
    rules.require(url)
    return photo_uri(url)


_SEPARATOR_HINT = "; separate columns by commas, or by tabs in a .tsv"


def _split_columns(table: pa.Table, path: Path) -> tuple[Iterator[str], pa.Table]:
    """Split a photo list's table into the photos' names and the metadata columns."""
    columns = table.column_names
    by_key: dict[str, str] = {}
    for name in columns:
        other = by_key.setdefault(column_key(name), name)
        if columns.count(name) > 1:
            raise WrongUsageError(f"{path} has two columns called {name!r}; rename one of them")
        if other != name:
            raise WrongUsageError(
                f"{path} has a column {other!r} and a column {name!r}, and upper and lower case "
                "make no difference; rename one of them"
            )
        if not name:
            raise WrongUsageError(f"{path} has a column without a name; name it or remove it")
    found = [name for name in NAME_COLUMNS if name in columns]
    if len(found) != 1:
        problem = "has both a column `uri` and a column `path`" if found else "names no photos"
        raise WrongUsageError(
            f"{path} {problem}; exactly one column must be called `uri` or `path` "
            f"(it has {', '.join(columns)}{_SEPARATOR_HINT if ';' in columns[0] else ''})"
        )
    for name in columns:
        if is_reserved(name) and name not in found:
            raise WrongUsageError(
                f"{path} has a column {name!r}, a name that is reserved for a column of datasets; "
                f"give it another name with --rename {name}=list_{name}"
            )
    names = table[found[0]]
    if not pa.types.is_string(names.type):
        raise WrongUsageError(
            f"{path}: column {found[0]!r} is of type {names.type}; it must be text"
        )
    if names.null_count:
        row = pc.index(pc.is_null(names), value=True).as_py() + 1
        raise WrongUsageError(
            f"{path}: row {row} names no photo; fill in its {found[0]} or remove the row"
        )
    values = (value for chunk in names.chunks for value in chunk.to_pylist())
    return values, table.drop_columns(found)


def _read_csv(
    path: Path, renamed: Renamed, date_order: DateOrder | None
) -> tuple[pa.Table, list[str]]:
    """Read a CSV file; return its table, and the names of columns whose dates stay open."""
    reading = pyarrow.csv.ReadOptions(block_size=_BLOCK_BYTES)
    parsing = pyarrow.csv.ParseOptions(
        delimiter="\t" if path.suffix.lower() == ".tsv" else ",", newlines_in_values=True
    )
    _require_text(path)
    try:
        with pyarrow.csv.open_csv(path, read_options=reading, parse_options=parsing) as file:
            columns = file.schema.names
        texts = pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
        )
        table = pyarrow.csv.read_csv(
            path, read_options=reading, parse_options=parsing, convert_options=texts
        )
    except UnicodeDecodeError as error:
        raise WrongUsageError(f"{path} is not UTF-8; save it as CSV in UTF-8") from error
    except pa.ArrowException as error:
        cause = first_line(error)
        if "UTF8" in cause:
            raise WrongUsageError(f"{path} is not UTF-8; save it as CSV in UTF-8") from error
        raise WrongUsageError(f"{path} is not a valid CSV file ({cause}); correct it") from error
    names = [renamed.name_of(name) for name in columns]
    typed, open_dates = [], []
    for name, column in zip(names, table.columns, strict=True):
        if name in NAME_COLUMNS:
            typed.append(column)
            continue
        values, is_open = typed_column(column, date_order)
        typed.append(values)
        if is_open:
            open_dates.append(name)
    return pa.Table.from_arrays(typed, names=names), open_dates


def _require_text(path: Path) -> None:
    """Raise WrongUsageError for a CSV that the parser would misread without an error."""
    num_quotes = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            if b"\0" in block:
                raise WrongUsageError(f"{path} is not UTF-8 (UTF-16?); save it as CSV in UTF-8")
            num_quotes += block.count(b'"')
    if num_quotes % 2:  # the rest of the file would be one value
        raise WrongUsageError(f"{path} has an unclosed quotation mark; close or remove it")


def _read_parquet(path: Path, renamed: Renamed, limits: SourceLimits) -> pa.Table:
    try:
        # read_table would add columns for folders with names such as year=2020.
        with pq.ParquetFile(path) as file:
            _require_entries(file.metadata.num_rows, path, limits)
            table = file.read()
            table.validate(full=True)  # text may not be UTF-8
    except (ValueError, pa.ArrowException) as error:
        raise CorruptFileError(
            f"{path} is corrupt or not a Parquet file ({first_line(error)}); create it again"
        ) from error
    columns = [
        _to_metadata_type(column, f"{path}: column {name!r}")
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    names = [renamed.name_of(name) for name in table.column_names]
    return pa.Table.from_arrays(columns, names=names)


def _to_metadata_type(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """Convert a column of a Parquet file to the type of METADATA_TYPES that holds its values."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    target = _metadata_type(kind)
    if target is None:
        raise WrongUsageError(
            f"{where} is of type {column.type}, which metadata cannot have; "
            "convert it to text, numbers, true/false, dates or times, or remove it"
        )
    try:
        if pa.types.is_floating(kind):
            return finite(column.cast(kind).cast(target))
        # Timestamps are truncated to microseconds; any other value must fit its new type.
        cast = column.cast(kind).cast(target, safe=not pa.types.is_timestamp(kind))
        if not has_possible_dates(cast):
            raise pa.ArrowInvalid("it has a date outside the years 1 to 9999")
        return cast
    except pa.ArrowInvalid as error:
        raise WrongUsageError(
            f"{where} does not fit {target} ({first_line(error)}); convert it to text"
        ) from error


def _metadata_type(kind: pa.DataType) -> pa.DataType | None:
    types: list[tuple[Any, pa.DataType]] = [
        (pa.types.is_string, pa.string()),
        (pa.types.is_large_string, pa.string()),
        (pa.types.is_string_view, pa.string()),
        (pa.types.is_boolean, pa.bool_()),
        (pa.types.is_integer, pa.int64()),
        (pa.types.is_floating, pa.float64()),
        (pa.types.is_date, pa.date32()),
        (pa.types.is_timestamp, pa.timestamp("us")),
        (pa.types.is_null, pa.null()),
    ]
    return next((target for is_kind, target in types if is_kind(kind)), None)
