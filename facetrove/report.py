"""What the commands print: results to stdout, progress to stderr and only on a terminal."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from beam_jobs.embed_photos import EmbedProgress, EmbedSummary
    from indexer.manifest import Manifest
    from search.results import Probe


def quiet_libraries() -> None:
    """Keep what Beam tells itself off the terminal; errors reach the user as exceptions.

    Call before Beam is imported.
    """
    logging.basicConfig(level=logging.CRITICAL)
    warnings.simplefilter("ignore")


class _RateColumn(ProgressColumn):
    """Photos per second."""

    def render(self, task: Task) -> Text:
        if not task.completed or not task.elapsed:
            return Text("starting workers")
        return Text(f"{task.speed or task.completed / task.elapsed:,.0f} photos/s")


@contextmanager
def embed_progress() -> Iterator[Callable[[EmbedProgress], None]]:
    """A bar with count, rate and time left; gives the function that moves it."""
    columns = (
        TextColumn("embedding"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with _progress(*columns) as progress:
        task = progress.add_task("photos", total=None)
        yield lambda state: progress.update(
            task, completed=state.photos_done, total=state.photos_to_do
        )


@contextmanager
def step_progress() -> Iterator[Callable[[str], None]]:
    """A spinner beside what is being done; gives the function that says so."""
    with _progress(SpinnerColumn(), TextColumn("{task.description}")) as progress:
        task = progress.add_task("starting", total=None)
        yield lambda step: progress.update(task, description=step)


def _progress(*columns: ProgressColumn) -> Progress:
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def show_embed_summary(summary: EmbedSummary, dataset: Path, *, as_json: bool) -> None:
    """Print what a run of the embed job did."""
    if as_json:
        _print_json({"dataset": str(dataset), **asdict(summary)})
        return
    done, total = summary.done, summary.total
    if summary.photos_skipped:
        click.echo(f"passed over {_counted(summary.photos_skipped, 'photo')} done before")
    if not done.num_photos:
        click.echo("nothing is new")
    else:
        click.echo(
            f"embedded {_counted(done.num_faces, 'face')} of {_counted(done.num_photos, 'photo')}"
        )
    if no_face := done.by_status.get("no_face"):
        click.echo(f"  {_counted(no_face, 'photo')} without a face")
    for reason, count in sorted(done.by_reason.items()):
        click.echo(f"  {_counted(count, 'photo')} rejected: {reason}")
    click.echo(
        f"{dataset} holds {_counted(total.num_faces, 'face')} "
        f"of {_counted(total.num_photos, 'photo')}"
    )


def show_manifest(manifest: Manifest, index: Path, *, as_json: bool) -> None:
    """Print what an index now holds and how exact it is."""
    if as_json:
        _print_json({"index": str(index), "num_faces": manifest.num_faces, **asdict(manifest)})
        return
    recall, recipe = manifest.recall, manifest.recipe
    click.echo(
        f"{index} holds {_counted(manifest.num_faces, 'face')} (version {manifest.version}, "
        f"built {manifest.created}, "
        f"recipe {recipe.name}: {recipe.factory}"
        + (f", nprobe {recipe.nprobe})" if recipe.nprobe else ")")
    )
    if recipe.name == "exact":
        click.echo("every search compares with every face, so nothing is missed (recall 1)")
    else:
        click.echo(
            f"recall against exact search, measured on {recall.num_probes:,} of its faces: "
            f"{recall.recall_at_1:.4f} of the nearest, {recall.recall_at_10:.4f} of the ten nearest"
        )


def show_probes(probes: Sequence[Probe], photo: Path, *, as_json: bool) -> None:
    """Print the matches of each face of a photo as a table."""
    from faces.photos import photo_path

    if as_json:
        _print_json({"photo": str(photo), "probes": [probe.to_json() for probe in probes]})
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000  # lines are for another program then: not ours to fold
    for number, probe in enumerate(probes, start=1):
        x, y, width, height = (round(value) for value in probe.box)
        table = Table(
            title=Text(
                f"face {number} of {len(probes)} in {_relative(Path(photo.name))}, "
                f"{width}x{height} at {x},{y}"
            ),
            title_justify="left",
            box=None,
            pad_edge=False,
        )
        table.add_column("rank", justify="right")
        table.add_column("similarity", justify="right")
        table.add_column("face at", justify="right", no_wrap=True)
        table.add_column("size", justify="right", no_wrap=True)
        table.add_column("photo", overflow="fold")
        for match in probe.matches:
            x, y, width, height = (round(value) for value in match.box)
            name = _relative(photo_path(match.uri))
            table.add_row(
                str(match.rank),
                f"{match.similarity:.3f}",
                f"{x},{y}",
                f"{width}x{height}",
                Text(name),
            )
        with console.capture() as captured:
            console.print(table)
        click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _relative(path: Path) -> str:
    """A path as short as it can be said from here, printable whatever it is made of."""
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    text = os.fsencode(shown).decode(errors="backslashreplace")
    # A file's name must not be able to drive the terminal.
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _print_json(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, indent=2))
