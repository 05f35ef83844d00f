"""`facetrove drop`: drop every photo whose file is gone."""

from __future__ import annotations

from pathlib import Path

import click

import facetrove as ft
from faces.core.words import counted
from facetrove.cli.options import json_option, require_answer
from facetrove.cli.terminal import print_json, show_first, shown_uri
from facetrove.cli.text import printable

SHOWN = 10
"""At most so many photos are named before the question; `facetrove info --list` names all."""


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option(
    "--below",
    "folders",
    multiple=True,
    metavar="FOLDER",
    help="Take what is missing in this folder, archive or address for gone, even if its disk may "
    "not be mounted. May be given several times.",
)
@click.option("--dry-run", is_flag=True, help="Only print what would be dropped; change nothing.")
@click.option("--yes", is_flag=True, help="Drop without asking for confirmation.")
@json_option
def drop(dataset: Path, folders: tuple[str, ...], dry_run: bool, yes: bool, as_json: bool) -> None:
    """Drop every photo from DATASET whose file is gone, with its faces.

    It does not matter whether a photo list still names the photo, or whether its folder is empty or
    gone, too. Nothing is concluded where a disk is not mounted: such photos stay, and are
    unreachable. `facetrove info DATASET --list vanished` and `--list unreachable` name the photos.

    \b
    Examples:
      facetrove drop faces.dataset
      facetrove drop faces.dataset --below /media/old-disk --dry-run
    """
    if not (dry_run or yes):
        require_answer("drop", "drop")
    found = ft.find_missing(dataset, below_folders=folders)
    if found.vanished and not (dry_run or yes):
        _name(found.vanished)
        question = f"drop {counted(len(found.vanished), 'photo')} whose files are gone?"
        click.confirm(question, abort=True, err=True)
    dropped = 0 if dry_run or not found.vanished else ft.drop_photos(dataset, found.vanished)
    if as_json:
        document = {"vanished": found.vanished, "unreachable": found.unreachable}
        print_json({"dataset": str(dataset), "num_dropped": dropped, **document})
        return
    name = printable(str(dataset))
    if dry_run:
        click.echo(f"would drop {counted(len(found.vanished), 'photo')} of {name}")
        _name(found.vanished)
    elif dropped:
        click.echo(
            f"dropped {counted(dropped, 'photo')} of {name}; `facetrove index` brings its indexes "
            "up to date"
        )
    else:
        click.echo(f"no file of {name} is gone for certain")
    if found.unreachable:
        click.echo(
            f"{counted(len(found.unreachable), 'photo')} kept: unreachable, as on a disk that is "
            f"not mounted (facetrove info {name} --list unreachable names them; --below FOLDER "
            "says that what is missing below a folder is gone)"
        )


def _name(uris: tuple[str, ...]) -> None:
    show_first(
        uris,
        lambda uri: f"  {shown_uri(uri)}",
        SHOWN,
        rest=lambda count: f"  and {count:,} more",
        err=True,
    )
