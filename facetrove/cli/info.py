"""`facetrove info`: describe a dataset or an index."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from faces.core.errors import WrongUsageError
from faces.core.kinds import is_index
from faces.core.words import counted
from faces.dataset.store import Dataset
from facetrove.cli.dataset_text import (
    faces_of_photos,
    photo_rate,
    show_kept_away,
    show_outcomes,
    show_passed_over,
)
from facetrove.cli.index_text import show_manifest
from facetrove.cli.info_lists import show_list
from facetrove.cli.options import json_option
from facetrove.cli.terminal import print_json, shown_uri
from facetrove.cli.text import printable
from facetrove.photo_lists import LISTS, passed_over_counts
from indexer.manifest import read_current


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path), metavar="DATASET_OR_INDEX")
@click.option("--rejected", is_flag=True, help="List a dataset's rejected photos with the reasons.")
@click.option(
    "--kept-away",
    is_flag=True,
    help="List the faces that a dataset keeps away, because they were deleted before.",
)
@click.option(
    "--list",
    "listed",
    type=click.Choice(list(LISTS)),
    help="List these photos of a dataset by name: rejected with the reasons, without a face, whose "
    "faces were deleted, of the same content, read in part, whose files are gone, whose files or "
    "disks cannot be reached, or labelled differently at several places; or name what the last run "
    "passed over, with its kind and its ending or pattern.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print the list of --list as CSV.")
@json_option
def info(
    dataset: Path,
    rejected: bool,
    kept_away: bool,
    listed: str | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Describe a dataset or an index, whichever DATASET_OR_INDEX is.

    Of a dataset it prints the numbers of photos, faces and rejected photos, the models that made
    it, and its last run; of an index the number of faces, the calibration, and the recall.

    \b
    Examples:
      facetrove info faces.dataset --rejected
      facetrove info faces.dataset --list no-face --csv
      facetrove info faces.dataset --list passed-over
      facetrove info faces.dataset --kept-away
      facetrove info faces.index
    """
    listed = "rejected" if rejected else listed
    if as_csv and (listed is None or as_json):
        raise WrongUsageError("--csv is for a list; give --list NAME, and leave --json out")
    if is_index(dataset) and not (listed or kept_away):
        show_manifest(read_current(dataset), dataset, as_json=as_json)
        return
    opened = Dataset.open(dataset)
    if listed is not None:
        show_list(opened, listed, "csv" if as_csv else "json" if as_json else "text")
    elif kept_away:
        _show_kept_away(opened, as_json=as_json)
    else:
        _show_dataset(opened, as_json=as_json)


def _show_dataset(dataset: Dataset, *, as_json: bool) -> None:
    """Print a dataset's counts, models, limits, metadata columns and last run."""
    counts, runs, passed_over = dataset.counts(), dataset.runs(), passed_over_counts(dataset)
    if as_json:
        document = {
            "dataset": str(dataset.path),
            **asdict(counts),
            **dataset.settings.to_json(),
            "runs": runs,
            "passed_over": passed_over,
        }
        print_json(document)
        return
    click.echo(f"{printable(str(dataset.path))} holds {faces_of_photos(counts)}")
    show_outcomes(counts, of_copies="with the same content as another")
    show_kept_away(counts, dataset.path)
    contract = dataset.contract
    models = printable(f"{contract.detector} and {contract.embedder}")
    crops = printable(contract.alignment)
    click.echo(f"made by {models} ({contract.dimension} dimensions, {crops} crops)")
    if dataset.selection != type(dataset.selection)():
        click.echo(f"faces kept: {dataset.selection}")
    if len(dataset.metadata):
        columns = ", ".join(f"{field.name} ({field.type})" for field in dataset.metadata)
        click.echo(f"columns of the photos: {printable(columns)}")
    if not runs:
        click.echo("no run has finished yet")
        return
    click.echo(f"{counted(len(runs), 'run')} finished; the last {_last_run(runs[-1])}")
    show_passed_over(passed_over)


def _last_run(record: dict[str, Any]) -> str:
    """Describe a run by its record, which may be of another version of facetrove, or corrupt."""
    try:
        num_photos, seconds = int(record["done"]["num_photos"]), float(record["seconds"])
        stages = ", ".join(f"{name} {time:,.1f}" for name, time in record["stage_seconds"].items())
        text = (
            f"began {record['started']} and processed {counted(num_photos, 'photo')} "
            f"in {seconds:,.0f} s ({photo_rate(num_photos, seconds)})\n"
            f"  seconds by stage, summed over all workers: {stages}"
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return "left a record that cannot be read"
    return "\n".join(map(printable, text.splitlines()))


def _show_kept_away(dataset: Dataset, *, as_json: bool) -> None:
    """Print the faces that a dataset keeps away: how sure that is, digest, box and uri."""
    rows = dataset.kept_away().to_pylist()
    if as_json:
        print_json({"dataset": str(dataset.path), "kept_away": rows})
        return
    for row in rows:
        box = ",".join(f"{value:.0f}" for value in row["box"])
        click.echo(f"{row['certainty']}\t{row['digest'][:16]}\t{box}\t{shown_uri(row['uri'])}")
