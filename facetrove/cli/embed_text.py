"""Text about a run of the embed job, which `embed` and `import` print."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

import facetrove as ft
from facetrove.cli.dataset_text import faces_of_photos, photo_rate, show_kept_away, show_outcomes
from facetrove.cli.terminal import print_json
from facetrove.cli.text import counted, printable


def show_photos_found(found: ft.PhotosFound, *, as_json: bool) -> None:
    """Print how many photos a run of the embed job would embed."""
    if as_json:
        print_json(asdict(found))
        return
    click.echo(f"{counted(found.num_photos, 'photo')} found")
    for count, what in (
        (found.num_new, "new"),
        (found.num_changed, "changed since they were embedded"),
        (found.num_retried, "rejected before, and to be tried again"),
        (found.num_unchanged, "already in the dataset"),
    ):
        if count:
            click.echo(f"  {count:,} {what}")
    _show_missing(found)


def show_embed_summary(
    summary: ft.EmbedSummary, dataset: Path, *, source: str | Path | None = None, as_json: bool
) -> None:
    """Print what a run of the embed job did, and what the dataset now holds.

    Args:
        summary: the run's summary.
        dataset: folder of the dataset.
        source: folder of the dataset whose faces were embedded again; None: photos were named.
        as_json: whether to print one JSON document.
    """
    if as_json:
        print_json({"dataset": str(dataset), **asdict(summary)})
        return
    found, done = summary.found, summary.done
    if found.num_unchanged:
        click.echo(f"skipped {counted(found.num_unchanged, 'photo')} already in the dataset")
    if done.num_photos:
        click.echo(
            f"embedded {faces_of_photos(done)} in {summary.seconds:,.0f} s "
            f"({photo_rate(done.num_photos, summary.seconds)})"
        )
        show_outcomes(done, of_copies="with the same content as another, not embedded again")
        show_kept_away(done, dataset)
        if source is not None and summary.detected:
            click.echo(
                f"  faces were detected anew; those that {printable(str(source))} has keep their "
                "face_ids"
            )
    elif not summary.num_dropped:
        click.echo("nothing is new")
    if summary.num_dropped:
        click.echo(f"dropped {counted(summary.num_dropped, 'photo')} that vanished")
    else:
        _show_missing(found)
    click.echo(f"{printable(str(dataset))} holds {faces_of_photos(summary.total)}")


def _show_missing(found: ft.PhotosFound) -> None:
    """Print how many photos of the dataset cannot be accessed now, and how many vanished."""
    if found.num_out_of_reach:
        click.echo(
            f"{counted(found.num_out_of_reach, 'photo')} cannot be accessed now; the dataset keeps "
            "their rows"
        )
    if found.num_vanished:
        click.echo(
            f"{counted(found.num_vanished, 'photo')} of the dataset vanished: not found any more "
            "(--drop-vanished removes them from the dataset)"
        )
