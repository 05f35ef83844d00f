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
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as ProgressBar
from rich.table import Table
from rich.text import Text

from faces.core.errors import FaceTroveError, WrongUsageError
from indexer.thresholds import rounded_up

if TYPE_CHECKING:
    from beam_jobs.embed_photos import EmbedSummary, PhotosFound
    from faces.core.progress import Progress
    from faces.dataset.store import Dataset, DatasetCounts
    from faces.models.catalog import ModelCard
    from indexer.delete import Deleted
    from indexer.manifest import Manifest, SegmentEntry
    from indexer.purge import PurgeReport
    from indexer.thresholds import Calibration
    from indexer.verify import Verified
    from search.results import Match, Probe


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
def embed_progress() -> Iterator[Callable[[Progress], None]]:
    """A bar with counts, rate and time left; gives the function that moves it."""
    columns = (
        TextColumn("embedding"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[found]}"),
        _RateColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with _progress(*columns) as progress:
        task = progress.add_task("photos", total=None, found="")

        def show(state: Progress) -> None:
            found = _counted(state.counts.get("faces", 0), "face")
            if rejected := state.counts.get("rejected"):
                found += f", {rejected:,} rejected"
            progress.update(task, completed=state.done, total=state.total, found=found)

        yield show


@contextmanager
def index_progress() -> Iterator[Callable[[Progress], None]]:
    """What is being done, with counts, rate and time left; gives the function that says so."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.fields[faces]}"),
        BarColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with _progress(*columns) as progress:
        task = progress.add_task("starting", total=None, faces="")

        def show(state: Progress) -> None:
            if progress.tasks[task].description != state.step:
                progress.reset(task, description=state.step, total=state.total)
            rate = progress.tasks[task].speed
            faces = f"{state.done:,} faces" if state.done else ""
            progress.update(
                task,
                completed=state.done,
                total=state.total,
                faces=faces + (f", {rate:,.0f}/s" if rate else ""),
            )

        yield show


def _progress(*columns: ProgressColumn) -> ProgressBar:
    console = Console(stderr=True)
    return ProgressBar(*columns, console=console, transient=True, disable=not console.is_terminal)


def show_photos_found(found: PhotosFound, *, as_json: bool) -> None:
    """Print what a run of the embed job would do."""
    if as_json:
        print_json(asdict(found))
        return
    click.echo(f"{_counted(found.num_photos, 'photo')} found")
    for count, what in (
        (found.num_new, "new"),
        (found.num_changed, "changed since they were embedded"),
        (found.num_retried, "rejected before, to be tried again"),
        (found.num_unchanged, "in the dataset already"),
    ):
        if count:
            click.echo(f"  {count:,} {what}")
    _show_missing(found)


def _show_missing(found: PhotosFound) -> None:
    if found.num_out_of_reach:
        click.echo(
            f"{_counted(found.num_out_of_reach, 'photo')} cannot be reached now; what is known of "
            "them stays"
        )
    if found.num_vanished:
        click.echo(
            f"{_counted(found.num_vanished, 'photo')} of the dataset no longer where they were "
            "(--drop-vanished drops their faces)"
        )


def show_embed_summary(summary: EmbedSummary, dataset: Path, *, as_json: bool) -> None:
    """Print what a run of the embed job did."""
    if as_json:
        print_json({"dataset": str(dataset), **asdict(summary)})
        return
    found, done = summary.found, summary.done
    if found.num_unchanged:
        click.echo(f"passed over {_counted(found.num_unchanged, 'photo')} done before")
    if done.num_photos:
        click.echo(
            f"embedded {_counted(done.num_faces, 'face')} of {_counted(done.num_photos, 'photo')} "
            f"in {summary.seconds:,.0f} s ({_rate(done.num_photos, summary.seconds)})"
        )
        _show_outcomes(done, of_copies="whose content was known already")
    elif not summary.num_dropped:
        click.echo("nothing is new")
    if summary.num_dropped:
        click.echo(f"dropped {_counted(summary.num_dropped, 'photo')} that vanished")
    else:
        _show_missing(found)
    click.echo(f"{printable(str(dataset))} holds {_faces_of_photos(summary.total)}")


def show_dataset(dataset: Dataset, *, as_json: bool) -> None:
    """Print what is in a dataset."""
    counts, runs = dataset.counts(), dataset.runs()
    if as_json:
        document = {
            "dataset": str(dataset.path),
            **asdict(counts),
            **dataset.to_json(),
            "runs": runs,
        }
        print_json(document)
        return
    click.echo(f"{printable(str(dataset.path))} holds {_faces_of_photos(counts)}")
    _show_outcomes(counts, of_copies="whose content another has too")
    contract = dataset.contract
    models = printable(f"{contract.detector} and {contract.embedder}")
    crops = printable(contract.alignment)
    click.echo(f"made by {models} ({contract.dimension} numbers a face, {crops} crops)")
    if dataset.selection != type(dataset.selection)():
        click.echo(f"faces kept: {dataset.selection}")
    if len(dataset.metadata):
        columns = ", ".join(f"{field.name} ({field.type})" for field in dataset.metadata)
        click.echo(f"columns of photo lists: {printable(columns)}")
    if not runs:
        click.echo("no run has finished yet")
        return
    click.echo(f"{_counted(len(runs), 'run')} finished; the last {_last_run(runs[-1])}")


def _last_run(record: dict[str, Any]) -> str:
    """What a run wrote about itself; a record may be of another version, or spoilt."""
    try:
        num_photos, seconds = int(record["done"]["num_photos"]), float(record["seconds"])
        stages = ", ".join(f"{name} {time:,.1f}" for name, time in record["stage_seconds"].items())
        text = (
            f"began {record['started']} and did {_counted(num_photos, 'photo')} "
            f"in {seconds:,.0f} s ({_rate(num_photos, seconds)})\n"
            f"  seconds over all its workers: {stages}"
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return "left a record that cannot be read"
    return "\n".join(map(printable, text.splitlines()))


def show_models(cards: Sequence[ModelCard], *, as_json: bool) -> None:
    """Print what there is to choose from."""
    if as_json:
        print_json({"models": [asdict(card) for card in cards]})
        return
    for kind in ("embedder", "detector"):
        table = Table(box=None, pad_edge=False, header_style="none")
        of_embedders = {
            "numbers": lambda card: str(card.dimension),
            "input": lambda card: card.input,
            "faces/s": lambda card: _or_nothing(card.faces_per_second, ",.0f"),
            "LFW": lambda card: _or_nothing(card.lfw, ".4f"),
            "says": lambda card: card.lfw_source,
        }
        columns: dict[str, Callable[[ModelCard], str]] = {
            kind: lambda card: card.name,
            "here": lambda card: "yes" if card.here else "",
            "MB": lambda card: _or_nothing(card.num_bytes and card.num_bytes / 1e6, ",.1f"),
            **(of_embedders if kind == "embedder" else {}),
            "commercial": lambda card: card.commercial,
            "licence": lambda card: card.licence,
            "weights": lambda card: card.origin,
        }
        for title in columns:
            right = title in ("MB", "numbers", "input", "faces/s", "LFW")
            folded = title in ("says", "licence", "weights")
            table.add_column(
                title,
                justify="right" if right else "left",
                no_wrap=not folded,
                overflow="fold",
            )
        for card in cards:
            if card.kind == kind:
                table.add_row(*(printable(text(card)) for text in columns.values()))
        print_table(table)
        click.echo()
    click.echo(
        "LFW: accuracy on its pairs as published, not comparable to the last digit; faces/s: "
        "measured here, on one core.\ndocs/models.md says which to choose."
    )


def _or_nothing(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def show_model(card: ModelCard, found: dict[str, str], *, as_json: bool) -> None:
    """Print all that is known of one model that was run."""
    if as_json:
        print_json({**asdict(card), **found})
        return
    size = "" if card.num_bytes is None else f", {card.num_bytes / 1e6:,.1f} MB"
    lines = {
        "model": f"{card.name} ({card.kind}), ready",
        "embeddings": "" if card.dimension is None else f"{card.dimension} numbers",
        "input": card.input,
        **found,
        "weights": f"{card.origin}{size}",
        "licence": f"{card.licence} (commercial use: {card.commercial})",
        "LFW": "" if card.lfw is None else f"{card.lfw:.4f} ({card.lfw_source})",
        "speed": ""
        if card.faces_per_second is None
        else f"{card.faces_per_second:,.0f} faces/s on one core here",
    }
    for name, text in lines.items():
        if text:
            click.echo(f"{name:<11} {printable(text)}")


def show_rejected(dataset: Dataset, *, as_json: bool) -> None:
    """Print the rejected photos, reason first."""
    import pyarrow.compute as pc

    photos = dataset.photos(["reason"])
    rejected = photos.filter(pc.is_valid(photos["reason"])).select(["reason", "uri"])
    rows = rejected.sort_by([("reason", "ascending"), ("uri", "ascending")]).to_pylist()
    if as_json:
        print_json({"dataset": str(dataset.path), "rejected": rows})
        return
    for row in rows:
        click.echo(f"{printable(row['reason'])}\t{shown_uri(row['uri'])}")


def _show_outcomes(counts: DatasetCounts, *, of_copies: str) -> None:
    if no_face := counts.by_status.get("no_face"):
        click.echo(f"  {_counted(no_face, 'photo')} without a face")
    if deleted := counts.by_status.get("deleted"):
        click.echo(f"  {_counted(deleted, 'photo')} whose faces were deleted")
    if counts.num_copies:
        click.echo(f"  {_counted(counts.num_copies, 'photo')} {of_copies}")
    for reason, count in sorted(counts.by_reason.items()):
        click.echo(f"  {_counted(count, 'photo')} rejected: {printable(reason)}")


def _faces_of_photos(counts: DatasetCounts) -> str:
    return f"{_counted(counts.num_faces, 'face')} of {_counted(counts.num_photos, 'photo')}"


def _rate(count: int, seconds: float) -> str:
    return f"{count / max(seconds, 0.001):,.1f} photos/s"


def show_manifest(manifest: Manifest, index: Path, *, as_json: bool) -> None:
    """Print what an index now holds and how exact it is."""
    if as_json:
        print_json({"index": str(index), "num_faces": manifest.num_faces, **asdict(manifest)})
        return
    click.echo(
        f"{printable(str(index))} holds {_counted(manifest.num_faces, 'face')} (version "
        f"{manifest.version}, published {manifest.created})"
    )
    if manifest.deletions is not None:
        click.echo(
            f"{_counted(manifest.deletions.num_faces, 'row')} of its files besides are deleted or "
            "out of date, and never found"
        )
    if (calibration := manifest.calibration) is not None:
        show_calibration(calibration, manifest.num_faces)
    approximate = [entry for entry in manifest.segments if not entry.recipe.is_exact]
    num_exact = sum(e.num_faces for e in manifest.segments if e.recipe.is_exact)
    if not approximate:
        click.echo("every search compares with every face, so nothing is missed (recall 1)")
    elif num_exact:
        click.echo(f"{_counted(num_exact, 'face')} are all compared in every search")
    for entry in manifest.segments:
        if not entry.recipe.is_exact:
            _show_approximate(entry)
        elif entry.measured is not None:
            click.echo(printable(entry.recipe.reason))


def show_calibration(calibration: Calibration, num_faces: int) -> None:
    """Print what similarities mean in an index."""
    people = {"people": "labelled people", "gallery": "groups of like faces"}[calibration.method]
    try:
        least = rounded_up(calibration.least_fpir(num_faces))
        shown = [*(rate for rate in (0.1, 0.01, 0.001) if rate > least), least]
        lines = [f"{calibration.threshold(rate, num_faces):.3f} at {rate:g}" for rate in shown]
    except FaceTroveError as error:
        click.echo(str(error))
        return
    click.echo(
        f"calibrated by {calibration.num_people:,} {people}, {calibration.num_comparisons:,} "
        f"comparisons: similarity {', '.join(lines)} FPIR, the smallest rate to ask for"
    )


def _show_approximate(entry: SegmentEntry) -> None:
    """Print how a segment is searched and how exact that is."""
    recipe, measured = entry.recipe, entry.measured
    settings = [
        f"{name} {value}"
        for name, value in (("nprobe", recipe.nprobe), ("efSearch", recipe.ef_search))
        if value is not None
    ]
    settings.append(f"{recipe.candidates} candidates a match compared exactly")
    settings.append(f"built on the {'GPU' if entry.built_on == 'cuda' else 'processor'}")
    faces = _counted(entry.num_faces, "face")
    click.echo(f"{faces} by {printable(recipe.factory)} ({', '.join(settings)})")
    if measured is None:
        return
    of_matches = "no match among them is above the threshold"
    if measured.recall_of_matches is not None:
        of_matches = (
            f"{measured.recall_of_matches:.4f} of {measured.num_matches:,} matches above "
            f"{measured.threshold:.3f}"
        )
    elif measured.threshold is None:
        of_matches = "the model's threshold is not known"
    click.echo(
        f"  found of what exact search finds, measured with {measured.num_probes:,} of its faces: "
        f"{of_matches}; {measured.recall_at_1:.4f} of the nearest, {measured.recall_at_10:.4f} of "
        "the ten nearest"
    )
    click.echo(
        f"  {measured.probes_per_second:,.0f} probes/s in batches (exact search: "
        f"{measured.exact_probes_per_second:,.0f}), one probe {measured.latency_ms_p50:.1f} ms, "
        f"99% within {measured.latency_ms_p99:.1f} ms, on {measured.num_threads} threads"
    )
    if recipe.reason:
        click.echo(f"  {printable(recipe.reason)}")


def show_verified(verified: Verified, *, as_json: bool) -> None:
    """Print what a check of an index found."""
    if as_json:
        print_json(verified.to_json())
        return
    name = printable(verified.index)
    for problem in verified.problems:
        click.echo(f"{name}: {printable(problem)}")
    if not verified.problems:
        agrees = ""
        if verified.dataset is not None:
            agrees = f", and agrees with {printable(verified.dataset)}"
        click.echo(
            f"{name} (version {verified.version}) is whole{agrees}: "
            f"{_counted(verified.num_files, 'file')}, {verified.num_bytes:,} bytes, "
            f"{_counted(verified.num_faces, 'face')}"
        )


def show_to_delete(num_faces: int, dataset: Path, *, as_json: bool) -> None:
    """Print what a deletion would do."""
    if as_json:
        print_json({"dataset": str(dataset), "num_faces": num_faces})
    else:
        click.echo(f"would delete {_counted(num_faces, 'face')} of {printable(str(dataset))}")


def show_deleted(deleted: Deleted, dataset: Path, *, as_json: bool) -> None:
    """Print what a deletion did."""
    if as_json:
        print_json({"dataset": str(dataset), **asdict(deleted)})
        return
    if not deleted.num_faces:
        click.echo(f"no face of {printable(str(dataset))} is meant by that; nothing was deleted")
        return
    click.echo(f"deleted {_counted(deleted.num_faces, 'face')} of {printable(str(dataset))}")
    for index, count in deleted.num_faces_of_index.items():
        click.echo(f"  {printable(index)} held {count:,} of them and finds them no more")
    if deleted.still_in_dataset:
        click.echo("  a job is writing the dataset: their rows are taken out by the next purge")
    click.echo("run `facetrove purge` to remove them from every byte of the files")


def require_new_file(path: Path) -> None:
    """Raise WrongUsageError unless a file can be made at a path and nothing is there."""
    if path.exists() or path.is_symlink():
        raise WrongUsageError(f"{path} exists; name a new file for the report")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise WrongUsageError(f"no file can be made in {path.parent}; name another folder")


def write_report(path: Path, report: PurgeReport) -> None:
    """Keep the report of a purge in a file."""
    from faces.core.files import atomic_write

    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(report.to_json(), indent=2) + "\n")


def show_purge(report: PurgeReport, *, as_json: bool) -> None:
    """Print what a purge removed, and how that was checked."""
    if as_json:
        print_json(report.to_json())
        return
    click.echo(
        f"{printable(report.dataset)}: removed "
        f"{_counted(report.num_faces_removed, 'row')} of faces and "
        f"{report.num_photos_removed:,} of photos; "
        f"{_counted(len(report.deleted_face_digests), 'face')} deleted so far"
    )
    for index, count in report.num_index_rows_removed.items():
        click.echo(f"{printable(index)}: removed {_counted(count, 'row')} of faces")
    click.echo(
        f"then read {_counted(report.files_checked, 'file')} with "
        f"{_counted(report.faces_checked, 'face')} again and did not find"
    )
    for trace in report.not_found:
        click.echo(f"  {trace}")
    for name in report.unknown_files:
        click.echo(f"not ours, and not looked into: {printable(name)}")
    for limit in report.limits:
        click.echo(limit)


def show_probes(
    probes: Sequence[Probe],
    photo: Path,
    *,
    line: tuple[float, float] | None = None,
    least_fpir: float | None = None,
    device: str = "cpu",
    as_json: bool,
) -> None:
    """Print the matches of each face of a photo as a table.

    Args:
        probes: what a search gave.
        photo: that was searched for.
        line: FPIR asked for, and the least similarity that it means.
        least_fpir: the lowest that is known.
        device: where the search was done.
        as_json: for machines.
    """
    if as_json:
        found = [probe.to_json() for probe in probes]
        print_json({"photo": str(photo), "device": device, **_line(line), "probes": found})
        return
    _say_where(device, line)
    for number, probe in enumerate(probes, start=1):
        x, y, width, height = (round(value) for value in probe.box)
        _print_matches(
            f"face {number} of {len(probes)} in {_relative(Path(photo.name))}, "
            f"{width}x{height} at {x},{y}",
            probe.matches,
            least_fpir,
        )


def show_matches(
    matches: Sequence[Match],
    face_id: str,
    *,
    line: tuple[float, float] | None = None,
    least_fpir: float | None = None,
    device: str = "cpu",
    as_json: bool,
) -> None:
    """Print the matches of a face of the index as a table; arguments as of `show_probes`."""
    if as_json:
        found = [match.to_json() for match in matches]
        print_json({"face_id": face_id, "device": device, **_line(line), "matches": found})
        return
    _say_where(device, line)
    _print_matches(f"more like face {printable(face_id)}", matches, least_fpir)


def _line(line: tuple[float, float] | None) -> dict[str, float]:
    return {} if line is None else {"max_fpir": line[0], "threshold": line[1]}


def _say_where(device: str, line: tuple[float, float] | None) -> None:
    if device == "cuda":
        click.echo("searched on the GPU")
    if line is not None:
        click.echo(
            f"matches from similarity {line[1]:.3f} on: {100 * line[0]:.3g}% of the searches for "
            "people who are not in the index get one"
        )


def _print_matches(title: str, matches: Sequence[Match], least_fpir: float | None) -> None:
    click.echo(title)
    if not len(matches):
        click.echo("nobody was found")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("rank", justify="right")
    table.add_column("similarity", justify="right")
    if least_fpir is not None:
        table.add_column("FPIR", justify="right")
    table.add_column("face at", justify="right", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    has_people = any(match.person is not None for match in matches)
    if has_people:
        table.add_column("person", overflow="fold")
    table.add_column("photo", overflow="fold")
    for match in matches:
        x, y, width, height = (round(value) for value in match.box)
        name = shown_uri(match.uri)
        if match.also_at:
            name += f" (and in {_counted(len(match.also_at), 'other place')})"
        person = [Text(printable(match.person or ""))] if has_people else []
        table.add_row(
            str(match.rank),
            f"{match.similarity:.3f}",
            *([] if least_fpir is None else [_said_fpir(match.fpir, least_fpir)]),
            f"{x},{y}",
            f"{width}x{height}",
            *person,
            Text(name),
        )
    print_table(table)


def _said_fpir(fpir: float | None, least: float) -> str:
    if fpir is None:
        return ""
    return f"<={fpir:.2g}" if fpir <= least else f"{fpir:.2g}"


def print_table(table: Table) -> None:
    """Print a table, folded to the terminal's width if there is one."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000  # lines are for another program then: not ours to fold
    with console.capture() as captured:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def shown_uri(uri: str) -> str:
    """A photo's name as a person reads it."""
    from faces.photos.uris import is_path, photo_path, unescape_url

    return _relative(photo_path(uri)) if is_path(uri) else printable(unescape_url(uri))


def _relative(path: Path) -> str:
    """A path as short as it can be said from here, printable whatever it is made of."""
    here = Path.cwd()
    shown = path.relative_to(here) if len(here.parts) > 1 and path.is_relative_to(here) else path
    return printable(str(shown))


def printable(text: str) -> str:
    """A name must not be able to drive the terminal."""
    text = os.fsencode(text).decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def print_json(document: dict[str, Any]) -> None:
    """Print a document for machines."""
    click.echo(json.dumps(document, indent=2))
