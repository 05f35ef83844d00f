"""Options that `evaluate` and `calibrate` have, and what every evaluation is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from facetrove.cli.options import Decorator, gathered, json_option
from facetrove.evaluation.labels import FaceChoice
from facetrove.evaluation.page import require_report_name

people_option = click.option(
    "--people",
    metavar="COLUMN",
    help="Column that says who is in a photo, or `folder`: each person's photos lie in a folder "
    "of their name.  [default: the column person]",
)
where_option = click.option("--where", help="Only faces that pass a filter, as of a search.")


def face_option(default: FaceChoice | None) -> Decorator:
    """Which of several faces in a photo is meant."""
    return click.option(
        "--face",
        type=click.Choice(["largest", "central", "only"]),
        default=default,
        show_default=default is not None,
        help="The face that a photo's label is for: the largest, the one at the centre, or that of "
        "photos with one face only."
        + ("" if default else "  [default: central for LFW's lists, else largest]"),
    )


@dataclass(frozen=True)
class Labels:
    """Who is in a photo, and which of its faces that is."""

    people: str | None
    face: FaceChoice


label_options = gathered("labels", Labels, people_option, face_option("largest"))


@dataclass(frozen=True)
class Breakdown:
    """What is told beside the error rates: groups by these columns, and so many wrong answers."""

    by: tuple[str, ...]
    examples: int


breakdown_options = gathered(
    "breakdown",
    Breakdown,
    click.option(
        "--by",
        multiple=True,
        metavar="COLUMN",
        help="Also tell error rates by the groups of a column.",
    ),
    click.option(
        "--examples",
        type=click.IntRange(min=0),
        default=0,
        metavar="COUNT",
        help="Name so many of the worst errors of each kind, and show their faces in the report.",
    ),
)


@dataclass(frozen=True)
class Run:
    """A run of an evaluation: the file of its report, the seed of its draws, how it is printed.

    Raises:
        WrongUsageError: no report can be written to that file.
    """

    report: Path | None
    seed: int
    as_json: bool

    def __post_init__(self) -> None:
        if self.report is not None:
            require_report_name(self.report)


run_options = gathered(
    "run",
    Run,
    click.option(
        "--report",
        type=click.Path(path_type=Path),
        help="Also write a web page with plots and definitions, all in this one file (.html).",
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Of what is drawn.",
    ),
    json_option,
)
