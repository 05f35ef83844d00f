"""The lists of `facetrove info --list`, as text, JSON or CSV."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import click

from faces.dataset.store import Dataset
from facetrove.cli.csv_text import as_csv, csv_rows
from facetrove.cli.terminal import print_json_list, shown_uri
from facetrove.cli.text import printable
from facetrove.photo_lists import LISTS

ROWS_AT_ONCE = 1 << 14
"""Rows that are Python objects at a time, as a list may have millions."""

ListFormat: TypeAlias = Literal["text", "json", "csv"]
"""How a list is printed: lines with tabs between the values, one JSON document, or CSV."""


def show_list(dataset: Dataset, name: str, how: ListFormat) -> None:
    """Print one of `photo_lists.LISTS`."""
    table = LISTS[name](dataset)
    batches: Iterator[list[dict[str, Any]]] = (
        batch.to_pylist() for batch in table.to_batches(ROWS_AT_ONCE) if len(batch)
    )
    if how == "json":
        head = {"dataset": str(dataset.path)}
        print_json_list(head, name.replace("-", "_"), batches)
    elif how == "csv":
        click.echo(as_csv(table.column_names, []), nl=False)
        for rows in batches:
            click.echo(csv_rows(table.column_names, rows), nl=False)
    else:
        for rows in batches:
            lines = ("\t".join(_shown(*cell) for cell in row.items()) for row in rows)
            click.echo("\n".join(lines))


def _shown(column: str, value: Any) -> str:
    return shown_uri(value) if column == "uri" else printable(str(value))
