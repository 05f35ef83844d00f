"""Options that several commands of `evaluate`, and `calibrate`, have in common."""

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
    help="Column of the photo lists that names the person in a photo, or `folder`: each person's "
    "photos lie in a folder of their name.  [default: the column person]",
)
where_option = click.option(
    "--where",
    metavar="FILTER",
    help="Evaluate only faces that match this filter, such as \"album = '2019'\"; see "
    "docs/search.md.",
)


def face_option(default: FaceChoice | None) -> Decorator:
    """Return the option that says which face of a photo its label is for.

    Args:
        default: value where the option is not given; None: it depends on the list of pairs.
    """
    return click.option(
        "--face",
        type=click.Choice(["largest", "central", "only"]),
        default=default,
        show_default=default is not None,
        help="The face that a photo's label is for: the largest, the one at the centre, or the "
        "only one (photos with several faces are left out)."
        + ("" if default else "  [default: central for LFW's lists, else largest]"),
    )


@dataclass(frozen=True)
class Labels:
    """The options that say who is in a photo, and which of its faces is that person's.

    Attributes:
        people: column that names the person, or `folder`; None: the column `person`.
        face: the face of a photo that its label is for.
    """

    people: str | None
    face: FaceChoice


label_options = gathered("labels", Labels, people_option, face_option("largest"))


@dataclass(frozen=True)
class Breakdown:
    """The options that ask for details beside the overall error rates.

    Attributes:
        by: columns by whose values error rates are broken down.
        examples: number of the worst errors of each kind to name.
    """

    by: tuple[str, ...]
    examples: int


breakdown_options = gathered(
    "breakdown",
    Breakdown,
    click.option(
        "--by",
        multiple=True,
        metavar="COLUMN",
        help="Also print the error rates for each value of this column. May be given several "
        "times.",
    ),
    click.option(
        "--examples",
        type=click.IntRange(min=0),
        default=0,
        metavar="COUNT",
        show_default=True,
        help="Number of the worst errors of each kind to print with their photos' names, and with "
        "their faces in the report.",
    ),
)


@dataclass(frozen=True)
class Run:
    """The options of a run of an evaluation.

    Attributes:
        report: path of the HTML report to write; None: no report.
        seed: seed of the random splits and of the bootstrap, 0 or more.
        as_json: whether to print the result as one JSON document.

    Raises:
        WrongUsageError: no report can be written to that path.
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
        help="Also write a report to this file (.html): a web page with plots and definitions.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Seed of the random splits and the bootstrap.",
    ),
    json_option,
)
