"""`facetrove calibrate`: measure the false-positive rate of an index by similarity."""

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
    help="Also print the similarity threshold at this false-positive rate; fail, and store "
    "nothing, if the index has too few people to measure it.",
)
@people_option
@click.option(
    "--by-likeness",
    is_flag=True,
    help="Ignore labels, and take each cluster of similar faces for one person.",
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
    """Measure the false-positive rate of INDEX by similarity, and store it in the index.

    The false-positive identification rate (FPIR) of a similarity threshold is the share of
    searches for people who are not in the index that return a match all the same. Afterwards
    `facetrove search --fpir 0.01` returns only matches above the threshold of that rate, and every
    match says how many searches for strangers find one as similar. Before that, both are figures of
    the models, measured on other photos.

    The people in the index are those that labels name, if these name 200 people or more and half
    of the faces; else each cluster of similar faces is taken for one person, if at least one face
    in twenty is in a cluster. Calibrate again when the index has become twice or half as large.

    \b
    Examples:
      facetrove calibrate faces.index
      facetrove calibrate lfw.index --people folder --face central --fpir 0.01
    """
    with index_progress() as on_progress:
        calibration = calibrate_index(
            index,
            people=people,
            by_likeness=by_likeness,
            face=face,
            fpir=fpir,
            on_progress=on_progress,
        )
    manifest = read_current(index)
    threshold = None if fpir is None else calibration.threshold(fpir, manifest.num_faces)
    if as_json:
        at_fpir = {} if fpir is None else {"fpir": fpir, "threshold": threshold}
        print_json({"index": str(index), **at_fpir, "calibration": asdict(calibration)})
        return
    if calibration.method == "gallery" and not by_likeness:
        click.echo(
            "each cluster of similar faces was taken for one person, because there are no labels "
            "(column person, or --people) for 200 people and half of the faces"
        )
    click.echo(f"{printable(str(index))} (version {manifest.version})")
    show_calibration(calibration, manifest.num_faces)
    if threshold is not None:
        click.echo(f"the threshold at FPIR {fpir:g} is similarity {threshold:.3f}")
