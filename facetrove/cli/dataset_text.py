"""Text about the photos and faces of a dataset, which `embed`, `import` and `info` print."""

from __future__ import annotations

from pathlib import Path

import click

from faces.dataset.counts import DatasetCounts
from facetrove.cli.text import counted, printable


def show_outcomes(counts: DatasetCounts, *, of_copies: str) -> None:
    """Print how many photos have no face, lost their faces, are copies or were rejected.

    Args:
        counts: counts of the photos to describe.
        of_copies: end of the line about copies, after `2 photos`.
    """
    if no_face := counts.by_status.get("no_face"):
        click.echo(f"  {counted(no_face, 'photo')} without a face")
    if deleted := counts.by_status.get("deleted"):
        click.echo(f"  {counted(deleted, 'photo')} whose faces were deleted")
    if counts.num_copies:
        click.echo(f"  {counted(counts.num_copies, 'photo')} {of_copies}")
    for reason, count in sorted(counts.by_reason.items()):
        click.echo(f"  {counted(count, 'photo')} rejected: {printable(reason)}")


def show_kept_away(counts: DatasetCounts, dataset: Path) -> None:
    """Print how many faces were kept away, and ask to look at those that are uncertain.

    Args:
        counts: counts of the photos to describe.
        dataset: path of the dataset.
    """
    if not counts.num_kept_away:
        return
    click.echo(
        f"  {counted(counts.num_kept_away, 'face')} kept away, because they were deleted before"
    )
    if counts.num_uncertain:
        name = printable(str(dataset))
        click.echo(
            f"  {counts.num_uncertain:,} of them may be of another photo, such as the next of a "
            f"burst: look at them with `facetrove info {name} --kept-away`, and let in what was "
            f"not deleted with `facetrove allow {name} --face DIGEST`"
        )


def faces_of_photos(counts: DatasetCounts) -> str:
    """Return the numbers of faces and photos in words: `7 faces of 9 photos`."""
    return f"{counted(counts.num_faces, 'face')} of {counted(counts.num_photos, 'photo')}"


def photo_rate(num_photos: int, seconds: float) -> str:
    """Return the speed of a run in words: `71.3 photos/s`."""
    return f"{num_photos / max(seconds, 0.001):,.1f} photos/s"
