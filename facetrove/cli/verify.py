"""`facetrove verify`: check every byte of an index."""

from __future__ import annotations

import sys
from pathlib import Path

import click

import facetrove as ft
from facetrove.cli.options import json_option
from facetrove.cli.terminal import index_progress, print_json
from facetrove.cli.text import counted, printable

EXIT_PROBLEMS_FOUND = 1


@click.command()
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("dataset", type=click.Path(path_type=Path), required=False)
@json_option
def verify(index: Path, dataset: Path | None, as_json: bool) -> None:
    """Check the digest of every file of INDEX, that its rows agree, and with DATASET if named.

    Exit code 1 where something is wrong; it says which file, and what to do.

    \b
    Example:
      facetrove verify faces.index faces.dataset
    """
    with index_progress() as on_progress:
        verified = ft.verify_index(index, dataset, on_progress=on_progress)
    _show_verified(verified, as_json=as_json)
    if verified.problems:
        sys.exit(EXIT_PROBLEMS_FOUND)


def _show_verified(verified: ft.Verified, *, as_json: bool) -> None:
    """Print what a check of an index found."""
    if as_json:
        print_json(verified.to_json())
        return
    name = printable(verified.index)
    for problem in verified.problems:
        click.echo(f"{name}: {printable(problem)}")
    if not verified.problems:
        agrees = ""
        if verified.dataset is not None:
            agrees = f", and agrees with {printable(verified.dataset)}"
        click.echo(
            f"{name} (version {verified.version}) is whole{agrees}: "
            f"{counted(verified.num_files, 'file')}, {verified.num_bytes:,} bytes, "
            f"{counted(verified.num_faces, 'face')}"
        )
