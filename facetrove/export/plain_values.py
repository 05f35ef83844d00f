"""Rows as plain values, for the databases whose clients take JSON."""

from __future__ import annotations

import datetime
from typing import Any

import pyarrow as pa

from facetrove.export.gallery import EMBEDDING


def plain_rows(rows: pa.Table) -> list[dict[str, Any]]:
    """Return rows by column, without the embedding and without values that are null.

    Dates are texts such as 2020-03-01, times such as 2020-03-01T12:00:00, which sort by time.
    """
    columns = {}
    for name in rows.column_names:
        if name == EMBEDDING:
            continue
        values = rows[name].to_pylist()
        if pa.types.is_temporal(rows[name].type):
            values = [_text(value) for value in values]
        columns[name] = values
    names = list(columns)
    return [
        {name: value for name, value in zip(names, row, strict=True) if value is not None}
        for row in zip(*columns.values(), strict=True)
    ]


def _text(value: datetime.date | None) -> str | None:
    return None if value is None else value.isoformat()
