"""Text about a run of the embed job, which `embed` and `import` print."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

import facetrove as ft
from faces.core.words import counted
from facetrove.cli.dataset_text import (
    faces_of_photos,
    photo_rate,
    show_kept_away,
    show_outcomes,
    show_passed_over,
)
from facetrove.cli.terminal import print_json, show_first, shown_uri
from facetrove.cli.text import printable


def show_photos_found(found: ft.PhotosFound, dataset: Path, *, as_json: bool) -> None:
    """Print how many photos a run of the embed job would embed into a dataset."""
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
    show_passed_over(found.passed_over)
    _show_open_dates(found)
    _show_missing(found, dataset, dropped=False)
    if found.num_below_gone:
        click.echo(f"{counted(found.num_below_gone, 'photo')} to be dropped (--drop-below)")


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
    _show_open_dates(found)
    for column, count in summary.contradictory.items():
        click.echo(
            f"{counted(count, 'photo')} at several places with different values of "
            f"{printable(column)} (facetrove info {printable(str(dataset))} --list contradictory)"
        )
    if summary.num_dropped:
        click.echo(f"dropped {counted(summary.num_dropped, 'photo')} that vanished")
    show_passed_over(found.passed_over)
    _show_missing(found, dataset, dropped=summary.num_dropped > found.num_below_gone)
    click.echo(f"{printable(str(dataset))} holds {faces_of_photos(summary.total)}")


def _show_open_dates(found: ft.PhotosFound) -> None:
    """Warn of columns that stay text because nothing says what their dates begin with."""
    for column in found.open_dates:
        click.echo(
            f"warning: {printable(column)} stays text, because its dates may begin with the day or "
            "the month; say which with --date-order day or --date-order month"
        )


def _show_missing(found: ft.PhotosFound, dataset: Path, *, dropped: bool) -> None:
    """Print how many photos of the dataset cannot be accessed now, and how many vanished.

    Args:
        found: what the run found.
        dataset: folder of the dataset.
        dropped: whether vanished and excluded photos were dropped.
    """
    if found.num_out_of_reach:
        click.echo(
            f"{counted(found.num_out_of_reach, 'photo')} cannot be accessed now; the dataset keeps "
            "their rows (facetrove info DATASET --list unreachable, or vanished, names them)"
        )
    if found.num_gone:
        click.echo(
            f"{counted(found.num_gone, 'photo')} named by a list, but gone and dropped before"
        )
    if found.num_vanished and not dropped:
        click.echo(
            f"{counted(found.num_vanished, 'photo')} of the dataset vanished: not found any more "
            "(--drop-vanished removes them from the dataset)"
        )
    if found.num_excluded and not dropped:
        click.echo(
            f"{counted(found.num_excluded, 'photo')} of the dataset would be passed over now "
            "(--drop-vanished removes them from the dataset)"
        )
    name = printable(str(dataset))

    def kept_below(folder: str) -> str:
        count, folder = counted(found.num_kept[folder], "photo"), shown_uri(folder)
        return (
            f"{count} below {folder}, where no photo is now, kept in the dataset (`facetrove drop "
            f"{name} --below {folder}` removes them)"
        )

    show_first(
        [*found.num_kept],
        kept_below,
        _SHOWN_FOLDERS,
        rest=lambda count: (
            f"  and those of {counted(count, 'further folder')}; --json names them all"
        ),
    )


_SHOWN_FOLDERS = 5
"""Number of folders without photos that are named."""
