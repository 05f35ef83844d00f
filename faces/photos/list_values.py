"""The types of the columns of a CSV: what is written in a column decides what the column is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

DateOrder: TypeAlias = Literal["day", "month"]
"""What comes first in dates that end in the year: the day, as in 19.03.1996, or the month."""

# Regular expressions of the values by which the type of a column is chosen.
_INTEGER = r"\A(?:0|-?[1-9][0-9]*)\z"
# At most 15 digits before the point, so that a float64 holds its integer part exactly.
_NUMBER = r"\A-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]+)?\z"
_BOOLEAN = r"\A(?:true|false|True|False|TRUE|FALSE)\z"

_TIME = (
    r"(?:[T ](?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})"
    r"(?P<fraction>\.[0-9]{1,6})?[0-9]*)?(?P<offset>Z|[+-][0-9]{2}:?[0-9]{2})?)?\z"
)
_YEAR_FIRST = (
    # With hyphens as ISO 8601 has them; with colons as in EXIF.
    r"\A(?P<year>[0-9]{4})(?P<one>[-/.:])(?P<first>[0-9]{1,2})(?P<two>[-/.:])(?P<second_>[0-9]{1,2})"
)
_YEAR_LAST = (
    r"\A(?P<first>[0-9]{1,2})(?P<one>[-/.])(?P<second_>[0-9]{1,2})(?P<two>[-/.])(?P<year>[0-9]{4})"
)


def typed_column(
    column: pa.ChunkedArray, date_order: DateOrder | None = None
) -> tuple[pa.ChunkedArray, bool]:
    """Convert a text column of a CSV to the narrowest type that keeps all its values.

    A column of dates or times becomes date32, or timestamp[us] if any value has a time; times with
    an offset are converted to UTC. Dates that end in the year are dates if some value of the column
    says which number is the day, because it is above 12, and none contradicts it.

    Args:
        column: (n,) string; null where the list has no value.
        date_order: what such dates begin with where no value says it; None: it stays open.

    Returns:
        The column, of type null if it has no value, and whether it stays text because nothing says
        whether its dates begin with the day or the month.
    """
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column))]), False
    for pattern, convert in _PLAIN:
        if _all_match(column, pattern):
            return convert(column), False
    return _dated_column(column, date_order)


def _dated_column(
    column: pa.ChunkedArray, date_order: DateOrder | None
) -> tuple[pa.ChunkedArray, bool]:
    """Convert a column of dates or times; other columns are returned as they are."""
    if _all_match(column, _YEAR_FIRST + _TIME):
        parts = _parts(column, _YEAR_FIRST)
        is_date = parts.field("one")[0].as_py() != "-" or _has_two_digits(parts)
        return (_dates_or_keep(column, parts, "month") if is_date else column), False
    if not _all_match(column, _YEAR_LAST + _TIME):
        return column, False
    parts = _parts(column, _YEAR_LAST)
    order = _order_of(parts) or date_order
    if order is None:
        return column, True
    return (column if order == "contradictory" else _dates_or_keep(column, parts, order)), False


def _all_match(column: pa.ChunkedArray, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(column, pattern)).as_py())


def _cast_or_keep(column: pa.ChunkedArray, to: pa.DataType) -> pa.ChunkedArray:
    try:
        return column.cast(to)
    except pa.ArrowInvalid:  # an integer beyond 64 bits
        return column


_PLAIN: tuple[tuple[str, Callable[[pa.ChunkedArray], pa.ChunkedArray]], ...] = (
    (_INTEGER, lambda column: _cast_or_keep(column, pa.int64())),
    (_NUMBER, lambda column: column.cast(pa.float64())),
    (_BOOLEAN, lambda column: pc.equal(pc.utf8_lower(column), "true")),
)
"""The types of columns that are neither dates nor text: a value's pattern, and the conversion."""


def _parts(column: pa.ChunkedArray, date: str) -> pa.StructArray:
    """Return the parts of all values that are not null; a part that is not written is empty."""
    return pc.extract_regex(column.drop_null(), date + _TIME).combine_chunks()


def _order_of(parts: pa.StructArray) -> DateOrder | Literal["contradictory"] | None:
    """Return what dates that end in the year begin with; None: no number is above 12."""
    first, second = (
        bool(pc.any(pc.greater(parts.field(name).cast(pa.int8()), 12)).as_py())
        for name in ("first", "second_")
    )
    if first and second:
        return "contradictory"
    return "day" if first else "month" if second else None


def _dates_or_keep(
    column: pa.ChunkedArray, written: pa.StructArray, first: DateOrder
) -> pa.ChunkedArray:
    """Return dates or times; the column itself if its forms differ or a day does not exist."""
    separators = pc.binary_join_element_wise(written.field("one"), written.field("two"), "")
    if len(separators.unique()) > 1 or separators[0].as_py() not in {"--", "//", "..", "::"}:
        return column
    one, two = written.field("first"), written.field("second_")
    month, day = (one, two) if first == "month" else (two, one)
    texts = pc.binary_join_element_wise(written.field("year"), _padded(month), _padded(day), "-")
    try:
        if not pc.any(pc.not_equal(written.field("hour"), "")).as_py():
            return _in_rows(column, texts.cast(pa.date32()))
        return _in_rows(column, _with_times(texts, written))
    except pa.ArrowInvalid:  # a day or time that does not exist
        return column


def _has_two_digits(parts: pa.StructArray) -> bool:
    """Return whether months and days have two digits, as in ISO 8601."""
    one, two = parts.field("first"), parts.field("second_")
    lengths = pc.min(pc.min_element_wise(pc.utf8_length(one), pc.utf8_length(two))).as_py()
    return bool(lengths == 2)


def _with_times(dates: pa.Array, parts: pa.StructArray) -> pa.Array:
    """Return (n,) timestamp[us] of dates as YYYY-MM-DD and the times in `parts`, in UTC."""

    def written(name: str, otherwise: str) -> pa.Array:
        return pc.if_else(pc.equal(parts.field(name), ""), otherwise, parts.field(name))

    hour, minute, second = (_padded(written(name, "00")) for name in ("hour", "minute", "second"))
    times = pc.binary_join_element_wise(hour, minute, second, ":")
    fraction = pc.utf8_rpad(written("fraction", "."), 7, "0")
    texts = pc.binary_join_element_wise(
        pc.binary_join_element_wise(dates, times, " "), fraction, ""
    )
    offsets = pc.replace_substring(written("offset", "+00:00"), "Z", "+00:00")
    offsets = pc.replace_substring(offsets, ":", "")
    minutes = pc.add(
        pc.multiply(pc.utf8_slice_codeunits(offsets, 1, 3).cast(pa.int64()), 60),
        pc.utf8_slice_codeunits(offsets, 3, 5).cast(pa.int64()),
    )
    minutes = pc.if_else(pc.starts_with(offsets, "-"), minutes, pc.negate(minutes))
    shift = pc.multiply(minutes, 60_000_000).cast(pa.duration("us"))
    return pc.add(texts.cast(pa.timestamp("us")), shift)


def _padded(numbers: pa.Array) -> pa.Array:
    return pc.utf8_lpad(numbers, 2, "0")


def _in_rows(column: pa.ChunkedArray, values: pa.Array) -> pa.ChunkedArray:
    """Return the values, which are those of the rows that are not null, with the nulls between."""
    rows = pc.cumulative_sum(column.is_valid().combine_chunks().cast(pa.int64()))
    places = pc.if_else(column.is_valid(), pc.subtract(rows, 1), None)
    return pa.chunked_array([values]).take(places)
