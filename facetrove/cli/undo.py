"""`facetrove undo`: list the deletions that can be taken back, or take one back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("deletion_id", required=False, metavar="[ID]")
@click.argument("indexes", type=click.Path(path_type=Path), nargs=-1, metavar="[INDEX]...")
@json_option
def undo(dataset: Path, deletion_id: str | None, indexes: tuple[Path, ...], as_json: bool) -> None:
    """List what can be taken back in DATASET, or take back the deletion ID.

    A deletion can be taken back until `facetrove purge` makes it final. Each INDEX is brought up to
    date, so that it finds the faces again; other indexes follow when they are brought up to date.

    \b
    Examples:
      facetrove undo faces.dataset
      facetrove undo faces.dataset 3f9a01c7 faces.index
    """
    if deletion_id is None:
        _show_deletions(ft.list_deletions(dataset), dataset, as_json=as_json)
        return
    with index_progress() as on_progress:
        done = ft.undo(dataset, deletion_id, indexes, on_progress=on_progress)
    if as_json:
        print_json({"dataset": str(dataset), **done.to_json()})
        return
    click.echo(f"took back the deletion of {counted(done.num_faces, 'face')}")
    for index in done.indexes:
        click.echo(f"  {printable(index)} finds them again")
    show_unnamed(done.unnamed_indexes, dataset, "does not find them")


def _show_deletions(deletions: Sequence[ft.Deletion], dataset: Path, *, as_json: bool) -> None:
    """Print the deletions that can be taken back, as a table or as one JSON document."""
    if as_json:
        found = [deletion.to_json() for deletion in deletions]
        print_json({"dataset": str(dataset), "deletions": found})
        return
    if not deletions:
        click.echo(f"nothing can be taken back in {printable(str(dataset))}")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("id", no_wrap=True)
    table.add_column("time (UTC)", no_wrap=True)
    table.add_column("faces", justify="right")
    table.add_column("deleted", overflow="fold")
    for deletion in deletions:
        time = deletion.deleted_at.partition("+")[0].replace("T", " ")
        table.add_row(
            deletion.deletion_id,
            printable(time),
            f"{deletion.num_faces:,}",
            Text(_request_in_words(deletion)),
        )
    print_table(table)


def _request_in_words(deletion: ft.Deletion) -> str:
    """Return what a deletion was asked to delete, as the options of `facetrove delete`."""
    request = deletion.request
    parts = [f"--face {face}" for face in request.faces]
    parts += [f"--photo {photo}" for photo in request.photos]
    parts += [] if request.where is None else [f'--where "{request.where}"']
    text = printable(" ".join(parts)) or "(a name was removed from this record)"
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."
