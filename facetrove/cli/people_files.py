"""`facetrove people sheet`, `export` and `import`: people as pictures and files."""

from __future__ import annotations

from pathlib import Path

import click

import facetrove as ft
from faces.core.errors import WrongUsageError
from faces.core.storage import put_file
from faces.core.words import counted
from facetrove.cli.csv_text import as_csv
from facetrove.cli.options import json_option
from facetrove.cli.people_list import PEOPLE_SHOWN
from facetrove.cli.people_options import author_option, dataset_argument
from facetrove.cli.report_files import require_new_file
from facetrove.cli.terminal import print_json
from facetrove.cli.text import printable

file_argument = click.argument("file", type=click.Path(path_type=Path))


@click.command()
@dataset_argument
@file_argument
@click.option(
    "-k",
    type=click.IntRange(min=1),
    default=PEOPLE_SHOWN,
    show_default=True,
    metavar="COUNT",
    help="Number of people to draw.",
)
@json_option
def sheet(dataset: Path, file: Path, k: int, as_json: bool) -> None:
    """Draw the people of DATASET in the picture FILE (.jpg, .png, .webp, .html), a row for each.

    A row begins with the least doubtful face of the person. The most doubtful faces follow, with a
    frame: look at these first. Hidden and ignored people are left out.

    \b
    Example:
      facetrove people sheet faces.dataset people.jpg
    """
    paths = ft.open_people(dataset).write_sheet(file, k=k)
    if as_json:
        print_json({"dataset": str(dataset), "files": list(map(str, paths))})
        return
    for path in paths:
        click.echo(f"contact sheet: {printable(str(path))}")


@click.command()
@dataset_argument
@click.argument("file", type=click.Path(path_type=Path), required=False, metavar="[FILE]")
@click.option(
    "--xmp",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write an XMP sidecar with regions of named faces for each photo into this folder, which "
    "must be new or empty.",
)
@json_option
def export(dataset: Path, file: Path | None, xmp: Path | None, as_json: bool) -> None:
    """Write who is who in DATASET into FILE, as CSV: face_id, person_id, person, said_by.

    `said_by` is the author of the decision, or `machine`. `facetrove people import` reads the file,
    with which people keep their numbers.

    \b
    Examples:
      facetrove people export faces.dataset people.csv
      facetrove people export faces.dataset --xmp sidecars
    """
    if file is None and xmp is None:
        raise WrongUsageError("nothing is to be written; name a CSV file, or a folder with --xmp")
    people = ft.open_people(dataset)
    done: dict[str, object] = {"dataset": str(dataset)}
    if file is not None:
        require_new_file(file)
        table = people.export()
        with put_file(file) as opened:
            columns = table.to_arrow().column_names
            opened.write(as_csv(columns, table.to_list()).encode())
        done |= {"file": str(file), "num_faces": len(table)}
    if xmp is not None:
        done |= {"xmp": str(xmp), "num_sidecars": people.write_sidecars(xmp)}
    if as_json:
        print_json(done)
        return
    if file is not None:
        click.echo(f"{printable(str(file))}: {counted(len(table), 'face')}")
    if xmp is not None:
        click.echo(f"{printable(str(xmp))}: {done['num_sidecars']:,} sidecars")


@click.command(name="import")
@dataset_argument
@file_argument
@author_option
@json_option
def import_people(dataset: Path, file: Path, author: str | None, as_json: bool) -> None:
    """Take over who is who in DATASET from FILE: CSV with face_id, and person_id or person.

    Rows with `machine` in the column said_by count only for faces that no grouping has yet. All
    others are one decision, which `facetrove undo` takes back.

    \b
    Example:
      facetrove people import faces.dataset people.csv
    """
    done = ft.open_people(dataset, author=author).import_csv(file)
    if as_json:
        print_json({"dataset": str(dataset), "file": str(file), **done.to_json()})
        return
    people = "1 person" if done.num_people == 1 else f"{done.num_people:,} people"
    click.echo(
        f"{counted(done.num_faces, 'face')} said by people, and {done.num_grouped:,} by a machine, "
        f"of {people}"
    )
    if done.decision is not None:
        name = printable(str(dataset))
        click.echo(f"`facetrove undo {name} {done.decision.decision_id}` takes it back")
