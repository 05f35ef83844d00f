"""`facetrove people same`: ask which people are the same."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

import facetrove as ft
from faces.core.errors import FaceTroveError, WrongUsageError
from facetrove.cli.options import json_option
from facetrove.cli.people_options import author_option, dataset_argument
from facetrove.cli.terminal import print_json, shown_uri
from facetrove.cli.text import printable

QUESTIONS = 20
"""Questions that are asked unless another number is given."""


@click.command()
@dataset_argument
@click.option(
    "-k",
    type=click.IntRange(min=1),
    default=QUESTIONS,
    show_default=True,
    metavar="COUNT",
    help="Number of questions.",
)
@author_option
@json_option
def same(dataset: Path, k: int, author: str | None, as_json: bool) -> None:
    """Ask of pairs of people in DATASET whether they are the same.

    The first questions are those whose answers join or separate most faces. An answer is written at
    once, and `facetrove undo` takes it back. With --json the questions are only printed.

    \b
    Example:
      facetrove people same faces.dataset
    """
    people = ft.open_people(dataset, author=author)
    if not as_json and not sys.stdin.isatty():
        raise WrongUsageError(
            "same asks questions, and standard input is no terminal to answer on; give --json to "
            "print them"
        )
    questions = people.questions(k=k).to_list()
    if as_json:
        print_json({"dataset": str(dataset), "questions": questions})
        return
    for question in questions:
        try:
            if not _ask(people, question):
                return
        except FaceTroveError as error:  # as where an earlier answer has decided it
            click.echo(printable(str(error)), err=True)
    click.echo(
        "there are no further questions" if len(questions) < k else "that were all; -k asks more"
    )


def _ask(people: ft.People, question: dict[str, Any]) -> bool:
    """Ask a question and write the answer; return whether to go on."""
    one, other = question["person_id"], question["other_id"]
    for number, name, uri in (
        (one, question["person"], question["uri"]),
        (other, question["other"], question["other_uri"]),
    ):
        click.echo(f"  {number} {printable(name or '')}: {shown_uri(uri)}")
    answer = click.prompt(
        f"same person? (similarity {question['similarity']:.2f}, {question['num_faces']:,} faces) "
        "yes, no, skip, quit",
        type=click.Choice(["y", "n", "s", "q"]),
        show_choices=False,
    )
    if answer == "y":
        people.merge([one, other] if question["person"] or not question["other"] else [other, one])
    elif answer == "n":
        people.separate(one, other)
    return bool(answer != "q")
