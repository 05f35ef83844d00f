"""Text about the photos and faces of a dataset, which `embed`, `import` and `info` print."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from faces.core.words import counted
from faces.dataset.counts import DatasetCounts
from faces.photos.passed_over import PassedOverCounts
from facetrove.cli.text import printable


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
    for part, what in _PARTLY_READ.items():
        if count := counts.by_partly_read.get(part):
            click.echo(f"  {counted(count, 'photo')} {what}")
    for reason, count in sorted(counts.by_reason.items()):
        click.echo(f"  {counted(count, 'photo')} rejected: {printable(reason)}")


_PARTLY_READ = {
    "further_pages": "with further pages or frames, of which only the first is looked at",
    "cut_short": "whose files end early, so that the end of the picture may be missing",
}
"""What is said of photos that were read in part, by `faces.photos.rejection.PartlyRead`."""


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


def show_passed_over(passed_over: PassedOverCounts) -> None:
    """Print what a run passed over in folders and archives, a line for each kind."""
    for kind, (noun, what) in _PASSED_OVER.items():
        if counts := passed_over.get(kind):
            click.echo(f"  {counted(sum(counts.values()), noun)} {what}: {_labels(counts)}")


_PASSED_OVER = {
    "other_ending": ("file", "passed over, with other endings than photos"),
    "archive": ("archive", "in folders passed over (name them to take their photos)"),
    "excluded": ("photo", "excluded"),
    "hidden": ("name", "that begin with a dot passed over"),
    "link": ("link", "passed over (name what they lead to)"),
    "archive_end": ("archive", "whose end is odd, so that photos may be missing"),
}
"""What was counted, and how the line goes on, by the kinds of `PassedOverCounts`."""


def _labels(counts: Mapping[str, int]) -> str:
    """Return the labels with their numbers, the most frequent ones first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(
        f"{printable(label) or 'without ending'} {count:,}" for label, count in ordered
    )


def faces_of_photos(counts: DatasetCounts) -> str:
    """Return the numbers of faces and photos in words: `7 faces of 9 photos`."""
    return f"{counted(counts.num_faces, 'face')} of {counted(counts.num_photos, 'photo')}"


def photo_rate(num_photos: int, seconds: float) -> str:
    """Return the speed of a run in words: `71.3 photos/s`."""
    return f"{num_photos / max(seconds, 0.001):,.1f} photos/s"
