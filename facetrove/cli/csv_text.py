"""CSV that spreadsheets open safely: what looks like a formula is text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of cells that spreadsheets take for formulas (OWASP, CSV injection)."""


def as_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as CSV with a head, lines ending in CRLF as in RFC 4180.

    Args:
        columns: names of the columns.
        rows: the values by column; a missing one is empty. Lists are joined by "; ". Texts that
            begin like a formula get an apostrophe in front, which spreadsheets do not show.
    """
    return csv_rows(columns, [{name: name for name in columns}]) + csv_rows(columns, rows)


def csv_rows(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as CSV without a head; see `as_csv`."""
    text = io.StringIO()
    csv.writer(text).writerows([cell(row.get(name)) for name in columns] for row in rows)
    return text.getvalue()


def cell(value: Any) -> str:
    """Return a value as the text of a cell."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return cell("; ".join(map(str, value)))
    if isinstance(value, date):  # a datetime, too
        return value.isoformat()
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return str(value)
