"""`facetrove relocate`: tell a dataset and its indexes that photos have moved."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

import facetrove as ft
from faces.core.words import counted
from facetrove.cli.options import json_option
from facetrove.cli.terminal import index_progress, print_json
from facetrove.cli.text import printable


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("old")
@click.argument("new")
@click.argument("indexes", nargs=-1, type=click.Path(path_type=Path), metavar="[INDEX]...")
@click.option("--dry-run", is_flag=True, help="Only print how many photos would be relocated.")
@json_option
def relocate(
    dataset: Path, old: str, new: str, indexes: tuple[Path, ...], dry_run: bool, as_json: bool
) -> None:
    """Tell DATASET that what was at OLD is now at NEW.

    OLD and NEW are folders, photos, archives or addresses. The rows of the photos there get their
    new uris, and keep faces, labels and deletions; no photo is read. Each INDEX is brought up to
    date; an index that is not named follows when `facetrove index` next runs. Move the files
    yourself, before or afterwards.

    If the command is stopped, run it again. A photo that was embedded at NEW before has the labels
    of both places.

    \b
    Examples:
      facetrove relocate faces.dataset /mnt/old-disk/photos /mnt/nas/photos faces.index
      facetrove relocate faces.dataset scans.tar s3://archive/scans.tar --dry-run
    """
    if dry_run:
        relocation = ft.plan_relocation(dataset, old, new)
    else:
        with index_progress() as on_progress:
            relocation = ft.relocate(dataset, old, new, indexes=indexes, on_progress=on_progress)
    if as_json:
        print_json(
            {"dataset": str(dataset), "indexes": list(map(str, indexes)), "dry_run": dry_run}
            | asdict(relocation)
        )
        return
    places = f"from {printable(relocation.old)} to {printable(relocation.new)}"
    verb = "would relocate" if dry_run else "relocated"
    click.echo(f"{verb} {counted(relocation.num_photos, 'photo')} {places}")
    if relocation.num_known:
        click.echo(
            f"  {relocation.num_known:,} of them are in the dataset at the new place already"
        )
    if not relocation.num_photos:
        click.echo(f"  {counted(relocation.num_there_already, 'photo')} already at the new place")
    if relocation.num_found < relocation.num_looked_for:
        click.echo(
            f"  of {counted(relocation.num_looked_for, 'photo')} looked for at the new place, "
            f"{relocation.num_found:,} are there now: check it, and that its disk is there"
        )
    if not dry_run:
        for index in indexes:
            click.echo(f"{printable(str(index))} is up to date")
