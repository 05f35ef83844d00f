"""`facetrove allow`: let faces in again that were kept away from a dataset."""

from __future__ import annotations

from pathlib import Path

import click

import facetrove as ft
from faces.core.words import counted
from facetrove.cli.options import json_option
from facetrove.cli.terminal import print_json
from facetrove.cli.text import printable


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option(
    "--face",
    "faces",
    multiple=True,
    metavar="DIGEST",
    help="Let in the face with this digest, which `facetrove info --kept-away` prints.",
)
@click.option(
    "--photo",
    "photos",
    multiple=True,
    metavar="PATH",
    help="Let in all faces of the photo with this path, uri or photo_id that were kept away.",
)
@json_option
def allow(dataset: Path, faces: tuple[str, ...], photos: tuple[str, ...], as_json: bool) -> None:
    """Let faces into DATASET again that were kept away, because they were deleted before.

    The next `facetrove embed` of their photos embeds them. Faces that were deleted themselves are
    let in, too; a later `facetrove delete` deletes them again.

    \b
    Examples:
      facetrove info faces.dataset --kept-away
      facetrove allow faces.dataset --photo ~/Pictures/party-2.jpg
    """
    digests = ft.allow_faces(dataset, faces=faces, photos=photos)
    if as_json:
        print_json({"dataset": str(dataset), "allowed": digests})
        return
    click.echo(f"{printable(str(dataset))} lets in {counted(len(digests), 'face')} again")
    click.echo("run `facetrove embed` with their photos to embed them")
