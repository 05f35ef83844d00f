"""`facetrove purge`: remove deleted faces from every byte, with a report."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

import facetrove as ft
from faces.core.errors import WrongUsageError
from faces.core.files import atomic_write
from facetrove.cli.options import json_option
from facetrove.cli.terminal import index_progress, print_json
from facetrove.cli.text import counted, printable


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("indexes", type=click.Path(path_type=Path), nargs=-1, metavar="[INDEX]...")
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    help="Keep the report in this new file, as JSON.",
)
@json_option
def purge(dataset: Path, indexes: tuple[Path, ...], report: Path | None, as_json: bool) -> None:
    """Remove what was deleted from every file of DATASET and every INDEX named.

    Also goes what was superseded: earlier faces of photos that changed, photos that vanished and
    were dropped. Afterwards every file is read again, and a report says what was removed, when,
    and what was looked for; it names nobody.

    \b
    Example:
      facetrove purge faces.dataset faces.index --report purge.json
    """
    if report is not None:
        _require_new_file(report)  # before: what is gone cannot be reported a second time
    with index_progress() as on_progress:
        done = ft.purge(dataset, indexes, on_progress=on_progress)
    if report is not None:
        _write_report(report, done)
    _show_purge(done, as_json=as_json)


def _require_new_file(path: Path) -> None:
    """Raise WrongUsageError unless a file can be made at a path and nothing is there."""
    if path.exists() or path.is_symlink():
        raise WrongUsageError(f"{path} exists; name a new file for the report")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise WrongUsageError(f"no file can be made in {path.parent}; name another folder")


def _write_report(path: Path, report: ft.PurgeReport) -> None:
    """Keep the report of a purge in a file."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(report.to_json(), indent=2) + "\n")


def _show_purge(report: ft.PurgeReport, *, as_json: bool) -> None:
    """Print what a purge removed, and how that was checked."""
    if as_json:
        print_json(report.to_json())
        return
    click.echo(
        f"{printable(report.dataset)}: removed "
        f"{counted(report.num_faces_removed, 'row')} of faces and "
        f"{report.num_photos_removed:,} of photos; "
        f"{counted(len(report.deleted_face_digests), 'face')} deleted so far"
    )
    for index, count in report.num_index_rows_removed.items():
        click.echo(f"{printable(index)}: removed {counted(count, 'row')} of faces")
    click.echo(
        f"then read {counted(report.files_checked, 'file')} with "
        f"{counted(report.faces_checked, 'face')} again and did not find"
    )
    for trace in report.not_found:
        click.echo(f"  {trace}")
    for name in report.unknown_files:
        click.echo(f"not ours, and not looked into: {printable(name)}")
    for limit in report.limits:
        click.echo(limit)
