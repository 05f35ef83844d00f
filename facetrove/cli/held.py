"""`facetrove held`: say what is held about the person in a portrait."""

from __future__ import annotations

from pathlib import Path

import click

import facetrove as ft
from faces.core.words import counted
from faces.photos.metadata import PERSON
from facetrove.cli.options import json_option
from facetrove.cli.report_files import require_new_file, write_report
from facetrove.cli.terminal import index_progress, print_json, shown_uri
from facetrove.cli.text import printable
from search.sheet_files import require_picture_name


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("indexes", type=click.Path(path_type=Path), nargs=-1, metavar="[INDEX]...")
@click.option(
    "--like",
    type=click.Path(path_type=Path),
    required=True,
    metavar="PORTRAIT",
    help="Photo of one person, whose faces are looked for.",
)
@click.option(
    "--fpir",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="RATE",
    help="Count faces above the threshold of this false-positive rate, such as 0.01, by the "
    "calibration of the first INDEX or the model's own figure.",
)
@click.option(
    "--min-similarity",
    type=click.FloatRange(-1, 1),
    help="Count faces with at least this similarity.",
)
@click.option(
    "--sheet",
    type=click.Path(path_type=Path),
    help="Also draw the faces side by side, in this picture file (.jpg, .png, .webp).",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    help="Also write the answer as JSON to this file, which must not exist yet.",
)
@json_option
def held(
    dataset: Path,
    indexes: tuple[Path, ...],
    like: Path,
    fpir: float | None,
    min_similarity: float | None,
    sheet: Path | None,
    report: Path | None,
    as_json: bool,
) -> None:
    """Say what DATASET and each INDEX hold about the person in a portrait.

    The portrait is compared with every face, exactly, and with faces that were deleted and not yet
    purged. `facetrove delete --like` finds the same faces, and deletes them.

    \b
    Example:
      facetrove held faces.dataset faces.index --like ann.jpg --fpir 0.01 --report ann.json
    """
    if report is not None:
        require_new_file(report)
    if sheet is not None:
        require_picture_name(sheet)
    with index_progress() as on_progress:
        found = ft.find_held(
            dataset,
            indexes,
            like,
            fpir=fpir,
            min_similarity=min_similarity,
            on_progress=on_progress,
        )
    if sheet is not None:
        found.write_sheet(sheet, like)
    if report is not None:
        write_report(report, found.to_json())
    if as_json:
        print_json(found.to_json())
        return
    _show_held(found)
    if sheet is not None:
        click.echo(f"contact sheet: {printable(str(sheet))}")


def _show_held(found: ft.HeldFaces) -> None:
    """Print the faces that are held of a person, one line each."""
    click.echo(
        f"{printable(found.dataset)} holds {counted(len(found.faces), 'face')} with a similarity "
        f"of {found.min_similarity:.3f} or more"
    )
    for face, columns in zip(found.faces, found.columns, strict=True):
        notes = [f"and {counted(len(face.also_at), 'other file')}"] if face.also_at else []
        at_places = columns["values_at_places"].get(PERSON, {})
        people = [*dict.fromkeys([face.person, *map(str, at_places.values())])]
        notes += [f"person {printable(name)}" for name in people if name]
        notes += ["only in an index"] if face.face_id in found.only_in_indexes else []
        notes += ["deleted, not purged"] if face.face_id in found.withheld else []
        note = f" ({'; '.join(notes)})" if notes else ""
        click.echo(f"  {face.similarity:.3f}  {face.face_id}  {shown_uri(face.uri)}{note}")
