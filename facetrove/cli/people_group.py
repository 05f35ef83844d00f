"""`facetrove people group`: group the faces of a dataset by person."""

from __future__ import annotations

from pathlib import Path

import click

import facetrove as ft
from faces.core.words import counted
from facetrove.cli.options import json_option
from facetrove.cli.people_options import dataset_argument
from facetrove.cli.terminal import index_progress, print_json
from facetrove.cli.text import printable


@click.command()
@dataset_argument
@click.argument("index", type=click.Path(path_type=Path))
@click.option(
    "--precision",
    type=float,
    default=0.99,
    show_default=True,
    help="Share of the pairs of faces of one person that are rightly one, which is promised, 0.9 "
    "to 0.999. A higher one leaves more faces of one person apart.",
)
@click.option(
    "--only-new",
    is_flag=True,
    help="Leave people as they are, and only have faces that have come since join them, or become "
    "new people. It takes seconds where a grouping of all faces takes minutes.",
)
@json_option
def group(dataset: Path, index: Path, precision: float, only_new: bool, as_json: bool) -> None:
    """Group the faces of DATASET by person, by their embeddings in INDEX.

    Run it again when faces have come: people keep their numbers, and what humans decided holds. The
    names of photo lists are taken for those of people. From the first grouping on, `person` in
    filters and results is who the face is; see docs/people.md.

    \b
    Example:
      facetrove people group faces.dataset faces.index
    """
    with index_progress() as on_progress:
        done = ft.open_people(dataset).group(
            index, precision=precision, only_new=only_new, on_progress=on_progress
        )
    if as_json:
        print_json({"dataset": str(dataset), "index": str(index), **done.to_json()})
        return
    people = "1 person" if done.num_people == 1 else f"{done.num_people:,} people"
    click.echo(
        f"{counted(done.num_faces, 'face')} of {people}: {done.num_alone:,} with one face alone, "
        f"{done.num_new:,} new, {done.num_named:,} with a name"
    )
    click.echo(f"mean doubt of faces that are not alone: {done.mean_doubt:.3f} (0 is sure)")
    name = printable(str(dataset))
    click.echo(f"`facetrove people list {name}` lists them, `people name` names them")
