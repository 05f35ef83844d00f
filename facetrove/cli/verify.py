"""`facetrove verify`: check that an index is intact and agrees with its dataset."""

from __future__ import annotations

import sys
from pathlib import Path

import click

import facetrove as ft
from faces.core.words import counted
from facetrove.cli.options import json_option
from facetrove.cli.terminal import index_progress, print_json
from facetrove.cli.text import printable

EXIT_PROBLEMS_FOUND = 1
"""Exit code of a check that ran and found problems."""


@click.command()
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("dataset", type=click.Path(path_type=Path), required=False)
@json_option
def verify(index: Path, dataset: Path | None, as_json: bool) -> None:
    """Check that every file of INDEX is intact, and that its rows agree with those of DATASET.

    The digest of every file is computed, and the rows of the files are compared with each other
    and, if DATASET is given, with the faces of that dataset. The exit code is 1 if a problem is
    found; each is printed with the file and what to do.

    \b
    Example:
      facetrove verify faces.index faces.dataset
    """
    with index_progress() as on_progress:
        verified = ft.verify_index(index, dataset, on_progress=on_progress)
    _show_verified(verified, as_json=as_json)
    if verified.problems:
        sys.exit(EXIT_PROBLEMS_FOUND)


def _show_verified(verified: ft.VerificationResult, *, as_json: bool) -> None:
    """Print the problems that a check of an index found, or that there are none."""
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
            f"{name} (version {verified.version}) is intact{agrees}: "
            f"{counted(verified.num_files, 'file')}, {verified.num_bytes:,} bytes, "
            f"{counted(verified.num_faces, 'face')}"
        )
