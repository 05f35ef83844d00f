"""`facetrove delete`: delete faces, so that no search finds them any more."""

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
@click.option("--face", "faces", multiple=True, metavar="FACE_ID", help="A face, by its face_id.")
@click.option(
    "--photo",
    "photos",
    multiple=True,
    metavar="PATH",
    help="All faces of a photo, by its path, uri or photo_id, and of its copies.",
)
@click.option("--where", help="All faces that a filter lets pass, as \"person = 'Ann Lee'\".")
@click.option("--dry-run", is_flag=True, help="Only say how many faces it would delete.")
@click.option("--yes", is_flag=True, help="Do not ask.")
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
    """Delete faces from DATASET and every INDEX named: the next search does not find them.

    Should their photos be embedded again, they stay away. `facetrove purge` then removes them
    from every byte of the files.

    \b
    Examples:
      facetrove delete faces.dataset faces.index --where "person = 'Ann Lee'"
      facetrove delete faces.dataset faces.index --photo ~/Pictures/party.jpg
    """
    if where is None and not (faces or photos):
        raise WrongUsageError("say which faces: by --face, --photo or --where")
    if not (dry_run or yes or sys.stdin.isatty()):
        raise WrongUsageError("delete asks before it deletes; where nobody can answer, give --yes")
    with index_progress() as on_progress:
        plan = ft.plan_deletion(
            dataset, indexes, faces=faces, photos=photos, where=where, on_progress=on_progress
        )
    if dry_run:
        _show_to_delete(plan.num_faces, dataset, as_json=as_json)
        return
    if plan.num_faces and not yes:
        click.confirm(f"delete {counted(plan.num_faces, 'face')} for good?", abort=True, err=True)
    with index_progress() as on_progress:
        deleted = plan.carry_out(on_progress=on_progress)
    _show_deleted(deleted, dataset, as_json=as_json)


def _show_to_delete(num_faces: int, dataset: Path, *, as_json: bool) -> None:
    """Print what a deletion would do."""
    if as_json:
        print_json({"dataset": str(dataset), "num_faces": num_faces})
    else:
        click.echo(f"would delete {counted(num_faces, 'face')} of {printable(str(dataset))}")


def _show_deleted(deleted: ft.Deleted, dataset: Path, *, as_json: bool) -> None:
    """Print what a deletion did."""
    if as_json:
        print_json({"dataset": str(dataset), **asdict(deleted)})
        return
    if not deleted.num_faces:
        click.echo(f"no face of {printable(str(dataset))} is meant by that; nothing was deleted")
        return
    click.echo(f"deleted {counted(deleted.num_faces, 'face')} of {printable(str(dataset))}")
    for index, count in deleted.num_faces_of_index.items():
        click.echo(f"  {printable(index)} held {count:,} of them and finds them no more")
    if deleted.still_in_dataset:
        click.echo("  a job is writing the dataset: their rows are taken out by the next purge")
    click.echo("run `facetrove purge` to remove them from every byte of the files")
