"""`facetrove upgrade`: carry datasets and indexes of older versions over to this one."""

from __future__ import annotations

from pathlib import Path

import click

import facetrove as ft
from faces.core.words import counted
from facetrove.cli.options import json_option
from facetrove.cli.terminal import index_progress, print_json
from facetrove.cli.text import printable


@click.command()
@click.argument("folders", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--read-photos",
    is_flag=True,
    help="Read the photos of datasets that an older version embedded without what recognises "
    "edited copies of them, so that faces deleted later stay away there, too.",
)
@json_option
def upgrade(folders: tuple[Path, ...], read_photos: bool, as_json: bool) -> None:
    """Carry FOLDERS, datasets and indexes of older versions, over to the current format.

    Face_ids, columns, deletions, embeddings and calibrations are kept, and no photo is read unless
    --read-photos is given. Stopped at any point, the same command continues. Afterwards an older
    version of facetrove does not open the folders any more: copy them first if you need it.

    \b
    Examples:
      facetrove upgrade faces.dataset faces.index
      facetrove upgrade faces.dataset --read-photos
    """
    results = []
    for folder in folders:
        with index_progress() as on_progress:
            result = ft.upgrade(folder, read_photos=read_photos, on_progress=on_progress)
        results.append(result)
        if not as_json:
            _show(result, folder)
    if as_json:
        print_json({"upgraded": [result.to_json() for result in results]})


def _show(result: ft.DatasetUpgrade | ft.IndexUpgrade, folder: Path) -> None:
    """Print what was carried over, and what is left to do."""
    name = printable(str(folder))
    if result.has_changed:
        what = f"carried over from format {result.format_before} to {result.format_version}"
        if result.format_before == result.format_version:
            what = "brought up to date"
        click.echo(f"{name}: {what}: {_contents(result)}")
    elif isinstance(result, ft.IndexUpgrade) or not result.num_hashed:
        click.echo(f"{name}: nothing to do, it has format {result.format_version}")
    if isinstance(result, ft.DatasetUpgrade):
        _show_hashes(result, name)
    if not result.is_current:
        click.echo(
            f"  its embeddings are of preprocessing {result.preprocessing_version} and cannot be "
            "compared with new photos' any more; `facetrove embed DATASET NEW` embeds a dataset's "
            "photos anew, and keeps face_ids, columns and deletions; calibrate the new index"
        )


def _contents(result: ft.DatasetUpgrade | ft.IndexUpgrade) -> str:
    """Say in words what a dataset or an index holds."""
    if isinstance(result, ft.IndexUpgrade):
        kept = "with its calibration" if result.has_calibration else "without a calibration"
        return f"version {result.version}, {counted(result.num_faces, 'face')}, {kept}"
    return (
        f"{counted(result.num_faces, 'face')} of {counted(result.num_photos, 'photo')}, "
        f"{counted(result.num_deleted, 'deleted face')}"
    )


def _show_hashes(result: ft.DatasetUpgrade, name: str) -> None:
    """Print how many photos were read, and how many could be."""
    if result.num_hashed:
        click.echo(f"{name}: read {counted(result.num_hashed, 'photo')} to recognise edited copies")
    if result.num_without_hash:
        click.echo(
            f"  of {counted(result.num_without_hash, 'photo')} edited copies are recognised only "
            "while the photo can be read; --read-photos reads them now"
        )
