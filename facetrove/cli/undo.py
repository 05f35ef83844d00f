"""`facetrove undo`: list what can be taken back, deletions and decisions, or take one back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

import facetrove as ft
from faces.core.words import counted
from facetrove.cli.delete import show_unnamed
from facetrove.cli.options import json_option
from facetrove.cli.terminal import index_progress, print_json, print_table
from facetrove.cli.text import printable

SHOWN_CHARACTERS = 200
"""At most so many characters of what was asked for are printed in a table; --json prints all."""


DECISIONS_SHOWN = 50
"""At most so many decisions are listed, the latest ones; --json prints all."""


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("undone", required=False, metavar="[ID]")
@click.argument("indexes", type=click.Path(path_type=Path), nargs=-1, metavar="[INDEX]...")
@json_option
def undo(dataset: Path, undone: str | None, indexes: tuple[Path, ...], as_json: bool) -> None:
    """List what can be taken back in DATASET, or take back the deletion or decision ID.

    A deletion can be taken back until `facetrove purge` makes it final. Each INDEX is brought up to
    date, so that it finds the faces again; other indexes follow when they are brought up to date. A
    decision about people can be taken back at any time, an undo too; every search follows at once.

    \b
    Examples:
      facetrove undo faces.dataset
      facetrove undo faces.dataset 3f9a01c7 faces.index
    """
    if undone is None:
        decisions = ft.open_people(dataset).decisions().to_list()
        _show_all(ft.list_deletions(dataset), decisions, dataset, as_json=as_json)
        return
    with index_progress() as on_progress:
        done = ft.undo(dataset, undone, indexes, on_progress=on_progress)
    if as_json:
        print_json({"dataset": str(dataset), **done.to_json()})
        return
    if done.decision is not None:
        again = done.decision.decision_id
        name = printable(str(dataset))
        click.echo(
            f"took back decision {done.deletion_id}; `facetrove undo {name} {again}` undoes that"
        )
        return
    click.echo(f"took back the deletion of {counted(done.num_faces, 'face')}")
    for index in done.indexes:
        click.echo(f"  {printable(index)} finds them again")
    show_unnamed(done.unnamed_indexes, dataset, "does not find them")


def _show_all(
    deletions: Sequence[ft.Deletion],
    decisions: Sequence[dict[str, Any]],
    dataset: Path,
    *,
    as_json: bool,
) -> None:
    """Print what can be taken back, as tables or as one JSON document."""
    if as_json:
        found = [deletion.to_json() for deletion in deletions]
        print_json({"dataset": str(dataset), "deletions": found, "decisions": decisions})
        return
    if not (deletions or decisions):
        click.echo(f"nothing can be taken back in {printable(str(dataset))}")
        return
    if deletions:
        _print_deletions(deletions)
    if decisions:
        _print_decisions(decisions)


def _print_deletions(deletions: Sequence[ft.Deletion]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("id", no_wrap=True)
    table.add_column("time (UTC)", no_wrap=True)
    table.add_column("faces", justify="right")
    table.add_column("deleted", overflow="fold")
    for deletion in deletions:
        table.add_row(
            deletion.deletion_id,
            _time(deletion.deleted_at),
            f"{deletion.num_faces:,}",
            Text(_request_in_words(deletion)),
        )
    print_table(table)


def _print_decisions(decisions: Sequence[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("id", no_wrap=True)
    table.add_column("time (UTC)", no_wrap=True)
    table.add_column("by", no_wrap=True)
    table.add_column("decided", overflow="fold")
    for decision in decisions[-DECISIONS_SHOWN:]:
        table.add_row(
            decision["decision_id"],
            _time(decision["decided_at"]).partition(".")[0],
            Text(printable(decision["author"])),
            Text(_decision_in_words(decision)),
        )
    print_table(table)
    if (more := len(decisions) - DECISIONS_SHOWN) > 0:
        click.echo(f"and {more:,} earlier decisions; --json prints all")


def _time(time: str) -> str:
    return printable(time.partition("+")[0].replace("T", " "))


def _decision_in_words(decision: dict[str, Any]) -> str:
    """Return what was decided, in the words of `facetrove people`."""
    parts = [decision["verb"], *map(str, decision["people"][:10])]
    if decision["num_faces"]:
        parts.append(f"({counted(decision['num_faces'], 'face')})")
    if decision["verb"] == "name":
        parts.append(f'"{decision["name"] or ""}"')
    parts += ["--no"] if not decision["on"] else []
    parts += [decision["undoes"]] if decision["undoes"] else []
    return printable(" ".join(parts))


def _request_in_words(deletion: ft.Deletion) -> str:
    """Return what a deletion was asked to delete, as the options of `facetrove delete`."""
    request = deletion.request
    parts = [f"--face {face}" for face in request.faces]
    parts += [f"--photo {photo}" for photo in request.photos]
    parts += [] if request.where is None else [f'--where "{request.where}"']
    text = printable(" ".join(parts)) or "(a name was removed from this record)"
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."
