"""What `embed`, `import` and `info` alike say about the photos and faces of a dataset."""

from __future__ import annotations

import click

from faces.dataset.store import DatasetCounts
from facetrove.cli.text import counted, printable


def show_outcomes(counts: DatasetCounts, *, of_copies: str) -> None:
    """Print how many photos have no face, were deleted, are copies or were rejected.

    Args:
        counts: of the photos.
        of_copies: what to say of photos whose content another photo has: `whose content ...`.
    """
    if no_face := counts.by_status.get("no_face"):
        click.echo(f"  {counted(no_face, 'photo')} without a face")
    if deleted := counts.by_status.get("deleted"):
        click.echo(f"  {counted(deleted, 'photo')} whose faces were deleted")
    if counts.num_copies:
        click.echo(f"  {counted(counts.num_copies, 'photo')} {of_copies}")
    for reason, count in sorted(counts.by_reason.items()):
        click.echo(f"  {counted(count, 'photo')} rejected: {printable(reason)}")


def faces_of_photos(counts: DatasetCounts) -> str:
    """The faces and photos of a dataset: `7 faces of 9 photos`."""
    return f"{counted(counts.num_faces, 'face')} of {counted(counts.num_photos, 'photo')}"


def photo_rate(num_photos: int, seconds: float) -> str:
    """The speed of a run: `71.3 photos/s`."""
    return f"{num_photos / max(seconds, 0.001):,.1f} photos/s"
