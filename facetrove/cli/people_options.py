"""Options and messages that the commands about people share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

import facetrove as ft
from faces.core.words import counted
from facetrove.cli.options import json_option
from facetrove.cli.terminal import print_json
from facetrove.cli.text import printable

dataset_argument = click.argument("dataset", type=click.Path(path_type=Path))
person_argument = click.argument("person")
faces_argument = click.argument("faces", nargs=-1, required=True, metavar="FACE...")

author_option = click.option(
    "--author",
    metavar="NAME",
    help="Who decides.  [default: the name of the user]",
)


def decision_options(command: Any) -> Any:
    """Add the options of every command that decides something."""
    return author_option(json_option(command))


def show_decision(
    dataset: Path, decision: ft.Decision, text: str, *, as_json: bool, **more: object
) -> None:
    """Print what was decided, and how it is taken back."""
    if as_json:
        found = {
            "dataset": str(dataset),
            "decision_id": decision.decision_id,
            "verb": decision.verb,
            "people": decision.people,
            "num_faces": len(decision.faces),
            **more,
        }
        print_json(found)
        return
    click.echo(text)
    name = printable(str(dataset))
    click.echo(f"`facetrove undo {name} {decision.decision_id}` takes it back")


def people_in_words(numbers: Sequence[int]) -> str:
    """Return some people by number, for a message."""
    shown = ", ".join(map(str, numbers[:10]))
    more = len(numbers) - 10
    return shown + (f" and {counted(more, 'other')}" if more > 0 else "")
