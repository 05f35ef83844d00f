"""`facetrove purge`: remove the bytes of deleted faces from all files, with a report."""

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
    help="Also write the report as JSON to this file, which must not exist yet.",
)
@json_option
def purge(dataset: Path, indexes: tuple[Path, ...], report: Path | None, as_json: bool) -> None:
    """Remove the bytes of deleted faces from every file of DATASET and of each INDEX.

    Superseded rows are removed too: earlier faces of photos that changed, and photos that vanished
    and were dropped. Afterwards every file is read again to check that nothing is left. The report
    says what was removed, when, and what was checked; it names no person and no photo.

    \b
    Example:
      facetrove purge faces.dataset faces.index --report purge.json
    """
    if report is not None:
        _require_new_file(report)  # before purging, because a purge cannot be reported twice
    with index_progress() as on_progress:
        done = ft.purge(dataset, indexes, on_progress=on_progress)
    if report is not None:
        _write_report(report, done)
    _show_purge(done, as_json=as_json)


def _require_new_file(path: Path) -> None:
    """Raise WrongUsageError unless a new file can be made at a path."""
    if path.exists() or path.is_symlink():
        raise WrongUsageError(f"{path} exists; name a new file for the report")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise WrongUsageError(
            f"the folder {path.parent} does not exist or is not writable; name another folder for "
            "the report"
        )


def _write_report(path: Path, report: ft.PurgeReport) -> None:
    """Write the report of a purge to a file, as JSON."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(report.to_json(), indent=2) + "\n")


def _show_purge(report: ft.PurgeReport, *, as_json: bool) -> None:
    """Print how many rows a purge removed, and what it checked afterwards."""
    if as_json:
        print_json(report.to_json())
        return
    click.echo(
        f"{printable(report.dataset)}: removed "
        f"{counted(report.num_faces_removed, 'row')} of faces and "
        f"{counted(report.num_photos_removed, 'row')} of photos; "
        f"{counted(len(report.deleted_face_digests), 'face')} deleted so far"
    )
    for index, count in report.num_index_rows_removed.items():
        click.echo(f"{printable(index)}: removed {counted(count, 'row')} of faces")
    click.echo(
        f"checked afterwards: {counted(report.files_checked, 'file')} with "
        f"{counted(report.faces_checked, 'face')} hold none of:"
    )
    for trace in report.not_found:
        click.echo(f"  {trace}")
    click.echo("kept, so that deleted faces stay away:")
    for kept in report.kept:
        click.echo(f"  {kept}")
    for name in report.unknown_files:
        click.echo(f"not checked, because it is no file of facetrove: {printable(name)}")
    for limit in report.limits:
        click.echo(limit)
