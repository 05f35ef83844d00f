"""`facetrove delete`: delete faces from a dataset and its indexes."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

import facetrove as ft
from faces.core.errors import WrongUsageError
from facetrove.cli.options import json_option
from facetrove.cli.terminal import index_progress, print_json
from facetrove.cli.text import counted, printable


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("indexes", type=click.Path(path_type=Path), nargs=-1, metavar="[INDEX]...")
@click.option(
    "--face", "faces", multiple=True, metavar="FACE_ID", help="Delete the face with this face_id."
)
@click.option(
    "--photo",
    "photos",
    multiple=True,
    metavar="PATH",
    help="Delete all faces of the photo with this path, uri or photo_id, and of its copies.",
)
@click.option(
    "--where",
    metavar="FILTER",
    help="Delete all faces that match this filter, such as \"person = 'Ann Lee'\"; see "
    "docs/search.md.",
)
@click.option(
    "--dry-run", is_flag=True, help="Only print how many faces would be deleted; change nothing."
)
@click.option("--yes", is_flag=True, help="Delete without asking for confirmation.")
@json_option
def delete(
    dataset: Path,
    indexes: tuple[Path, ...],
    faces: tuple[str, ...],
    photos: tuple[str, ...],
    where: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete faces from DATASET and from each INDEX, so that no later search finds them.

    Name the faces by --face, --photo or --where. They stay deleted even if their photos, or
    edited copies of these, are embedded again. Their bytes stay in the files until `facetrove
    purge` removes them.

    \b
    Examples:
      facetrove delete faces.dataset faces.index --where "person = 'Ann Lee'"
      facetrove delete faces.dataset faces.index --photo ~/Pictures/party.jpg
    """
    if where is None and not (faces or photos):
        raise WrongUsageError("no faces are named; name some by --face, --photo or --where")
    if not (dry_run or yes or sys.stdin.isatty()):
        raise WrongUsageError(
            "delete asks for confirmation, and standard input is no terminal to answer on; give "
            "--yes to delete without confirmation"
        )
    with index_progress() as on_progress:
        plan = ft.plan_deletion(
            dataset, indexes, faces=faces, photos=photos, where=where, on_progress=on_progress
        )
    if dry_run:
        _show_to_delete(plan.num_faces, dataset, as_json=as_json)
        return
    if plan.num_faces and not yes:
        click.confirm(
            f"permanently delete {counted(plan.num_faces, 'face')}?", abort=True, err=True
        )
    with index_progress() as on_progress:
        deleted = plan.execute(on_progress=on_progress)
    _show_deleted(deleted, dataset, as_json=as_json)


def _show_to_delete(num_faces: int, dataset: Path, *, as_json: bool) -> None:
    """Print how many faces a deletion would delete."""
    if as_json:
        print_json({"dataset": str(dataset), "num_faces": num_faces})
    else:
        click.echo(f"would delete {counted(num_faces, 'face')} of {printable(str(dataset))}")


def _show_deleted(deleted: ft.DeletionResult, dataset: Path, *, as_json: bool) -> None:
    """Print how many faces a deletion deleted, and what remains to be done."""
    if as_json:
        print_json({"dataset": str(dataset), **asdict(deleted)})
        return
    if not deleted.num_faces:
        click.echo(f"no face of {printable(str(dataset))} matches; nothing was deleted")
        return
    click.echo(f"deleted {counted(deleted.num_faces, 'face')} of {printable(str(dataset))}")
    for index, count in deleted.num_faces_of_index.items():
        click.echo(f"  {printable(index)} held {count:,} of them and no longer finds them")
    if unrecognised := deleted.num_faces - deleted.num_recognisable:
        click.echo(
            f"  {unrecognised:,} of them will come back if edited copies of their photos are "
            "embedded (see docs/index.md); files of the same bytes stay away"
        )
    if deleted.still_in_dataset:
        click.echo("  a job is writing the dataset, so the next purge will remove their rows")
    click.echo("run `facetrove purge` to remove their bytes from the files")
