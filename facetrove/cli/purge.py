"""`facetrove purge`: remove the bytes of deleted faces from all files, with a report."""

from __future__ import annotations

from pathlib import Path

import click

import facetrove as ft
from faces.core.words import counted
from facetrove.cli.options import json_option
from facetrove.cli.report_files import require_new_file, write_report
from facetrove.cli.terminal import index_progress, print_json, show_first, shown_uri
from facetrove.cli.text import printable

NAMES_SHOWN = 50
"""At most so many rows in which a name is left are printed."""


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("indexes", type=click.Path(path_type=Path), nargs=-1, metavar="[INDEX]...")
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    help="Also write the report as JSON to this file, which must not exist yet.",
)
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="NAME",
    help="Also remove this person's name from the columns of the photos, in DATASET and INDEX, and "
    "from the people book.",
)
@click.option(
    "--deletion",
    "deletions",
    multiple=True,
    metavar="ID",
    help="Make only this deletion final, and report it alone; `facetrove undo DATASET` lists the "
    "ids.  [default: all deletions]",
)
@json_option
def purge(
    dataset: Path,
    indexes: tuple[Path, ...],
    report: Path | None,
    names: tuple[str, ...],
    deletions: tuple[str, ...],
    as_json: bool,
) -> None:
    """Remove the bytes of deleted faces from every file of DATASET and of each INDEX.

    Superseded rows are removed too: earlier faces of photos that changed, and photos that vanished
    and were dropped. Afterwards every file is read again to check that nothing is left. The report
    says what was removed, when, and what was checked; it names no person and no photo.

    Deletions cannot be taken back after a purge.

    \b
    Examples:
      facetrove purge faces.dataset faces.index --report purge.json
      facetrove purge faces.dataset faces.index --deletion 3f9a01c7 --name "Ann Lee"
    """
    if report is not None:
        require_new_file(report)  # before purging, because a purge cannot be reported twice
    with index_progress() as on_progress:
        done = ft.purge(
            dataset, indexes, deletions=deletions or None, names=names, on_progress=on_progress
        )
    if report is not None:
        write_report(report, done.to_json())
    _show_purge(done, as_json=as_json)


def _show_purge(report: ft.PurgeReport, *, as_json: bool) -> None:
    """Print how many rows a purge removed, and what it checked afterwards."""
    if as_json:
        print_json(report.to_json())
        return
    click.echo(
        f"{printable(report.dataset)}: removed "
        f"{counted(report.num_faces_removed, 'row')} of faces and "
        f"{counted(report.num_photos_removed, 'row')} of photos; "
        f"{counted(len(report.deleted_face_digests), 'face')} purged so far"
        + (f" of deletion {', '.join(report.deletions)}" if report.deletions else "")
    )
    if report.num_name_rows_cleaned:
        click.echo(f"removed a name from {counted(report.num_name_rows_cleaned, 'row')} of photos")
    for index, count in report.num_index_rows_removed.items():
        click.echo(f"{printable(index)}: removed {counted(count, 'row')} of faces")
    if report.num_crops_removed:
        crops = counted(report.num_crops_removed, "crop")
        click.echo(f"removed {crops} of deleted faces from the cache of crops for training")
    if report.num_book_faces_removed or report.num_book_names_removed:
        faces = counted(report.num_book_faces_removed, "mention")
        names = f"{report.num_book_names_removed:,}"
        click.echo(f"people book: removed {faces} of faces, and {names} of names")
    if report.num_models_removed:
        models = counted(report.num_models_removed, "read model")
        click.echo(f"removed {models} of people books from the cache; they are built again")
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
    for address in report.exports:
        click.echo(
            "may still hold what was removed, until `facetrove export INDEX DATABASE` is run "
            f"again: {printable(address)}"
        )
    for limit in report.limits:
        click.echo(limit)
    if report.names_left:
        _show_names(report)


def _show_names(report: ft.PurgeReport) -> None:
    """Print the rows in which a name is left. The report has their number only."""
    click.echo(
        f"{counted(report.num_name_rows_left, 'row')} of photos or the people book still have the "
        "name of a person of whose photos faces were removed:"
    )
    show_first(
        report.names_left,
        lambda left: (
            f"  {printable(left.name)!r} in the {left.column}"
            + (f" of {shown_uri(left.uri)}" if left.uri else "")
        ),
        NAMES_SHOWN,
        rest=lambda count: f"  and {count:,} more",
    )
    click.echo(
        "`facetrove purge --name NAME` removes a name from columns and the people book; rename "
        "files and folders that have it, and remove it from your photo lists, which bring it back"
    )
