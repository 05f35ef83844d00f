"""Text about an index, which `index`, `compact`, `info` and `calibrate` print."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from faces.core.errors import FaceTroveError
from faces.core.words import counted
from facetrove.cli.terminal import print_json
from facetrove.cli.text import printable
from indexer.blas import choose_kernels
from indexer.manifest import Manifest, SegmentEntry
from indexer.thresholds import Calibration, rounded_up


def show_manifest(manifest: Manifest, index: Path, *, as_json: bool) -> None:
    """Print how many faces an index holds, its calibration, and its recall."""
    if as_json:
        document = {"index": str(index), "num_faces": manifest.num_faces, **asdict(manifest)}
        print_json({**document, "faiss_blas": asdict(choose_kernels())})
        return
    click.echo(
        f"{printable(str(index))} holds {counted(manifest.num_faces, 'face')} (version "
        f"{manifest.version}, published {manifest.created})"
    )
    if manifest.deletions is not None:
        click.echo(
            "deleted or out-of-date rows that are still in its files, and that searches skip: "
            f"{manifest.deletions.num_faces:,}"
        )
    if (calibration := manifest.calibration) is not None:
        show_calibration(calibration, manifest.num_faces)
    approximate = [entry for entry in manifest.segments if not entry.recipe.is_exact]
    num_exact = sum(e.num_faces for e in manifest.segments if e.recipe.is_exact)
    if not approximate:
        click.echo("search is exact: it compares with every face")
    elif num_exact:
        click.echo(f"{counted(num_exact, 'face')} searched exactly (every one is compared)")
    for entry in manifest.segments:
        if not entry.recipe.is_exact:
            _show_approximate(entry)
        elif entry.measured is not None:
            click.echo(printable(entry.recipe.reason))


def show_calibration(calibration: Calibration, num_faces: int) -> None:
    """Print the similarity thresholds of an index at some false-positive rates.

    Args:
        calibration: the index's calibration.
        num_faces: number of faces in the index now; where it differs too much from that of the
            calibration, the advice to calibrate again is printed instead.
    """
    people = {"people": "labelled people", "gallery": "clusters of similar faces"}[
        calibration.method
    ]
    try:
        min_fpir = rounded_up(calibration.min_fpir(num_faces))
        shown = [*(rate for rate in (0.1, 0.01, 0.001) if rate > min_fpir), min_fpir]
        lines = [f"{calibration.threshold(rate, num_faces):.3f} at {rate:g}" for rate in shown]
    except FaceTroveError as error:
        click.echo(str(error))
        return
    click.echo(
        f"calibrated on {calibration.num_people:,} {people} ({calibration.num_comparisons:,} "
        f"comparisons); similarity thresholds by FPIR: {', '.join(lines)} (the lowest FPIR that "
        "--fpir accepts)"
    )


def _show_approximate(entry: SegmentEntry) -> None:
    """Print how an approximate segment is searched, with its measured recall and speed."""
    recipe, measured = entry.recipe, entry.measured
    settings = [
        f"{name} {value}"
        for name, value in (("nprobe", recipe.nprobe), ("efSearch", recipe.ef_search))
        if value is not None
    ]
    settings.append(f"{recipe.candidates} candidates per match compared exactly")
    settings.append(f"built on the {'GPU' if entry.built_on == 'cuda' else 'CPU'}")
    faces = counted(entry.num_faces, "face")
    click.echo(f"{faces} searched by {printable(recipe.factory)} ({', '.join(settings)})")
    if measured is None:
        return
    if measured.threshold is None:
        of_matches = "matches not counted, because no threshold is known for the model"
    elif measured.recall_of_matches is None:
        of_matches = f"no match at or above similarity {measured.threshold:.3f} to count"
    else:
        of_matches = (
            f"{measured.recall_of_matches:.4f} of {measured.num_matches:,} matches at or above "
            f"similarity {measured.threshold:.3f}"
        )
    click.echo(
        f"  recall against exact search, measured with {measured.num_probes:,} of its faces: "
        f"{of_matches}; {measured.recall_at_1:.4f} of the nearest faces (recall@1), "
        f"{measured.recall_at_10:.4f} of the ten nearest (recall@10)"
    )
    click.echo(
        f"  speed on {measured.num_threads} threads: {measured.probes_per_second:,.0f} probes/s in "
        f"batches (exact search: {measured.exact_probes_per_second:,.0f}); a single probe takes "
        f"{measured.latency_ms_p50:.1f} ms (median), {measured.latency_ms_p99:.1f} ms (99th "
        "percentile)"
    )
    if recipe.reason:
        click.echo(f"  {printable(recipe.reason)}")
