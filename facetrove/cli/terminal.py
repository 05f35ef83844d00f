"""Printing for all commands: results to stdout, progress to stderr and only on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as ProgressBar
from rich.table import Table
from rich.text import Text

from faces.core.documents import json_text
from faces.core.progress import OnProgress, Progress
from faces.core.words import counted
from faces.photos.uris import is_path, photo_path, unescape_url
from facetrove.cli.text import printable

T = TypeVar("T")


class _RateColumn(ProgressColumn):
    """A column of a progress bar that shows photos per second."""

    def render(self, task: Task) -> Text:
        if not task.completed or not task.elapsed:
            return Text("starting workers")
        return Text(f"{task.speed or task.completed / task.elapsed:,.0f} photos/s")


@contextmanager
def embed_progress() -> Iterator[OnProgress]:
    """Show a progress bar of the embed job, and yield the function that updates it."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[found]}"),
        _RateColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with _progress_bar(*columns) as bar:
        task = bar.add_task("embedding", total=None, found="")

        def show(state: Progress) -> None:
            if bar.tasks[task].description != state.step:
                bar.reset(task, description=state.step, total=state.total)
            found = counted(state.counts.get("faces", 0), "face")
            if rejected := state.counts.get("rejected"):
                found += f", {rejected:,} rejected"
            bar.update(task, completed=state.done, total=state.total, found=found)

        yield show


@contextmanager
def index_progress() -> Iterator[OnProgress]:
    """Show a progress bar of work on an index, and yield the function that updates it."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[faces]}"),
        BarColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with _progress_bar(*columns) as bar:
        task = bar.add_task("starting", total=None, faces="")

        def show(state: Progress) -> None:
            if bar.tasks[task].description != state.step:
                bar.reset(task, description=state.step, total=state.total)
            rate = bar.tasks[task].speed
            faces = f"{state.done:,} faces" if state.done else ""
            bar.update(
                task,
                completed=state.done,
                total=state.total,
                faces=faces + (f", {rate:,.0f}/s" if rate else ""),
            )

        yield show


def _progress_bar(*columns: ProgressColumn) -> ProgressBar:
    """Make a progress bar on stderr that disappears at the end, and is not shown in a pipe."""
    console = Console(stderr=True)
    return ProgressBar(*columns, console=console, transient=True, disable=not console.is_terminal)


def print_table(table: Table) -> None:
    """Print a table, folded to the terminal's width if stdout is a terminal.

    Cells and titles are shown as they are, also where a name looks like markup or an emoji's code.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 10_000  # another program reads the lines, which must not be folded
    with console.capture() as captured:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def print_json(document: dict[str, Any]) -> None:
    """Print a JSON document."""
    click.echo(json_text(document))


def show_first(
    items: Sequence[T],
    line_of: Callable[[T], str],
    limit: int,
    *,
    rest: Callable[[int], str],
    err: bool = False,
) -> None:
    """Print a line for each of the first items, and one that says how many more there are.

    Args:
        items: the items.
        line_of: function that makes the line of an item.
        limit: maximum number of items that are printed.
        rest: function that makes the last line of the number of further items.
        err: whether the lines go to stderr.
    """
    for item in items[:limit]:
        click.echo(line_of(item), err=err)
    if (more := len(items) - limit) > 0:
        click.echo(rest(more), err=err)


def print_json_list(
    head: dict[str, Any], name: str, batches: Iterable[Sequence[dict[str, Any]]]
) -> None:
    """Print a JSON document with a list that may be too long to be in memory.

    Args:
        head: what stands before the list.
        name: the list's key.
        batches: the rows of the list, a batch at a time.
    """
    start = json_text({**head, name: []}).removesuffix("]\n}")
    click.echo(start, nl=False)
    comma = ""
    for rows in batches:
        click.echo(comma + json_text(rows)[1:-2], nl=False)
        comma = ","
    click.echo("\n  ]\n}" if comma else "]\n}")


def shown_uri(uri: str) -> str:
    """Return a photo's uri as a person reads it: a path, or a URL without percent-encoding."""
    return shown_path(photo_path(uri)) if is_path(uri) else printable(unescape_url(uri))


def shown_path(path: Path) -> str:
    """Return a printable path, relative to the current folder if it lies in that folder."""
    here = Path.cwd()
    shown = path.relative_to(here) if len(here.parts) > 1 and path.is_relative_to(here) else path
    return printable(str(shown))
