"""`facetrove calibrate`: measure what similarities mean in an index."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from facetrove.calibration import calibrate_index
from facetrove.cli.evaluation_options import face_option, people_option
from facetrove.cli.index_text import show_calibration
from facetrove.cli.options import json_option
from facetrove.cli.terminal import index_progress, print_json
from facetrove.cli.text import printable
from facetrove.evaluation.labels import FaceChoice
from indexer.manifest import read_current


@click.command()
@click.argument("index", type=click.Path(path_type=Path))
@click.option(
    "--fpir",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="RATE",
    help="Also say the threshold at this rate; fail if the faces do not carry so far.",
)
@people_option
@click.option(
    "--by-likeness", is_flag=True, help="Go by the likeness of faces whatever labels say."
)
@face_option("largest")
@json_option
def calibrate(
    index: Path,
    fpir: float | None,
    people: str | None,
    by_likeness: bool,
    face: FaceChoice,
    as_json: bool,
) -> None:
    """Measure how similar strangers look in INDEX, and keep that with it.

    Afterwards `facetrove search --fpir 0.01` gives only matches as similar as somebody who is not
    in the index finds in one search of a hundred, and every match says at which rate it would
    still be given. Goes by labelled people, 200 or more with half of the faces, or else by the
    likeness of the faces. Do it again when the index has become twice as large.

    \b
    Examples:
      facetrove calibrate faces.index
      facetrove calibrate lfw.index --people folder --face central --fpir 0.01
    """
    with index_progress() as on_progress:
        calibration = calibrate_index(
            index, people=people, by_likeness=by_likeness, face=face, on_progress=on_progress
        )
    manifest = read_current(index)
    threshold = None if fpir is None else calibration.threshold(fpir, manifest.num_faces)
    if as_json:
        asked = {} if fpir is None else {"fpir": fpir, "threshold": threshold}
        print_json({"index": str(index), **asked, "calibration": asdict(calibration)})
        return
    if calibration.method == "gallery" and not by_likeness:
        click.echo(
            "no labels of 200 people and half of the faces (column person, or --people): went by "
            "the likeness of faces"
        )
    click.echo(f"{printable(str(index))} (version {manifest.version})")
    show_calibration(calibration, manifest.num_faces)
    if threshold is not None:
        click.echo(f"at an FPIR of {fpir:g} matches count from similarity {threshold:.3f} on")
