"""Filters: conditions on the columns of faces, written as in SQL's WHERE.

`indexer.filter_text` turns the text into an expression of our own making, and DuckDB evaluates that
over the memory-mapped faces, in milliseconds for a million. A filter sees the faces that are not
deleted and nothing else: no file, no network, no Python variable. How long it runs and what memory
it takes are bounded, and it can be interrupted.

A photo that lies at several places has the labels of all: `person = 'Ann'` is true of its faces if
one place says so, `person <> 'Ann'` if none does. See `Expression.over_places`.

Texts are equal if they are equal after Unicode NFC: a Mac writes the letters of a file's name
decomposed, and photo lists write them composed.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar
from unicodedata import normalize

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.photos.metadata import is_places_column
from indexer.filter_error import FilterError
from indexer.filter_places import faces_at_places
from indexer.filter_rendering import Expression
from indexer.filter_text import parse_filter

if TYPE_CHECKING:
    import duckdb

T = TypeVar("T")

MAX_SECONDS = 5.0
"""Seconds that a filter may take over up to 5 million faces; one more for each further million."""

MAX_MEMORY = "512MB"
"""Memory of DuckDB's tables and results. What it computes in between is bounded by the limits of
`indexer.filter_rendering`."""

SLICE_ROWS = 256
"""Rows that are evaluated at once where a filter has a regular expression that may be slow, as
DuckDB can be stopped only in between; else these are 2,048. The slowest regular expression of 200
characters takes 4 ms for a text of 150 characters."""

STOP_SECONDS, STOP_INTERVAL = 2.0, 0.02
"""Seconds that a stopped filter has to end before it is left to end after its present slice, and
seconds between two attempts to stop it."""

_SAFE: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "memory_limit": MAX_MEMORY,
    "temp_directory": "",
    "errors_as_json": "true",
    "lock_configuration": "true",
}
"""DuckDB's settings: no files (not even temporary ones), extensions or Python variables."""

_ROW = "n"
"""Name of the column of row numbers. The others are called c0, c1 and so on while a filter runs."""


@dataclass(frozen=True)
class FilterTable:
    """Faces that a filter is applied to.

    Attributes:
        faces: n rows of faces.
        deleted: (n,) bool, rows that the filter must not see; None: it sees all.
    """

    faces: pa.Table
    deleted: NDArray[np.bool_] | None = None


def rows_matching(tables: Sequence[FilterTable], where: str) -> list[NDArray[np.bool_]]:
    """Return which faces match a filter.

    Args:
        tables: tables of faces, at least one, all with the same columns.
        where: a condition such as `person = 'Ann' AND taken >= DATE '2020-01-01'`. Where a null
            makes the condition unknown, the face does not match, as in SQL. Texts that are equal
            after Unicode NFC are equal.

    Returns:
        For each table (n,) bool; False for deleted rows.

    Raises:
        WrongUsageError: `where` is not a condition, uses what a filter may not, names a column that
            does not exist, cannot be computed for some face, or takes too long. The message names
            the place in the text, and no value of any face.
    """
    if not where.isascii():
        where = normalize("NFC", where)
        tables = [replace(table, faces=_named_in_nfc(table.faces)) for table in tables]
    num_faces = sum(len(table.faces) for table in tables)
    seconds = max(MAX_SECONDS, num_faces / 1e6)
    try:
        return _within(seconds, lambda connection: _matching(connection, tables, where))
    except FilterError as error:
        names = [name for name in tables[0].faces.column_names if not is_places_column(name)]
        raise error.to_user(where, names) from None


def _matching(
    connection: duckdb.DuckDBPyConnection, tables: Sequence[FilterTable], where: str
) -> list[NDArray[np.bool_]]:
    expression = parse_filter(connection, where, tables[0].faces.column_names)
    _require_boolean(connection, tables[0].faces.schema, expression)
    return [_rows_of(connection, table, expression) for table in tables]


def _require_boolean(
    connection: duckdb.DuckDBPyConnection, schema: pa.Schema, expression: Expression
) -> None:
    """Refuse an expression whose types do not fit, by trying it on no faces at all.

    So whatever DuckDB says of it comes from the filter's text, not from a face.
    """
    import duckdb

    query = f"SELECT {expression.sql} FROM faces"  # noqa: S608  # rendered, not as written
    connection.register("faces", _numbered(FilterTable(schema.empty_table()), expression))
    try:
        cursor = connection.execute(query)
        kind = str(cursor.description[0][1])
        cursor.fetchall()
    except duckdb.InterruptException:
        raise
    except duckdb.Error as error:
        problem, position = _told(error)
        raise FilterError(problem, _place(expression, query, position)) from error
    if kind != "BOOLEAN":
        raise FilterError(
            f"it gives a value of type {kind}, which is neither true nor false; compare it with "
            "another value"
        )


def _rows_of(
    connection: duckdb.DuckDBPyConnection, table: FilterTable, expression: Expression
) -> NDArray[np.bool_]:
    """Apply an expression to the rows that are not deleted; return (n,) bool."""
    mask = np.zeros(len(table.faces), dtype=bool)
    faces = _numbered(table, expression)
    mask[_selected(connection, faces, expression, f"WHERE {expression.sql}")] = True
    several = faces_at_places(table.faces, expression.columns, table.deleted)
    if several is not None:
        faces = _named(several.faces, several.numbers, expression)
        over_places = f"GROUP BY {_ROW} HAVING {expression.over_places}"
        mask[several.rows] = False
        mask[_selected(connection, faces, expression, over_places)] = True
    return mask


def _selected(
    connection: duckdb.DuckDBPyConnection, faces: pa.Table, expression: Expression, clause: str
) -> NDArray[np.int64]:
    """Return the row numbers that a clause selects, which has an expression in it.

    If the expression has other characters than ASCII, it is applied to texts in Unicode NFC. DuckDB
    composes them: Arrow 25's `utf8_normalize` decomposes letters for every form.

    DuckDB's own messages quote values of faces, so none is passed on from here.
    """
    import duckdb

    is_ascii = expression.text.isascii()
    source = "faces" if is_ascii else f"(SELECT {_composed(faces.schema)} FROM faces)"  # noqa: S608
    query = f"SELECT {_ROW} FROM {source} {clause}"  # noqa: S608  # rendered, not as written
    connection.register("faces", faces)
    try:
        rows: NDArray[np.int64] = connection.execute(query).fetchnumpy()[_ROW]
    except duckdb.InterruptException:
        raise
    except duckdb.OutOfMemoryException:
        raise FilterError(f"it needs more memory than {MAX_MEMORY}") from None
    except duckdb.Error as error:
        problem = "it cannot be computed for the value of some face"
        if isinstance(error, duckdb.ConversionException):
            problem = "a value cannot be converted; TRY_CAST(... AS ...) makes it NULL instead"
        place = _place(expression, query, _told(error)[1])
        raise FilterError(problem, place) from None
    return rows


def _numbered(table: FilterTable, expression: Expression) -> pa.Table:
    """Return the columns that an expression uses, by its names for them, and the row numbers.

    Deleted rows are left out.
    """
    faces = table.faces.select(expression.columns)
    if table.deleted is not None:
        batches = _without(faces.to_batches(), table.deleted)
        faces = pa.Table.from_batches(batches, faces.schema)
        return _named(faces, np.flatnonzero(~table.deleted), expression)
    return _named(faces, np.arange(len(faces)), expression)


def _named(faces: pa.Table, numbers: NDArray[np.int64], expression: Expression) -> pa.Table:
    """Return the columns of an expression, by its names for them, and (n,) row numbers."""
    faces = faces.rename_columns([f"c{number}" for number in range(len(expression.columns))])
    faces = faces.append_column(_ROW, pa.array(numbers))
    if expression.has_slow_pattern:
        batches = iter(faces.to_batches(max_chunksize=SLICE_ROWS))
        faces = pa.Table.from_batches(batches, faces.schema)
    return faces


def _named_in_nfc(faces: pa.Table) -> pa.Table:
    """Return faces with the names of their columns in NFC, unless two would be equal then."""
    names = [normalize("NFC", name) for name in faces.column_names]
    return faces.rename_columns(names) if len(set(names)) == len(names) else faces


def _composed(schema: pa.Schema) -> str:
    """Return a SELECT list of the columns of `_numbered`, in which texts are in NFC."""
    columns = []
    for field in schema:
        value = field.name
        if pa.types.is_string(field.type):
            value = f"nfc_normalize({value})"
        elif pa.types.is_list(field.type) and pa.types.is_string(field.type.value_type):
            value = f"[nfc_normalize(text) for text in {value}]"
        columns.append(f"{value} AS {field.name}")
    return ", ".join(columns)


def _without(
    batches: Sequence[pa.RecordBatch], deleted: NDArray[np.bool_]
) -> Iterator[pa.RecordBatch]:
    """Yield record batches without the deleted rows; one that has none is not copied."""
    start = 0
    for batch in batches:
        here = deleted[start : start + len(batch)]
        start += len(batch)
        yield batch.filter(pa.array(~here)) if here.any() else batch


def _told(error: Exception) -> tuple[str, int | None]:
    """Return an error's first line, and the position in the query that it names, if it does."""
    text = str(error)
    if (start := text.find("{")) >= 0:
        try:
            document: dict[str, Any] = json.loads(text[start:])
        except ValueError:
            return "it cannot be evaluated", None
        position = str(document.get("position", ""))
        message = str(document.get("exception_message", "")).partition("\n")[0]
        return message, int(position) if position.isdecimal() else None
    return re.sub(r"^\w+ Error: ", "", text.partition("\n")[0]), None


def _place(expression: Expression, query: str, position: int | None) -> int | None:
    """Return the position in the filter's text for one in a query with its expression."""
    if position is None:
        return None
    start = query.encode().find(expression.sql.encode())
    return expression.position_of(position - start) if start >= 0 else None


_idle: deque[tuple[int, duckdb.DuckDBPyConnection]] = deque(maxlen=1)
"""A connection that waits for the next filter, as opening one takes 30 ms, with the id of the
process that opened it: DuckDB's threads do not live on in a fork of it."""


def _connection() -> duckdb.DuckDBPyConnection:
    """Return an idle connection, or a new one."""
    import duckdb

    try:
        process_id, connection = _idle.pop()
    except IndexError:
        process_id = 0
    if process_id == os.getpid():
        return connection
    return duckdb.connect(":memory:", config=_SAFE)


def _within(seconds: float, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
    """Do work with a connection, for some seconds at most; Ctrl-C stops it.

    DuckDB holds the thread that calls it, so the work gets a thread of its own, and this one waits.

    Raises:
        FilterError: it takes longer.
        KeyboardInterrupt: it was interrupted; likewise anything else that is raised meanwhile.
    """
    connection = _connection()
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            result = work(connection)
        except BaseException as error:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)

    # No daemon: a process that ends while DuckDB works would be aborted.
    threading.Thread(target=run, name="facetrove-filter").start()
    try:
        return outcome.result(timeout=seconds)
    except TimeoutError:
        raise FilterError(f"it takes longer than {seconds:.0f} s; simplify it") from None
    finally:
        if not outcome.done():
            _stop(connection, outcome)
        elif outcome.exception() is None or isinstance(outcome.exception(), FilterError):
            connection.unregister("faces")
            _idle.append((os.getpid(), connection))


def _stop(connection: duckdb.DuckDBPyConnection, outcome: Future[T]) -> None:
    """Interrupt unfinished work, and wait for its end, but not for ever.

    It is interrupted again and again, as DuckDB forgets an interruption between two statements.
    """
    for _ in range(round(STOP_SECONDS / STOP_INTERVAL)):
        connection.interrupt()
        if wait([outcome], timeout=STOP_INTERVAL).done:
            return
