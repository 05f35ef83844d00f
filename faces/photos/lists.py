"""Photo lists: text, CSV and Parquet files that name photos, and may say more about each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from faces.core.errors import CorruptFileError, WrongUsageError, first_line
from faces.photos.archives import split_member_url
from faces.photos.metadata import RESERVED_COLUMNS
from faces.photos.remote import require_readable_scheme
from faces.photos.uris import is_file_uri, is_url, photo_uri, unescape_url, url_scheme

LIST_SUFFIXES = (".txt", ".csv", ".tsv", ".parquet")
"""File names with these endings, in any case, are taken for photo lists."""

NAME_COLUMNS = ("uri", "path")
"""What the column that names the photos may be called."""

_BLOCK_BYTES = 16 << 20  # a field, quoted text with line ends say, may not be longer
_TEXT_CHUNK_ROWS = 1 << 16

_INTEGER = r"\A(?:0|-?[1-9][0-9]*)\z"
# Fifteen digits, so that no two numbers of a column become one.
_NUMBER = r"\A-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]+)?\z"
_BOOLEAN = r"\A(?:true|false|True|False|TRUE|FALSE)\z"
_DATE = r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\z"


def read_photo_list(path: Path) -> pa.Table:
    r"""The photos that a list names, in its order, and what it says about them.

    In a text file, a line is a name, in whatever encoding file names have. A CSV (UTF-8; with
    tabs: .tsv) or Parquet file has a column `uri` or `path`; its other columns are metadata.
    Relative paths are relative to the list's folder.

    A column of a CSV is int64 if every value in it reads the same when written again (so "007"
    stays text), else float64 if every value is a plain number of at most 15 digits before the
    point, else bool (true, false), else date32 (YYYY-MM-DD), else string. Empty is null.

    Returns:
        `uri` (string, see `faces.photos.uris.photo_uri`; repeated if the list repeats it), then the
        metadata: string, int64, float64, bool, date32, timestamp[us], or null where a CSV's
        column has no value at all.

    Raises:
        WrongUsageError: it cannot be used as it is; says what to change.
        CorruptFileError: a Parquet file is corrupt.
    """
    try:
        if path.suffix.lower() == ".txt":
            names, metadata = _text_lines(path), pa.table({})
        else:
            table = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
            names, metadata = _split_columns(table, path)
        uris = _uris(names, path)
    except OSError as error:
        raise WrongUsageError(
            f"{path} cannot be read ({error.strerror or error}); check that it is yours to read"
        ) from error
    table = pa.table({"uri": uris})
    for name, column in zip(metadata.column_names, metadata.columns, strict=True):
        table = table.append_column(name, column)
    return table


def _text_lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for number, line in enumerate(file):
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line
            text = text.removesuffix(b"\n").removesuffix(b"\r")
            if b"\0" in text:
                raise WrongUsageError(f"{path} is no plain text (UTF-16?); save it as UTF-8")
            if text.strip():
                yield os.fsdecode(text)


def _uris(names: Iterable[str], path: Path) -> pa.ChunkedArray:
    folder = os.path.abspath(path.parent)
    schemes: set[str] = set()
    chunks, uris = [], []
    for name in names:
        uris.append(_uri(name, folder, schemes))
        if len(uris) == _TEXT_CHUNK_ROWS:
            chunks.append(pa.array(uris, pa.string()))
            uris = []
    return pa.chunked_array([*chunks, pa.array(uris, pa.string())], pa.string())


def _uri(name: str, folder: str, schemes: set[str]) -> str:
    url = unescape_url(name)
    if not is_url(url):
        return photo_uri(name if is_file_uri(name) else os.path.join(folder, name))  # noqa: PTH118
    member = split_member_url(url)
    place = url if member is None else member.target
    scheme = url_scheme(place)
    if is_url(place) and scheme not in schemes:
        require_readable_scheme(place)  # better now than at every photo
        schemes.add(scheme)
    return photo_uri(url)


_SEPARATED = "; separate columns by commas, or by tabs in a .tsv"


def _split_columns(table: pa.Table, path: Path) -> tuple[Iterator[str], pa.Table]:
    """The names of the photos, and all other columns."""
    columns = table.column_names
    for name in columns:
        if columns.count(name) > 1:
            raise WrongUsageError(f"{path} has two columns called {name!r}; rename one of them")
        if not name.strip():
            raise WrongUsageError(f"{path} has a column without a name; name it or remove it")
    found = [name for name in NAME_COLUMNS if name in columns]
    if len(found) != 1:
        problem = "has both a column `uri` and a column `path`" if found else "names no photos"
        raise WrongUsageError(
            f"{path} {problem}; exactly one column must be called `uri` or `path` "
            f"(it has {', '.join(columns)}{_SEPARATED if ';' in columns[0] else ''})"
        )
    for name in columns:
        if name in RESERVED_COLUMNS and name not in found:
            raise WrongUsageError(
                f"{path} has a column {name!r}, which is what datasets call one of their own; "
                "rename it"
            )
    names = table[found[0]]
    if not pa.types.is_string(names.type):
        raise WrongUsageError(
            f"{path}: column {found[0]!r} is of type {names.type}; it must be text"
        )
    if names.null_count:
        row = pc.index(pc.is_null(names), value=True).as_py() + 1
        raise WrongUsageError(
            f"{path}: row {row} names no photo; fill in its {found[0]} or drop it"
        )
    values = (value for chunk in names.chunks for value in chunk.to_pylist())
    return values, table.drop_columns(found)


def _read_csv(path: Path) -> pa.Table:
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
        raise WrongUsageError(f"{path} is no proper CSV ({cause}); mend it") from error
    typed = [
        column if name in NAME_COLUMNS else _typed(column)
        for name, column in zip(columns, table.columns, strict=True)
    ]
    return pa.Table.from_arrays(typed, names=columns)


def _require_text(path: Path) -> None:
    """Refuse what would be read as something else without a word."""
    num_quotes = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            if b"\0" in block:
                raise WrongUsageError(f"{path} is not UTF-8 (UTF-16?); save it as CSV in UTF-8")
            num_quotes += block.count(b'"')
    if num_quotes % 2:  # all that follows would be one value
        raise WrongUsageError(f"{path} has a quotation mark without its partner; mend it")


def _typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of text as the narrowest type that keeps what it says; null if it says nothing."""
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column))])
    if _all_match(column, _INTEGER):
        return _cast_or_keep(column, pa.int64())
    if _all_match(column, _NUMBER):
        return column.cast(pa.float64())
    if _all_match(column, _BOOLEAN):
        return pc.equal(pc.utf8_lower(column), "true")
    if _all_match(column, _DATE):
        return _cast_or_keep(column, pa.date32())
    return column


def _all_match(column: pa.ChunkedArray, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(column, pattern)).as_py())


def _cast_or_keep(column: pa.ChunkedArray, to: pa.DataType) -> pa.ChunkedArray:
    try:
        return column.cast(to)
    except pa.ArrowInvalid:  # beyond 64 bits, or no day of the calendar
        return column


def _read_parquet(path: Path) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:  # not read_table: it makes columns of folder names
            table = file.read()
    except (ValueError, pa.ArrowException) as error:
        raise CorruptFileError(
            f"{path} is corrupt or no Parquet file ({first_line(error)}); make it again"
        ) from error
    columns = [
        _plain(column, f"{path}: column {name!r}")
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    return pa.Table.from_arrays(columns, names=table.column_names)


def _plain(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """A column in the one of our types that holds it."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    target = _plain_type(kind)
    if target is None:
        raise WrongUsageError(
            f"{where} is of type {column.type}, which cannot be kept; "
            "make it text, numbers, true/false, dates or times, or drop it"
        )
    try:
        # Nanoseconds are cut to microseconds; anything else must fit.
        return column.cast(kind).cast(target, safe=not pa.types.is_timestamp(kind))
    except pa.ArrowInvalid as error:
        raise WrongUsageError(
            f"{where} does not fit {target} ({first_line(error)}); make it text"
        ) from error


def _plain_type(kind: pa.DataType) -> pa.DataType | None:
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
    return next((ours for is_kind, ours in types if is_kind(kind)), None)
