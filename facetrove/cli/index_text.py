"""What `index`, `compact`, `info` and `calibrate` say about an index."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from faces.core.errors import FaceTroveError
from facetrove.cli.terminal import print_json
from facetrove.cli.text import counted, printable
from indexer.manifest import Manifest, SegmentEntry
from indexer.thresholds import Calibration, rounded_up


def show_manifest(manifest: Manifest, index: Path, *, as_json: bool) -> None:
    """Print what an index now holds and how exact it is."""
    if as_json:
        print_json({"index": str(index), "num_faces": manifest.num_faces, **asdict(manifest)})
        return
    click.echo(
        f"{printable(str(index))} holds {counted(manifest.num_faces, 'face')} (version "
        f"{manifest.version}, published {manifest.created})"
    )
    if manifest.deletions is not None:
        click.echo(
            f"{counted(manifest.deletions.num_faces, 'row')} of its files besides are deleted or "
            "out of date, and never found"
        )
    if (calibration := manifest.calibration) is not None:
        show_calibration(calibration, manifest.num_faces)
    approximate = [entry for entry in manifest.segments if not entry.recipe.is_exact]
    num_exact = sum(e.num_faces for e in manifest.segments if e.recipe.is_exact)
    if not approximate:
        click.echo("every search compares with every face, so nothing is missed (recall 1)")
    elif num_exact:
        click.echo(f"{counted(num_exact, 'face')} are all compared in every search")
    for entry in manifest.segments:
        if not entry.recipe.is_exact:
            _show_approximate(entry)
        elif entry.measured is not None:
            click.echo(printable(entry.recipe.reason))


def show_calibration(calibration: Calibration, num_faces: int) -> None:
    """Print what similarities mean in an index of `num_faces` faces."""
    people = {"people": "labelled people", "gallery": "groups of like faces"}[calibration.method]
    try:
        least = rounded_up(calibration.min_fpir(num_faces))
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
    faces = counted(entry.num_faces, "face")
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
