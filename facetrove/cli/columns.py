"""`facetrove columns`: list, remove or rename the columns that photo lists added to a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

import facetrove as ft
from faces.photos.metadata import column_key
from facetrove.cli.options import json_option, renamed_columns, require_answer
from facetrove.cli.terminal import index_progress, print_json, print_table
from facetrove.cli.text import printable


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option(
    "--remove",
    "removed",
    multiple=True,
    metavar="NAME",
    help="Remove this column with all its values. May be given several times.",
)
@click.option(
    "--rename",
    multiple=True,
    metavar="OLD=NEW",
    callback=renamed_columns,
    help="Rename column OLD to NEW. If DATASET has both, they become one, unless a photo has "
    "different values in both; where only upper and lower case differ, those of NEW count.",
)
@click.option("--yes", is_flag=True, help="Remove without asking for confirmation.")
@json_option
def columns(
    dataset: Path, removed: Sequence[str], rename: Mapping[str, str], yes: bool, as_json: bool
) -> None:
    """List the columns that photo lists added to the photos of DATASET, or change them.

    Indexes follow when `facetrove index` next brings them up to date, and are then built from
    nothing. A removed column comes back if a photo list that has it is embedded again.

    \b
    Examples:
      facetrove columns faces.dataset
      facetrove columns faces.dataset --rename Person=person
      facetrove columns faces.dataset --remove album
    """
    if removed and not yes:
        require_answer("columns --remove", "remove")
        names = ", ".join(map(printable, removed))
        click.confirm(f"remove {names} with all values? (cannot be undone)", abort=True, err=True)
    with index_progress() as on_progress:
        for name in removed:
            ft.remove_column(dataset, name, on_progress=on_progress)
        for old, new in rename.items():
            ft.rename_column(dataset, old, new, on_progress=on_progress)
    found = ft.list_columns(dataset)
    if as_json:
        print_json({"dataset": str(dataset), "columns": [asdict(column) for column in found]})
        return
    if not found:
        click.echo(f"{printable(str(dataset))} has no column of photo lists")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("column", overflow="fold")
    table.add_column("type", no_wrap=True)
    table.add_column("photos", justify="right")
    table.add_column("values", justify="right")
    for column in found:
        counts = (f"{column.num_photos:,}", f"{column.num_values:,}")
        table.add_row(Text(printable(column.name)), column.kind, *counts)
    print_table(table)
    for old, new in _alike(found):
        click.echo(
            f"{old} and {new} mean one column, as upper and lower case make no difference; "
            f"`facetrove columns {printable(str(dataset))} --rename {old}={new}` makes them one"
        )


def _alike(found: Sequence[ft.ListColumn]) -> list[tuple[str, str]]:
    """Return pairs of names that mean one column, as earlier versions kept; see `column_key`."""
    groups: dict[str, list[str]] = {}
    for column in found:
        groups.setdefault(column_key(column.name), []).append(printable(column.name))
    return [(names[0], names[1]) for names in map(sorted, groups.values()) if len(names) > 1]
