"""`facetrove people list` and `photos`: who there is, and where."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

import facetrove as ft
from faces.core.words import counted
from facetrove.cli.options import json_option
from facetrove.cli.people_options import dataset_argument
from facetrove.cli.terminal import print_json, print_table, show_first, shown_uri
from facetrove.cli.text import printable

PEOPLE_SHOWN = 50
"""People that are listed unless another number is asked for."""

CONFLICTS_SHOWN = 10
"""At most so many conflicts are printed."""


@click.command(name="list")
@dataset_argument
@click.option(
    "-k",
    type=click.IntRange(min=1),
    default=PEOPLE_SHOWN,
    show_default=True,
    metavar="COUNT",
    help="Number of people to list.",
)
@click.option("--hidden", is_flag=True, help="List people too who are hidden.")
@click.option("--ignored", is_flag=True, help="List people too who are ignored.")
@json_option
def list_people(dataset: Path, k: int, hidden: bool, ignored: bool, as_json: bool) -> None:
    """List the people of DATASET, those with most faces first.

    The columns are number, name, faces, photos, and when the first and last photo was taken.
    Decisions of two authors that contradict each other are listed too.

    \b
    Example:
      facetrove people list faces.dataset
    """
    people = ft.open_people(dataset)
    found = people.list(hidden=hidden, ignored=ignored).to_arrow()
    conflicts = people.conflicts().to_list()
    rows = found.slice(0, k).to_pylist()
    if as_json:
        shown = [{**row, "first": _day(row["first"]), "last": _day(row["last"])} for row in rows]
        counts = {"num_people": len(found), "people": shown, "conflicts": conflicts}
        print_json({"dataset": str(dataset), **counts})
        return
    name = printable(str(dataset))
    if not len(found):
        click.echo(f"{name} has no people yet; `facetrove people group {name} INDEX` finds them")
    else:
        _print_people(rows)
        if len(found) > k:
            click.echo(f"and {len(found) - k:,} more; -k lists them")
    _print_conflicts(conflicts, name)


def _day(time: date | None) -> str | None:
    return None if time is None else time.isoformat()[:10]


def _print_people(rows: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("person", justify="right")
    table.add_column("name", overflow="fold")
    table.add_column("faces", justify="right")
    table.add_column("photos", justify="right")
    table.add_column("from", no_wrap=True)
    table.add_column("to", no_wrap=True)
    table.add_column("")
    for row in rows:
        marks = [mark for mark in ("hidden", "ignored") if row[mark]]
        table.add_row(
            str(row["person_id"]),
            Text(printable(row["person"] or "")),
            f"{row['num_faces']:,}",
            f"{row['num_photos']:,}",
            _day(row["first"]) or "",
            _day(row["last"]) or "",
            ", ".join(marks),
        )
    print_table(table)


def _print_conflicts(conflicts: list[dict[str, Any]], name: str) -> None:
    """Print which decisions contradict each other, and what to do."""
    if not conflicts:
        return
    click.echo(f"{counted(len(conflicts), 'contradiction')} between decisions:", err=True)
    show_first(
        conflicts,
        _conflict_in_words,
        CONFLICTS_SHOWN,
        rest=lambda count: f"  and {count:,} more; --json names all",
        err=True,
    )
    click.echo(f"`facetrove undo {name} ID` takes one of two back", err=True)


def _conflict_in_words(conflict: dict[str, Any]) -> str:
    about = " and ".join(map(str, conflict["people"]))
    what = {
        "name": f"person {about} has two names",
        "face": f"face {conflict['face_id']} is of {about}",
        "merge": f"{about} are merged, and are not one",
        "apart": f"{about} are not one, and are merged",
    }[conflict["kind"]]
    authors = [printable(conflict[f"{when}_author"]) for when in ("earlier", "later")]
    stands = "later" if conflict["kind"] in ("name", "face") else "earlier"
    return (
        f"  {what}: {conflict['earlier_id']} by {authors[0]}, {conflict['later_id']} by "
        f"{authors[1]}; the {stands} one counts"
    )


@click.command()
@dataset_argument
@click.option(
    "--with", "with_people", multiple=True, metavar="PERSON", help="A person whom photos show."
)
@click.option(
    "--without", multiple=True, metavar="PERSON", help="A person whom photos do not show."
)
@json_option
def photos(
    dataset: Path, with_people: tuple[str, ...], without: tuple[str, ...], as_json: bool
) -> None:
    """List the photos of DATASET that show people, and who appears with them.

    Every --with must be in a photo, and no --without.

    \b
    Example:
      facetrove people photos faces.dataset --with "Ann Lee" --with "Bob Ray" --without "Cy Ott"
    """
    people = ft.open_people(dataset)
    rows = people.photos(with_people, without).to_list()
    others = people.companions(with_people).to_list() if with_people else []
    if as_json:
        print_json({"dataset": str(dataset), "photos": rows, "companions": others})
        return
    click.echo(counted(len(rows), "photo"))
    for row in rows:
        shown = ", ".join(map(printable, row["people"]))
        unknown = (
            f" and {counted(row['num_unknown'], 'unknown face')}" if row["num_unknown"] else ""
        )
        click.echo(f"  {shown_uri(row['uri'])}: {shown}{unknown}")
    if others:
        click.echo("who appears with them:")
        for other in others[:PEOPLE_SHOWN]:
            name = printable(other["person"] or f"person {other['person_id']}")
            click.echo(f"  {name}: {counted(other['num_photos'], 'photo')}")
